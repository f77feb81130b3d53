//! An abstract replicated log in the place of Raft: what it guarantees and no more.
//!
//! Entries are appended by the one true leader and committed in order. When leadership moves, the
//! uncommitted end of the log is cut off at a random place: what is left was accepted by the new
//! leader's voters and commits with its first entry; the rest is lost. A leader that is cut off,
//! paused or replaced goes on believing that it leads until it is told; nothing of it commits.

use leasehold_core::id::NodeId;
use leasehold_core::ledger::command::{Command, Outcome};
use leasehold_core::ledger::{Checkpoint, Ledger, check_transition};

use crate::clock::{MS, Time};
use crate::event::{Event, MachineIndex, ProcessIndex};
use crate::fault::{Fault, Victim};
use crate::network::Place;
use crate::plan::Class;
use crate::world::{World, shown};

#[derive(Debug, Default)]
pub(crate) struct Raft {
    pub(crate) term: u64,
    pub(crate) leader: Option<ProcessIndex>,
    pub(crate) log: Vec<Entry>,
    pub(crate) committed: usize,
    /// What a process that applied every committed entry holds.
    pub(crate) reference: Ledger,
    /// The same, before the command that was compared last.
    compared: Ledger,
    /// When the leader will be given up, if it stays without a majority.
    give_up_at: Option<Time>,
    pub(crate) no_leader_until: Time,
    /// Nothing is committed before.
    pub(crate) stalled_until: Time,
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) commands: Vec<Command>,
    pub(crate) origin: Option<Origin>,
    pub(crate) outcomes: Vec<Outcome>,
    /// What whoever applies it must have come to, once it is committed.
    pub(crate) came_to: Checkpoint,
}

/// Who proposed an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) process: ProcessIndex,
    pub(crate) term: u64,
    pub(crate) token: u64,
}

/// How often leadership, and who lags behind, are looked at.
pub(crate) const RAFT_TICK: Time = 50 * MS;
/// A proposer gives up waiting after this, as the node's actor does.
const COMMIT_DEADLINE: Time = 3_000 * MS;

impl World {
    pub(crate) fn propose(
        &mut self,
        process: ProcessIndex,
        term: u64,
        token: u64,
        commands: Vec<Command>,
    ) {
        let event = Event::Proposed { process, term, token, index: None };
        self.queue.push(self.now + COMMIT_DEADLINE, event);
        if self.raft.leader != Some(process) || self.raft.term != term {
            self.tally.count("fault proposal of a deposed leader");
            return;
        }
        let frozen = commands.iter().find_map(|command| {
            if let Command::Freeze { node, .. } = command { Some(*node) } else { None }
        });
        self.append(commands, Some(Origin { process, term, token }));
        if let Some(node) = frozen {
            self.cut_off_while_freezing(node);
        }
    }

    /// What was heard of a node last, and what it hears last, is never as close to the end of its
    /// lease as when it is cut off just then.
    fn cut_off_while_freezing(&mut self, node: NodeId) {
        let machine = self.machines.iter().rposition(|machine| machine.node == node);
        let is_hostile = self.plan.class == Class::Hostile && self.dice.chance(500);
        let Some(machine) = machine.filter(|_| is_hostile) else { return };
        let timings = self.plan.timings;
        let lasts = (timings.lease_ms + timings.thaw_after_ms()) * MS * 5 / 4;
        let victim = Victim::Machine(machine);
        let at = self.now + self.dice.below(150 * MS);
        self.queue.push(at, Event::Fault(Fault::CutSite { victim, lasts }));
    }

    pub(crate) fn append(&mut self, commands: Vec<Command>, origin: Option<Origin>) {
        self.raft.log.push(Entry {
            commands,
            origin,
            outcomes: Vec::new(),
            came_to: Checkpoint::default(),
        });
        let (least, most) = self.plan.network.commit_delay;
        let at = self.now + self.dice.between(least, most);
        let (term, index) = (self.raft.term, self.raft.log.len());
        self.queue.push(at, Event::Commit { term, index });
    }

    pub(crate) fn on_commit(&mut self, term: u64, index: usize) {
        if self.raft.term != term || index <= self.raft.committed {
            return;
        }
        let Some(leader) = self.raft.leader else { return };
        if self.raft.stalled_until > self.now {
            let at = self.raft.stalled_until.min(self.plan.heal_at.max(self.now));
            self.queue.push(at, Event::Commit { term, index });
            return;
        }
        if !self.has_majority(leader) {
            self.queue.push(self.now + RAFT_TICK, Event::Commit { term, index });
            return;
        }
        while self.raft.committed < index {
            self.commit_next();
            self.check_units();
        }
        let at = self.now + self.dice.between(100, 3 * MS);
        let up_to = self.raft.committed;
        self.queue.push(at, Event::Apply { process: leader, up_to, by_snapshot: false });
        for machine in self.members() {
            self.let_follow(machine, leader);
        }
    }

    pub(crate) fn commit_next(&mut self) {
        let index = self.raft.committed;
        self.raft.committed += 1;
        let mut commands = std::mem::take(&mut self.raft.log[index].commands);
        let mut outcomes = Vec::with_capacity(commands.len());
        for command in &mut commands {
            self.mutate_before_commit(command);
            // Beats are most of the log and change little: some of them are looked at.
            let is_beat = matches!(command, Command::Beat { .. });
            let is_compared = !is_beat || self.dice.chance(60);
            let before = is_compared.then(|| self.raft.reference.clone());
            let outcome = self.raft.reference.apply(command);
            self.trace(|| format!("committed {index}: {} => {}", shown(command), shown(&outcome)));
            if let Err(broken) = self.raft.reference.check() {
                self.violate(format!("after {command:?}: {broken}"));
            }
            if let Some(before) = before {
                let earlier = check_transition(&self.raft.compared, &before);
                let broken = earlier.and(check_transition(&before, &self.raft.reference));
                if let Err(broken) = broken {
                    self.violate(format!("by {command:?}, or a beat before it: {broken}"));
                }
                self.check_reserves(&before, command);
                self.note_command(command, &outcome, &before);
                self.raft.compared = before;
            }
            self.count_command(command, &outcome);
            outcomes.push(outcome);
        }
        self.raft.log[index].commands = commands;
        self.raft.log[index].outcomes = outcomes;
        self.raft.log[index].came_to = self.raft.reference.checkpoint();
    }

    pub(crate) fn freeze_whatever_came(&self, command: &mut Command) {
        let Command::Freeze { node, epoch, seq } = command else { return };
        let lease = self.raft.reference.node(*node).and_then(|node| node.lease.as_ref());
        if let Some(lease) = lease.filter(|lease| lease.epoch == *epoch) {
            *seq = lease.seq;
        }
    }

    /// Machines whose processes vote.
    pub(crate) fn members(&self) -> Vec<MachineIndex> {
        let machines = self.machines.iter().enumerate();
        machines
            .filter(|(_, machine)| !machine.is_retired && !machine.is_removed)
            .map(|(index, _)| index)
            .collect()
    }

    pub(crate) fn is_connected(&self, one: MachineIndex, other: MachineIndex) -> bool {
        let (one, other) = (Place::Machine(one), Place::Machine(other));
        !self.cuts.is_cut(one, other, self.now) && !self.cuts.is_cut(other, one, self.now)
    }

    /// The process on a machine, if it runs and is not held up.
    fn awake(&self, machine: MachineIndex) -> Option<ProcessIndex> {
        let process = self.machines[machine].process?;
        (self.processes[process].paused_until <= self.now).then_some(process)
    }

    pub(crate) fn has_majority(&self, leader: ProcessIndex) -> bool {
        let at = self.processes[leader].machine;
        if self.awake(at) != Some(leader) || !self.members().contains(&at) {
            return false;
        }
        let members = self.members();
        let reached = members
            .iter()
            .filter(|member| self.awake(**member).is_some() && self.is_connected(at, **member));
        reached.count() * 2 > members.len()
    }

    pub(crate) fn on_raft_tick(&mut self) {
        self.queue.push(self.now + RAFT_TICK, Event::RaftTick);
        self.look_at_health();
        match self.raft.leader {
            Some(leader) if self.has_majority(leader) => {
                self.raft.give_up_at = None;
                if self.plan.class != Class::Single && !self.is_healed && self.dice.chance(2) {
                    self.become_leaderless();
                }
            }
            Some(_) => self.wait_for_leader(),
            None => self.campaign(),
        }
        let Some(leader) = self.raft.leader.filter(|leader| self.has_majority(*leader)) else {
            return;
        };
        let at = self.processes[leader].machine;
        for machine in 0..self.machines.len() {
            if self.is_connected(at, machine) {
                self.tell_of_leader(machine, leader);
                self.let_follow(machine, leader);
            }
        }
    }

    fn wait_for_leader(&mut self) {
        let election_max = self.plan.timings.election_max_ms * MS;
        let lasts = self.dice.between(election_max, 3 * election_max);
        let give_up_at = *self.raft.give_up_at.get_or_insert(self.now + lasts);
        if give_up_at <= self.now {
            self.become_leaderless();
        }
    }

    pub(crate) fn become_leaderless(&mut self) {
        self.raft.leader = None;
        self.raft.give_up_at = None;
        self.trace(|| "no leader".to_owned());
    }

    fn campaign(&mut self) {
        if self.raft.no_leader_until > self.now || !self.dice.chance(150) {
            return;
        }
        let candidates: Vec<ProcessIndex> = self
            .members()
            .into_iter()
            .filter_map(|machine| self.awake(machine))
            .filter(|process| self.has_majority(*process))
            .collect();
        if !candidates.is_empty() {
            let elected = candidates[self.dice.index(candidates.len())];
            self.become_led_by(elected);
        }
    }

    fn become_led_by(&mut self, process: ProcessIndex) {
        self.raft.term += 1;
        self.raft.leader = Some(process);
        let pending = self.raft.log.len() - self.raft.committed;
        let kept = self.dice.index(pending + 1);
        self.tally.add("fault proposal lost with its leader", (pending - kept) as u64);
        self.tally.add("fault proposal committed by a later leader", kept as u64);
        self.raft.log.truncate(self.raft.committed + kept);
        self.append(Vec::new(), None);
        self.tally.count("leader elected");
        let (term, ready_at) = (self.raft.term, self.raft.log.len());
        self.trace(|| format!("process {process} elected in term {term}"));
        let elected = &mut self.processes[process];
        elected.lead = None;
        elected.elected = Some((term, ready_at));
        elected.leader = Some(process);
    }

    /// A process learns who leads; one that believed to lead stops.
    fn tell_of_leader(&mut self, machine: MachineIndex, leader: ProcessIndex) {
        let Some(process) = self.awake(machine) else { return };
        if process == leader || !self.dice.chance(600) {
            return;
        }
        let told = &mut self.processes[process];
        told.leader = Some(leader);
        told.elected = None;
        if told.lead.take().is_some() {
            self.tally.count("leader told that it leads no more");
        }
    }

    /// Has a member apply what it has not yet.
    fn let_follow(&mut self, machine: MachineIndex, leader: ProcessIndex) {
        if self.machines[machine].is_retired || self.machines[machine].is_removed {
            return;
        }
        let Some(process) = self.awake(machine) else { return };
        let behind = self.raft.committed.saturating_sub(self.processes[process].applied);
        let at = self.processes[leader].machine;
        if behind == 0 || self.processes[process].is_following || !self.is_connected(at, machine) {
            return;
        }
        self.processes[process].is_following = true;
        let by_snapshot = process != leader && behind > 5 && self.dice.chance(200);
        let lag = if self.dice.chance(50) { 400 * MS } else { 15 * MS };
        let when = self.now + self.dice.below(lag);
        let up_to = self.raft.committed;
        self.queue.push(when, Event::Apply { process, up_to, by_snapshot });
    }
}
