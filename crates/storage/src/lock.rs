//! The lock on a data directory: held as long as any store of the directory is open.
//!
//! The kernel drops it when the process is gone, however it ended, so whoever gets the lock
//! knows that the predecessor no longer runs. Only local file systems are that reliable, and a copy
//! of the directory has a lock of its own.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::UNIX_EPOCH;

use rustix::fs::{FlockOperation, flock};

use crate::error::OpenError;

#[derive(Debug)]
pub(crate) struct DirectoryLock {
    /// Dropping it releases the lock.
    file: File,
}

impl DirectoryLock {
    pub(crate) fn acquire(directory: &Path) -> Result<Self, OpenError> {
        let io_error = |source| OpenError::io(directory, "locking", source);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(directory.join("lock"))
            .map_err(io_error)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let holder = read_holder(&mut file);
                return Err(OpenError::Locked { path: directory.to_owned(), holder });
            }
            Err(errno) => return Err(io_error(errno.into())),
        }
        write_holder(&mut file).map_err(io_error)?;
        Ok(Self { file })
    }

    /// Which lock it is: a copy of the directory has another.
    pub(crate) fn identity(&self) -> std::io::Result<String> {
        let metadata = self.file.metadata()?;
        Ok(format!("{}:{}", metadata.dev(), metadata.ino()))
    }

    /// The same beyond a boot: inode and time of birth. A file system without times of birth says
    /// the inode alone, which a copy that took the place of the original may have, too. The device's
    /// number is left out: it may change with every boot.
    pub(crate) fn lasting_identity(&self) -> std::io::Result<String> {
        let metadata = self.file.metadata()?;
        let born = metadata.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let born = born.map_or_else(
            || "unknown".to_owned(),
            |at| format!("{}.{:09}", at.as_secs(), at.subsec_nanos()),
        );
        Ok(format!("{} {born}", metadata.ino()))
    }
}

/// The process id is for the operator's eyes; the lock itself is what counts.
fn write_holder(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn read_holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
