//! Faults as they happen.

use crate::clock::{MS, SECOND, Time};
use crate::engine::Stage;
use crate::event::{Event, MachineIndex, ProcessIndex};
use crate::fault::{Fault, Victim, halt_ms};
use crate::network::Place;
use crate::plan::Class;
use crate::world::World;

/// How long a draining node is given before it stops.
const DRAIN: Time = SECOND;
/// One in so many effects is put off by a pause.
const PAUSES_MIDWAY: u64 = 4_000;

impl World {
    pub(crate) fn on_fault(&mut self, fault: &Fault) {
        if self.is_healed {
            return;
        }
        self.trace(|| format!("fault {fault:?}"));
        match *fault {
            Fault::Crash { victim, down, is_proven } => self.crash_victim(victim, down, is_proven),
            Fault::Drain { victim, down } => self.drain(victim, down),
            Fault::Pause { victim, lasts } => self.pause(victim, lasts, false),
            Fault::Suspend { victim, lasts } => self.pause(victim, lasts, true),
            Fault::WallStep { victim, by_ms } => self.step_wall(victim, by_ms),
            Fault::Isolate { victim, lasts, with_engines, is_one_way } => {
                self.isolate(victim, lasts, with_engines, is_one_way);
            }
            Fault::CutSite { victim, lasts } => self.cut_site(victim, lasts),
            Fault::CutEngines { victim, lasts } => {
                if let Some(machine) = self.resolve(victim) {
                    self.tally.count("fault partition, node from engines");
                    self.cut_engines(machine, self.now + lasts);
                }
            }
            Fault::CutEngine { engine, machine, lasts, is_one_way } => {
                let way = if is_one_way { ", one way" } else { "" };
                self.tally.count(&format!("fault partition, engine from node{way}"));
                let (engine, machine) = (Place::Engine(engine), Place::Machine(machine));
                self.cuts.cut(machine, engine, self.now + lasts);
                if !is_one_way {
                    self.cuts.cut(engine, machine, self.now + lasts);
                }
            }
            Fault::LeaderChange => {
                self.tally.count("fault leadership moved");
                self.become_leaderless();
            }
            Fault::NoLeader { lasts } => {
                self.tally.count("fault nobody elected");
                self.raft.no_leader_until = self.now + lasts;
                self.become_leaderless();
            }
            Fault::Twin { machine, lasts, is_cut_off } => self.twin(machine, lasts, is_cut_off),
            Fault::Members(change) => self.change_members(change),
            Fault::Split { ones, lasts } => self.split(ones, lasts),
            Fault::Stutter { victim, times } => self.stutter(victim, times),
            Fault::EngineCrash { engine } => self.crash_engine(engine),
            Fault::SlowCommits { lasts } => {
                self.tally.count("fault commits late by seconds");
                self.raft.stalled_until = self.now + lasts;
            }
            Fault::SlowApply { victim, lasts } => {
                if let Some(machine) = self.resolve(victim) {
                    self.tally.count("fault node applies the log late");
                    self.machines[machine].applies_at = self.now + lasts;
                }
            }
            Fault::Entitle => self.entitle(),
        }
    }

    pub(crate) fn resolve(&self, victim: Victim) -> Option<MachineIndex> {
        match victim {
            Victim::Machine(machine) => {
                // The machine that now has the node id of the one that was drawn.
                let node = self.machines[machine].node;
                self.machines.iter().rposition(|it| it.node == node)
            }
            Victim::Leader => self.raft.leader.map(|leader| self.processes[leader].machine),
        }
    }

    fn crash_victim(&mut self, victim: Victim, down: Time, is_proven: bool) {
        let Some(machine) = self.resolve(victim) else { return };
        if self.machines[machine].process.is_none() {
            return;
        }
        let leads = self.raft.leader.is_some_and(|it| self.processes[it].machine == machine);
        self.tally.count(if leads { "fault leader killed" } else { "fault node killed" });
        if !is_proven {
            self.tally.count("fault node back without proof that its predecessor is gone");
            self.machines[machine].last_process = None;
        }
        self.crash(machine);
        self.queue.push(self.now + down, Event::Restart { machine });
    }

    pub(crate) fn crash(&mut self, machine: MachineIndex) {
        let Some(process) = self.machines[machine].process.take() else { return };
        self.trace(|| format!("process {process} on machine {machine} dies"));
        self.count_desk(process);
        let dead = &mut self.processes[process];
        dead.is_running = false;
        dead.lead = None;
        dead.elected = None;
        // Sometimes a snapshot is all there is, and the log after it is read again.
        let ledger = std::mem::take(&mut dead.replica.ledger);
        let applied = dead.applied;
        if self.machines[machine].disk.0 == 0 || !self.dice.chance(200) {
            self.machines[machine].disk = (applied, ledger);
        }
    }

    pub(crate) fn on_restart(&mut self, machine: MachineIndex) {
        let at = &self.machines[machine];
        if at.process.is_some() || at.is_retired || (at.is_removed && self.is_healed) {
            return;
        }
        let gone = at.last_process;
        self.tally.count("process started again");
        self.start_process(machine, gone);
    }

    fn drain(&mut self, victim: Victim, down: Time) {
        let Some(machine) = self.resolve(victim) else { return };
        let Some(process) = self.machines[machine].process else { return };
        if self.processes[process].paused_until > self.now {
            return;
        }
        self.tally.count("fault node drained and restarted");
        let now = self.clock_of(process);
        self.processes[process].desk.drain(now);
        self.processes[process].is_draining = true;
        self.settle(process);
        self.queue.push(self.now + DRAIN, Event::Stop { process, down });
    }

    /// A drained process gives up its lease and stops.
    pub(crate) fn stop(&mut self, process: ProcessIndex, down: Time) {
        let machine = self.processes[process].machine;
        let now = self.clock_of(process);
        let close = self.processes[process].desk.retire(now).map(|it| self.mutated_close(it));
        self.settle(process);
        let leader = self.raft.leader.map(|leader| self.processes[leader].machine);
        if let (Some(close), Some(leader)) = (close, leader)
            && self.is_connected(machine, leader)
        {
            self.append(vec![close], None);
        }
        self.crash(machine);
        self.queue.push(self.now + down, Event::Restart { machine });
    }

    /// Not back while the steady clock stands still: outside of what is assumed, as only the wall
    /// clock tells of that.
    fn step_wall(&mut self, victim: Victim, by_ms: i64) {
        let Some(machine) = self.resolve(victim) else { return };
        let is_back = by_ms < 0;
        let unseen = &mut self.machines[machine].unseen;
        if is_back && unseen.stood_still {
            return;
        }
        unseen.was_set_back |= is_back;
        let way = if is_back { "back" } else { "forward" };
        self.tally.count(&format!("fault wall clock stepped {way}"));
        self.machines[machine].clock.step_wall(by_ms);
        self.disturb(machine, "its wall clock was set");
    }

    fn pause(&mut self, victim: Victim, lasts: Time, is_suspended: bool) {
        let Some(machine) = self.resolve(victim) else { return };
        let Some(process) = self.machines[machine].process else { return };
        let is_masked = is_suspended && self.machines[machine].unseen.was_set_back;
        if self.processes[process].paused_until > self.now || is_masked {
            return;
        }
        self.processes[process].paused_until = self.now + lasts;
        self.queue.push(self.now + lasts, Event::Resume { process });
        if is_suspended {
            self.tally.count("fault machine frozen with its steady clock");
            self.machines[machine].clock.freeze(self.now, lasts);
            self.machines[machine].unseen.stood_still = true;
        } else {
            self.tally.count("fault node paused");
        }
    }

    /// A pause between a decision and what follows from it.
    pub(crate) fn pause_midway(&mut self, process: ProcessIndex) {
        let is_calm = self.plan.class == Class::Single || self.is_healed;
        if is_calm || self.is_paused(process) || self.dice.below(PAUSES_MIDWAY) > 0 {
            return;
        }
        let lasts = self.dice.between(MS, 2 * self.plan.timings.lease_ms * MS);
        self.tally.count("fault node paused in the middle of a step");
        self.trace(|| format!("process {process} is paused in the middle of a step"));
        self.processes[process].paused_until = self.now + lasts;
        self.queue.push(self.now + lasts, Event::Resume { process });
        self.look_at_health();
    }

    pub(crate) fn resume(&mut self, process: ProcessIndex) {
        let resumed = &mut self.processes[process];
        if resumed.paused_until > self.now {
            return;
        }
        if resumed.is_running {
            for effect in std::mem::take(&mut resumed.unfinished) {
                self.perform(process, effect);
            }
            self.settle(process);
        }
        let resumed = &mut self.processes[process];
        // Which of them is looked at first is not said.
        let mut backlog = std::mem::take(&mut resumed.backlog);
        while !backlog.is_empty() {
            let next = self.dice.index(backlog.len().min(4));
            let event = backlog.remove(next);
            self.queue.push(self.now, event);
        }
    }

    fn isolate(&mut self, victim: Victim, lasts: Time, with_engines: bool, is_one_way: bool) {
        let Some(machine) = self.resolve(victim) else { return };
        let until = self.now + lasts;
        let is_outward = self.dice.chance(500);
        self.tally.count(match (is_one_way, is_outward) {
            (false, _) => "fault partition, both ways",
            (true, true) => "fault partition, one way, node not heard",
            (true, false) => "fault partition, one way, node deaf",
        });
        for other in (0..self.machines.len()).filter(|other| *other != machine) {
            let (one, other) = (Place::Machine(machine), Place::Machine(other));
            if !is_one_way || is_outward {
                self.cuts.cut(one, other, until);
            }
            if !is_one_way || !is_outward {
                self.cuts.cut(other, one, until);
            }
        }
        if with_engines {
            self.cut_engines(machine, until);
        }
    }

    fn cut_site(&mut self, victim: Victim, lasts: Time) {
        let Some(machine) = self.resolve(victim) else { return };
        self.tally.count("fault partition, site with its engines");
        self.cut_around(machine, self.now + lasts);
    }

    /// The engines that use this machine, and some others, reach it and no other; the rest reach
    /// any other.
    fn cut_around(&mut self, machine: MachineIndex, until: Time) {
        let here = Place::Machine(machine);
        let others = (0..self.machines.len()).filter(|other| *other != machine);
        let others: Vec<Place> = others.map(Place::Machine).collect();
        for other in &others {
            self.cut_both_ways(here, *other, until);
        }
        for engine in 0..self.engines.len() {
            let is_inside = match &self.engines[engine].stage {
                Stage::Held(held) => self.machine_for(engine, held.node) == machine,
                Stage::Idle { .. } | Stage::Asking(_) => engine % 2 == 0,
            };
            let engine = Place::Engine(engine);
            if is_inside {
                others.iter().for_each(|other| self.cut_both_ways(engine, *other, until));
            } else {
                self.cut_both_ways(engine, here, until);
            }
        }
    }

    fn cut_both_ways(&mut self, one: Place, other: Place, until: Time) {
        self.cuts.cut(one, other, until);
        self.cuts.cut(other, one, until);
    }

    fn split(&mut self, ones: u64, lasts: Time) {
        let is_one = |machine: &usize| ones >> machine & 1 == 1;
        let (ones, others): (Vec<usize>, Vec<usize>) =
            (0..self.machines.len()).partition(|machine| is_one(machine));
        if ones.is_empty() || others.is_empty() {
            return;
        }
        self.tally.count("fault partition, cluster in two");
        for one in &ones {
            for other in &others {
                let until = self.now + lasts;
                self.cut_both_ways(Place::Machine(*one), Place::Machine(*other), until);
            }
        }
    }

    fn stutter(&mut self, victim: Victim, times: u64) {
        let Some(machine) = self.resolve(victim) else { return };
        self.tally.count("fault machine frozen again and again below the margin");
        let victim = Victim::Machine(machine);
        let halted = halt_ms(&self.plan.timings) * MS;
        for time in 0..times {
            let fault = Fault::Suspend { victim, lasts: halted };
            self.queue.push(self.now + time * 2 * halted, Event::Fault(fault));
        }
    }

    fn cut_engines(&mut self, machine: MachineIndex, until: Time) {
        for engine in 0..self.engines.len() {
            self.cut_both_ways(Place::Engine(engine), Place::Machine(machine), until);
        }
    }

    fn twin(&mut self, machine: MachineIndex, lasts: Time, is_cut_off: bool) {
        let Some(old) = self.resolve(Victim::Machine(machine)) else { return };
        let has_twin = self.machines.iter().filter(|it| it.node == self.machines[old].node).count();
        if self.machines[old].process.is_none() || self.machines[old].is_removed || has_twin > 1 {
            return;
        }
        self.tally.count("fault two processes under one node id");
        let (node, site) = (self.machines[old].node, self.machines[old].site.clone());
        let new = self.add_machine(node, site);
        self.machines[new].disk = self.machines[old].disk.clone();
        self.machines[old].is_retired = true;
        if is_cut_off {
            self.cut_around(old, self.now + lasts);
        }
        if self.raft.leader == self.machines[old].process {
            self.become_leaderless();
        }
        self.start_process(new, None);
        self.queue.push(self.now + lasts, Event::Retire { machine: old });
    }

    fn entitle(&mut self) {
        if self.raft.leader.is_none() {
            let at = self.now + 200 * MS;
            self.queue.push(at, Event::Fault(Fault::Entitle));
            return;
        }
        self.tally.count("fault entitlement replaced");
        let command = self.market.entitle(&mut self.dice);
        self.append(vec![command], None);
    }
}
