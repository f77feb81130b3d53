//! From the state that other actors show to metrics.

use leasehold_consensus::Status;
use leasehold_core::desk::DeskStatus;
use leasehold_core::desk::message::{PoolUse, Report};
use leasehold_core::id::NodeId;
use leasehold_core::ledger::{Agreement, Ledger, PoolTotals, Replica};
use leasehold_core::time::Moment;
use metrics::{counter, gauge};

pub(super) fn version() {
    gauge!("leasehold_server_version", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}

pub(super) fn raft(status: &Status, node: NodeId, has_leader: bool) {
    gauge!("leasehold_server_has_leader").set(flag(has_leader));
    gauge!("leasehold_server_is_leader").set(flag(status.leader == Some(node)));
    gauge!("leasehold_server_is_learner").set(flag(status.learners.contains_key(&node)));
    gauge!("leasehold_server_term").set(approximate(status.term));
    let entries = |last: Option<u64>| last.map_or(0, |index| index + 1);
    counter!("leasehold_server_proposals_committed_total").absolute(entries(status.committed));
    counter!("leasehold_server_proposals_applied_total").absolute(entries(status.applied));
}

pub(super) fn desk(desk: &DeskStatus, now: Moment) {
    let left_ms = desk.lend_until.map_or(0, |until| until.since(now));
    gauge!("leasehold_lease_left_seconds").set(seconds(left_ms));
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

/// The cluster's pools as the ledger has them, and what of them this node's desk uses: the sum of
/// the latter over the nodes is the cluster's.
pub(super) fn pools(ledger: &Ledger, report: &Report) {
    let totals = ledger.totals();
    for (id, pool) in ledger.pools() {
        let total = totals.get(id).copied().unwrap_or_default();
        let labels = |state: &'static str| {
            let (set, feature) = (pool.terms.set.to_string(), pool.terms.feature.to_string());
            [("set", set), ("feature", feature), ("state", state.to_owned())]
        };
        let set = |state, units| gauge!("leasehold_pool_units", &labels(state)).set(units);
        let PoolTotals { entitled, reserve, live, frozen } = total;
        set("entitled", approximate(entitled.get()));
        #[expect(
            clippy::cast_precision_loss,
            reason = "a gauge is a float; units are far below 2^53"
        )]
        set("reserve", reserve as f64);
        set("lent", approximate(live.get()));
        set("frozen", approximate(frozen.get()));
        let PoolUse { in_use, free } = report.pools.get(id).copied().unwrap_or_default();
        let set = |state, units| gauge!("leasehold_node_pool_units", &labels(state)).set(units);
        set("in_use", approximate(in_use));
        set("free", approximate(free));
        let feature = &pool.terms.feature;
        let waiting = report.waiting.get(feature).copied().unwrap_or(0);
        gauge!("leasehold_feature_waiting_units", "feature" => feature.to_string())
            .set(approximate(waiting));
    }
}

/// Who may lend, as this node has applied it. The labels differ from those that Prometheus gives
/// to the node that is asked.
pub(super) fn nodes(replica: &Replica, now: Moment) {
    for (id, node) in replica.ledger.nodes() {
        let labels = [("member", id.to_string()), ("member_site", node.site.to_string())];
        let lease = node.lease.as_ref();
        let is_live = lease.is_some_and(|lease| lease.live) && !node.removed;
        gauge!("leasehold_member_lease_live", &labels).set(flag(is_live));
        let beat = lease.and_then(|lease| replica.notes.beat(id, lease.epoch));
        if let Some((_, at)) = beat {
            gauge!("leasehold_member_heartbeat_age_seconds", &labels).set(seconds(now.since(at)));
        }
    }
}

pub(super) fn ledger(ledger: &Ledger) {
    let serial = ledger.entitlement_serial().unwrap_or(0);
    gauge!("leasehold_entitlement_serial").set(approximate(serial));
    let violations = u64::from(ledger.check().is_err());
    counter!("leasehold_invariant_violations_total").absolute(violations);
}

/// The nodes whose beats said that their ledger is another one than this node's.
pub(super) fn agreement(agreement: &Agreement) {
    for (node, beats) in agreement.differed() {
        let label = ("member", node.to_string());
        counter!("leasehold_replica_divergences_total", &[label]).absolute(*beats);
    }
}

fn flag(is_set: bool) -> f64 {
    f64::from(u8::from(is_set))
}

fn seconds(ms: u64) -> f64 {
    approximate(ms) / 1_000.0
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; shown values are below 2^53")]
pub(super) fn approximate(value: u64) -> f64 {
    value as f64
}
