//! Leading: the steward's events and effects, at a process that believes to lead; and how every
//! process applies the log.

use std::collections::BTreeMap;

use leasehold_core::desk::message::Ticket;
use leasehold_core::id::{NodeId, PoolId};
use leasehold_core::steward::Steward;
use leasehold_core::steward::message::{Answer, Effect};
use leasehold_core::time::Moment;

use crate::clock::MS;
use crate::event::{CallId, Event, FromPeer, PeerAnswer, ProcessIndex, Question};
use crate::mutation::Mutation;
use crate::plan::Class;
use crate::process::Awaited;
use crate::raft::Origin;
use crate::world::World;

/// A steward, which lives as long as its process believes to lead in `term`.
#[derive(Debug)]
pub(crate) struct Lead {
    pub(crate) term: u64,
    pub(crate) began: Moment,
    pub(crate) steward: Steward,
    waiting: BTreeMap<Ticket, (ProcessIndex, CallId)>,
    last_ticket: Ticket,
}

impl World {
    pub(crate) fn on_steward_question(
        &mut self,
        process: ProcessIndex,
        from: ProcessIndex,
        call: CallId,
        question: Question,
    ) {
        let now = self.clock_of(process);
        let forged = self.answer_from_memory(process, &question);
        if let Some(answer) = forged.or_else(|| self.same_epoch_again(&question)) {
            self.send_to_process(process, from, FromPeer::Answer { call, answer });
            return;
        }
        let asked = &mut self.processes[process];
        let Some(lead) = &mut asked.lead else {
            let answer = PeerAnswer::Unknown;
            self.send_to_process(process, from, FromPeer::Answer { call, answer });
            return;
        };
        lead.last_ticket += 1;
        let ticket = lead.last_ticket;
        lead.waiting.insert(ticket, (from, call));
        match question {
            Question::Open(request) => lead.steward.handle_open(request, ticket),
            Question::Beat(mut request) => {
                if self.mutation == Some(Mutation::DeafBeatsCommitted) {
                    request.heard = request.seq;
                }
                lead.steward.handle_beat(now, &asked.replica, request, ticket);
            }
            Question::Operate { node, operation } => {
                lead.steward.handle_operate(&asked.replica, node, operation, ticket);
            }
            Question::HandOver { .. } | Question::Recall { .. } | Question::Checkin { .. } => {}
        }
    }

    pub(crate) fn tick_steward(&mut self, process: ProcessIndex) {
        let now = self.clock_of(process);
        let ticked = &mut self.processes[process];
        if let Some(lead) = &mut ticked.lead {
            lead.steward.on_tick(now, &ticked.replica);
            self.mutate_after_steward_tick(process);
        }
    }

    pub(crate) fn on_recalled(
        &mut self,
        process: ProcessIndex,
        term: u64,
        node: NodeId,
        pools: &[PoolId],
        returning: Option<&[(PoolId, u64)]>,
    ) {
        if let Some(lead) = self.processes[process].lead.as_mut().filter(|lead| lead.term == term) {
            lead.steward.on_recalled(node, pools, returning);
        }
    }

    /// Tells whether there was anything to do.
    pub(crate) fn perform_steward_effects(&mut self, process: ProcessIndex) -> bool {
        let Some(lead) = &mut self.processes[process].lead else { return false };
        let term = lead.term;
        let effects = lead.steward.take_effects();
        let is_any = !effects.is_empty();
        for effect in effects {
            match effect {
                Effect::Answer { ticket, answer } => self.steward_answers(process, ticket, answer),
                Effect::Propose { token, commands } => {
                    self.propose(process, term, token, commands);
                }
                Effect::Recall { node, pools } => {
                    self.tally.count("units recalled");
                    let to = self.process_of(node);
                    let ids = pools.iter().map(|(pool, _)| *pool).collect();
                    let awaited = Awaited::Recalled { term, node, pools: ids };
                    self.ask(process, to, Question::Recall { pools }, awaited);
                }
            }
        }
        is_any
    }

    fn steward_answers(&mut self, process: ProcessIndex, ticket: Ticket, answer: Answer) {
        let Some(lead) = &mut self.processes[process].lead else { return };
        let Some((to, call)) = lead.waiting.remove(&ticket) else { return };
        let answer = match answer {
            Answer::Open(answer) => PeerAnswer::Open(answer),
            Answer::Beat(answer) => PeerAnswer::Beat(answer),
            Answer::Operated(answer) => PeerAnswer::Operated(answer),
            Answer::Unknown => PeerAnswer::Unknown,
        };
        self.send_to_process(process, to, FromPeer::Answer { call, answer });
    }

    pub(crate) fn on_proposed(
        &mut self,
        process: ProcessIndex,
        term: u64,
        token: u64,
        index: Option<usize>,
    ) {
        let now = self.clock_of(process);
        let proposer = &mut self.processes[process];
        let Some(lead) = proposer.lead.as_mut().filter(|lead| lead.term == term) else { return };
        let outcomes = index.map(|index| self.raft.log[index].outcomes.as_slice());
        lead.steward.on_proposed(now, &proposer.replica, token, outcomes);
        self.settle(process);
    }

    pub(crate) fn on_apply(&mut self, process: ProcessIndex, up_to: usize, by_snapshot: bool) {
        let applies_at = self.machines[self.processes[process].machine].applies_at;
        if applies_at > self.now {
            let at = applies_at.min(self.plan.heal_at.max(self.now));
            self.queue.push(at, Event::Apply { process, up_to, by_snapshot });
            return;
        }
        self.processes[process].is_following = false;
        if by_snapshot {
            self.install_snapshot(process);
        }
        while self.processes[process].applied < up_to {
            self.apply_next(process);
        }
        // A difference stays: it is enough to look now and then.
        if self.processes[process].applied == self.raft.committed && self.dice.chance(150) {
            self.check_replica(process);
        }
        self.become_leading(process);
        let at = self.now + self.dice.below(3 * MS);
        self.queue.push(at, Event::DeskLooks { process });
        self.settle(process);
    }

    /// Whoever has applied every committed entry has the ledger of its peers.
    pub(crate) fn check_replica(&mut self, process: ProcessIndex) {
        if self.processes[process].replica.ledger != self.raft.reference {
            self.violate(format!("the ledger of process {process} differs from its peers'"));
        }
    }

    fn install_snapshot(&mut self, process: ProcessIndex) {
        let moment = self.clock_of(process).steady;
        let follower = &mut self.processes[process];
        if follower.applied >= self.raft.committed {
            return;
        }
        self.tally.count("snapshot installed");
        follower.applied = self.raft.committed;
        let ledger = self.raft.reference.clone();
        let ledger = self.mutated_snapshot(ledger);
        self.processes[process].replica.install(ledger, moment);
    }

    pub(crate) fn apply_next(&mut self, process: ProcessIndex) {
        let moment = self.clock_of(process).steady;
        let applier = &mut self.processes[process];
        let index = applier.applied;
        let Some(entry) = self.raft.log.get(index) else { return };
        applier.applied += 1;
        let outcomes = applier.replica.apply(moment, &entry.commands);
        if outcomes != entry.outcomes {
            self.violate(format!("process {process} applied entry {index} differently"));
            return;
        }
        let came_to = applier.replica.ledger.checkpoint();
        if came_to != entry.came_to {
            self.violate(format!("process {process} has another digest after entry {index}"));
            return;
        }
        let differing = applier.replica.agreement.divergences().next();
        if let Some(seen) = differing {
            let (node, version) = (seen.node, seen.version);
            self.violate(format!(
                "process {process} takes node {node} to differ at version {version}: all are equal"
            ));
            return;
        }
        let Some(Origin { process: proposer, term, token }) = entry.origin else { return };
        if proposer != process {
            return;
        }
        // The answer may be lost between the log and the steward.
        if self.plan.class != Class::Single && !self.is_healed && self.dice.chance(10) {
            self.tally.count("fault commit whose answer was lost");
            for machine in &mut self.machines {
                machine.health.mishap_at = Some(self.now);
            }
            return;
        }
        let event = Event::Proposed { process, term, token, index: Some(index) };
        let at = self.now + self.dice.below(MS);
        self.queue.push(at, event);
    }

    /// A steward starts once everything before its leader's term has been applied.
    fn become_leading(&mut self, process: ProcessIndex) {
        let now = self.clock_of(process);
        let applier = &mut self.processes[process];
        let Some((term, ready_at)) = applier.elected else { return };
        if applier.applied < ready_at || applier.lead.is_some() {
            return;
        }
        let steward = Steward::new(now);
        let waiting = BTreeMap::new();
        let began = now.steady;
        applier.lead = Some(Lead { term, began, steward, waiting, last_ticket: 0 });
        self.tally.count("steward started");
    }

    pub(crate) fn on_desk_looks(&mut self, process: ProcessIndex) {
        let now = self.clock_of(process);
        let node = self.processes[process].node;
        let ledger = &self.processes[process].replica.ledger;
        let view = self.mutated_view(ledger.view(node));
        let known = self.processes[process].desk.catalog_version();
        let catalog = (self.catalog_number(ledger.catalog_version()) > known)
            .then(|| self.mutated_catalog(ledger.catalog()));
        let is_odd = self.processes[process].replica.agreement.is_odd(node);
        let desk = &mut self.processes[process].desk;
        if is_odd {
            desk.on_diverged(now);
        }
        if let Some(catalog) = catalog {
            desk.on_catalog(now, catalog);
        }
        desk.on_view(now, &view);
        self.settle(process);
    }

    /// Mutation: beats are acknowledged by whoever believes to lead, before any commit.
    fn answer_from_memory(&self, process: ProcessIndex, question: &Question) -> Option<PeerAnswer> {
        if self.mutation != Some(Mutation::BeatsAcknowledgedFromMemory) {
            return None;
        }
        self.processes[process].lead.as_ref()?;
        let Question::Beat(beat) = question else { return None };
        let view = self.processes[process].replica.ledger.view(beat.node);
        let live = view.live && view.newest_epoch == beat.epoch;
        Some(PeerAnswer::Beat(leasehold_core::desk::message::BeatAnswer { live, view }))
    }
}
