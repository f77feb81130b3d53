//! RocksDB: how it is opened, and what is checked before it is used.

use std::ops::Range;
use std::path::Path;

use rocksdb::{
    ColumnFamily, ColumnFamilyDescriptor, DB, DBRecoveryMode, IteratorMode, LogLevel, Options,
};

use super::{Purged, frame};
use crate::error::StorageError;

pub(super) const LOGS: &str = "logs";
pub(super) const META: &str = "meta";
pub(super) const VOTE: &[u8] = b"vote";
pub(super) const COMMITTED: &[u8] = b"committed";
pub(super) const PURGED: &[u8] = b"purged";
/// The number of the last write; see the durable tail.
pub(super) const WRITES: &[u8] = b"writes";

/// A table in memory before it is written out. The whole log is a few of these.
const MEMTABLE_BYTES: usize = 8 << 20;
/// Bounds what a start has to replay.
const WAL_BYTES_MAX: u64 = 64 << 20;
/// RocksDB's own diary: enough for a support case, too little to fill a disk.
const DIARY_FILES: usize = 4;
const DIARY_BYTES: usize = 1 << 20;

pub(super) fn open(path: &Path) -> Result<DB, StorageError> {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    // Any bad record but a torn last one is damage. (The default stops at the first bad record
    // and drops all that follow, synced entries too.)
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    // A write-ahead log file that has gone missing is noticed.
    options.set_track_and_verify_wals_in_manifest(true);
    // Both families are written out together, so that the quiet one doesn't pin old log files.
    options.set_atomic_flush(true);
    options.set_max_total_wal_size(WAL_BYTES_MAX);
    options.set_keep_log_file_num(DIARY_FILES);
    options.set_max_log_file_size(DIARY_BYTES);
    options.set_log_level(LogLevel::Warn);
    let families = [LOGS, META].map(|name| {
        let mut options = Options::default();
        options.set_write_buffer_size(MEMTABLE_BYTES);
        ColumnFamilyDescriptor::new(name, options)
    });
    DB::open_cf_descriptors(&options, path, families)
        .map_err(|error| StorageError::rocksdb(path, "opening the log", error))
}

/// The family named `name`, which [`open`] has created.
pub(super) fn column_family<'a>(db: &'a DB, name: &str) -> &'a ColumnFamily {
    db.cf_handle(name).expect("both column families are created when the log is opened")
}

pub(super) fn read_meta(db: &DB, path: &Path, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
    let value = db
        .get_cf(column_family(db, META), key)
        .map_err(|error| StorageError::rocksdb(path, "reading the log", error))?;
    let Some(value) = value else { return Ok(None) };
    let content = frame::open(key, &value).map_err(|what| StorageError::damaged(path, what))?;
    Ok(Some(content.to_vec()))
}

pub(super) fn read_purged(db: &DB, path: &Path) -> Result<Option<Purged>, StorageError> {
    let Some(note) = read_meta(db, path, PURGED)? else { return Ok(None) };
    let Some((index, content)) = note.split_first_chunk::<8>() else {
        return Err(StorageError::damaged(path, "the note of what was purged is cut short"));
    };
    Ok(Some(Purged { index: u64::from_be_bytes(*index), content: content.to_vec() }))
}

/// What a log holds when it is opened.
pub(super) struct Found {
    pub(super) entries: Range<u64>,
    /// Whether the end of `entries` is where the next one belongs.
    pub(super) is_anchored: bool,
    pub(super) writes: u64,
}

/// Reads the whole log: every checksum must match and no entry may be missing.
pub(super) fn inspect(db: &DB, path: &Path) -> Result<Found, StorageError> {
    for key in [VOTE, COMMITTED] {
        read_meta(db, path, key)?;
    }
    let writes = match read_meta(db, path, WRITES)? {
        None => 0,
        Some(bytes) => u64::from_be_bytes(bytes.try_into().unwrap_or_default()),
    };
    let purged = read_purged(db, path)?.map(|purged| purged.index);
    let mut first = purged.map(|index| index + 1);
    let mut next = first.unwrap_or(0);
    for item in db.iterator_cf(column_family(db, LOGS), IteratorMode::Start) {
        let (key, value) =
            item.map_err(|error| StorageError::rocksdb(path, "reading the log", error))?;
        frame::open(&key, &value).map_err(|what| StorageError::damaged(path, what))?;
        let index = u64::from_be_bytes(key[..].try_into().unwrap_or_default());
        let first = *first.get_or_insert(index);
        next = next.max(first);
        if index != next {
            let what = format!("entry {index} is there, entry {next} is missing");
            return Err(StorageError::damaged(path, what));
        }
        next += 1;
    }
    let is_anchored = first.is_some();
    Ok(Found { entries: first.unwrap_or(0)..next, is_anchored, writes })
}
