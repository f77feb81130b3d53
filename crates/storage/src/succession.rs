//! Which process used a data directory last: its successor holds the lock, so it is gone.

use std::path::Path;

use leasehold_core::id::ProcessId;

use crate::error::OpenError;
use crate::files;

/// Records `process` as the directory's user. Returns the one before it, if there was one; what
/// can't be read proves nothing, and counts as none.
pub(crate) fn succeed(
    directory: &Path,
    process: ProcessId,
) -> Result<Option<ProcessId>, OpenError> {
    let path = directory.join("process");
    let before = files::read_if_there(&path)
        .map_err(|source| OpenError::io(directory, "reading the last process", source))?;
    files::replace(&path, &[format!("{process}\n").as_bytes()])
        .map_err(|source| OpenError::io(directory, "recording this process", source))?;
    let before = before.and_then(|bytes| String::from_utf8(bytes).ok());
    Ok(before.and_then(|text| text.trim_end().parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_learns_whom_it_succeeds_and_garbage_proves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let (first, second, third) = (ProcessId([1; 16]), ProcessId([2; 16]), ProcessId([3; 16]));
        assert_eq!(succeed(directory.path(), first).unwrap(), None);
        assert_eq!(succeed(directory.path(), second).unwrap(), Some(first));
        std::fs::write(directory.path().join("process"), b"\xffgarbage").unwrap();
        assert_eq!(succeed(directory.path(), third).unwrap(), None);
        assert_eq!(succeed(directory.path(), first).unwrap(), Some(third));
    }
}
