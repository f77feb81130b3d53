//! The ledger as one process holds it: with notes of when that process saw what, and whether other
//! replicas agree with it.
//!
//! Whoever leads may end a lease T(1+ρ) after its *own* note of the newest beat, so every process
//! takes notes, followers too, and an election restarts no timer. Notes are never stored and never
//! sent: a moment means something on one clock only. After a restart or an installed snapshot
//! everything counts as seen now, which can only be too late.

use std::collections::BTreeMap;

use super::command::{Command, Outcome};
use super::{Agreement, AllotmentState, FrozenLease, Ledger};
use crate::id::{AllotmentId, Epoch, NodeId};
use crate::time::Moment;

#[derive(Clone, Debug, Default)]
pub struct Replica {
    pub ledger: Ledger,
    pub notes: Notes,
    pub agreement: Agreement,
}

/// When this process applied beats and freezes, on its own clock.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    beats: BTreeMap<NodeId, BeatNote>,
    frozen: BTreeMap<AllotmentId, (FrozenLease, Moment)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct BeatNote {
    epoch: Epoch,
    seq: u64,
    at: Moment,
}

impl Replica {
    /// Applies the commands of one log entry in order.
    pub fn apply(&mut self, now: Moment, commands: &[Command]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(commands.len());
        for command in commands {
            let outcome = self.ledger.apply(command);
            self.agreement.note(self.ledger.checkpoint());
            if let (Command::Beat { beats, .. }, Outcome::Beaten(renewed)) = (command, &outcome) {
                self.agreement.compare(&self.ledger, beats, renewed);
            }
            self.notes.take(&self.ledger, now);
            outcomes.push(outcome);
        }
        outcomes
    }

    /// Replaces the ledger, after a restart or by a snapshot: everything counts as seen now.
    pub fn install(&mut self, ledger: Ledger, now: Moment) {
        self.ledger = ledger;
        self.agreement.restart(self.ledger.checkpoint());
        self.notes = Notes::default();
        self.notes.take(&self.ledger, now);
    }
}

impl Notes {
    /// When this process applied the newest beat of `node`'s epoch, and that beat's number.
    #[must_use]
    pub fn beat(&self, node: NodeId, epoch: Epoch) -> Option<(u64, Moment)> {
        let note = self.beats.get(&node).filter(|note| note.epoch == epoch)?;
        Some((note.seq, note.at))
    }

    /// From when the wait before a thaw counts; of an allotment whose lease may still run, when
    /// that has ended.
    #[must_use]
    pub fn frozen(&self, allotment: AllotmentId) -> Option<Moment> {
        self.frozen.get(&allotment).map(|(_, from)| *from)
    }

    fn take(&mut self, ledger: &Ledger, now: Moment) {
        // The freezes first: they need the note of the beat that the next step may replace.
        self.take_freezes(ledger, now);
        self.take_beats(ledger, now);
    }

    fn take_freezes(&mut self, ledger: &Ledger, now: Moment) {
        let lease_ms = ledger.timings().map_or(0, |timings| timings.end_lease_after_ms());
        self.frozen.retain(|id, _| ledger.allotment(*id).is_some());
        for (id, allotment) in ledger.allotments() {
            let AllotmentState::Frozen(lease_state) = allotment.state else { continue };
            if self.frozen.get(id).is_some_and(|(noted, _)| *noted == lease_state) {
                continue;
            }
            let from = match lease_state {
                FrozenLease::Ended => now,
                FrozenLease::MayRun => {
                    let noted = self.beat(allotment.node, allotment.epoch);
                    let beaten_at = noted.map_or(now, |(_, at)| at);
                    now.max(beaten_at + lease_ms)
                }
            };
            self.frozen.insert(*id, (lease_state, from));
        }
    }

    fn take_beats(&mut self, ledger: &Ledger, now: Moment) {
        for (node, lease) in ledger.leases() {
            let (epoch, seq) = (lease.epoch, lease.seq);
            let is_noted =
                self.beats.get(&node).is_some_and(|note| note.epoch == epoch && note.seq == seq);
            if !is_noted {
                self.beats.insert(node, BeatNote { epoch, seq, at: now });
            }
        }
    }
}
