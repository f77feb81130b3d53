//! Nodes that leave, lose their disk, or are kept out by an operator.

use leasehold_core::id::{Epoch, NodeId};
use leasehold_core::ledger::command::Command;

use crate::clock::{MS, Time};
use crate::event::{Event, MachineIndex};
use crate::fault::{Fault, MemberChange, Victim};
use crate::market::name_of;
use crate::world::World;

impl World {
    pub(crate) fn change_members(&mut self, change: MemberChange) {
        if self.raft.leader.is_none() {
            self.queue.push(self.now + 200 * MS, Event::Fault(Fault::Members(change)));
            return;
        }
        match change {
            MemberChange::Remove { machine } => self.remove(machine),
            MemberChange::Wipe { victim, down } => self.wipe(victim, down),
            MemberChange::Fence { machine, lasts } => {
                self.fence(machine);
                let let_in = Fault::Members(MemberChange::LetIn { machine });
                self.queue.push(self.now + lasts, Event::Fault(let_in));
            }
            MemberChange::LetIn { machine } => self.let_in(machine),
        }
    }

    fn remove(&mut self, machine: MachineIndex) {
        let members = self.members();
        if members.len() < 4 || !members.contains(&machine) {
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

    /// The operator removes the node whose disk is gone and admits the machine under a new id, at
    /// the old address.
    fn wipe(&mut self, victim: Victim, down: Time) {
        let Some(machine) = self.resolve(victim) else { return };
        let at = &self.machines[machine];
        let has_twin = self.machines.iter().filter(|it| it.node == at.node).count() > 1;
        if at.process.is_none() || at.is_removed || at.is_retired || has_twin {
            return;
        }
        self.crash(machine);
        self.queue.push(self.now + down, Event::Restart { machine });
        self.tally.count("fault disk lost, back as a new node");
        let lost = self.machines[machine].node;
        let node = NodeId(self.machines.iter().map(|it| it.node.0).max().unwrap_or(0) + 1);
        let at = &mut self.machines[machine];
        at.node = node;
        at.disk = Default::default();
        at.last_process = None;
        let admit = Command::Admit { node, site: at.site.clone(), name: name_of(node) };
        self.append(vec![Command::Remove { node: lost }, admit], None);
        for engine in &mut self.engines {
            for known in engine.nodes.iter_mut().filter(|known| **known == lost) {
                *known = node;
            }
        }
    }

    fn fence(&mut self, machine: MachineIndex) {
        let Some(machine) = self.resolve(Victim::Machine(machine)) else { return };
        if self.machines[machine].is_removed {
            return;
        }
        let node = self.machines[machine].node;
        let mut same_id = self.machines.iter().filter(|it| it.node == node);
        let powered_off = same_id.all(|it| it.process.is_none());
        self.tally.count(if powered_off {
            "fault node fenced that is off"
        } else {
            "fault node fenced"
        });
        let lease = self.raft.reference.node(node).and_then(|it| it.lease.as_ref());
        let epoch = lease.map_or(Epoch::default(), |lease| lease.epoch);
        self.append(vec![Command::Fence { node, epoch, powered_off }], None);
    }

    fn let_in(&mut self, machine: MachineIndex) {
        if let Some(machine) = self.resolve(Victim::Machine(machine)) {
            let node = self.machines[machine].node;
            self.append(vec![Command::Unfence { node }], None);
        }
    }
}
