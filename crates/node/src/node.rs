//! A whole node: opens the data directory, starts the actors and servers, and stops them in order.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use leasehold_actor::{ActorFailed, Backoff, BoxError, CancellationToken, System};
use leasehold_clock::Clock;
use leasehold_consensus::{Config, Consensus, Peer};
use leasehold_core::desk::DeskConfig;
use leasehold_core::id::{Incarnation, NodeId, ProcessId};
use leasehold_storage::{DataDirectory, OpenError, Use};
use tokio::sync::Mutex;

use crate::actors::desk::{DeskHandle, DeskIdentity, DeskTask, desk_mailbox};
use crate::actors::monitor::{CHECKS, LICENSING, Monitor};
use crate::actors::proposals::proposals;
use crate::actors::route::{DeskRoute, Route};
use crate::actors::steward::{StewardHandle, steward};
use crate::config::{ListenerConfig, NodeConfig, Security};
use crate::expulsion::Expulsion;
use crate::founding::Founder;
use crate::http::{self, Pages, Readiness, Telemetry};
use crate::leader::LeaderRoute;
use crate::membership::Membership;
use crate::peers::{MembershipService, PeerService, Peers, certificate, connect};
use crate::random::random;
use crate::servers;
use crate::services::admin::AdminService;
use crate::services::licensing::LicensingService;
use crate::tls::{BindError, Connector, Listener, ListenerKind, ServerTls, TlsError, Transport};
use crate::usage::Usage;

/// From the signal to the exit: below the time that service managers allow.
const STOP_DEADLINE: Duration = Duration::from_secs(20);
/// A commit. Whoever stops a node that can't reach a majority is not kept waiting for it.
const CLOSE_DEADLINE: Duration = Duration::from_millis(1_500);

/// Why a node could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Directory(#[from] OpenError),
    #[error(transparent)]
    Consensus(#[from] leasehold_consensus::StartError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("the operating system gave no random bytes")]
    Random(#[from] getrandom::Error),
}

/// Why a node has ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("the node's consensus has failed, so the process must end")]
    Consensus(#[from] leasehold_consensus::FatalError),
    #[error(transparent)]
    Actor(#[from] ActorFailed),
    #[error("{reason}: it ends; to come back it joins under a new id with an empty data directory")]
    Expelled { reason: String },
}

/// What the operator says about this one start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Start {
    /// The data directory was moved from where it was last used, for good.
    pub was_moved: bool,
}

/// A started node.
pub struct Node {
    system: System,
    consensus: Consensus,
    desk: DeskHandle,
    leader: LeaderRoute,
    certificates: Certificates,
    expulsion: Expulsion,
    /// Held, and with it the lock, until everything has stopped.
    directory: Arc<Mutex<DataDirectory>>,
}

/// The certificates of the listeners and of the connections to other nodes, to be read again on a
/// signal.
#[derive(Clone)]
pub struct Certificates {
    listeners: Vec<Arc<ServerTls>>,
    connector: Connector,
}

impl Certificates {
    /// Reads all files again; those that can't be used leave the old ones in force.
    pub fn reload(&self) {
        self.listeners.iter().for_each(|tls| tls.reload());
        self.connector.reload();
    }
}

/// The handles that services are made of.
struct Parts {
    clock: Clock,
    consensus: Consensus,
    steward: StewardHandle,
    desk: DeskHandle,
    usage: Usage,
    readiness: Readiness,
    data_dir: PathBuf,
    leader: LeaderRoute,
}

struct Listeners {
    engines: Listener,
    admin: Listener,
    peers: Option<Listener>,
    http: Listener,
}

impl Node {
    /// Takes up the state on disk, binds every listener and starts to serve.
    ///
    /// # Errors
    /// What can't be used, and what to do about it; nothing runs then.
    pub async fn start(
        config: NodeConfig,
        start: Start,
        telemetry: Telemetry,
    ) -> Result<Self, StartError> {
        let connector = peer_connector(&config)?;
        let mut certificates = Certificates { listeners: Vec::new(), connector: connector.clone() };
        // Bound before anything is written: a port in use changes nothing.
        let listeners = Listeners::bind(&config, &mut certificates)?;
        let id = config.node.id();
        let by = Use { node: id, incarnation: Incarnation(random()?), was_moved: start.was_moved };
        let directory = DataDirectory::open(&config.node.data_dir, by)?;
        let peer = peer(&config, directory.incarnation());
        if start.was_moved {
            tracing::warn!(
                "the operator says that the data directory was moved here, that its former place is \
                 out of use for good, and that nothing was set back"
            );
        }
        let process = ProcessId(random()?);
        let gone = directory.succeed(process)?;
        let clock = Clock::Steady;
        let consensus = Consensus::start(
            consensus_config(&config),
            &directory,
            clock.clone(),
            connect(connector.clone()),
        )
        .await?;
        let directory = Arc::new(Mutex::new(directory));

        let mut system = System::new();
        let (edge, services) = (system.stage("edge"), system.stage("services"));
        let (desks, log) = (system.stage("desk"), system.stage("log"));

        let expulsion = Expulsion::default();
        let (proposals, proposals_task) = proposals(consensus.clone());
        let (desk, desk_inbox) = desk_mailbox();
        let peers = Peers::new(consensus.clone(), connector.clone());
        let desk_route = DeskRoute { node: id, local: desk.clone(), peers: peers.clone() };
        let (steward, steward_task) =
            steward(clock.clone(), consensus.clone(), proposals.clone(), desk_route.clone());
        let route = Route {
            consensus: consensus.clone(),
            steward: steward.clone(),
            desks: desk_route,
            expulsion: expulsion.clone(),
        };
        let site = config.node.site.clone();
        let identity = DeskIdentity { desk: DeskConfig { node: id, site }, process, gone };
        let desk_task =
            DeskTask::new(desk_inbox, identity, clock.clone(), consensus.clone(), route);
        log.spawn("proposals", |stop| proposals_task.run(stop));
        log.spawn("steward", |stop| steward_task.run(stop));
        desks.spawn("desk", |stop| desk_task.run(stop));

        let membership = Membership {
            node: id,
            peer: peer.clone(),
            consensus: consensus.clone(),
            proposals: proposals.clone(),
            connector,
            directory: Arc::clone(&directory),
            expulsion: expulsion.clone(),
            changing: Arc::default(),
        };
        let leader =
            LeaderRoute { node: id, consensus: consensus.clone(), proposals, membership, peers };
        let parts = Parts {
            clock,
            consensus: consensus.clone(),
            steward,
            desk: desk.clone(),
            usage: Usage::default(),
            readiness: Readiness::requiring(&CHECKS),
            data_dir: config.node.data_dir.clone(),
            leader: leader.clone(),
        };
        let founder = Founder {
            node: id,
            peer,
            timings: config.timings,
            consensus: consensus.clone(),
            proposals: leader.proposals.clone(),
            directory: Arc::clone(&directory),
        };
        serve(&edge, &services, listeners, &certificates, parts, founder, telemetry, id);
        Ok(Self { system, consensus, desk, leader, certificates, expulsion, directory })
    }

    /// The certificates in use.
    #[must_use]
    pub fn certificates(&self) -> Certificates {
        self.certificates.clone()
    }

    /// Runs until `signal` completes or something that must not fail did, then stops in order:
    /// unready, no new checkouts, no new calls, the desk, the log, the disk.
    ///
    /// # Errors
    /// What failed.
    pub async fn run(self, signal: impl Future<Output = ()>) -> Result<(), RunError> {
        let mut failed = None;
        let ended = {
            let failed = &mut failed;
            let (consensus, desk, expulsion) = (&self.consensus, &self.desk, &self.expulsion);
            let leader = &self.leader;
            let end = async move {
                tokio::select! {
                    biased;
                    cause = consensus.fatal() => *failed = Some(cause.into()),
                    reason = expulsion.told() => *failed = Some(RunError::Expelled { reason }),
                    () = signal => {
                        leave_to_others(desk, leader).await;
                    }
                }
            };
            self.system.run(end, STOP_DEADLINE).await
        };
        // An actor that hears nothing of consensus any more may be the first to end: of what it tells
        // that is the cause.
        let failed = failed.or_else(|| self.consensus.failure().map(RunError::from));
        self.consensus.shutdown().await;
        drop(self.directory);
        failed.map_or_else(|| ended.map_err(RunError::from), Err)
    }
}

impl Listeners {
    fn bind(config: &NodeConfig, certificates: &mut Certificates) -> Result<Self, StartError> {
        let mut bind = |kind, listener: &ListenerConfig| {
            let transport = listener.transport(kind)?;
            if let Transport::Tls(tls) = &transport {
                certificates.listeners.push(Arc::clone(tls));
            }
            let limits =
                if kind == ListenerKind::Http { http::limits() } else { listener.limits() };
            let bound = Listener::bind(kind, listener.listen, transport, limits)?;
            tracing::info!(listener = kind.as_str(), address = %bound.address(), "listening");
            Ok::<_, StartError>(bound)
        };
        Ok(Self {
            engines: bind(ListenerKind::Engines, &config.engines)?,
            admin: bind(ListenerKind::Admin, &config.admin)?,
            peers: config.peers.as_ref().map(|it| bind(ListenerKind::Peers, it)).transpose()?,
            http: bind(ListenerKind::Http, &config.http)?,
        })
    }
}

#[expect(clippy::too_many_arguments, reason = "the one place where all parts meet")]
fn serve(
    edge: &leasehold_actor::Stage,
    services: &leasehold_actor::Stage,
    listeners: Listeners,
    certificates: &Certificates,
    parts: Parts,
    founder: Founder,
    telemetry: Telemetry,
    node: NodeId,
) {
    let (health, health_service) = tonic_health::server::health_reporter();
    let Parts { clock, consensus, steward, desk, usage, .. } = parts;
    let Parts { readiness, data_dir, leader, .. } = parts;
    let membership = leader.membership.clone();
    let monitor = Monitor {
        node,
        clock: clock.clone(),
        consensus: consensus.clone(),
        desk: desk.clone(),
        readiness: readiness.clone(),
        health: health.clone(),
        usage: usage.clone(),
        data_dir,
    };
    let retry = Backoff::default();
    edge.spawn_restarted("monitor", retry, move |stop| monitor.clone().run(stop));
    follow_certificates(edge, certificates);
    let pages = Pages { telemetry, readiness };
    edge.spawn("http", |stop| async move {
        http::serve(listeners.http, pages, stop).await;
        Ok(())
    });
    let licensing = LicensingService::new(desk.clone(), clock.clone(), usage);
    services.spawn("engines", |stop| {
        servers::serve_engines(listeners.engines, licensing, health_service, stop)
    });
    if let Some(listener) = listeners.peers {
        let joiner = membership.clone();
        let raft = consensus.peer_service(
            certificate,
            Arc::new(move |cluster, generation| {
                let joiner = joiner.clone();
                Box::pin(async move { joiner.admitted(cluster, generation).await })
            }),
        );
        let (consensus, steward, desk) = (consensus.clone(), steward.clone(), desk.clone());
        let peers = PeerService { consensus, steward, desk };
        let (membership, leader) = (membership.clone(), leader.clone());
        let members = MembershipService { peers, membership, leader };
        services.spawn("peers", |stop| servers::serve_peers(listener, raft, members, stop));
    }
    let upkeep = membership.clone();
    edge.spawn_restarted("membership", retry, move |stop| upkeep.clone().run(stop));
    services.spawn("admin", move |stop| {
        let admin = AdminService {
            node,
            clock,
            consensus,
            steward,
            desk,
            founder,
            membership,
            leader,
            stop: stop.clone(),
        };
        servers::serve_admin(listeners.admin, admin, stop)
    });
    edge.spawn("health", |stop| async move {
        stop.cancelled().await;
        // The first thing that engines and load balancers learn of a stop.
        health.set_service_status(LICENSING, tonic_health::ServingStatus::NotServing).await;
        Ok(())
    });
}

/// Gives the lease up, so that running calls can move at once, and leadership, so that nobody waits
/// for an election.
async fn leave_to_others(desk: &DeskHandle, leader: &LeaderRoute) {
    if let Ok(Some(close)) = desk.retire().await {
        let closed = leader.propose(vec![close]);
        match tokio::time::timeout(CLOSE_DEADLINE, closed).await {
            Ok(Ok(_)) => tracing::info!("lease given up"),
            // Without a majority it ends by itself.
            Ok(Err(error)) => tracing::info!(%error, "the lease is left to lapse"),
            Err(_) => tracing::info!("the lease is left to lapse: no answer in time"),
        }
    }
    leader.hand_over().await;
}

fn follow_certificates(edge: &leasehold_actor::Stage, certificates: &Certificates) {
    let retry = Backoff::default();
    for tls in &certificates.listeners {
        let tls = Arc::clone(tls);
        edge.spawn_restarted("certificates", retry, move |stop| follow(Arc::clone(&tls), stop));
    }
    let connector = certificates.connector.clone();
    edge.spawn_restarted("peer certificates", retry, move |stop| {
        let connector = connector.clone();
        async move {
            connector.follow(stop).await;
            Ok(())
        }
    });
}

async fn follow(tls: Arc<ServerTls>, stop: CancellationToken) -> Result<(), BoxError> {
    tls.follow(stop).await;
    Ok(())
}

/// Nodes show each other the certificate of their peers listener.
fn peer_connector(config: &NodeConfig) -> Result<Connector, TlsError> {
    match config.peers.as_ref().and_then(ListenerConfig::security) {
        Some(Security::Tls(tls)) => Connector::tls("peer client", tls.files()),
        Some(Security::PlainTextOnLoopback) | None => Ok(Connector::PlainText),
    }
}

fn consensus_config(config: &NodeConfig) -> Config {
    let election_max_ms = config.timings.election_max_ms;
    Config {
        heartbeat_ms: election_max_ms / 5,
        election_min_ms: election_max_ms * 3 / 4,
        election_max_ms,
        snapshot_after_entries: config.snapshots.every_entries,
        entries_kept: config.snapshots.keep_entries,
        ..Config::new(config.node.id())
    }
}

fn peer(config: &NodeConfig, incarnation: Incarnation) -> Peer {
    let address = config.peer_address();
    Peer { address, site: config.node.site.clone(), name: config.node.name(), incarnation }
}
