//! The flusher: one thread that syncs the write-ahead log, once for all writes that wait.
//!
//! While a sync runs the next writes gather; so the disk's sync time bounds the latency of one
//! write, never the throughput of many. Completions are called in the order of the writes.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Instant;

use rocksdb::DB;

use super::OnDurable;
use super::pulse::Pulse;
use super::tail::{self, DurableTail, Mark};
use crate::error::StorageError;

/// A write that waits for the disk.
pub(super) struct Waiting {
    /// The state of the log with this write.
    pub(super) reached: DurableTail,
    pub(super) on_durable: OnDurable,
}

pub(super) struct Flusher {
    pub(super) db: Arc<DB>,
    /// The data directory.
    pub(super) directory: PathBuf,
    pub(super) mark: Mark,
    pub(super) requests: Receiver<Waiting>,
    pub(super) pulse: Arc<Pulse>,
}

impl Flusher {
    /// Runs until every sender is gone; what was written by then is on disk at the end.
    pub(super) fn run(self) {
        let mut saved = DurableTail::default();
        let mut durable = DurableTail::default();
        let mut save_at = Instant::now() + tail::INTERVAL;
        loop {
            let wait = save_at.saturating_duration_since(Instant::now());
            match self.requests.recv_timeout(wait) {
                Ok(first) => durable = self.flush(first, durable),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if Instant::now() >= save_at {
                saved = self.save_tail(saved, durable);
                save_at = Instant::now() + tail::INTERVAL;
            }
        }
        self.save_tail(saved, durable);
    }

    /// Syncs, and completes, `first` and all that wait behind it.
    fn flush(&self, first: Waiting, durable: DurableTail) -> DurableTail {
        let group: Vec<Waiting> = std::iter::once(first).chain(self.requests.try_iter()).collect();
        // Writes are numbered in the order of the queue: the last one is the furthest.
        let reached = group.last().map_or(durable, |waiting| waiting.reached);
        let result = self.sync(reached);
        for waiting in group {
            (waiting.on_durable)(result.clone());
        }
        if result.is_ok() { reached } else { durable }
    }

    /// After the first failure nothing is on disk for sure, whatever later syncs say.
    fn sync(&self, reached: DurableTail) -> Result<(), StorageError> {
        self.pulse.check()?;
        self.pulse.begin_sync();
        let started = Instant::now();
        let synced = self.db.flush_wal(true);
        metrics::histogram!("leasehold_disk_wal_fsync_duration_seconds").record(started.elapsed());
        let log = self.directory.join("log");
        let synced = synced.map_err(|error| StorageError::rocksdb(&log, "syncing the log", error));
        // Before anybody is told, so that no write that was acknowledged is lost unnoticed.
        let marked = synced.and_then(|()| self.mark.set(reached));
        self.pulse.end_sync();
        marked.map_err(|error| self.pulse.fail(error))
    }

    fn save_tail(&self, saved: DurableTail, durable: DurableTail) -> DurableTail {
        if saved == durable || self.pulse.check().is_err() {
            return saved;
        }
        match durable.save(&self.directory) {
            Ok(()) => durable,
            Err(error) => {
                self.pulse.fail(error);
                saved
            }
        }
    }
}
