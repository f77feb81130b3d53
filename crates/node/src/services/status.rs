//! The cluster as this node knows it, in the operator's words.

use std::collections::BTreeMap;

use leasehold_consensus::{Consensus, Status};
use leasehold_core::desk::message::{PoolUse, Report};
use leasehold_core::entitlement::{LicenseSet, SetKind};
use leasehold_core::id::{NodeId, PoolId};
use leasehold_core::ledger::{AllotmentState, Closed, Ledger, Node, Pool, PoolTotals, Replica};
use leasehold_core::time::{Moment, Timings};
use leasehold_proto::v1;

use crate::actors::steward::Figures;

/// What the answer is made of.
pub(super) struct Sources<'a> {
    pub node: NodeId,
    pub now: Moment,
    pub raft: &'a Status,
    pub figures: &'a Figures,
}

pub(super) fn status(consensus: &Consensus, sources: &Sources<'_>) -> v1::StatusResponse {
    consensus.read(|replica| {
        let ledger = &replica.ledger;
        let live = Live::of(ledger, sources.figures);
        let nodes: Vec<v1::NodeStatus> = ledger
            .nodes()
            .map(|(id, node)| node_status(replica, id, node, sources, &live))
            .collect();
        v1::StatusResponse {
            cluster_id: ledger
                .founding()
                .map(|founding| founding.cluster.0.to_vec().into())
                .unwrap_or_default(),
            answering_node: sources.node.0,
            leader: sources.raft.leader.map(|leader| leader.0),
            term: sources.raft.term,
            applied_index: sources.raft.applied.unwrap_or(0),
            entitlement_serial: ledger.entitlement_serial().unwrap_or(0),
            software_version: env!("CARGO_PKG_VERSION").to_owned(),
            timings: ledger.timings().map(wire_timings),
            cluster_wide: live.is_complete,
            figures_age_ms: live.age_ms,
            sites: sites(&nodes),
            nodes,
            pools: pools(ledger, sources.figures, &live),
        }
    })
}

/// The reports of the leases that are live: of others, what was in use is frozen now.
struct Live<'a> {
    reports: BTreeMap<NodeId, &'a Report>,
    /// Whether every live lease has its report.
    is_complete: bool,
    age_ms: Option<u64>,
}

impl<'a> Live<'a> {
    fn of(ledger: &Ledger, figures: &'a Figures) -> Self {
        let mut live = Self { reports: BTreeMap::new(), is_complete: true, age_ms: None };
        for (node, lease) in ledger.leases().filter(|(_, lease)| lease.live) {
            match figures.get(&node).filter(|known| known.epoch == lease.epoch) {
                Some(known) => {
                    live.reports.insert(node, &known.report);
                    live.age_ms = live.age_ms.max(Some(known.age_ms));
                }
                None => live.is_complete = false,
            }
        }
        live
    }

    fn used(&self, pool: PoolId) -> PoolUse {
        let used = self.reports.values().filter_map(|report| report.pools.get(&pool));
        // What nodes say of themselves has no limit.
        used.fold(PoolUse::default(), |sum, used| PoolUse {
            in_use: sum.in_use.saturating_add(used.in_use),
            free: sum.free.saturating_add(used.free),
        })
    }
}

fn node_status(
    replica: &Replica,
    id: NodeId,
    node: &Node,
    sources: &Sources<'_>,
    live: &Live<'_>,
) -> v1::NodeStatus {
    let role = match sources.raft.leader {
        Some(leader) if leader == id => v1::NodeRole::Leader,
        _ if sources.raft.voters.contains_key(&id) => v1::NodeRole::Voter,
        _ if sources.raft.learners.contains_key(&id) => v1::NodeRole::Learner,
        _ => v1::NodeRole::Unspecified,
    };
    let lease = match &node.lease {
        _ if node.removed => v1::LeaseState::Removed,
        _ if node.fenced => v1::LeaseState::Fenced,
        None => v1::LeaseState::None,
        Some(lease) if lease.live => v1::LeaseState::Live,
        Some(_) => v1::LeaseState::Ended,
    };
    let beat = node.lease.as_ref().and_then(|lease| replica.notes.beat(id, lease.epoch));
    let lent = replica.ledger.view(id).held.iter().map(|held| held.units.get()).sum();
    let report = live.reports.get(&id);
    v1::NodeStatus {
        node_id: id.0,
        name: node.name.to_string(),
        site: node.site.to_string(),
        peer_address: address_of(sources.raft, id),
        role: role.into(),
        lease: lease.into(),
        epoch: node.lease.as_ref().map_or(0, |lease| lease.epoch.0),
        last_beat_ms_ago: beat.map(|(_, at)| sources.now.since(at)),
        units_lent: lent,
        checkouts: report.map(|report| report.running),
        units_frozen: frozen(&replica.ledger, id),
        units_in_use: report.map(|report| total(report.pools.values().map(|pool| pool.in_use))),
    }
}

fn frozen(ledger: &Ledger, node: NodeId) -> u64 {
    let of_node = ledger.allotments().filter(|(_, allotment)| allotment.node == node);
    let frozen = of_node.filter(|(_, it)| matches!(it.state, AllotmentState::Frozen(_)));
    frozen.map(|(_, allotment)| allotment.units.get()).sum()
}

fn address_of(raft: &Status, id: NodeId) -> String {
    let peer = raft.voters.get(&id).or_else(|| raft.learners.get(&id));
    peer.map(|peer| peer.address.clone()).unwrap_or_default()
}

fn sites(nodes: &[v1::NodeStatus]) -> Vec<v1::SiteStatus> {
    let mut sites: BTreeMap<&str, v1::SiteStatus> = BTreeMap::new();
    for node in nodes.iter().filter(|node| node.lease() != v1::LeaseState::Removed) {
        let site = sites.entry(&node.site).or_default();
        site.name.clone_from(&node.site);
        site.nodes += 1;
        site.live_nodes += u32::from(node.lease() == v1::LeaseState::Live);
        site.units_lent += node.units_lent;
        site.checkouts = site.checkouts.saturating_add(node.checkouts.unwrap_or(0));
    }
    sites.into_values().collect()
}

fn pools(ledger: &Ledger, figures: &Figures, reported: &Live<'_>) -> Vec<v1::PoolStatus> {
    let totals = ledger.totals();
    let pools = ledger.pools().iter().map(|(id, pool)| {
        let totals = totals.get(id).copied().unwrap_or_default();
        let PoolTotals { entitled, reserve, live, frozen } = totals;
        let lent = live.get();
        let feature = &pool.terms.feature;
        let PoolUse { in_use, free } = reported.used(*id);
        let all = figures.values().map(|known| &known.report);
        let waiting = reported.reports.values().filter_map(|it| it.waiting.get(feature));
        let denied = all.clone().filter_map(|report| report.denied.get(feature));
        let overrun_ms = all.filter_map(|report| report.overrun_ms.get(id));
        v1::PoolStatus {
            pool_id: id.0,
            set: pool.terms.set.to_string(),
            kind: wire_kind(pool.terms.kind).into(),
            feature: feature.to_string(),
            entitled: entitled.get(),
            reserve,
            lent,
            frozen: frozen.get(),
            // A report is up to a second older than the ledger.
            in_use: in_use.min(lent),
            free_at_nodes: if reported.is_complete { lent.saturating_sub(in_use) } else { free },
            waiting: total(waiting.copied()),
            denied: total(denied.copied()),
            overrun_ms: total(overrun_ms.copied()),
            withheld_reason: u32::try_from(i32::from(withheld(pool.terms.closed))).unwrap_or(0),
            state: state(pool).into(),
        }
    });
    pools.collect()
}

/// A sum of what nodes say of themselves.
fn total(figures: impl Iterator<Item = u64>) -> u64 {
    figures.fold(0, u64::saturating_add)
}

fn withheld(closed: Option<Closed>) -> v1::Reason {
    match closed {
        // A backup set that stands by is as it should be.
        None | Some(Closed::Standby) => v1::Reason::Unspecified,
        Some(Closed::ContractEnded) => v1::Reason::ContractEnded,
        Some(Closed::NotStarted | Closed::NotEntitled) => v1::Reason::NotEntitled,
    }
}

/// A backup set that lends nothing stands by, whatever keeps it from lending.
fn state(pool: &Pool) -> v1::SetState {
    match (pool.terms.kind, pool.terms.closed) {
        (SetKind::Backup, Some(_)) => v1::SetState::Standby,
        (SetKind::Production, _) | (SetKind::Backup, None) => v1::SetState::Active,
    }
}

pub(super) fn sets(ledger: &Ledger) -> Vec<v1::LicenseSet> {
    let Some(installed) = ledger.installed() else { return Vec::new() };
    installed.entitlement.sets.iter().map(|set| wire_set(ledger, set)).collect()
}

fn wire_set(ledger: &Ledger, set: &LicenseSet) -> v1::LicenseSet {
    let pool = ledger.pools().values().find(|pool| pool.terms.set == set.name);
    let state = pool.map_or(v1::SetState::Unspecified, state);
    let features = set
        .features
        .iter()
        .map(|line| v1::SetFeature { feature: line.feature.to_string(), units: line.units });
    v1::LicenseSet {
        name: set.name.to_string(),
        kind: wire_kind(set.kind).into(),
        state: state.into(),
        home: set.home.as_ref().map(ToString::to_string).unwrap_or_default(),
        covers: set.covers.iter().map(ToString::to_string).collect(),
        contract_start: set.starts.to_string(),
        contract_end: set.contract_end.to_string(),
        maintenance_until: set.maintenance_until.to_string(),
        features: features.collect(),
    }
}

fn wire_kind(kind: SetKind) -> v1::SetKind {
    match kind {
        SetKind::Production => v1::SetKind::Production,
        SetKind::Backup => v1::SetKind::Backup,
    }
}

fn wire_timings(timings: Timings) -> v1::Timings {
    v1::Timings {
        lease_ms: timings.lease_ms,
        heartbeat_ms: timings.heartbeat_ms,
        checkout_ttl_ms: timings.checkout_ttl_ms,
        clock_drift_ppm: timings.clock_drift_ppm,
        margin_ms: timings.margin_ms,
        election_max_ms: timings.election_max_ms,
    }
}
