//! Which process used a data directory last, and whether the lock proves that it is gone.
//!
//! The lock is the kernel's: it proves nothing in a copy of the directory, nor on a machine that
//! was started from a copy of the disk. So the process is recorded with the lock that it held and
//! the boot of the machine; only who holds that very lock under that very boot succeeds it.

use std::path::Path;

use leasehold_core::id::ProcessId;

use crate::error::OpenError;
use crate::files;
use crate::lock::DirectoryLock;

/// Records `process` as the directory's user. Returns the one before it, if the lock proves that
/// it is gone; what can't be read proves nothing.
pub(crate) fn succeed(
    directory: &Path,
    lock: &DirectoryLock,
    process: ProcessId,
) -> Result<Option<ProcessId>, OpenError> {
    let io_error = |doing| move |source| OpenError::io(directory, doing, source);
    let path = directory.join("process");
    let before = files::read_if_there(&path).map_err(io_error("reading the last process"))?;
    let held = lock.identity().map_err(io_error("looking at the lock"))?;
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let proof = format!("lock {held} boot {}", boot.trim());
    files::replace(&path, &[format!("{process}\n{proof}\n").as_bytes()])
        .map_err(io_error("recording this process"))?;
    let before = before.and_then(|bytes| String::from_utf8(bytes).ok());
    let recorded = before.as_ref().and_then(|text| text.split_once('\n'));
    let proven = recorded.filter(|(_, rest)| !boot.is_empty() && rest.trim_end() == proof);
    Ok(proven.and_then(|(process, _)| process.parse().ok()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const FIRST: ProcessId = ProcessId([1; 16]);
    const SECOND: ProcessId = ProcessId([2; 16]);

    fn succeed_in(directory: &Path, process: ProcessId) -> Option<ProcessId> {
        let lock = DirectoryLock::acquire(directory).unwrap();
        succeed(directory, &lock, process).unwrap()
    }

    #[test]
    fn a_process_learns_whom_it_succeeds_and_garbage_proves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(succeed_in(directory.path(), FIRST), None);
        assert_eq!(succeed_in(directory.path(), SECOND), Some(FIRST));
        for garbage in ["\u{feff}garbage", "", "\n\n", &format!("{FIRST}\n"), &FIRST.to_string()] {
            fs::write(directory.path().join("process"), garbage).unwrap();
            assert_eq!(succeed_in(directory.path(), FIRST), None, "{garbage:?}");
        }
        assert_eq!(succeed_in(directory.path(), SECOND), Some(FIRST));
    }

    /// A copy's lock is free while the process that is recorded in it runs on: what that process
    /// lends must not be taken for lent no more.
    #[test]
    fn the_lock_of_a_copied_directory_proves_nothing() {
        let (original, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let lock = DirectoryLock::acquire(original.path()).unwrap();
        succeed(original.path(), &lock, FIRST).unwrap();
        for name in ["lock", "process"] {
            fs::copy(original.path().join(name), copy.path().join(name)).unwrap();
        }
        assert_eq!(succeed_in(copy.path(), SECOND), None);
    }

    #[test]
    fn a_lock_of_another_boot_proves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        succeed_in(directory.path(), FIRST);
        let path = directory.path().join("process");
        let text = fs::read_to_string(&path).unwrap();
        let (held, _) = text.split_once("boot").unwrap();
        fs::write(&path, format!("{held}boot 0b9a2f7e-0000-4000-8000-000000000000\n")).unwrap();
        assert_eq!(succeed_in(directory.path(), SECOND), None);
    }
}
