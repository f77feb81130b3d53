//! The durable tail: a small file that says how far the log is known to be on disk.
//!
//! RocksDB takes a torn end of its write-ahead log for an unfinished write, and drops it. That is
//! right for what was never synced and a disaster for what was: a node that forgets a vote or an
//! entry it has acknowledged may elect a second leader. The log numbers its writes; the file
//! remembers a number that was synced, and a start that finds less is refused.
//!
//! The file may lag behind the log by [`INTERVAL`], never run ahead of it. Beside it a second one,
//! the mark, is written with each sync of the log and never synced itself: while the machine runs
//! it knows the very last acknowledged write. After a power cut it may be old, torn or gone, which
//! is as if there were none.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::frame;
use crate::error::StorageError;
use crate::files;

/// How much of the newest log a power cut may lose unnoticed; one more sync per interval is cheap.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);
const FILE: &str = "durable-tail";
const MARK: &str = "durable-mark";

/// A point of the log that is on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DurableTail {
    /// The number of the last write, of entries, votes and purges alike.
    pub(super) write: u64,
    /// The last entry at that point, for the operator's eyes.
    pub(super) entry: u64,
}

impl DurableTail {
    pub(super) fn save(self, directory: &Path) -> Result<(), StorageError> {
        let path = directory.join(FILE);
        // An older tail that a crash brings back is still true.
        files::replace_lazily(&path, &[&self.seal(FILE)])
            .map_err(|source| StorageError::io(&path, "writing the durable tail", source))
    }

    fn seal(self, name: &str) -> Vec<u8> {
        let content = [self.write.to_le_bytes(), self.entry.to_le_bytes()].concat();
        frame::seal(name.as_bytes(), &content)
    }

    /// The tail that the file `name` holds, or what is wrong with it; `None` if it is not there.
    fn load(directory: &Path, name: &str) -> Result<Option<Self>, StorageError> {
        let path = directory.join(name);
        let bytes = files::read_if_there(&path)
            .map_err(|source| StorageError::io(&path, "reading the durable tail", source))?;
        let Some(bytes) = bytes else { return Ok(None) };
        let content = frame::open(name.as_bytes(), &bytes)
            .map_err(|what| StorageError::damaged(&path, what))?;
        let Some((write, entry)) = content.split_first_chunk::<8>() else {
            return Err(StorageError::damaged(&path, "the file is cut short"));
        };
        let write = u64::from_le_bytes(*write);
        let entry = u64::from_le_bytes(entry.try_into().unwrap_or_default());
        Ok(Some(Self { write, entry }))
    }
}

/// The file that is written with each sync.
pub(super) struct Mark {
    path: PathBuf,
    file: File,
}

impl Mark {
    pub(super) fn open(directory: &Path) -> Result<Self, StorageError> {
        let path = directory.join(MARK);
        let file = File::options().write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(|source| StorageError::io(&path, "opening the mark", source))?;
        Ok(Self { path, file })
    }

    /// In place: all its bytes are in one block, which a full disk has given already.
    pub(super) fn set(&self, durable: DurableTail) -> Result<(), StorageError> {
        self.file
            .write_all_at(&durable.seal(MARK), 0)
            .map_err(|source| StorageError::io(&self.path, "writing the mark", source))
    }
}

/// Compares what was recovered with what was known to be on disk.
pub(super) fn check(directory: &Path, recovered: DurableTail) -> Result<(), StorageError> {
    let tail = DurableTail::load(directory, FILE)?;
    // One that can't be read says nothing.
    let mark = DurableTail::load(directory, MARK).ok().flatten();
    match tail.max(mark.filter(|_| tail.is_some())) {
        Some(durable) if recovered.write < durable.write => Err(StorageError::Reverted {
            path: directory.join("log"),
            durable: durable.write,
            durable_entry: durable.entry,
            found: recovered.write,
        }),
        Some(_) => Ok(()),
        // The file is written before the first write is made.
        None if recovered.write == 0 => DurableTail::default().save(directory),
        None => Err(StorageError::damaged(&directory.join(FILE), "the file is missing")),
    }
}
