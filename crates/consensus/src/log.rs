//! openraft's log store, over ours: encodes, and hands completions on.
//!
//! An append is readable when the method returns and its completion is called by the flusher once
//! it is on disk. Truncation and purging are not waited for: the log keeps the order of writes.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};

use leasehold_storage::{LogStore, Purged};
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use tokio::sync::oneshot;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::codec;
use crate::types::{Entry, LogId, TypeConfig, Vote};

/// Entries that one message to a peer carries have at most this many bytes together (or are one
/// entry): far below the limit of a message, and quickly sent again.
const READ_BYTES_MAX: usize = 1 << 20;

#[derive(Clone, Debug)]
pub(crate) struct LogAdapter {
    log: LogStore,
    /// Dropped after the log: whoever waits for it knows that the log is closed.
    _open: TaskTrackerToken,
}

impl LogAdapter {
    pub(crate) fn new(log: LogStore, open: TaskTrackerToken) -> Self {
        Self { log, _open: open }
    }

    fn purged(&self) -> io::Result<Option<LogId>> {
        let purged = self.log.purged()?;
        purged.map(|purged| codec::decode(&purged.content, "the last purged id")).transpose()
    }

    fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let entries = self.log.read(range, bytes_max)?;
        entries.iter().map(|(_, bytes)| codec::decode(bytes, "a log entry")).collect()
    }
}

impl RaftLogReader<TypeConfig> for LogAdapter {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> io::Result<Vec<Entry>>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        self.read(half_open(&range), usize::MAX)
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        let vote = self.log.vote()?;
        vote.map(|bytes| codec::decode(&bytes, "the vote")).transpose()
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.read(start..end, READ_BYTES_MAX)
    }
}

impl RaftLogStorage<TypeConfig> for LogAdapter {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let last_purged_log_id = self.purged()?;
        let last_log_id = match self.log.last()? {
            None => last_purged_log_id,
            Some((_, bytes)) => Some(codec::decode::<Entry>(&bytes, "a log entry")?.log_id()),
        };
        Ok(LogState { last_purged_log_id, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let (sender, receiver) = oneshot::channel();
        let on_durable = Box::new(move |result| drop(sender.send(result)));
        self.log.save_vote(&codec::encode(vote)?, on_durable)?;
        let result = receiver.await.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(result?)
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        Ok(self.log.save_committed(&codec::encode(&committed)?)?)
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        let committed = self.log.committed()?;
        committed.map_or(Ok(None), |bytes| codec::decode(&bytes, "the committed id"))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let encoded: io::Result<Vec<_>> =
            entries.into_iter().map(|entry| Ok((entry.index(), codec::encode(&entry)?))).collect();
        let on_durable =
            Box::new(|result: Result<(), _>| callback.io_completed(result.map_err(Into::into)));
        Ok(self.log.append(&encoded?, on_durable)?)
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        Ok(self.log.truncate_from(last.map_or(0, |id| id.index() + 1))?)
    }

    async fn purge(&mut self, log_id: LogId) -> io::Result<()> {
        let purged = Purged { index: log_id.index(), content: codec::encode(&log_id)? };
        Ok(self.log.purge(&purged)?)
    }
}

fn half_open(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}
