//! Rules of the design, removed one at a time at the machines' seams: a simulator that does not
//! notice would prove nothing. No machine knows of this. Those that forge what the machines say to
//! each other are in `forgery`.

use leasehold_core::id::ProcessId;
use leasehold_core::ledger::command::Command;
use leasehold_core::ledger::{AllotmentState, Catalog, FrozenLease};
use leasehold_core::time::{Now, Timings};

use crate::event::ProcessIndex;
use crate::world::World;

macro_rules! mutations {
    ($($(#[doc = $story:literal])+ $mutation:ident = ($name:literal, $seed:literal),)+) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mutation {
            $($(#[doc = $story])+ $mutation,)+
        }

        impl Mutation {
            pub const ALL: &[Mutation] = &[$(Mutation::$mutation),+];

            /// The rule that is missing, in a few words.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Mutation::$mutation => $name,)+
                }
            }

            /// What is wrong, in a sentence.
            #[must_use]
            pub fn story(self) -> &'static str {
                match self {
                    $(Mutation::$mutation => concat!($($story),+).trim_ascii(),)+
                }
            }

            /// A seed that notices: it spares the tests the search of `leasehold-sim --mutations`.
            /// What seeds stand for changes with the simulator and with `core`.
            #[must_use]
            pub fn known_seed(self) -> u64 {
                match self {
                    $(Mutation::$mutation => $seed,)+
                }
            }
        }
    };
}

mutations! {
    /// Rule 1: the holder takes no account of clock rates.
    HolderIgnoresDrift = ("no ρ at the node", 19),
    /// Rule 1: the holder keeps no margin.
    HolderKeepsNoMargin = ("no margin", 3),
    /// Rule 1: the holder counts from the answer to its beat instead of from its sending.
    HolderCountsFromAnswer = ("count from receipt instead of send, at the node", 64),
    /// Rule 1: the holder lends and renews on past the end of its lease.
    HolderLendsOn = ("lend and renew past the lease", 2),
    /// Rule 2: whoever believes to lead acknowledges beats at once.
    BeatsAcknowledgedFromMemory = ("acknowledge a beat from memory", 0),
    /// Rule 3: leases are ended after half their time.
    LeaseEndedEarly = ("end a lease after half its time", 2),
    /// Rule 3: a freeze is no compare-and-set.
    FreezeWithoutCompare = ("freeze without compare-and-set", 133),
    /// Rule 3: a leader counts from its election and not from its notes of beats.
    TimersFromElection = ("timers from the leader's election instead of its own notes", 0),
    /// Rule 4: frozen units thaw without waiting for the checkouts under them.
    ThawAtOnce = ("thaw without waiting for TTL", 0),
    /// Rule 5: the engine counts from the answer instead of from its sending.
    EngineCountsFromAnswer = ("count from receipt instead of send, at the engine", 39),
    /// Rule 5: an answer that comes after the deadline revives the checkout.
    EngineResurrects = ("resurrection of a dead receipt", 67),
    /// Rule 5, ADR 7: the desk lends units again after its own TTL.
    DeskHoldsForTtlOnly = ("no ρ in what a desk holds for an engine", 3),
    /// Rule 5: the answer to a repeated request counts a full lifetime again.
    RetryCountsAnew = ("a retry that counts a full TTL again", 670),
    /// Rule 6: a process claims that its predecessor is gone though it runs.
    PredecessorDeclaredGone = ("a running predecessor declared gone", 1),
    /// Rule 6: nobody waits for a lease that may still run.
    LapseAtOnce = ("no wait for a lease that may still run", 1),
    /// Rule 6: a process that starts anew goes on in the epoch of its predecessor.
    SameEpochAfterRestart = ("same epoch after restart", 1),
    /// Rule 7: a receipt that is shown again moves units again.
    ReclaimedTwice = ("reclaim the same receipt twice", 97),
    /// Rule 7: units that moved with a checkout are free for any engine.
    ReclaimedUnitsAreFree = ("a reclaimed unit that goes to another engine", 4),
    /// Rule 8: a desk goes on lending from a pool that was cut.
    CutIgnored = ("a shrunk entitlement ignored", 40),
    /// §3a: beats of a node that hears no answers are committed.
    DeafBeatsCommitted = ("beats of a deaf node committed", 270),
    /// Conservation: a desk takes more than the ledger allots.
    DrawnBeyondReserve = ("draw beyond the reserve", 0),
    /// A desk that is asked for idle units gives back those in use as well.
    UsedUnitsReturned = ("a recall that gives back units in use", 1),
    /// A desk that gives up its lease gives back the units in use as well.
    UsedUnitsClosed = ("a stopping node that gives back units in use", 0),
    /// Replication: an old snapshot is taken for the newest state.
    StaleSnapshotRestored = ("an old snapshot installed as the newest", 11),
}

impl Mutation {
    /// Whether a violation shows what is wrong, and is no mere consequence of how it was made so.
    pub(crate) fn is_shown_by(self, violation: &str) -> bool {
        let signs: &[&str] = match self {
            Mutation::HolderIgnoresDrift
            | Mutation::HolderKeepsNoMargin
            | Mutation::HolderCountsFromAnswer
            | Mutation::HolderLendsOn
            | Mutation::BeatsAcknowledgedFromMemory
            | Mutation::LeaseEndedEarly
            | Mutation::FreezeWithoutCompare
            | Mutation::TimersFromElection
            | Mutation::PredecessorDeclaredGone
            | Mutation::LapseAtOnce => &["though its lease"],
            Mutation::ThawAtOnce => &["thawed that"],
            Mutation::EngineCountsFromAnswer
            | Mutation::EngineResurrects
            | Mutation::DeskHoldsForTtlOnly
            | Mutation::RetryCountsAnew
            | Mutation::SameEpochAfterRestart
            | Mutation::ReclaimedUnitsAreFree
            | Mutation::UsedUnitsClosed => &["engines may use"],
            Mutation::ReclaimedTwice => &["double use"],
            Mutation::CutIgnored => &["which ended or was cut"],
            Mutation::DeafBeatsCommitted => &["is deaf"],
            Mutation::DrawnBeyondReserve | Mutation::UsedUnitsReturned => &["has lent"],
            Mutation::StaleSnapshotRestored => &["applied entry", "differs from its peers'"],
        };
        signs.iter().chain(&["over-issue"]).any(|sign| violation.contains(sign))
    }
}

/// A mutated desk is given further catalogs between those of the ledger.
const CATALOG_NUMBERS: u64 = 1_000_000;
/// A token that no steward uses.
const FORGED_TOKEN: u64 = u64::MAX;

impl World {
    pub(crate) fn catalog_number(&self, version: u64) -> u64 {
        if self.mutation.is_some() { version * CATALOG_NUMBERS } else { version }
    }

    /// The catalog as this run's desks get to see it.
    pub(crate) fn mutated_catalog(&self, mut catalog: Catalog) -> Catalog {
        catalog.version = self.catalog_number(catalog.version);
        let timings = catalog.timings;
        match self.mutation {
            Some(Mutation::HolderIgnoresDrift) => {
                let clock_drift_ppm = timings.clock_drift_ppm;
                // What lend_for_ms() takes off again.
                let lease_ms = unshrunk(timings.lease_ms, clock_drift_ppm);
                catalog.timings = Timings { lease_ms, ..timings };
            }
            Some(Mutation::HolderKeepsNoMargin) => {
                let unkept_ms = unshrunk(timings.margin_ms, timings.clock_drift_ppm);
                catalog.timings = Timings { lease_ms: timings.lease_ms + unkept_ms, ..timings };
            }
            Some(Mutation::HolderLendsOn) => {
                catalog.timings = Timings { lease_ms: 2 * timings.lease_ms, ..timings };
            }
            Some(Mutation::DeskHoldsForTtlOnly) => {
                catalog.timings = Timings {
                    clock_drift_ppm: 0,
                    lease_ms: timings.shrink(timings.lease_ms),
                    ..timings
                };
            }
            Some(_) | None => {}
        }
        catalog
    }

    /// The lease as the desk sees it grows by what the answer took.
    pub(crate) fn mutate_before_beat_answer(&mut self, process: ProcessIndex, sent_at: Now) {
        if self.mutation != Some(Mutation::HolderCountsFromAnswer) {
            return;
        }
        let now = self.clock_of(process);
        let took_ms = now.steady.since(sent_at.steady);
        let ledger = &self.processes[process].replica.ledger;
        let mut catalog = ledger.catalog();
        self.forged_catalogs += 1;
        catalog.version = self.catalog_number(catalog.version) + self.forged_catalogs;
        let drift_ppm = catalog.timings.clock_drift_ppm;
        catalog.timings.lease_ms += unshrunk(took_ms, drift_ppm);
        self.processes[process].desk.on_catalog(now, catalog);
    }

    pub(crate) fn mutated_gone(
        &self,
        process: ProcessIndex,
        gone: Option<ProcessId>,
    ) -> Option<ProcessId> {
        if self.mutation != Some(Mutation::PredecessorDeclaredGone) {
            return gone;
        }
        let Some(lease) = self.raft.reference.node(self.processes[process].node) else {
            return gone;
        };
        lease.lease.as_ref().map(|lease| lease.process)
    }

    pub(crate) fn mutate_after_steward_tick(&mut self, process: ProcessIndex) {
        let commands = match self.mutation {
            Some(Mutation::LeaseEndedEarly) => self.early_freezes(process),
            Some(Mutation::TimersFromElection) => self.freezes_since_election(process),
            Some(Mutation::ThawAtOnce) => match self.frozen(process, FrozenLease::Ended) {
                allotments if allotments.is_empty() => return,
                allotments => vec![Command::Thaw { allotments }],
            },
            Some(Mutation::LapseAtOnce) => match self.frozen(process, FrozenLease::MayRun) {
                allotments if allotments.is_empty() => return,
                allotments => vec![Command::Lapse { allotments }],
            },
            Some(_) | None => return,
        };
        if commands.is_empty() {
            return;
        }
        if let Some(lead) = &self.processes[process].lead {
            let term = lead.term;
            self.propose(process, term, FORGED_TOKEN, commands);
        }
    }

    fn early_freezes(&self, process: ProcessIndex) -> Vec<Command> {
        let now = self.clock_of(process).steady;
        let replica = &self.processes[process].replica;
        let lease_ms = self.plan.timings.lease_ms;
        let live = replica.ledger.leases().filter(|(_, lease)| lease.live);
        live.filter_map(|(node, lease)| {
            let (seq, at) = replica.notes.beat(node, lease.epoch)?;
            let freeze = Command::Freeze { node, epoch: lease.epoch, seq };
            (at + lease_ms / 2 <= now).then_some(freeze)
        })
        .collect()
    }

    fn freezes_since_election(&self, process: ProcessIndex) -> Vec<Command> {
        let now = self.clock_of(process).steady;
        let it = &self.processes[process];
        let wait_ms = self.plan.timings.end_lease_after_ms();
        if it.lead.as_ref().is_none_or(|lead| lead.began + wait_ms > now) {
            return Vec::new();
        }
        let live = it.replica.ledger.leases().filter(|(_, lease)| lease.live);
        live.map(|(node, it)| Command::Freeze { node, epoch: it.epoch, seq: it.seq }).collect()
    }

    fn frozen(
        &self,
        process: ProcessIndex,
        state: FrozenLease,
    ) -> Vec<leasehold_core::id::AllotmentId> {
        let ledger = &self.processes[process].replica.ledger;
        let frozen =
            ledger.allotments().filter(|(_, it)| it.state == AllotmentState::Frozen(state));
        frozen.map(|(id, _)| *id).collect()
    }
}

fn unshrunk(ms: u64, drift_ppm: u64) -> u64 {
    ms * 1_000_000 / (1_000_000 - drift_ppm)
}
