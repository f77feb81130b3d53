//! The monitor: an edge actor that turns what the other actors show into readiness, gRPC health
//! and metrics, once a second. It decides nothing; if it fails it is started again.

use std::collections::BTreeSet;
use std::time::Duration;

use leasehold_actor::{BoxError, CancellationToken};
use leasehold_clock::Clock;
use leasehold_consensus::Consensus;
use leasehold_core::desk::DeskStatus;
use leasehold_core::id::NodeId;
use leasehold_core::ledger::{Ledger, PoolTotals};
use leasehold_core::time::Moment;
use metrics::{counter, gauge};
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
}

impl Monitor {
    /// # Errors
    /// None; it runs until it is told to stop.
    pub async fn run(self, stop: CancellationToken) -> Result<(), BoxError> {
        describe_metrics();
        let mut ticks = tokio::time::interval(EVERY);
        let mut catalog_version = 0;
        let mut last_leader = None;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                _ = ticks.tick() => {}
            }
            self.count_features(&mut catalog_version);
            self.count_leader_changes(&mut last_leader);
            let desk = self.desk.observe().borrow().clone();
            self.check(&desk);
            self.publish_health().await;
            self.publish_raft(self.consensus.hears_leader().await);
            self.publish_desk(&desk);
            self.consensus.read(|replica| publish_ledger(&replica.ledger));
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

    fn count_leader_changes(&self, last: &mut Option<NodeId>) {
        let leader = self.consensus.status().leader;
        if leader.is_some() && leader != *last {
            if last.is_some() {
                counter!("leasehold_server_leader_changes_seen_total").increment(1);
            }
            *last = leader;
        }
    }

    fn check(&self, desk: &DeskStatus) {
        let (is_founded, is_entitled) = self.consensus.read(|replica| {
            (replica.ledger.founding().is_some(), replica.ledger.installed().is_some())
        });
        let leader = self.consensus.status().leader;
        let now = Moment(self.clock.now());
        let is_lending = desk.lend_until.is_some_and(|until| now < until);
        let set = |name, ok: bool, missing: &str| {
            self.readiness.set(name, ok, if ok { "yes" } else { missing });
        };
        set("founded", is_founded, "no cluster yet: run `leasehold cluster init`");
        set("leader_known", leader.is_some(), "no leader is known: is a majority of nodes up?");
        set("entitled", is_entitled, "no entitlement: run `leasehold entitlement install FILE`");
        set("lending", is_lending, "the node has no live lease: it can't reach the leader");
    }

    async fn publish_health(&self) {
        let status = if self.readiness.is_ready() {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        self.health.set_service_status(LICENSING, status).await;
    }

    fn publish_raft(&self, hears_leader: bool) {
        let status = self.consensus.status();
        let is_leader = status.leader == Some(self.node);
        gauge!("leasehold_server_has_leader").set(flag(hears_leader));
        gauge!("leasehold_server_is_leader").set(flag(is_leader));
        gauge!("leasehold_server_is_learner").set(flag(status.learners.contains_key(&self.node)));
        gauge!("leasehold_server_term").set(approximate(status.term));
        let applied = status.applied.map_or(0, |index| index + 1);
        counter!("leasehold_server_proposals_applied_total").absolute(applied);
    }

    fn publish_desk(&self, desk: &DeskStatus) {
        let now = Moment(self.clock.now());
        let left_ms = desk.lend_until.map_or(0, |until| until.since(now));
        gauge!("leasehold_lease_left_seconds").set(approximate(left_ms) / 1_000.0);
        gauge!("leasehold_lease_epoch").set(approximate(desk.epoch.map_or(0, |epoch| epoch.0)));
        gauge!("leasehold_checkouts_running").set(approximate(desk.running as u64));
        gauge!("leasehold_checkouts_waiting").set(approximate(desk.waiting as u64));
        let counters = &desk.counters;
        counter!("leasehold_checkouts_granted_total").absolute(counters.granted);
        counter!("leasehold_checkouts_renewed_total").absolute(counters.renewed);
        counter!("leasehold_checkouts_returned_total").absolute(counters.checked_in);
        counter!("leasehold_checkouts_expired_total").absolute(counters.expired);
        counter!("leasehold_checkouts_reclaimed_total").absolute(counters.reclaimed);
        counter!("leasehold_checkouts_covered_total").absolute(counters.covered);
        counter!("leasehold_checkouts_handed_over_total").absolute(counters.handed_over);
    }
}

fn publish_ledger(ledger: &Ledger) {
    let totals = ledger.totals();
    for (id, pool) in ledger.pools() {
        let total = totals.get(id).copied().unwrap_or_default();
        let set = |state: &'static str, units: f64| {
            let (name, feature) = (pool.terms.set.to_string(), pool.terms.feature.to_string());
            gauge!("leasehold_pool_units", "set" => name, "feature" => feature, "state" => state)
                .set(units);
        };
        let PoolTotals { entitled, reserve, live, frozen } = total;
        set("entitled", approximate(entitled));
        #[expect(
            clippy::cast_precision_loss,
            reason = "a gauge is a float; units are far below 2^53"
        )]
        set("reserve", reserve as f64);
        set("lent", approximate(live));
        set("frozen", approximate(frozen));
    }
    let serial = ledger.entitlement_serial().unwrap_or(0);
    gauge!("leasehold_entitlement_serial").set(approximate(serial));
    let violations = u64::from(ledger.check().is_err());
    counter!("leasehold_invariant_violations_total").absolute(violations);
}

fn flag(is_set: bool) -> f64 {
    f64::from(u8::from(is_set))
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; shown values are below 2^53")]
fn approximate(value: u64) -> f64 {
    value as f64
}

fn describe_metrics() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_gauge!("leasehold_server_has_leader", "1 if this node leads or hears the leader.");
    describe_gauge!("leasehold_server_is_leader", "1 if this node leads.");
    describe_gauge!("leasehold_server_is_learner", "1 if this node has no vote.");
    describe_gauge!("leasehold_server_term", "The Raft term.");
    describe_counter!("leasehold_server_leader_changes_seen_total", "Changes of the leader.");
    describe_counter!("leasehold_server_proposals_applied_total", "Log entries applied.");
    describe_gauge!("leasehold_lease_left_seconds", "How long this node may still lend.");
    describe_gauge!("leasehold_lease_epoch", "The newest opening of this node's lease.");
    describe_gauge!("leasehold_checkouts_running", "Checkouts that run at this node.");
    describe_gauge!("leasehold_checkouts_waiting", "Requests in this node's queue.");
    describe_counter!("leasehold_checkouts_granted_total", "Checkouts granted.");
    describe_counter!("leasehold_checkouts_renewed_total", "Renewals.");
    describe_counter!("leasehold_checkouts_returned_total", "Checkouts given back by engines.");
    describe_counter!("leasehold_checkouts_expired_total", "Checkouts that ended unrenewed.");
    describe_counter!("leasehold_checkouts_reclaimed_total", "Checkouts moved here.");
    describe_counter!("leasehold_checkouts_covered_total", "Checkouts covered by free units.");
    describe_counter!("leasehold_checkouts_handed_over_total", "Checkouts given to other nodes.");
    describe_counter!("leasehold_denials_total", "Denials, by reason.");
    describe_counter!("leasehold_feature_checkouts_total", "Checkout requests, by feature.");
    describe_counter!("leasehold_feature_denials_total", "Denials, by feature.");
    describe_counter!("leasehold_recognitions_total", "Speech recognitions reported.");
    describe_counter!("leasehold_syntheses_total", "Speech syntheses reported.");
    describe_counter!(
        "leasehold_overrun_milliseconds_total",
        "Time that engines went on after their checkout had ended."
    );
    describe_gauge!("leasehold_pool_units", "Units of each pool, by where they are.");
    describe_gauge!("leasehold_entitlement_serial", "The entitlement in force.");
    describe_counter!("leasehold_invariant_violations_total", "Broken invariants of the ledger.");
    describe_histogram!("leasehold_call_duration_seconds", "Time to answer a call of engines.");
    describe_counter!("leasehold_disk_wal_write_bytes_total", "Bytes written to the Raft log.");
    describe_histogram!(
        "leasehold_disk_wal_fsync_duration_seconds",
        "Time until the disk confirmed a group of log entries."
    );
}
