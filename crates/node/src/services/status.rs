//! The cluster as this node knows it, in the operator's words.

use leasehold_consensus::{Consensus, Status};
use leasehold_core::desk::DeskStatus;
use leasehold_core::entitlement::{LicenseSet, SetKind};
use leasehold_core::id::NodeId;
use leasehold_core::ledger::{AllotmentState, Closed, Ledger, Node, PoolTotals, Replica};
use leasehold_core::time::{Moment, Timings};
use leasehold_proto::v1;

/// What the answer is made of.
pub(super) struct Sources<'a> {
    pub node: NodeId,
    pub now: Moment,
    pub raft: &'a Status,
    pub desk: &'a DeskStatus,
    /// The reports that the leader gathers; `None` elsewhere.
    pub reports: Option<&'a super::admin::Reports>,
}

pub(super) fn status(consensus: &Consensus, sources: &Sources<'_>) -> v1::StatusResponse {
    consensus.read(|replica| {
        let ledger = &replica.ledger;
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
            cluster_wide: sources.reports.is_some(),
            nodes: ledger
                .nodes()
                .map(|(id, node)| node_status(replica, id, node, sources))
                .collect(),
            pools: pools(ledger, sources),
        }
    })
}

fn node_status(
    replica: &Replica,
    id: NodeId,
    node: &Node,
    sources: &Sources<'_>,
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
    let lent = replica.ledger.view(id).held.iter().map(|held| held.units).sum();
    let is_own = id == sources.node;
    let reported = sources.reports.and_then(|reports| reports.get(&id)).map(|known| &known.report);
    let report = if is_own { Some(&sources.desk.report) } else { reported };
    v1::NodeStatus {
        node_id: id.0,
        name: node.name.clone(),
        site: node.site.to_string(),
        peer_address: address_of(sources.raft, id),
        role: role.into(),
        lease: lease.into(),
        epoch: node.lease.as_ref().map_or(0, |lease| lease.epoch.0),
        last_beat_ms_ago: beat.map(|(_, at)| sources.now.since(at)),
        units_lent: lent,
        checkouts: is_own.then_some(sources.desk.running as u64),
        units_frozen: frozen(&replica.ledger, id),
        units_in_use: report.map(|report| report.pools.values().map(|pool| pool.in_use).sum()),
    }
}

fn frozen(ledger: &Ledger, node: NodeId) -> u64 {
    let of_node = ledger.allotments().filter(|(_, allotment)| allotment.node == node);
    let frozen = of_node.filter(|(_, it)| matches!(it.state, AllotmentState::Frozen(_)));
    frozen.map(|(_, allotment)| allotment.units).sum()
}

fn address_of(raft: &Status, id: NodeId) -> String {
    let peer = raft.voters.get(&id).or_else(|| raft.learners.get(&id));
    peer.map(|peer| peer.address.clone()).unwrap_or_default()
}

fn pools(ledger: &Ledger, sources: &Sources<'_>) -> Vec<v1::PoolStatus> {
    let totals = ledger.totals();
    let pools = ledger.pools().iter().map(|(id, pool)| {
        let total = totals.get(id).copied().unwrap_or_default();
        let PoolTotals { entitled, reserve, live, frozen } = total;
        let own = &sources.desk.report;
        let reports = sources.reports.map(|reports| reports.values().map(|known| &known.report));
        let (in_use, waiting) = match reports {
            Some(reports) => reports.fold((0, 0), |(in_use, waiting), report| {
                let used = report.pools.get(id).map_or(0, |it| it.in_use);
                let queued = report.waiting.get(&pool.terms.feature).copied().unwrap_or(0);
                (in_use + used, waiting + queued)
            }),
            None => (
                own.pools.get(id).map_or(0, |it| it.in_use),
                own.waiting.get(&pool.terms.feature).copied().unwrap_or(0),
            ),
        };
        v1::PoolStatus {
            pool_id: id.0,
            set: pool.terms.set.to_string(),
            kind: wire_kind(pool.terms.kind).into(),
            feature: pool.terms.feature.to_string(),
            entitled,
            reserve,
            lent: live,
            frozen,
            in_use: in_use.min(live),
            free_at_nodes: live.saturating_sub(in_use),
            waiting,
            denied: sources.desk.counters.denied_by_feature(&pool.terms.feature),
            overrun_ms: sources.desk.counters.overrun_ms.get(id).copied().unwrap_or(0),
            withheld_reason: u32::try_from(i32::from(withheld(pool.terms.closed))).unwrap_or(0),
        }
    });
    pools.collect()
}

fn withheld(closed: Option<Closed>) -> v1::Reason {
    match closed {
        None => v1::Reason::Unspecified,
        Some(Closed::ContractEnded) => v1::Reason::ContractEnded,
        Some(Closed::NotStarted | Closed::NotEntitled | Closed::Standby) => v1::Reason::NotEntitled,
    }
}

pub(super) fn sets(ledger: &Ledger) -> Vec<v1::LicenseSet> {
    let Some(installed) = ledger.installed() else { return Vec::new() };
    installed.entitlement.sets.iter().map(wire_set).collect()
}

fn wire_set(set: &LicenseSet) -> v1::LicenseSet {
    let state = match set.kind {
        SetKind::Production => v1::SetState::Active,
        SetKind::Backup => v1::SetState::Standby,
    };
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
