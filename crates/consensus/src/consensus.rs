//! The handle that the node holds: start, read, observe, stop.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use leasehold_clock::Clock;
use leasehold_core::id::NodeId;
use leasehold_core::ledger::Replica;
use leasehold_proto::internal::v1::Header;
use leasehold_proto::internal::v1::raft_server::RaftServer;
use leasehold_storage::{DataDirectory, LogStore, SnapshotStore, Standing};
use openraft::Instant;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{InitializeError as Refused, RaftError};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::error::{FatalError, InitializeError, StartError};
use crate::log::LogAdapter;
use crate::machine::{Machine, MachineAdapter};
use crate::peers::{
    Admitted, Certified, Connect, Majority, Network, Own, PeerCertificate, RaftService, Route,
    server,
};
use crate::types::{Peer, Raft};
use crate::watchdog::{Leadership, Metrics, MetricsReceiver, Watchdog};

/// One node's part in the replicated ledger. Clones share it.
#[derive(Clone)]
pub struct Consensus {
    inner: Arc<Inner>,
}

struct Inner {
    node: NodeId,
    raft: Raft,
    machine: Arc<Machine>,
    standing: watch::Sender<Standing>,
    route: Route,
    leadership: watch::Receiver<Leadership>,
    fatal: watch::Receiver<Option<FatalError>>,
    metrics: MetricsReceiver,
    majority: Majority,
    /// A leader that was not heard of for longer is not known to be there.
    silence_max: Duration,
    /// Who still has the data directory open.
    open: TaskTracker,
    watchdog: Mutex<Option<JoinHandle<()>>>,
}

/// A follower that hears nothing tries to be elected after one or two of the longest waits.
const ELECTIONS_OF_SILENCE: u32 = 2;

/// What an operator wants to see. Indexes count log entries from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub term: u64,
    pub leader: Option<NodeId>,
    pub last_log: Option<u64>,
    /// What a majority has, as far as this node has heard.
    pub committed: Option<u64>,
    pub applied: Option<u64>,
    pub snapshot: Option<u64>,
    pub voters: BTreeMap<NodeId, Peer>,
    pub learners: BTreeMap<NodeId, Peer>,
    /// A change of voters is half done: `voters` are the old and the new ones.
    pub is_joint: bool,
    /// On the leader: the last entry that each other node is known to have.
    pub matched: BTreeMap<NodeId, Option<u64>>,
}

impl Consensus {
    /// Takes up the state on disk and joins in.
    ///
    /// The ledger is brought back from the newest snapshot and the log; until then it is empty.
    ///
    /// # Errors
    /// The settings can't work, or the state on disk is damaged or of another node.
    pub async fn start(
        config: Config,
        directory: &DataDirectory,
        clock: Clock,
        connect: Connect,
    ) -> Result<Self, StartError> {
        let raft_config = Arc::new(config.to_openraft()?);
        let election_max = Duration::from_millis(config.election_max_ms);
        let silence_max = ELECTIONS_OF_SILENCE * election_max;
        if directory.node() != config.node {
            let (configured, stamped) = (config.node, directory.node());
            return Err(StartError::OtherNode { configured, stamped });
        }
        let (log, snapshots) = (directory.open_log()?, directory.open_snapshots()?);
        check_coverage(&log, &snapshots)?;
        let open = TaskTracker::new();
        let machine = Arc::new(Machine::new(clock));
        let standing = watch::Sender::new(directory.standing());
        let own = Own { node: config.node, incarnation: directory.incarnation() };
        let route = Route::new(own, standing.subscribe(), Arc::clone(&machine));
        let adapter =
            MachineAdapter::new(Arc::clone(&machine), snapshots, log.clone(), open.token());
        let majority = Majority::new(election_max);
        let network = Network::new(route.clone(), connect, majority.clone());
        let channels = network.channels();
        let raft = Raft::build(
            config.node.0,
            raft_config,
            network,
            LogAdapter::new(log.clone(), open.token()),
            adapter,
        )
        .await
        .map_err(|error| StartError::Recovery { reason: error.to_string() })?;

        let (leadership, leadership_seen) = watch::channel(Leadership::default());
        let (fatal, fatal_seen) = watch::channel(None);
        let watchdog = Watchdog {
            node: config.node,
            log,
            stall_max: config.disk_stall_max,
            metrics: raft.metrics(),
            channels,
            members: BTreeSet::new(),
            leadership,
            fatal,
        };
        let inner = Inner {
            node: config.node,
            metrics: raft.metrics(),
            majority,
            silence_max,
            machine,
            standing,
            route,
            leadership: leadership_seen,
            fatal: fatal_seen,
            watchdog: Mutex::new(Some(open.spawn(watchdog.run()))),
            open,
            raft,
        };
        inner.majority.observe(inner.raft.metrics());
        inner.raft.run();
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Founds a cluster of `members`, this node among them. Once in a cluster's life, at one node.
    ///
    /// # Errors
    /// The node has a log already, or is not among the members.
    pub async fn initialize(&self, members: BTreeMap<NodeId, Peer>) -> Result<(), InitializeError> {
        let members: BTreeMap<u64, Peer> =
            members.into_iter().map(|(node, peer)| (node.0, peer)).collect();
        self.raft().initialize(members).await.map_err(|error| match error {
            RaftError::APIError(Refused::NotAllowed(_)) => InitializeError::AlreadyInitialized,
            RaftError::APIError(Refused::NotInMembers(_)) => {
                InitializeError::NotAMember { node: self.inner.node }
            }
            RaftError::Fatal(_) => InitializeError::Stopped,
        })
    }

    /// Whether this node is part of a founded cluster: it has entries or a vote on disk.
    ///
    /// # Errors
    /// Consensus has stopped on this node.
    pub async fn is_initialized(&self) -> Result<bool, InitializeError> {
        self.raft().is_initialized().await.map_err(|_| InitializeError::Stopped)
    }

    /// Tells where the node stands from now on, once its data directory says so.
    pub fn stand(&self, standing: Standing) {
        self.inner.standing.send_replace(standing);
    }

    /// Where the node stands: whose messages it takes.
    #[must_use]
    pub fn standing(&self) -> Standing {
        *self.inner.standing.borrow()
    }

    /// Reads the ledger as this node has applied it, which may lag behind the leader. Nothing is
    /// applied meanwhile, so `reader` must be quick.
    pub fn read<T>(&self, reader: impl FnOnce(&Replica) -> T) -> T {
        self.inner.machine.read(reader)
    }

    /// The number of applied log entries. Changes after the change can be read.
    #[must_use]
    pub fn subscribe_applied(&self) -> watch::Receiver<u64> {
        self.inner.machine.subscribe_applied()
    }

    #[must_use]
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.inner.leadership.clone()
    }

    #[must_use]
    pub fn status(&self) -> Status {
        status_of(&self.inner.metrics.borrow_watched())
    }

    /// Whether this node leads and a majority hears it, or has heard of the leader lately.
    /// [`Status::leader`] is the last one that was known, dead or not, until there is another: a
    /// node without a majority gets no pre-votes, so it never begins a term of its own.
    pub async fn hears_leader(&self) -> bool {
        let (leader, is_leader) = {
            let metrics = self.inner.metrics.borrow_watched();
            (metrics.current_leader, metrics.state.is_leader())
        };
        match leader {
            None => false,
            Some(leader) if leader == self.inner.node.0 => {
                is_leader && self.inner.majority.unheard() <= self.inner.silence_max
            }
            Some(_) => {
                let asked = self.raft().with_raft_state(|state| state.vote_last_modified());
                // A core that waits for its disk hears nobody, and must not hold up who asks.
                let heard = tokio::time::timeout(self.inner.silence_max, asked).await;
                let heard = heard.ok().and_then(Result::ok).flatten();
                heard.is_some_and(|at| at.elapsed() <= self.inner.silence_max)
            }
        }
    }

    /// Resolves if consensus fails on this node, never otherwise. The process must then end, with
    /// a failure, so that whoever supervises it starts it anew.
    pub async fn fatal(&self) -> FatalError {
        let mut fatal = self.inner.fatal.clone();
        let failed = fatal.wait_for(Option::is_some).await.ok().and_then(|cause| cause.clone());
        match failed {
            Some(cause) => cause,
            // The watchdog has ended by request.
            None => std::future::pending().await,
        }
    }

    /// Why consensus has failed on this node, if it has.
    #[must_use]
    pub fn failure(&self) -> Option<FatalError> {
        self.inner.fatal.borrow().clone()
    }

    /// The service that takes the other nodes' messages. `certified` reads who a connection is from,
    /// `admitted` writes down that a node which joins is a member.
    #[must_use]
    pub fn peer_service(
        &self,
        certified: Certified,
        admitted: Admitted,
    ) -> RaftServer<RaftService> {
        server(self.inner.route.clone(), self.inner.raft.clone(), certified, admitted)
    }

    /// What a message to another member begins with; `None` while this node is no member, or as
    /// long as it does not know of `to`.
    #[must_use]
    pub fn header(&self, to: NodeId) -> Option<Header> {
        let metrics = self.inner.metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        let incarnation = membership.get_node(&to.0).map(|peer| peer.incarnation)?;
        self.inner.route.header(to, incarnation)
    }

    /// Checks that a message is from a node that may speak, and meant for this one.
    ///
    /// # Errors
    /// Says for whom it was, or why its sender is not heard.
    #[allow(clippy::result_large_err)] // tonic's own error type.
    pub fn check_header(
        &self,
        header: Option<&Header>,
        certificate: Option<&PeerCertificate>,
    ) -> Result<(), tonic::Status> {
        self.inner.route.check(header, certificate)
    }

    /// Stops. On return everything is on disk and the data directory is closed.
    pub async fn shutdown(&self) {
        if let Err(error) = self.raft().shutdown().await {
            tracing::error!(%error, "the Raft core did not stop in order");
        }
        let watchdog = self.inner.watchdog.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Err(error)) = async { Some(watchdog?.await) }.await {
            tracing::error!(%error, "the watchdog did not stop in order");
        }
        self.inner.open.close();
        self.inner.open.wait().await;
    }

    pub(crate) fn raft(&self) -> &Raft {
        &self.inner.raft
    }
}

/// Entries are purged only once a snapshot has them. If it is gone, so is a part of the ledger:
/// an empty one must not be taken for it.
fn check_coverage(log: &LogStore, snapshots: &SnapshotStore) -> Result<(), StartError> {
    let Some(purged) = log.purged()?.map(|purged| purged.index) else { return Ok(()) };
    let newest = snapshots.newest(Some(purged))?.map(|snapshot| snapshot.index);
    if newest >= Some(purged) {
        return Ok(());
    }
    Err(StartError::SnapshotMissing { purged, newest })
}

impl std::fmt::Debug for Consensus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consensus").field("node", &self.inner.node).finish_non_exhaustive()
    }
}

fn status_of(metrics: &Metrics) -> Status {
    let membership = metrics.membership_config.membership();
    let peers = |ids: Vec<u64>| {
        let known = ids.into_iter().filter_map(|id| Some((id, membership.get_node(&id)?)));
        known.map(|(id, peer)| (NodeId(id), peer.clone())).collect()
    };
    let replication = metrics.replication.iter().flatten();
    Status {
        term: metrics.current_term,
        leader: metrics.current_leader.map(NodeId),
        last_log: metrics.last_log_index,
        committed: metrics.cluster_committed.map(|id| id.index()),
        applied: metrics.last_applied.map(|id| id.index()),
        snapshot: metrics.snapshot.map(|id| id.index()),
        is_joint: membership.get_joint_config().len() > 1,
        voters: peers(membership.voter_ids().collect()),
        learners: peers(membership.learner_ids().collect()),
        matched: replication.map(|(id, at)| (NodeId(*id), at.map(|at| at.index()))).collect(),
    }
}
