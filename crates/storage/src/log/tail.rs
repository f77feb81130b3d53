//! The durable tail: a small file that says how far the log is known to be on disk.
//!
//! RocksDB takes a torn end of its write-ahead log for an unfinished write, and drops it. That is
//! right for what was never synced and a disaster for what was: a node that forgets a vote or an
//! entry it has acknowledged may elect a second leader. The log numbers its writes; the file
//! remembers a number that was synced, and a start that finds less is refused.
//!
//! The file may lag behind the log by [`INTERVAL`], never run ahead of it.

use std::path::Path;
use std::time::Duration;

use super::frame;
use crate::error::StorageError;
use crate::files;

/// How much of the newest log may be lost unnoticed; one more sync per interval is cheap.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);
const FILE: &str = "durable-tail";

/// A point of the log that is on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DurableTail {
    /// The number of the last write, of entries, votes and purges alike.
    pub(super) write: u64,
    /// The last entry at that point, for the operator's eyes.
    pub(super) entry: u64,
}

impl DurableTail {
    pub(super) fn save(self, directory: &Path) -> Result<(), StorageError> {
        let mut content = [0; 16];
        content[..8].copy_from_slice(&self.write.to_le_bytes());
        content[8..].copy_from_slice(&self.entry.to_le_bytes());
        let path = directory.join(FILE);
        // An older tail that a crash brings back is still true.
        files::replace_lazily(&path, &[&frame::seal(FILE.as_bytes(), &content)])
            .map_err(|source| StorageError::io(&path, "writing the durable tail", source))
    }

    fn load(directory: &Path) -> Result<Option<Self>, StorageError> {
        let path = directory.join(FILE);
        let bytes = files::read_if_there(&path)
            .map_err(|source| StorageError::io(&path, "reading the durable tail", source))?;
        let Some(bytes) = bytes else { return Ok(None) };
        let content = frame::open(FILE.as_bytes(), &bytes)
            .map_err(|what| StorageError::damaged(&path, what))?;
        let Some((write, entry)) = content.split_first_chunk::<8>() else {
            return Err(StorageError::damaged(&path, "the file is cut short"));
        };
        let write = u64::from_le_bytes(*write);
        let entry = u64::from_le_bytes(entry.try_into().unwrap_or_default());
        Ok(Some(Self { write, entry }))
    }
}

/// Compares what was recovered with what was known to be on disk.
pub(super) fn check(directory: &Path, recovered: DurableTail) -> Result<(), StorageError> {
    match DurableTail::load(directory)? {
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
