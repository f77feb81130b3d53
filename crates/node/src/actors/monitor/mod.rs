//! The monitor: an edge actor that turns what the other actors show into readiness, gRPC health
//! and metrics, once a second. It decides nothing; if it fails it is started again.

mod describe;
mod disk;
mod publish;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use leasehold_actor::{BoxError, CancellationToken};
use leasehold_clock::Clock;
use leasehold_consensus::Consensus;
use leasehold_core::desk::DeskStatus;
use leasehold_core::id::NodeId;
use leasehold_core::ledger::Divergence;
use leasehold_core::time::Moment;
use metrics::counter;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::desk::DeskHandle;
use crate::http::Readiness;
use crate::usage::Usage;

const EVERY: Duration = Duration::from_secs(1);

/// The checks of `/readyz`.
pub const CHECKS: [&str; 4] = ["founded", "leader_known", "entitled", "lending"];
/// The health service's name for the engine's API.
pub const LICENSING: &str = "leasehold.v1.Licensing";

#[derive(Clone)]
pub struct Monitor {
    pub node: NodeId,
    pub clock: Clock,
    pub consensus: Consensus,
    pub desk: DeskHandle,
    pub readiness: Readiness,
    pub health: HealthReporter,
    pub usage: Usage,
    pub data_dir: PathBuf,
}

/// What was known at the last look.
#[derive(Default)]
struct LastLeader {
    known: Option<NodeId>,
    /// The newest that was known.
    newest: Option<NodeId>,
}

impl LastLeader {
    fn note(&mut self, leader: Option<NodeId>, term: u64) {
        match (leader, self.known) {
            (Some(leader), known) if known != Some(leader) => {
                tracing::info!(%leader, term, "a node leads");
                if self.newest.is_some_and(|newest| newest != leader) {
                    counter!("leasehold_server_leader_changes_seen_total").increment(1);
                }
                self.newest = Some(leader);
            }
            (None, Some(last)) => tracing::warn!(%last, "no leader is heard of any more"),
            (Some(_) | None, _) => {}
        }
        self.known = leader;
    }
}

impl Monitor {
    /// # Errors
    /// None; it runs until it is told to stop.
    pub async fn run(self, stop: CancellationToken) -> Result<(), BoxError> {
        describe::all();
        publish::version();
        let mut disk = disk::Disk::new(self.data_dir.clone());
        let mut ticks = tokio::time::interval(EVERY);
        let mut catalog_version = 0;
        let mut last_leader = LastLeader::default();
        let mut differing = BTreeMap::new();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                _ = ticks.tick() => {}
            }
            self.count_features(&mut catalog_version);
            let status = self.consensus.status();
            let hears_leader = self.consensus.hears_leader().await;
            last_leader.note(status.leader.filter(|_| hears_leader), status.term);
            let desk = self.desk.observe().borrow().clone();
            self.check(&desk, hears_leader);
            self.tell_divergences(&mut differing);
            self.publish_health().await;
            let now = Moment(self.clock.now());
            publish::raft(&status, self.node, hears_leader);
            publish::desk(&desk, now);
            self.consensus.read(|replica| {
                publish::pools(&replica.ledger, &desk.report);
                publish::nodes(replica, now);
                publish::ledger(&replica.ledger);
                publish::agreement(&replica.agreement);
            });
            disk.publish_when_due();
        }
    }

    /// Each node that begins to differ is told of once.
    fn tell_divergences(&self, known: &mut BTreeMap<NodeId, u64>) {
        let (seen, odd) = self.consensus.read(|replica| {
            let seen: Vec<Divergence> = replica.agreement.divergences().collect();
            (seen, replica.agreement.odd_ones(self.node))
        });
        known.retain(|node, _| seen.iter().any(|it| it.node == *node));
        for Divergence { node, version } in seen {
            if known.insert(node, version).is_some() {
                continue;
            }
            tracing::error!(
                %node,
                version,
                odd = ?odd,
                "the ledger of a node differs from this node's: those in the minority lend nothing; \
                 remove them, and let them join anew with empty data directories"
            );
        }
    }

    fn count_features(&self, known: &mut u64) {
        let features = self.consensus.read(|replica| {
            let ledger = &replica.ledger;
            if ledger.catalog_version() == *known {
                return None;
            }
            *known = ledger.catalog_version();
            let pools = ledger.pools().values();
            Some(pools.map(|pool| pool.terms.feature.clone()).collect::<BTreeSet<_>>())
        });
        if let Some(features) = features {
            self.usage.set_features(features);
        }
    }

    fn check(&self, desk: &DeskStatus, hears_leader: bool) {
        let (is_founded, is_entitled) = self.consensus.read(|replica| {
            (replica.ledger.founding().is_some(), replica.ledger.installed().is_some())
        });
        let now = Moment(self.clock.now());
        let is_lending = desk.lend_until.is_some_and(|until| now < until) && !desk.is_diverged;
        let why_not = if desk.is_diverged {
            "this node's ledger differs from the others': remove the node, and let it join anew"
        } else {
            "the node has no live lease: it can't reach the leader"
        };
        let set = |name, ok: bool, missing: &str| {
            self.readiness.set(name, ok, if ok { "yes" } else { missing });
        };
        set("founded", is_founded, "no cluster yet: run `leasehold cluster init`");
        set("leader_known", hears_leader, "no leader is known: is a majority of nodes up?");
        set("entitled", is_entitled, "no entitlement: run `leasehold entitlement install FILE`");
        set("lending", is_lending, why_not);
    }

    async fn publish_health(&self) {
        let status = if self.readiness.is_ready() {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        self.health.set_service_status(LICENSING, status).await;
    }
}
