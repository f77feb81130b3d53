//! How well a machine is in true time: whether anything but its own software could keep it from
//! lending. Looked at with every tick of the log, after every fault, and before it is judged by.

use crate::clock::{MS, SECOND, Time};
use crate::event::{MachineIndex, ProcessIndex};
use crate::network::Place;
use crate::world::World;

/// Since when a machine has been well, and why it was not before.
#[derive(Clone, Debug, Default)]
pub(crate) struct Health {
    /// Since when. No leader follows another without a look at which nobody led.
    well: Option<Time>,
    /// When it began to be unwell; short recoveries in between do not count.
    ill_since: Time,
    ill_for: Time,
    why: &'static str,
    /// Since when this leader has heard it and it has not heard the leader.
    pub(crate) deaf: Option<(ProcessIndex, Time)>,
    /// When a message between it and another machine was lost or late.
    pub(crate) mishap_at: Option<Time>,
}

/// What a lost message between nodes may cost: both sides send again after half a second, and may
/// have to once more.
const MISHAP: Time = 2 * SECOND;
pub(crate) const MESSAGE_LOST: &str = "a message between nodes was lost";

impl World {
    pub(crate) fn look_at_health(&mut self) {
        for machine in 0..self.machines.len() {
            let ailment = self.ailment(machine);
            self.take_finding(machine, ailment);
            self.check_deaf(machine);
        }
    }

    /// A node that hears nothing must not hold units that it can't lend.
    fn check_deaf(&mut self, machine: MachineIndex) {
        let is_at_work = |leader: &ProcessIndex| {
            self.has_majority(*leader)
                && self.raft.stalled_until.max(self.applies_at(*leader)) <= self.now
        };
        let leader = self.raft.leader.filter(is_at_work);
        let deaf_to = leader.filter(|leader| {
            let (here, there) =
                (Place::Machine(machine), Place::Machine(self.processes[*leader].machine));
            self.cuts.is_cut(there, here, self.now) && !self.cuts.is_cut(here, there, self.now)
        });
        // What a second process under its id sends is not meant.
        let node = self.machines[machine].node;
        let same_id = self.machines.iter().filter(|it| it.node == node && it.process.is_some());
        let is_alone = self.machines[machine].process.is_some() && same_id.count() < 2;
        let deaf_to = deaf_to.filter(|_| is_alone);
        let known = self.machines[machine].health.deaf;
        let Some(leader) = deaf_to else {
            self.machines[machine].health.deaf = None;
            return;
        };
        let (_, since) = known.filter(|(to, _)| *to == leader).unwrap_or((leader, self.now));
        self.machines[machine].health.deaf = Some((leader, since));
        // It counts as deaf after a lease, and its lease ends a lease after its last beat.
        let longest = 2 * self.plan.timings.stretch(self.plan.timings.end_lease_after_ms()) * MS;
        let lease = self.raft.reference.node(node).and_then(|node| node.lease.as_ref());
        if self.now > since + longest + 2 * SECOND && lease.is_some_and(|lease| lease.live) {
            self.violate(format!("node {node} is deaf, and its lease goes on"));
        }
    }

    /// Something happened to a machine that it needs time to get over.
    pub(crate) fn disturb(&mut self, machine: MachineIndex, why: &'static str) {
        self.take_finding(machine, Err(why));
    }

    fn take_finding(&mut self, machine: MachineIndex, finding: Result<(), &'static str>) {
        let now = self.now;
        let recovery = self.recovery(0);
        let health = &mut self.machines[machine].health;
        match (finding, health.well) {
            (Ok(()), Some(_)) => {}
            (Ok(()), None) => {
                health.well = Some(now);
                health.ill_for = now - health.ill_since;
            }
            (Err(why), Some(since)) => {
                if now - since > recovery {
                    health.ill_since = now;
                }
                health.well = None;
                health.why = why;
            }
            (Err(why), None) => health.why = why,
        }
    }

    /// What keeps the machine from lending, if anything does.
    fn ailment(&self, machine: MachineIndex) -> Result<(), &'static str> {
        let it = &self.machines[machine];
        let process = it.process.ok_or("the node was down")?;
        if it.is_retired || it.is_removed {
            return Err("the node was removed or replaced");
        }
        if self.processes[process].paused_until > self.now {
            return Err("the node was paused");
        }
        let same_id = self.machines.iter().filter(|other| other.node == it.node);
        if same_id.filter(|other| other.process.is_some()).count() > 1 {
            return Err("two processes ran under one node id");
        }
        if self.raft.reference.node(it.node).is_none_or(|node| node.fenced || node.removed) {
            return Err("the node was fenced, or not admitted yet");
        }
        let leader = self.raft.leader.filter(|leader| self.has_majority(*leader));
        let leader = leader.ok_or("no leader had a majority")?;
        let leads = self.processes[leader].lead.as_ref();
        if leads.is_none_or(|lead| lead.term != self.raft.term) {
            return Err("no leader had a majority");
        }
        if !self.is_connected(machine, self.processes[leader].machine) {
            return Err("the node was cut off from the leader");
        }
        if self.processes[process].leader != Some(leader) {
            return Err("the node had not heard of the leader");
        }
        if self.raft.stalled_until > self.now {
            return Err("the log stood still");
        }
        if self.applies_at(leader).max(self.applies_at(process)) > self.now {
            return Err("a node applied the log late");
        }
        Ok(())
    }

    fn applies_at(&self, process: ProcessIndex) -> Time {
        self.machines[self.processes[process].machine].applies_at
    }

    /// How long a machine needs to have a lease again after it was unwell for `ill_for`. A node
    /// that heard nothing for a lease is deaf: its lease must end before it opens another.
    pub(crate) fn recovery(&self, ill_for: Time) -> Time {
        let network = &self.plan.network;
        let timings = &self.plan.timings;
        let trips = 1_500 * MS + 6 * network.peer_delay.1 + 3 * network.commit_delay.1;
        if ill_for + 2 * timings.heartbeat_ms * MS + SECOND < timings.lease_ms * MS {
            return trips;
        }
        trips + timings.stretch(timings.end_lease_after_ms()) * MS
    }

    /// Since when nothing but its own software can have kept a machine from lending, and what did
    /// before; an error if something may do so now.
    pub(crate) fn fit_since(
        &self,
        machine: MachineIndex,
    ) -> Result<(Time, &'static str), &'static str> {
        let health = &self.machines[machine].health;
        let since = health.well.ok_or(health.why)?;
        let fit = since + self.recovery(health.ill_for);
        let mishap_over = health.mishap_at.map_or(0, |at| at + MISHAP);
        let (fit, why) =
            if mishap_over > fit { (mishap_over, MESSAGE_LOST) } else { (fit, health.why) };
        if fit > self.now { Err(why) } else { Ok((fit, why)) }
    }

    /// What may have kept the machine from lending at some time since `from`, if anything did.
    pub(crate) fn unfit_since(&self, machine: MachineIndex, from: Time) -> Option<&'static str> {
        match self.fit_since(machine) {
            Err(why) => Some(why),
            Ok((since, why)) => (since > from).then_some(why),
        }
    }
}
