//! Messages: delayed, lost, sent twice, overtaken, cut off one way or both.

use std::collections::BTreeMap;

use crate::clock::{MS, SECOND, Time};
use crate::event::{
    Asked, CallId, EngineIndex, EngineReply, Event, FromEngine, FromPeer, MachineIndex,
    ProcessIndex,
};
use crate::world::World;

/// Where messages come from and go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Machine(MachineIndex),
    Engine(EngineIndex),
}

/// What became of a message; of several the worst is noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fate {
    Delivered,
    CutOff,
    Late,
    Lost,
}

/// From where to where nothing gets through, and until when.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cuts(BTreeMap<(Place, Place), Time>);

impl Cuts {
    pub(crate) fn cut(&mut self, from: Place, to: Place, until: Time) {
        let cut_until = self.0.entry((from, to)).or_default();
        *cut_until = (*cut_until).max(until);
    }

    pub(crate) fn is_cut(&self, from: Place, to: Place, now: Time) -> bool {
        from != to && self.0.get(&(from, to)).is_some_and(|until| *until > now)
    }

    /// When the last cut between two places ended, or will end.
    pub(crate) fn cut_until(&self, one: Place, other: Place) -> Time {
        let until = |ends| self.0.get(&ends).copied().unwrap_or(0);
        until((one, other)).max(until((other, one)))
    }

    pub(crate) fn heal(&mut self, now: Time) {
        for until in self.0.values_mut() {
            *until = (*until).min(now);
        }
    }
}

impl World {
    pub(crate) fn send_to_process(
        &mut self,
        from: ProcessIndex,
        to: ProcessIndex,
        message: FromPeer,
    ) {
        let (from, to_machine) = (self.processes[from].machine, self.processes[to].machine);
        let event = Event::AtProcess { process: to, message };
        if from == to_machine {
            // Within a process nothing is lost, but it is not instantaneous either.
            let at = self.now + self.dice.below(MS);
            self.queue.push(at, event);
            return;
        }
        let delay = self.plan.network.peer_delay;
        let fate = self.send(Place::Machine(from), Place::Machine(to_machine), delay, &event);
        if fate > Fate::CutOff {
            for machine in [from, to_machine] {
                self.machines[machine].health.mishap_at = Some(self.now);
            }
        }
    }

    pub(crate) fn send_to_machine(
        &mut self,
        from: EngineIndex,
        to: MachineIndex,
        call: CallId,
        asked: Asked,
    ) {
        let message = FromEngine { call, asked };
        let event = Event::AtMachine { machine: to, from, message };
        let delay = self.plan.network.engine_delay;
        let fate = self.send(Place::Engine(from), Place::Machine(to), delay, &event);
        self.note_fate(from, call, fate);
    }

    pub(crate) fn send_to_engine(
        &mut self,
        from: MachineIndex,
        to: EngineIndex,
        call: CallId,
        reply: EngineReply,
    ) {
        let event = Event::AtEngine { engine: to, call, reply };
        let delay = self.plan.network.engine_delay;
        let fate = self.send(Place::Machine(from), Place::Engine(to), delay, &event);
        self.note_fate(to, call, fate);
    }

    fn note_fate(&mut self, engine: EngineIndex, call: CallId, fate: Fate) {
        if fate > Fate::CutOff {
            self.engines[engine].mishap_at = Some(self.now);
        }
        if let Some(call) = self.engines[engine].calls.get_mut(&call) {
            call.fate = call.fate.max(fate);
        }
    }

    fn send(&mut self, from: Place, to: Place, delay: (Time, Time), event: &Event) -> Fate {
        if self.cuts.is_cut(from, to, self.now) {
            self.tally.count("fault message cut off");
            return Fate::CutOff;
        }
        let mut fate = Fate::Delivered;
        let copies = if self.is_healed {
            1
        } else if self.dice.chance(self.plan.network.loss_per_mille) {
            self.tally.count("fault message lost");
            fate = Fate::Lost;
            0
        } else if self.dice.chance(self.plan.network.duplicate_per_mille) {
            self.tally.count("fault message sent twice");
            2
        } else {
            1
        };
        for _ in 0..copies {
            let mut at = self.now + self.dice.between(delay.0, delay.1);
            if !self.is_healed && self.dice.chance(self.plan.network.late_per_mille) {
                self.tally.count("fault message late by seconds");
                fate = Fate::Late;
                at += self.dice.below(12 * SECOND);
                // What was sent before the healing is a fault, and ends with it.
                at = at.min(self.plan.heal_at.max(self.now + delay.1));
            }
            let newest = self.newest.entry((from, to)).or_default();
            if at < *newest {
                self.tally.count("fault message overtook another");
            }
            *newest = at.max(*newest);
            self.queue.push(at, event.clone());
        }
        fate
    }
}
