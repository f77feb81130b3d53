//! What a run has shown, counted.

use std::collections::BTreeMap;

use leasehold_proto::v1;
use serde::Serialize;

use super::{Chaos, Fault, Outcome};
use crate::http::get;

/// Counters of desks that tell of transitions, by what they are called in the results.
const COUNTERS: [(&str, &str); 5] = [
    ("leasehold_checkouts_reclaimed_total", "checkout reclaimed from an ended lease"),
    ("leasehold_checkouts_covered_total", "checkout covered by free units"),
    ("leasehold_checkouts_handed_over_total", "checkout handed over between nodes"),
    ("leasehold_checkouts_expired_total", "checkout expired unrenewed"),
    ("leasehold_server_leader_changes_seen_total", "leader change seen by a node"),
];
/// Kinds of the replicated event log that faults lead to.
const EVENTS: [(&str, &str); 7] = [
    ("lease.opened", "lease opened"),
    ("lease.ended", "lease ended for want of beats"),
    ("lease.closed", "lease closed by its holder"),
    ("units.thawed", "units thawed"),
    ("node.admitted", "node admitted"),
    ("node.removed", "node removed"),
    ("node.contested", "node id contested"),
];

/// A results file, as `docs/proof/README.md` describes it.
#[derive(Debug, Serialize)]
pub struct Results {
    pub layer: &'static str,
    pub command: String,
    pub revision: String,
    pub date: String,
    pub machine: String,
    pub seconds: u64,
    pub volume: BTreeMap<String, u64>,
    pub faults: BTreeMap<String, u64>,
    pub transitions: BTreeMap<String, u64>,
    pub checks: Vec<&'static str>,
    pub violations: u64,
    pub over_issued_units: u64,
    pub lost_calls: u64,
    pub not_covered: Vec<&'static str>,
}

impl Outcome {
    /// Adds what another run has shown.
    pub fn add(&mut self, other: Self) {
        for (fault, times) in other.faults {
            *self.faults.entry(fault).or_default() += times;
        }
        for (name, times) in other.transitions {
            *self.transitions.entry(name).or_default() += times;
        }
        self.calls += other.calls;
        self.lost += other.lost;
        self.lost_without_promise += other.lost_without_promise;
        self.over_issued_units = self.over_issued_units.max(other.over_issued_units);
        self.took += other.took;
        self.slowest_recovery = self.slowest_recovery.max(other.slowest_recovery);
    }

    /// Every fault with its count, those that were not made too.
    #[must_use]
    pub fn counted_faults(&self) -> BTreeMap<String, u64> {
        let count = |fault: Fault| self.faults.get(&fault).copied().unwrap_or(0);
        Fault::ALL.into_iter().map(|fault| (fault.to_string(), count(fault))).collect()
    }

    /// Every transition with its count, those that did not occur too.
    #[must_use]
    pub fn counted_transitions(&self) -> BTreeMap<String, u64> {
        let names = COUNTERS.iter().chain(&EVENTS).map(|(_, name)| *name);
        let count = |name: &str| self.transitions.get(name).copied().unwrap_or(0);
        names.map(|name| (name.to_owned(), count(name))).collect()
    }
}

impl Chaos {
    /// Adds up the members' counters, which begin anew with each process.
    pub(super) async fn gather(&mut self) {
        for id in self.members.clone() {
            let http = self.cluster.layout(id).ports.http;
            let Some((200, page)) = get(http, "/metrics").await else { continue };
            for (metric, name) in COUNTERS {
                let prefix = format!("{metric} ");
                let value = page.lines().find_map(|line| line.strip_prefix(&prefix));
                let value: u64 = value.and_then(|value| value.parse().ok()).unwrap_or(0);
                let before = self.counters.insert((id, metric), value).unwrap_or(0);
                let more = if value >= before { value - before } else { value };
                *self.outcome.transitions.entry(name.to_owned()).or_default() += more;
            }
        }
    }

    /// Counts the events that the ledger still has and that were not counted yet.
    pub(super) async fn note_events(&mut self) {
        let via = *self.members.first().expect("a cluster has members");
        let request = v1::EventsRequest { since: self.events_until, follow: false };
        let asked = self.cluster.admin(via).await.events(request).await;
        let mut events = asked.expect("the event log").into_inner();
        while let Some(answer) = events.message().await.expect("one more event") {
            let Some(event) = answer.event else { continue };
            self.events_until = self.events_until.max(event.number);
            let known = EVENTS.iter().find(|(kind, _)| *kind == event.kind);
            if let Some((_, name)) = known {
                *self.outcome.transitions.entry((*name).to_owned()).or_default() += 1;
            }
        }
    }
}
