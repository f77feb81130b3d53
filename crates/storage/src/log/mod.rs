//! The log: numbered entries and a few named values, in RocksDB, in one write-ahead log.
//!
//! A write can be read as soon as the method returns, and is durable when its completion is
//! called. Votes and entries share one write-ahead log, so they can't be reordered on disk: a vote
//! that overtakes an entry would let committed entries be overwritten.
//!
//! The entries are without gap. Those up to `purged` are gone for good; a snapshot covers them.

mod database;
mod flusher;
mod frame;
mod pulse;
mod tail;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rocksdb::{DB, WriteBatch};
use tokio::sync::watch;

use self::database::{COMMITTED, PURGED, VOTE, WRITES};
use self::flusher::{Flusher, Waiting};
use self::pulse::Pulse;
use self::tail::{DurableTail, Mark};
use crate::error::StorageError;
use crate::lock::DirectoryLock;

/// Called once, on the flusher's thread, when a write is on disk or will never be. Must not block.
pub type OnDurable = Box<dyn FnOnce(Result<(), StorageError>) + Send>;

/// One entry: its index, and bytes that only the writer understands.
pub type Entry = (u64, Vec<u8>);

/// The last entry that was purged, and bytes that describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purged {
    pub index: u64,
    pub content: Vec<u8>,
}

/// Writes that may wait for the disk before a writer has to. Raft keeps far fewer in flight; the
/// bound is there so that a stalled disk can't fill the memory.
const WAITING_MAX: usize = 4_096;

/// The log of one data directory. Clones share it; it closes when the last one is dropped.
#[derive(Clone)]
pub struct LogStore {
    shared: Arc<Shared>,
}

struct Shared {
    db: Arc<DB>,
    path: PathBuf,
    writer: Mutex<Writer>,
    pulse: Arc<Pulse>,
    flusher: Option<JoinHandle<()>>,
    _lock: Arc<DirectoryLock>,
}

/// What the log holds. Who has it locked is the one writer.
struct Writer {
    /// Entries `first..next` are there; `first == next` if there are none.
    first: u64,
    next: u64,
    /// Whether `next` binds the next append; the very first entry may have any index.
    is_anchored: bool,
    /// The number of the last write.
    write: u64,
    /// `None` once the log is closing.
    flusher: Option<SyncSender<Waiting>>,
}

impl LogStore {
    /// Opens `log` in the data directory `directory`, checks every entry, starts the flusher.
    pub(crate) fn open(directory: &Path, lock: Arc<DirectoryLock>) -> Result<Self, StorageError> {
        let path = directory.join("log");
        let db = Arc::new(database::open(&path)?);
        let found = database::inspect(&db, &path)?;
        let last = found.entries.end.saturating_sub(1);
        tail::check(directory, DurableTail { write: found.writes, entry: last })?;

        let (sender, requests) = sync_channel(WAITING_MAX);
        let pulse = Arc::new(Pulse::new());
        let flusher = Flusher {
            db: Arc::clone(&db),
            directory: directory.to_owned(),
            mark: Mark::open(directory)?,
            requests,
            pulse: Arc::clone(&pulse),
        };
        let flusher = thread::Builder::new()
            .name("log-flusher".to_owned())
            .spawn(move || flusher.run())
            .map_err(|source| StorageError::io(&path, "starting the flusher", source))?;
        let writer = Mutex::new(Writer {
            is_anchored: found.is_anchored,
            first: found.entries.start,
            next: found.entries.end,
            write: found.writes,
            flusher: Some(sender),
        });
        let flusher = Some(flusher);
        Ok(Self { shared: Arc::new(Shared { db, path, writer, pulse, flusher, _lock: lock }) })
    }

    /// Adds entries, which must follow the last one.
    ///
    /// # Errors
    /// There would be a gap, or the log can't be written; `on_durable` is then not called.
    pub fn append(&self, entries: &[Entry], on_durable: OnDurable) -> Result<(), StorageError> {
        let mut writer = self.writer();
        let mut batch = WriteBatch::default();
        let mut next = writer.next;
        let mut first = writer.first;
        for (position, (index, content)) in entries.iter().enumerate() {
            if position == 0 && !writer.is_anchored {
                (first, next) = (*index, *index);
            }
            if *index != next {
                return Err(StorageError::Gap { index: *index, last: next.saturating_sub(1) });
            }
            let key = index.to_be_bytes();
            batch.put_cf(self.shared.logs(), key, frame::seal(&key, content));
            next += 1;
        }
        self.write(&mut writer, batch)?;
        writer.is_anchored |= !entries.is_empty();
        (writer.first, writer.next) = (first, next);
        self.wait_for_disk(&writer, on_durable)
    }

    /// Replaces the vote.
    ///
    /// # Errors
    /// The log can't be written; `on_durable` is then not called.
    pub fn save_vote(&self, vote: &[u8], on_durable: OnDurable) -> Result<(), StorageError> {
        let mut writer = self.writer();
        let mut batch = WriteBatch::default();
        batch.put_cf(self.shared.meta(), VOTE, frame::seal(VOTE, vote));
        self.write(&mut writer, batch)?;
        self.wait_for_disk(&writer, on_durable)
    }

    /// # Errors
    /// The vote is damaged or can't be read.
    pub fn vote(&self) -> Result<Option<Vec<u8>>, StorageError> {
        self.shared.read_meta(VOTE)
    }

    /// Replaces the note of what is committed. It is on disk no later than the next append.
    ///
    /// # Errors
    /// The log can't be written.
    pub fn save_committed(&self, committed: &[u8]) -> Result<(), StorageError> {
        let mut batch = WriteBatch::default();
        batch.put_cf(self.shared.meta(), COMMITTED, frame::seal(COMMITTED, committed));
        self.write(&mut self.writer(), batch)
    }

    /// # Errors
    /// The note is damaged or can't be read.
    pub fn committed(&self) -> Result<Option<Vec<u8>>, StorageError> {
        self.shared.read_meta(COMMITTED)
    }

    /// Removes all entries from `index` on.
    ///
    /// # Errors
    /// The log can't be written.
    pub fn truncate_from(&self, index: u64) -> Result<(), StorageError> {
        let mut writer = self.writer();
        let from = index.max(writer.first);
        let mut batch = WriteBatch::default();
        for gone in from..writer.next {
            batch.delete_cf(self.shared.logs(), gone.to_be_bytes());
        }
        self.write(&mut writer, batch)?;
        writer.next = from.min(writer.next);
        Ok(())
    }

    /// Removes all entries up to `purged.index`; a snapshot that covers them must be on disk.
    ///
    /// # Errors
    /// The log can't be written.
    pub fn purge(&self, purged: &Purged) -> Result<(), StorageError> {
        let mut writer = self.writer();
        let keep_from = purged.index + 1;
        // Noted and deleted in one batch: a crash leaves no entry that is noted as gone.
        // Point deletes, since range tombstones make every later scan slow.
        let mut batch = WriteBatch::default();
        let note = [&purged.index.to_be_bytes()[..], &purged.content].concat();
        batch.put_cf(self.shared.meta(), PURGED, frame::seal(PURGED, &note));
        for gone in writer.first..keep_from.min(writer.next) {
            batch.delete_cf(self.shared.logs(), gone.to_be_bytes());
        }
        self.write(&mut writer, batch)?;
        writer.is_anchored = true;
        writer.first = writer.first.max(keep_from);
        writer.next = writer.next.max(keep_from);
        Ok(())
    }

    /// # Errors
    /// The note of what was purged is damaged or can't be read.
    pub fn purged(&self) -> Result<Option<Purged>, StorageError> {
        database::read_purged(&self.shared.db, &self.shared.path)
    }

    /// The indexes of the entries that are there.
    #[must_use]
    pub fn entries(&self) -> Range<u64> {
        let writer = self.writer();
        writer.first..writer.next
    }

    /// The entries of `range` that are there, in order; the first one, and as many more as have
    /// at most `bytes_max` bytes together.
    ///
    /// # Errors
    /// An entry is damaged or can't be read.
    pub fn read(&self, range: Range<u64>, bytes_max: usize) -> Result<Vec<Entry>, StorageError> {
        let there = self.entries();
        let range = range.start.max(there.start)..range.end.min(there.end);
        let mut entries = Vec::new();
        let mut bytes = 0;
        for index in range {
            let key = index.to_be_bytes();
            let value = self.shared.get(self.shared.logs(), &key)?;
            // Purged or truncated since: what follows is no longer asked for.
            let Some(value) = value else { break };
            let content = frame::open(&key, &value)
                .map_err(|what| StorageError::damaged(&self.shared.path, what))?;
            bytes += content.len();
            if !entries.is_empty() && bytes > bytes_max {
                break;
            }
            entries.push((index, content.to_vec()));
        }
        Ok(entries)
    }

    /// The last entry, `None` if there is none.
    ///
    /// # Errors
    /// The entry is damaged or can't be read.
    pub fn last(&self) -> Result<Option<Entry>, StorageError> {
        let next = self.entries().end;
        Ok(self.read(next.saturating_sub(1)..next, usize::MAX)?.pop())
    }

    /// Becomes `Some` when a write or sync has failed: the process must end.
    #[must_use]
    pub fn failed(&self) -> watch::Receiver<Option<StorageError>> {
        self.shared.pulse.failed()
    }

    /// How long the sync that runs now has been running; zero if none does.
    #[must_use]
    pub fn stalled_for(&self) -> Duration {
        self.shared.pulse.stalled_for()
    }

    /// Closes the log if this is its last handle; returns when all writes are on disk.
    pub fn close(self) {
        drop(self);
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.shared.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, writer: &mut Writer, mut batch: WriteBatch) -> Result<(), StorageError> {
        self.shared.pulse.check()?;
        let number = writer.write + 1;
        batch.put_cf(self.shared.meta(), WRITES, frame::seal(WRITES, &number.to_be_bytes()));
        let bytes = batch.size_in_bytes() as u64;
        let began = Instant::now();
        let written = self.shared.db.write(batch);
        metrics::histogram!("leasehold_disk_backend_commit_duration_seconds")
            .record(began.elapsed());
        written.map_err(|error| {
            let error = StorageError::rocksdb(&self.shared.path, "writing the log", error);
            self.shared.pulse.fail(error)
        })?;
        metrics::counter!("leasehold_disk_wal_write_bytes_total").increment(bytes);
        writer.write = number;
        Ok(())
    }

    fn wait_for_disk(&self, writer: &Writer, on_durable: OnDurable) -> Result<(), StorageError> {
        let entry = writer.next.saturating_sub(1);
        let waiting = Waiting { reached: DurableTail { write: writer.write, entry }, on_durable };
        // Sent with the writer locked, so that the queue has the order of the writes.
        let flusher = writer.flusher.as_ref().ok_or(StorageError::Closed)?;
        flusher.send(waiting).map_err(|_| StorageError::Closed)
    }
}

impl std::fmt::Debug for LogStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogStore").field("path", &self.shared.path).finish_non_exhaustive()
    }
}

impl Shared {
    fn logs(&self) -> &rocksdb::ColumnFamily {
        database::column_family(&self.db, database::LOGS)
    }

    fn meta(&self) -> &rocksdb::ColumnFamily {
        database::column_family(&self.db, database::META)
    }

    fn get(
        &self,
        family: &rocksdb::ColumnFamily,
        key: &[u8],
    ) -> Result<Option<Vec<u8>>, StorageError> {
        self.db
            .get_cf(family, key)
            .map_err(|error| StorageError::rocksdb(&self.path, "reading the log", error))
    }

    fn read_meta(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        database::read_meta(&self.db, &self.path, key)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let writer = self.writer.get_mut().unwrap_or_else(PoisonError::into_inner);
        writer.flusher = None;
        let Some(flusher) = self.flusher.take() else { return };
        // The last handle may be dropped by a completion, on the flusher's own thread.
        if flusher.thread().id() != thread::current().id() && flusher.join().is_err() {
            tracing::error!(path = %self.path.display(), "the flusher has panicked");
        }
    }
}

#[cfg(test)]
mod tests;
