//! Faults as they happen.

use leasehold_core::ledger::command::Command;

use crate::clock::{MS, SECOND, Time};
use crate::engine::Stage;
use crate::event::{Event, MachineIndex, ProcessIndex};
use crate::fault::{Fault, Victim};
use crate::network::Place;
use crate::world::World;

/// How long a draining node is given before it stops.
const DRAIN: Time = SECOND;

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
            Fault::WallStep { victim, by_ms } => {
                if let Some(machine) = self.resolve(victim) {
                    let way = if by_ms > 0 { "forward" } else { "back" };
                    self.tally.count(&format!("fault wall clock stepped {way}"));
                    self.machines[machine].clock.step_wall(by_ms);
                    self.disturb(machine, "its wall clock was set");
                }
            }
            Fault::Isolate { victim, lasts, with_engines, is_one_way } => {
                self.isolate(victim, lasts, with_engines, is_one_way);
            }
            Fault::CutSite { victim, lasts } => self.cut_site(victim, lasts),
            Fault::CutEngines { victim, lasts } => {
                if let Some(machine) = self.resolve(victim) {
                    self.tally.count("fault node cut off from engines");
                    self.cut_engines(machine, self.now + lasts);
                }
            }
            Fault::CutEngine { engine, machine, lasts, is_one_way } => {
                self.tally.count("fault engine cut off from a node");
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
            Fault::Remove { machine } => self.remove(machine),
            Fault::Entitle => self.entitle(),
        }
    }

    fn resolve(&self, victim: Victim) -> Option<MachineIndex> {
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
        self.tally.count(if is_proven { "fault crash" } else { "fault crash, disk moved" });
        if !is_proven {
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
        if at.process.is_some() || at.is_retired {
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
        self.tally.count("fault drained and restarted");
        let now = self.clock_of(process);
        self.processes[process].desk.drain(now);
        self.processes[process].is_draining = true;
        self.settle(process);
        let fault = Fault::Crash { victim: Victim::Machine(machine), down, is_proven: true };
        self.queue.push(self.now + DRAIN, Event::Fault(fault));
    }

    fn pause(&mut self, victim: Victim, lasts: Time, is_suspended: bool) {
        let Some(machine) = self.resolve(victim) else { return };
        let Some(process) = self.machines[machine].process else { return };
        if self.processes[process].paused_until > self.now {
            return;
        }
        self.processes[process].paused_until = self.now + lasts;
        self.queue.push(self.now + lasts, Event::Resume { process });
        if is_suspended {
            self.tally.count("fault steady clock stood still");
            self.machines[machine].clock.freeze(self.now, lasts);
        } else {
            self.tally.count("fault pause");
        }
    }

    pub(crate) fn resume(&mut self, process: ProcessIndex) {
        let resumed = &mut self.processes[process];
        if resumed.paused_until > self.now {
            return;
        }
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
        let way = if is_one_way { "one way" } else { "both ways" };
        self.tally.count(&format!("fault node isolated, {way}"));
        let is_outward = self.dice.chance(500);
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
        self.tally.count("fault site cut off");
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

    fn remove(&mut self, machine: MachineIndex) {
        let members = self.members();
        if members.len() < 4 || !members.contains(&machine) || self.raft.leader.is_none() {
            return;
        }
        self.tally.count("fault node removed");
        self.machines[machine].is_removed = true;
        let node = self.machines[machine].node;
        self.append(vec![Command::Remove { node }], None);
        if self.raft.leader == self.machines[machine].process {
            self.become_leaderless();
        }
    }

    fn entitle(&mut self) {
        if self.raft.leader.is_none() {
            let at = self.now + 200 * MS;
            self.queue.push(at, Event::Fault(Fault::Entitle));
            return;
        }
        self.tally.count("entitlement replaced");
        let command = self.market.entitle(&mut self.dice);
        self.append(vec![command], None);
    }
}
