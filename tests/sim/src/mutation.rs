//! Rules of the design, removed one at a time at the machines' seams: a simulator that does not
//! notice would prove nothing. No machine knows of this.

use leasehold_core::id::ProcessId;
use leasehold_core::ledger::command::Command;
use leasehold_core::ledger::{AllotmentState, Catalog, FrozenLease};
use leasehold_core::time::{Now, Timings};

use crate::event::ProcessIndex;
use crate::world::World;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// Rule 1: the holder takes no account of clock rates and keeps no margin.
    HolderTrustsItsClock,
    /// Rule 1: the holder counts from the answer to its beat instead of from its sending.
    HolderCountsFromAnswer,
    /// Rule 2: whoever believes to lead acknowledges beats at once.
    BeatsAcknowledgedFromMemory,
    /// Rule 3: leases are ended after half their time.
    LeaseEndedEarly,
    /// Rule 3: a freeze is no compare-and-set.
    FreezeWithoutCompare,
    /// Rule 4: frozen units thaw without waiting for the checkouts under them.
    ThawAtOnce,
    /// Rule 5: the engine counts from the answer instead of from its sending.
    EngineCountsFromAnswer,
    /// Rule 5: an answer that comes after the deadline revives the checkout.
    EngineResurrects,
    /// Rule 5, ADR 7: the desk lends units again after its own TTL.
    DeskHoldsForTtlOnly,
    /// Rule 6: a process claims that its predecessor is gone though it runs.
    PredecessorDeclaredGone,
    /// Rule 6: nobody waits for a lease that may still run.
    LapseAtOnce,
}

impl Mutation {
    pub const ALL: [Mutation; 11] = [
        Mutation::HolderTrustsItsClock,
        Mutation::HolderCountsFromAnswer,
        Mutation::BeatsAcknowledgedFromMemory,
        Mutation::LeaseEndedEarly,
        Mutation::FreezeWithoutCompare,
        Mutation::ThawAtOnce,
        Mutation::EngineCountsFromAnswer,
        Mutation::EngineResurrects,
        Mutation::DeskHoldsForTtlOnly,
        Mutation::PredecessorDeclaredGone,
        Mutation::LapseAtOnce,
    ];
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
    pub(crate) fn mutated_catalog(&self, process: ProcessIndex, mut catalog: Catalog) -> Catalog {
        catalog.version = self.catalog_number(catalog.version);
        let timings = catalog.timings;
        match self.mutation {
            Some(Mutation::HolderTrustsItsClock) => {
                let clock_drift_ppm = timings.clock_drift_ppm;
                catalog.timings = Timings {
                    // What lend_for_ms() takes off again.
                    lease_ms: unshrunk(timings.lease_ms, clock_drift_ppm) + timings.margin_ms + 2,
                    ..timings
                };
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
        let _ = process;
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
