//! Snapshots: whole files, written under a temporary name and renamed once they are on disk.
//!
//! ```text
//! "LHSNAPSH" | version u32 | index u64 | length u64 | crc32c u32 | content      (little-endian)
//! ```
//!
//! The checksum covers the numbers before it and the content. The newest two files are kept: the
//! older one is of use only while the log still holds the entries after it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::StorageError;
use crate::files::{self, TEMPORARY_SUFFIX};
use crate::lock::DirectoryLock;

const MAGIC: &[u8; 8] = b"LHSNAPSH";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 32;
/// Magic, version, index and length: what the checksum covers besides the content.
const CHECKED_BYTES: usize = 28;
const KEPT: usize = 2;
const SUFFIX: &str = ".snapshot";

/// A state, and the index of the last log entry that made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub index: u64,
    pub content: Vec<u8>,
}

/// The snapshots of one data directory.
#[derive(Clone, Debug)]
pub struct SnapshotStore {
    directory: PathBuf,
    _lock: Arc<DirectoryLock>,
}

impl SnapshotStore {
    pub(crate) fn open(directory: PathBuf, lock: Arc<DirectoryLock>) -> Result<Self, StorageError> {
        let io_error = |source| StorageError::io(&directory, "creating the directory", source);
        fs::create_dir_all(&directory).map_err(io_error)?;
        files::sync_directory(files::parent(&directory)).map_err(io_error)?;
        let store = Self { directory, _lock: lock };
        for path in store.list(TEMPORARY_SUFFIX)? {
            store.remove(&path)?;
        }
        Ok(store)
    }

    /// Writes a snapshot; on return it is on disk, and older ones beyond the newest two are gone.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn save(&self, index: u64, content: &[u8]) -> Result<(), StorageError> {
        let path = self.directory.join(format!("{index:020}{SUFFIX}"));
        files::replace(&path, &[&header(index, content), content])
            .map_err(|source| StorageError::io(&path, "writing a snapshot", source))?;
        for older in self.list(SUFFIX)?.iter().rev().skip(KEPT) {
            self.remove(older)?;
        }
        Ok(())
    }

    /// The newest snapshot, `None` if there is none.
    ///
    /// A damaged one is passed over only if the log, which was purged up to `purged`, still leads
    /// on from an older one.
    ///
    /// # Errors
    /// The newest snapshot is damaged and needed, or can't be read.
    pub fn newest(&self, purged: Option<u64>) -> Result<Option<Snapshot>, StorageError> {
        let mut damage = None;
        for path in self.list(SUFFIX)?.iter().rev() {
            match load(path) {
                Ok(snapshot) if damage.is_none() || Some(snapshot.index) >= purged => {
                    return Ok(Some(snapshot));
                }
                Ok(_) => break,
                Err(error @ StorageError::Damaged { .. }) => {
                    tracing::warn!(%error, "passing over a damaged snapshot");
                    damage.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        match damage {
            // The log leads on from the very beginning.
            Some(_) if purged.is_none() => Ok(None),
            Some(error) => Err(error),
            None => Ok(None),
        }
    }

    /// Paths that end with `suffix`, oldest first (an index has a fixed width).
    fn list(&self, suffix: &str) -> Result<Vec<PathBuf>, StorageError> {
        let paths: io::Result<Vec<PathBuf>> = fs::read_dir(&self.directory)
            .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
        let mut paths = paths
            .map_err(|source| StorageError::io(&self.directory, "listing snapshots", source))?;
        paths.retain(|path| path.to_string_lossy().ends_with(suffix));
        paths.sort();
        Ok(paths)
    }

    fn remove(&self, path: &Path) -> Result<(), StorageError> {
        fs::remove_file(path)
            .map_err(|source| StorageError::io(path, "removing an old snapshot", source))
    }
}

fn header(index: u64, content: &[u8]) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[12..20].copy_from_slice(&index.to_le_bytes());
    header[20..28].copy_from_slice(&(content.len() as u64).to_le_bytes());
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&header[..CHECKED_BYTES]), content);
    header[CHECKED_BYTES..].copy_from_slice(&checksum.to_le_bytes());
    header
}

fn load(path: &Path) -> Result<Snapshot, StorageError> {
    let mut bytes =
        fs::read(path).map_err(|source| StorageError::io(path, "reading a snapshot", source))?;
    let Some((found, content)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Err(StorageError::damaged(path, "the snapshot is shorter than its header"));
    };
    let (version, index) = (&found[8..12], &found[12..20]);
    if &found[..8] == MAGIC && version != VERSION.to_le_bytes() {
        let version = u32::from_le_bytes(version.try_into().unwrap_or_default());
        let reason = format!("snapshot version {version} is unknown, this program reads {VERSION}");
        let source = io::Error::new(io::ErrorKind::Unsupported, reason);
        return Err(StorageError::io(path, "reading a snapshot", source));
    }
    let index = u64::from_le_bytes(index.try_into().unwrap_or_default());
    if *found != header(index, content) {
        return Err(StorageError::damaged(path, "the checksum of the snapshot does not match"));
    }
    let content = bytes.split_off(HEADER_BYTES);
    Ok(Snapshot { index, content })
}

#[cfg(test)]
mod tests {
    use leasehold_core::id::{Incarnation, NodeId};

    use super::*;
    use crate::{DataDirectory, Use};

    fn store() -> (tempfile::TempDir, SnapshotStore) {
        let home = tempfile::tempdir().unwrap();
        let by = Use { node: NodeId(1), incarnation: Incarnation([1; 16]), was_moved: false };
        let directory = DataDirectory::open(home.path(), by).unwrap();
        let store = directory.open_snapshots().unwrap();
        (home, store)
    }

    fn flip(path: &Path, position: usize) {
        let mut bytes = fs::read(path).unwrap();
        bytes[position] ^= 0x10;
        fs::write(path, bytes).unwrap();
    }

    #[test]
    fn the_newest_two_are_kept_and_the_newest_is_read() {
        let (_home, store) = store();
        assert_eq!(store.newest(None).unwrap(), None);
        for index in [5, 9, 1_000, 20_000] {
            store.save(index, format!("state {index}").as_bytes()).unwrap();
            let expected = Snapshot { index, content: format!("state {index}").into_bytes() };
            assert_eq!(store.newest(Some(index)).unwrap(), Some(expected));
        }
        assert_eq!(store.list(SUFFIX).unwrap().len(), KEPT);
        assert_eq!(store.list(TEMPORARY_SUFFIX).unwrap().len(), 0);
    }

    #[test]
    fn a_flipped_bit_anywhere_is_noticed() {
        let (_home, store) = store();
        store.save(7, b"content").unwrap();
        let path = store.list(SUFFIX).unwrap().remove(0);
        for position in 0..HEADER_BYTES + b"content".len() {
            flip(&path, position);
            store.newest(Some(7)).unwrap_err();
            flip(&path, position);
        }
        assert!(store.newest(Some(7)).unwrap().is_some());
        fs::write(&path, b"short").unwrap();
        assert!(matches!(store.newest(Some(7)), Err(StorageError::Damaged { .. })));
    }

    #[test]
    fn a_damaged_newest_snapshot_is_passed_over_only_if_the_log_leads_on() {
        let (_home, store) = store();
        store.save(10, b"older").unwrap();
        store.save(20, b"newer").unwrap();
        flip(&store.list(SUFFIX).unwrap()[1], HEADER_BYTES);
        assert_eq!(store.newest(None).unwrap().unwrap().index, 10);
        assert_eq!(store.newest(Some(10)).unwrap().unwrap().index, 10);
        let message = store.newest(Some(11)).unwrap_err().to_string();
        assert!(message.contains("00000000000000000020.snapshot is damaged"), "{message}");
    }

    #[test]
    fn an_unfinished_file_is_cleared_away() {
        let (home, store) = store();
        let left_over = home.path().join("snapshots/00000000000000000003.snapshot.tmp");
        fs::write(&left_over, b"half").unwrap();
        drop(store);
        let by = Use { node: NodeId(1), incarnation: Incarnation([1; 16]), was_moved: false };
        let directory = DataDirectory::open(home.path(), by).unwrap();
        assert_eq!(directory.open_snapshots().unwrap().newest(None).unwrap(), None);
        assert!(!left_over.exists());
    }
}
