//! The end of a run: all faults are healed, and then everything must be there again.

use std::collections::BTreeMap;

use leasehold_core::desk::message::{CheckoutItem, FeatureUnits};
use leasehold_core::id::{FeatureId, RequestId};
use leasehold_core::ledger::command::Command;

use crate::clock::{MS, SECOND};
use crate::engine::Stage;
use crate::event::{Event, Probe};
use crate::market::name_of;
use crate::plan::Class;
use crate::world::World;

/// How the violation begins that running calls were lost where one thing at a time failed.
pub(crate) const LOST_TO_ONE_FAULT: &str = "running calls were lost to a single fault";
/// How long somebody who asks for all free units of a cluster waits for them: nodes are asked for
/// idle ones, and each return and each draw is a commit.
const WAIT_MS: u64 = 5_000;
/// One question from each site.
const PASSES: usize = 2;

impl World {
    pub(crate) fn on_probe(&mut self, probe: Probe) {
        match probe {
            Probe::Heal => self.heal(),
            Probe::LetAllIn => self.let_all_in(),
            Probe::Account => self.account(),
            Probe::AskForAll { pass } => self.ask_for_all(pass),
            Probe::Judge { pass } => self.judge(pass),
        }
    }

    fn heal(&mut self) {
        self.trace(|| "everything is healed".to_owned());
        self.is_healed = true;
        self.cuts.heal(self.now);
        let network = &mut self.plan.network;
        network.peer_delay = (MS / 2, network.peer_delay.1.min(40 * MS));
        network.engine_delay = (MS / 2, network.engine_delay.1.min(20 * MS));
        self.raft.no_leader_until = 0;
        self.raft.stalled_until = 0;
        for machine in 0..self.machines.len() {
            if self.machines[machine].is_retired || self.machines[machine].is_removed {
                self.crash(machine);
            }
        }
        self.let_all_in();
        for machine in &mut self.machines {
            machine.clock.thaw(self.now);
            machine.applies_at = 0;
        }
        for process in 0..self.processes.len() {
            let paused = &mut self.processes[process];
            paused.paused_until = paused.paused_until.min(self.now);
            if paused.is_draining && paused.is_running {
                let machine = paused.machine;
                if self.machines[machine].process == Some(process) {
                    self.crash(machine);
                }
            }
            self.resume(process);
        }
        for machine in self.members() {
            self.queue.push(self.now, Event::Restart { machine });
        }
        for engine in 0..self.plan.engines {
            self.calm_engine(engine);
        }
        self.queue.push(self.now + self.plan.healing(), Event::Probe(Probe::Account));
    }

    /// The operator lets all fenced nodes in again, and removes those that he removed, as soon as
    /// somebody leads. What was under way to the contrary may still be committed, and what is
    /// appended may be lost: he looks again.
    fn let_all_in(&mut self) {
        if self.now < self.plan.heal_at + 5 * SECOND {
            self.queue.push(self.now + SECOND / 2, Event::Probe(Probe::LetAllIn));
        }
        let ledger = &self.raft.reference;
        let fenced = ledger.nodes().filter(|(_, node)| node.fenced && !node.removed);
        let mut commands: Vec<Command> =
            fenced.map(|(node, _)| Command::Unfence { node }).collect();
        let removed = self.machines.iter().filter(|it| it.is_removed).map(|it| it.node);
        let removed = removed.filter(|node| ledger.node(*node).is_some_and(|it| !it.removed));
        commands.extend(removed.map(|node| Command::Remove { node }));
        for machine in self.members() {
            let at = &self.machines[machine];
            if ledger.node(at.node).is_none() {
                let (node, name) = (at.node, name_of(at.node));
                commands.push(Command::Admit { node, site: at.site.clone(), name });
            }
        }
        if !commands.is_empty() && self.raft.leader.is_some() {
            self.append(commands, None);
        }
    }

    fn account(&mut self) {
        let due = self.plan.heal_at.max(self.forgotten_at) + self.plan.healing();
        if due > self.now {
            self.queue.push(due, Event::Probe(Probe::Account));
            return;
        }
        self.check_thawed();
        // What the ledger has done for a desk that has not heard of it yet is no leak.
        if self.is_operating() && due + SECOND > self.now {
            self.queue.push(self.now + 10 * MS, Event::Probe(Probe::Account));
            return;
        }
        self.check_accounts();
        self.queue.push(self.now, Event::Probe(Probe::AskForAll { pass: 0 }));
    }

    fn is_operating(&self) -> bool {
        let mut running = self.processes.iter().filter(|it| it.is_running);
        running.any(|it| it.in_flight.is_some())
    }

    fn ask_for_all(&mut self, pass: usize) {
        let prober = self.plan.engines;
        let site = self.market.site(pass % self.plan.sites);
        let Some(node) = self.engines[prober].nodes.iter().position(|node| {
            let machine = self.machines.iter().rev().find(|machine| machine.node == *node);
            machine.is_some_and(|machine| machine.site == site && !machine.is_removed)
        }) else {
            self.finish();
            return;
        };
        let mut free: BTreeMap<FeatureId, u64> = BTreeMap::new();
        for (pool, it) in self.raft.reference.pools() {
            if it.terms.is_served_at(&site) {
                *free.entry(it.terms.feature.clone()).or_default() += self.free_units(*pool);
            }
        }
        let lines = free.into_iter().filter(|(_, units)| *units > 0);
        let lines: Vec<FeatureUnits> =
            lines.map(|(feature, units)| FeatureUnits { feature, units }).collect();
        if lines.is_empty() {
            self.tally.count("nothing free to ask for");
            self.finish_pass(pass);
            return;
        }
        self.trace(|| format!("somebody asks for all that is free: {lines:?}"));
        let request = RequestId(self.dice.bytes16());
        let item = CheckoutItem { request, lines, wait_ms: WAIT_MS, engine_build: None };
        self.ask_for(prober, item, node);
        self.set_engine_wake(prober);
        let at = self.now + (WAIT_MS + 2_000) * MS;
        self.queue.push(at, Event::Probe(Probe::Judge { pass }));
    }

    fn judge(&mut self, pass: usize) {
        let prober = self.plan.engines;
        let idle = Stage::Idle { until: u64::MAX };
        match std::mem::replace(&mut self.engines[prober].stage, idle) {
            Stage::Held(held) => {
                self.tally.count("all free units drawn in one place");
                self.check_in(prober, held.receipt, held.node, 0);
                self.finish_pass(pass);
            }
            Stage::Idle { .. } | Stage::Asking(_) => {
                self.violate("units are free, and nobody gets them".to_owned());
                self.finish_pass(pass);
            }
        }
    }

    fn finish_pass(&mut self, pass: usize) {
        if pass + 1 < PASSES {
            let probe = Probe::AskForAll { pass: pass + 1 };
            self.queue.push(self.now + SECOND, Event::Probe(probe));
        } else {
            self.finish();
        }
    }

    fn finish(&mut self) {
        for process in 0..self.processes.len() {
            if self.processes[process].is_running {
                self.count_desk(process);
            }
        }
        self.check_replicas();
        if self.plan.class == Class::Single && !self.losses.is_empty() {
            let losses = self.losses.join("; ");
            self.violate(format!("{LOST_TO_ONE_FAULT}: {losses}"));
        }
        self.is_finished = true;
    }

    /// Every member has the same ledger, once it has applied the same entries.
    fn check_replicas(&mut self) {
        for machine in self.members() {
            let Some(process) = self.machines[machine].process else {
                self.violate(format!(
                    "machine {machine} runs no process long after the last fault"
                ));
                return;
            };
            while self.processes[process].applied < self.raft.committed {
                self.apply_next(process);
            }
            self.check_replica(process);
        }
    }
}
