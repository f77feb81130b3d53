//! Nodes of a cluster inside one process: real disks, real gRPC over the loopback.

#![allow(clippy::unwrap_used, dead_code)] // Helpers of several tests, none uses all of them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use leasehold_clock::Clock;
use leasehold_consensus::{
    Admitted, Config, Consensus, Leadership, Peer, ProposeError, connect_plaintext,
};
use leasehold_core::id::{ClusterId, Generation, Incarnation, NodeId};
use leasehold_core::ledger::command::{Command, Founding, Outcome};
use leasehold_core::time::Timings;
use leasehold_ports::free_address;
use leasehold_storage::{DataDirectory, Standing, Use};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;

pub(crate) const CLUSTER: ClusterId = ClusterId([7; 16]);
const GENERATION: Generation = Generation([8; 16]);
/// Longer than anything that goes well takes, on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct TestNode {
    pub(crate) consensus: Consensus,
    stop: CancellationToken,
    server: JoinHandle<()>,
}

impl TestNode {
    /// Starts a node in `home`; its peers reach it through `listener`.
    pub(crate) async fn start(config: Config, home: &Path, listener: TcpListener) -> Self {
        let incarnation = incarnation(config.node.0);
        // One test sets a whole disk back, which changes no lock file where it really happens.
        let by = Use { node: config.node, incarnation, was_moved: true };
        let mut directory = DataDirectory::open(home, by).unwrap();
        if directory.standing() == Standing::Fresh {
            directory.begin_joining(CLUSTER).unwrap();
            directory.become_member(CLUSTER, GENERATION).unwrap();
        }
        let consensus =
            Consensus::start(config, &directory, Clock::Steady, connect_plaintext()).await.unwrap();
        let stop = CancellationToken::new();
        let server = tonic::transport::Server::builder()
            .add_service(consensus.peer_service(|_| None, nobody_joins()))
            .serve_with_incoming_shutdown(
                TcpListenerStream::new(listener),
                stop.clone().cancelled_owned(),
            );
        let server = tokio::spawn(async { server.await.unwrap() });
        Self { consensus, stop, server }
    }

    /// Stops the core first: as others see it, the node is gone at once.
    pub(crate) async fn stop(self) {
        self.consensus.shutdown().await;
        self.stop.cancel();
        // Peers keep their connections open; the listener must be free for a restart.
        self.server.abort();
        drop(self.server.await);
    }

    pub(crate) async fn wait_until(&self, what: &str, is_so: impl FnMut(&Leadership) -> bool) {
        let mut leadership = self.consensus.leadership();
        let waited = tokio::time::timeout(PATIENCE, leadership.wait_for(is_so)).await;
        assert!(waited.is_ok(), "{what}: {:?}", self.consensus.status());
    }

    pub(crate) async fn wait_until_ready(&self) {
        self.wait_until("leads and is ready", |leadership| leadership.is_ready).await;
    }

    /// Waits until this node has applied what `other` has.
    pub(crate) async fn wait_until_equal(&self, other: &Self) {
        let goal = *other.consensus.subscribe_applied().borrow();
        let mut applied = self.consensus.subscribe_applied();
        let waited = tokio::time::timeout(PATIENCE, applied.wait_for(|at| *at >= goal)).await;
        assert!(waited.is_ok(), "goal {goal}: {:?}", self.consensus.status());
    }

    pub(crate) async fn propose(&self, command: Command) -> Result<Outcome, ProposeError> {
        let mut outcomes = self.consensus.propose(vec![command], Duration::from_secs(5)).await?;
        Ok(outcomes.pop().expect("one command, one outcome"))
    }
}

/// Quick elections: these tests run on one machine.
pub(crate) fn config(node: u64) -> Config {
    Config {
        heartbeat_ms: 100,
        election_min_ms: 300,
        election_max_ms: 600,
        ..Config::new(NodeId(node))
    }
}

pub(crate) fn peer(node: u64, address: SocketAddr) -> Peer {
    let site = "east".parse().unwrap();
    let (name, incarnation) = (format!("node-{node}"), incarnation(node));
    Peer { address: address.to_string(), site, name, incarnation }
}

fn incarnation(node: u64) -> Incarnation {
    Incarnation([u8::try_from(node).unwrap(); 16])
}

/// These nodes are members from the start.
fn nobody_joins() -> Admitted {
    Arc::new(|_, _| Box::pin(async { Err("no node joins here".to_owned()) }))
}

pub(crate) async fn listener() -> TcpListener {
    TcpListener::bind(free_address().unwrap()).await.unwrap()
}

pub(crate) fn found() -> Command {
    Command::Found(Founding {
        cluster: CLUSTER,
        timings: Timings::default(),
        receipt_key: [1; 32],
        trusted_keys: Vec::new(),
    })
}

pub(crate) fn admit(node: u64) -> Command {
    let site = "east".parse().unwrap();
    Command::Admit { node: NodeId(node), site, name: format!("node-{node}").parse().unwrap() }
}

pub(crate) struct Home {
    directory: tempfile::TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn of(&self, node: u64) -> PathBuf {
        self.directory.path().join(node.to_string())
    }
}

/// A cluster of one, founded or taken up again.
pub(crate) async fn start_single(config: Config, home: &Home) -> TestNode {
    let listener = listener().await;
    let members = BTreeMap::from([(NodeId(1), peer(1, listener.local_addr().unwrap()))]);
    let node = TestNode::start(config, &home.of(1), listener).await;
    if !node.consensus.is_initialized().await.unwrap() {
        node.consensus.initialize(members).await.unwrap();
    }
    node.wait_until_ready().await;
    node
}
