//! openraft's state machine: the ledger in memory, brought back by snapshots and the log.
//!
//! `apply` is deterministic; the local clock only dates this process's own notes, which are never
//! stored. A snapshot file is `version u8 | length u32 | description | encoded ledger`.

use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures::{Stream, TryStreamExt};
use leasehold_clock::Clock;
use leasehold_core::id::NodeId;
use leasehold_core::ledger::{Ledger, Replica};
use leasehold_core::time::Moment;
use leasehold_storage::{LogStore, SnapshotStore};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};
use tokio::sync::watch;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::codec;
use crate::peers::Record;
use crate::types::{Entry, LogId, Membership, Snapshot, SnapshotData, SnapshotMeta, TypeConfig};

/// The ledger, shared with its readers.
#[derive(Debug)]
pub(crate) struct Machine {
    state: RwLock<State>,
    /// The index of the last applied entry, plus one; 0 before the first.
    applied: watch::Sender<u64>,
    clock: Clock,
}

#[derive(Debug, Default)]
struct State {
    replica: Replica,
    applied: Option<LogId>,
    membership: Membership,
}

impl Machine {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { state: RwLock::default(), applied: watch::Sender::new(0), clock }
    }

    pub(crate) fn read<T>(&self, reader: impl FnOnce(&Replica) -> T) -> T {
        reader(&self.state.read().unwrap_or_else(PoisonError::into_inner).replica)
    }

    /// What is committed of a node, as far as this one has applied.
    pub(crate) fn record_of(&self, node: NodeId) -> Record {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(member) = state.membership.membership().get_node(&node.0) {
            return Record::Member(member.incarnation);
        }
        let removed = state.replica.ledger.node(node).is_some_and(|member| member.removed);
        if removed { Record::Left } else { Record::Unknown }
    }

    pub(crate) fn subscribe_applied(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    fn now(&self) -> Moment {
        Moment(self.clock.now())
    }

    /// The clock is read before the change: a note may be older than the change, never than the
    /// beat that caused it, which was sent before its entry arrived here.
    fn apply(&self, entry: Entry) -> Vec<leasehold_core::ledger::command::Outcome> {
        let now = self.now();
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let outcomes = match entry.payload {
            EntryPayload::Blank => Vec::new(),
            EntryPayload::Normal(batch) => state.replica.apply(now, &batch.0),
            EntryPayload::Membership(membership) => {
                state.membership = Membership::new(Some(entry.log_id), membership);
                Vec::new()
            }
        };
        state.applied = Some(entry.log_id);
        drop(state);
        self.applied.send_replace(entry.log_id.index() + 1);
        outcomes
    }

    fn install(&self, meta: &SnapshotMeta, ledger: Ledger) {
        let now = self.now();
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.replica.install(ledger, now);
        state.applied = meta.last_log_id;
        state.membership = meta.last_membership.clone();
        drop(state);
        self.applied.send_replace(meta.last_log_id.map_or(0, |id| id.index() + 1));
    }

    fn capture(&self) -> (SnapshotMeta, Ledger) {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let meta =
            SnapshotMeta { last_log_id: state.applied, last_membership: state.membership.clone() };
        (meta, state.replica.ledger.clone())
    }
}

/// Entries are applied one after the other, and heartbeats wait behind them.
const SLOW_APPLY: Duration = Duration::from_millis(100);

/// What openraft drives.
#[derive(Debug)]
pub(crate) struct MachineAdapter {
    machine: Arc<Machine>,
    snapshots: SnapshotStore,
    /// Says which entries are purged, hence which snapshots are needed.
    log: LogStore,
    /// Dropped after the stores; see the log adapter.
    open: TaskTrackerToken,
}

impl MachineAdapter {
    pub(crate) fn new(
        machine: Arc<Machine>,
        snapshots: SnapshotStore,
        log: LogStore,
        open: TaskTrackerToken,
    ) -> Self {
        Self { machine, snapshots, log, open }
    }
}

impl RaftStateMachine<TypeConfig> for MachineAdapter {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, Membership)> {
        let state = self.machine.state.read().unwrap_or_else(PoisonError::into_inner);
        Ok((state.applied, state.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let began = Instant::now();
            let outcomes = self.machine.apply(entry);
            let took = began.elapsed();
            metrics::histogram!("leasehold_server_apply_duration_seconds").record(took);
            if took > SLOW_APPLY {
                metrics::counter!("leasehold_server_slow_apply_total").increment(1);
            }
            if let Some(responder) = responder {
                responder.send(outcomes);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        let (meta, ledger) = self.machine.capture();
        let (snapshots, open) = (self.snapshots.clone(), self.open.clone());
        SnapshotBuilder { meta, ledger, snapshots, open }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, data: Vec<u8>) -> io::Result<()> {
        let _under_way = InstallUnderWay::begin();
        let ledger: Ledger = codec::decode(&data, "the ledger of a snapshot")?;
        // Before it replaces anything: `apply` counts on what holds in every ledger.
        ledger.check_foreign().map_err(|broken| {
            codec::invalid(format!("a snapshot holds no ledger that there can be: {broken}"))
        })?;
        // On disk first: openraft purges the log up to the snapshot.
        save(self.snapshots.clone(), self.open.clone(), meta.clone(), data).await?;
        self.machine.install(meta, ledger);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        let purged = self.log.purged()?.map(|purged| purged.index);
        let Some(found) = self.snapshots.newest(purged)? else { return Ok(None) };
        let (meta, snapshot) = unpack(found.content)?;
        Ok(Some(Snapshot { meta, snapshot }))
    }
}

/// A snapshot that another node has sent is being taken in, until this is dropped.
struct InstallUnderWay;

impl InstallUnderWay {
    fn begin() -> Self {
        metrics::gauge!("leasehold_server_snapshot_apply_in_progress_total").increment(1.0);
        Self
    }
}

impl Drop for InstallUnderWay {
    fn drop(&mut self) {
        metrics::gauge!("leasehold_server_snapshot_apply_in_progress_total").decrement(1.0);
    }
}

/// Writes one snapshot, of the state as it was when the builder was made.
pub(crate) struct SnapshotBuilder {
    meta: SnapshotMeta,
    ledger: Ledger,
    snapshots: SnapshotStore,
    open: TaskTrackerToken,
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let (ledger, meta) = (std::mem::take(&mut self.ledger), self.meta.clone());
        let data = codec::encode(&ledger)?;
        let snapshot = save(self.snapshots.clone(), self.open.clone(), meta.clone(), data).await?;
        Ok(Snapshot { meta, snapshot })
    }
}

/// Writes a snapshot and gives its data back. Off the runtime's threads: it waits for the disk.
///
/// Openraft does not wait for a snapshot when it stops: `open` is held until the file is written.
async fn save(
    snapshots: SnapshotStore,
    open: TaskTrackerToken,
    meta: SnapshotMeta,
    data: SnapshotData,
) -> io::Result<SnapshotData> {
    let write = move || {
        let index = meta.last_log_id.map_or(0, |id| id.index());
        let began = Instant::now();
        let saved = pack(&meta, &data).and_then(|content| Ok(snapshots.save(index, &content)?));
        metrics::histogram!("leasehold_snap_db_save_total_duration_seconds")
            .record(began.elapsed());
        drop(snapshots);
        drop(open);
        saved.map(|()| data)
    };
    tokio::task::spawn_blocking(write).await.map_err(io::Error::other)?
}

fn pack(meta: &SnapshotMeta, data: &[u8]) -> io::Result<Vec<u8>> {
    let meta = codec::encode(meta)?;
    let length = u32::try_from(meta.len()).map_err(io::Error::other)?;
    Ok([&[codec::VERSION][..], &length.to_le_bytes(), &meta, data].concat())
}

fn unpack(mut content: Vec<u8>) -> io::Result<(SnapshotMeta, SnapshotData)> {
    let header = content.split_first_chunk::<5>().map(|(header, rest)| (*header, rest.len()));
    let Some(([version, length @ ..], rest)) = header else {
        return Err(codec::invalid("a snapshot is cut short".to_owned()));
    };
    let length = u32::from_le_bytes(length) as usize;
    if version != codec::VERSION || length > rest {
        return Err(codec::invalid(format!("a snapshot has the unknown version {version}")));
    }
    let data = content.split_off(5 + length);
    Ok((codec::decode(&content[5..], "the description of a snapshot")?, data))
}
