//! What a run has shown, counted.

use std::collections::BTreeMap;
use std::time::Duration;

use leasehold_proof::{Bug, Results};
use leasehold_proto::v1;

use super::{Chaos, ENTITLED, Fault, Outcome};
use crate::http::{get, value_of};

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
        self.lost_without_promise += other.lost_without_promise;
        self.took += other.took;
        self.slowest_recovery = self.slowest_recovery.max(other.slowest_recovery);
    }

    /// The file that `command` writes with `engines` engines: of a run without a violation, so that
    /// no unit was over-issued in it and no call lost.
    #[must_use]
    pub fn results(&self, command: &str, engines: usize) -> Results {
        let volume = BTreeMap::from([
            ("faults".to_owned(), self.faults.values().sum()),
            ("calls".to_owned(), self.calls as u64),
            ("engines".to_owned(), engines as u64),
            ("units entitled".to_owned(), ENTITLED.iter().map(|(_, units)| units).sum()),
            ("slowest recovery, ms".to_owned(), millis(self.slowest_recovery)),
            ("calls lost without a promise".to_owned(), self.lost_without_promise as u64),
        ]);
        let bug = |(name, test, story): (&str, &str, &str)| Bug {
            name: name.to_owned(),
            test: test.to_owned(),
            story: story.to_owned(),
        };
        Results {
            volume,
            faults: self.counted_faults(),
            transitions: self.counted_transitions(),
            checks: CHECKS.map(str::to_owned).to_vec(),
            bugs: BUGS.map(bug).to_vec(),
            not_covered: NOT_COVERED.map(str::to_owned).to_vec(),
            ..Results::of("chaos", command, self.took)
        }
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
                let value = value_of(&page, metric).unwrap_or(0);
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

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A run ends at the first that fails, so a file is written only where all hold.
const CHECKS: [&str; 5] = [
    "units in valid use by all engines <= units entitled, at every moment, after every fault",
    "no running call loses its license while a majority lives or is back in time",
    "after every fault each member is ready and draws units from the leader",
    "a node whose files were damaged serves, or ends with an error that says what to do",
    "at the end every unit of every feature can be taken out within T + TTL + 2 s",
];
const NOT_COVERED: [&str; 4] = [
    "clocks that run too fast or too slow: all processes share the machine's",
    "a suspended machine, and a hypervisor that freezes one",
    "a device that keeps nothing of what it has confirmed: the kernel here has no device mapper",
    "memory that changes by itself",
];
/// Name, test, story.
const BUGS: [(&str, &str, &str); 3] = [
    (
        "pause taken for a broken disk",
        "crates/consensus/src/watchdog.rs::a_pause_of_the_process_is_no_stall_of_the_disk",
        "a node that was stopped for 12 s in the middle of a sync ended itself when it went on",
    ),
    (
        "last acknowledged writes lost unnoticed",
        "crates/storage/src/log/tests.rs::\
         a_log_that_lost_its_very_last_acknowledged_write_is_refused",
        "a node whose log was cut came back without entries of its last second, and the leader, \
         which had counted them, ended with a panic",
    ),
    (
        "leader that hears nobody is not replaced",
        "tests/cluster/tests/real/partitions.rs::\
         a_leader_that_is_not_heard_or_hears_nobody_is_replaced_and_a_follower_disturbs_nobody",
        "a leader that was heard and heard nobody kept the others from electing one for 12 s, and \
         running calls were lost",
    ),
];
