//! A node's process: a desk, a replica of the ledger and, at the leader, a steward; what arrives
//! there, and what it does with the effects. The real node's actors do the same.

use std::collections::BTreeMap;

use leasehold_core::desk::message::{Answer, Effect, Ticket};
use leasehold_core::desk::{Desk, DeskConfig};
use leasehold_core::id::{CheckoutId, Epoch, NodeId, PoolId, ProcessId};
use leasehold_core::ledger::Replica;
use leasehold_core::steward::message::{BeatRequest, OpenRequest};
use leasehold_core::time::{Moment, Now};

use crate::clock::{MS, Time};
use crate::event::{
    Asked, CallId, EngineIndex, EngineReply, Event, FromEngine, FromPeer, MachineIndex, PeerAnswer,
    ProcessIndex, Question,
};
use crate::leader::Lead;
use crate::mutation::Mutation;
use crate::plan::CALL_DEADLINE;
use crate::world::{World, shown};

#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) machine: MachineIndex,
    pub(crate) node: NodeId,
    pub(crate) id: ProcessId,
    pub(crate) gone: Option<ProcessId>,
    pub(crate) is_running: bool,
    pub(crate) paused_until: Time,
    /// What arrived during the pause.
    pub(crate) backlog: Vec<Event>,
    /// What it had decided, and had not done yet when it was paused.
    pub(crate) unfinished: Vec<Effect>,
    pub(crate) is_draining: bool,
    pub(crate) replica: Replica,
    /// Entries of the log that were applied.
    pub(crate) applied: usize,
    pub(crate) is_following: bool,
    pub(crate) desk: Desk,
    /// Set once it has been elected: term and the log's length that it has to apply first.
    pub(crate) elected: Option<(u64, usize)>,
    pub(crate) lead: Option<Lead>,
    /// Whom it believes to lead.
    pub(crate) leader: Option<ProcessIndex>,
    calls: BTreeMap<CallId, Awaited>,
    pub(crate) tickets: BTreeMap<Ticket, Asker>,
    last_ticket: Ticket,
    pub(crate) wake_at: Option<Time>,
    /// Desk wakes in a row that were due at once.
    pub(crate) idle_wakes: u32,
    /// The operation whose answer the desk waits for.
    pub(crate) in_flight: Option<(Epoch, u64)>,
}

/// Who waits for the desk's answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker {
    reply_to: ReplyTo,
    asked_at: Time,
    /// When the desk must have answered, on its own clock.
    pub(crate) due: Moment,
}

#[derive(Clone, Copy, Debug)]
enum ReplyTo {
    Engine { engine: EngineIndex, call: CallId },
    Peer { process: ProcessIndex, call: CallId },
    Nobody,
}

/// What a call to another process was for.
#[derive(Clone, Debug)]
pub(crate) enum Awaited {
    Open,
    Beat { epoch: Epoch, seq: u64, sent_at: Now },
    Operated { epoch: Epoch, number: u64 },
    HandOver { checkout: CheckoutId },
    Recalled { term: u64, node: NodeId, pools: Vec<PoolId> },
    Nothing,
}

/// The desk's own bounds on its answers; see `DECIDE_MS_MAX` and `CLAIM_MS_MAX` there.
const DECIDE_MS: u64 = 450;
const CLAIM_MS: u64 = 1_000;

/// How long the real node's peers wait for an answer.
fn deadline_of(question: &Question) -> Time {
    match question {
        Question::Open(_) | Question::Beat(_) | Question::Operate { .. } => 3_000 * MS,
        Question::HandOver { .. } => 700 * MS,
        Question::Recall { .. } => 300 * MS,
        Question::Checkin { .. } => CALL_DEADLINE,
    }
}

impl Process {
    pub(crate) fn new(machine: MachineIndex, config: DeskConfig, id: ProcessId) -> Self {
        Self {
            machine,
            node: config.node,
            id,
            gone: None,
            is_running: true,
            paused_until: 0,
            backlog: Vec::new(),
            unfinished: Vec::new(),
            is_draining: false,
            replica: Replica::default(),
            applied: 0,
            is_following: false,
            desk: Desk::new(config),
            elected: None,
            lead: None,
            leader: None,
            calls: BTreeMap::new(),
            tickets: BTreeMap::new(),
            last_ticket: 0,
            wake_at: None,
            idle_wakes: 0,
            in_flight: None,
        }
    }
}

impl World {
    pub(crate) fn clock_of(&self, process: ProcessIndex) -> Now {
        self.machines[self.processes[process].machine].clock.now(self.now)
    }

    fn ticket(&mut self, process: ProcessIndex, reply_to: ReplyTo, wait_ms: u64) -> Ticket {
        let due = self.clock_of(process).steady + wait_ms;
        let asked_at = self.now;
        let asked = &mut self.processes[process];
        asked.last_ticket += 1;
        let ticket = asked.last_ticket;
        asked.tickets.insert(ticket, Asker { reply_to, asked_at, due });
        ticket
    }

    pub(crate) fn on_from_engine(
        &mut self,
        process: ProcessIndex,
        engine: EngineIndex,
        message: FromEngine,
    ) {
        let now = self.clock_of(process);
        let reply_to = ReplyTo::Engine { engine, call: message.call };
        match message.asked {
            Asked::Checkout(item) => {
                let ticket = self.ticket(process, reply_to, item.wait_ms.max(DECIDE_MS));
                self.processes[process].desk.handle_checkout(now, item, ticket);
            }
            Asked::Renew { receipt, age_ms } => {
                let ticket = self.ticket(process, reply_to, CLAIM_MS);
                self.processes[process].desk.handle_renew(now, &receipt, age_ms, ticket);
            }
            Asked::Checkin { receipt } => {
                let ticket = self.ticket(process, reply_to, 0);
                self.processes[process].desk.handle_checkin(now, &receipt, false, ticket);
            }
        }
        self.settle(process);
    }

    pub(crate) fn on_from_peer(&mut self, process: ProcessIndex, message: FromPeer) {
        match message {
            FromPeer::Question { from, call, question } => {
                self.on_question(process, from, call, question);
            }
            FromPeer::Answer { call, answer } => {
                // Whoever is deaf may still hear what was sent before.
                let machine = self.processes[process].machine;
                self.machines[machine].health.deaf = None;
                if let Some(awaited) = self.processes[process].calls.remove(&call) {
                    self.on_answer(process, awaited, Some(answer));
                }
            }
        }
        self.settle(process);
    }

    fn on_question(
        &mut self,
        process: ProcessIndex,
        from: ProcessIndex,
        call: CallId,
        question: Question,
    ) {
        let now = self.clock_of(process);
        match question {
            Question::Open(_) | Question::Beat(_) | Question::Operate { .. } => {
                self.on_steward_question(process, from, call, question);
            }
            Question::HandOver { receipt, to } => {
                let reply_to = ReplyTo::Peer { process: from, call };
                let ticket = self.ticket(process, reply_to, u64::MAX);
                self.processes[process].desk.handle_hand_over(now, &receipt, to, ticket);
            }
            Question::Recall { pools } => {
                let returning = self.processes[process].desk.handle_recall(now, &pools);
                let answer = PeerAnswer::Recalled(returning);
                self.send_to_process(process, from, FromPeer::Answer { call, answer });
            }
            Question::Checkin { receipt } => {
                let ticket = self.ticket(process, ReplyTo::Nobody, 0);
                self.processes[process].desk.handle_checkin(now, &receipt, true, ticket);
            }
        }
    }

    /// A call was answered, or (`None`) was not in time.
    fn on_answer(&mut self, process: ProcessIndex, awaited: Awaited, answer: Option<PeerAnswer>) {
        let now = self.clock_of(process);
        if let Awaited::Recalled { term, node, pools } = awaited {
            let returning = match answer {
                Some(PeerAnswer::Recalled(returning)) => Some(returning),
                Some(_) | None => None,
            };
            self.on_recalled(process, term, node, &pools, returning.as_deref());
            return;
        }
        if let Awaited::Operated { epoch, number } = awaited
            && matches!(answer, Some(PeerAnswer::Operated(_)))
        {
            let in_flight = &mut self.processes[process].in_flight;
            *in_flight = in_flight.filter(|it| *it != (epoch, number));
        }
        if let Awaited::Beat { sent_at, .. } = awaited {
            self.mutate_before_beat_answer(process, sent_at);
        }
        let answer = answer.map(|answer| self.mutated_answer(answer));
        let desk = &mut self.processes[process].desk;
        match (awaited, answer) {
            (Awaited::Open, Some(PeerAnswer::Open(answer))) => {
                desk.on_opened(now, answer.epoch, Some(answer.view));
            }
            (Awaited::Open, _) => desk.on_opened(now, None, None),
            (Awaited::Beat { epoch, seq, .. }, Some(PeerAnswer::Beat(answer))) => {
                desk.on_beat(now, epoch, seq, Some(answer));
            }
            (Awaited::Beat { epoch, seq, .. }, _) => desk.on_beat(now, epoch, seq, None),
            (Awaited::Operated { epoch, number }, Some(PeerAnswer::Operated(answer))) => {
                desk.on_operated(now, epoch, number, Some(answer));
            }
            (Awaited::Operated { epoch, number }, _) => {
                desk.on_operated(now, epoch, number, None);
            }
            (Awaited::HandOver { checkout }, Some(PeerAnswer::HandOver(answer))) => {
                desk.on_hand_over(now, checkout, Some(answer));
            }
            (Awaited::HandOver { checkout }, _) => desk.on_hand_over(now, checkout, None),
            (Awaited::Recalled { .. } | Awaited::Nothing, _) => {}
        }
    }

    pub(crate) fn on_call_over(&mut self, process: ProcessIndex, call: CallId) {
        if let Some(awaited) = self.processes[process].calls.remove(&call) {
            self.on_answer(process, awaited, None);
            self.settle(process);
        }
    }

    /// Asks another process; without one the call fails soon.
    pub(crate) fn ask(
        &mut self,
        process: ProcessIndex,
        to: Option<ProcessIndex>,
        question: Question,
        awaited: Awaited,
    ) {
        let call = self.new_call();
        self.processes[process].calls.insert(call, awaited);
        let deadline = if to.is_some() { deadline_of(&question) } else { 10 * MS };
        self.queue.push(self.now + deadline, Event::CallOver { process, call });
        if let Some(to) = to {
            let question = FromPeer::Question { from: process, call, question };
            self.send_to_process(process, to, question);
        }
    }

    /// Performs all effects, sets the next wake, and looks whether all is well.
    pub(crate) fn settle(&mut self, process: ProcessIndex) {
        loop {
            let effects = self.processes[process].desk.take_effects();
            let is_done = effects.is_empty()
                && (self.is_paused(process) || !self.perform_steward_effects(process));
            for effect in effects {
                self.check_answer(process, &effect);
                self.pause_midway(process);
                if self.is_paused(process) {
                    self.processes[process].unfinished.push(effect);
                } else {
                    self.perform(process, effect);
                }
            }
            if is_done {
                break;
            }
        }
        self.check_desk(process);
        self.set_wake(process);
    }

    pub(crate) fn is_paused(&self, process: ProcessIndex) -> bool {
        self.processes[process].paused_until > self.now
    }

    pub(crate) fn perform(&mut self, process: ProcessIndex, effect: Effect) {
        let Process { node, id, gone, leader, .. } = self.processes[process];
        if !matches!(effect, Effect::Beat { .. } | Effect::Answer { .. }) {
            self.trace(|| format!("process {process}: {}", shown(&effect)));
        }
        match effect {
            Effect::Answer { ticket, answer } => self.answer(process, ticket, answer),
            Effect::Open { after } => {
                let gone = self.mutated_gone(process, gone);
                let request = OpenRequest { node, process: id, after, gone };
                self.ask(process, leader, Question::Open(request), Awaited::Open);
            }
            Effect::Beat { epoch, seq, heard, report } => {
                let applied = Some(self.processes[process].replica.ledger.checkpoint());
                let request = BeatRequest { node, epoch, seq, heard, applied, report };
                let sent_at = self.clock_of(process);
                let awaited = Awaited::Beat { epoch, seq, sent_at };
                self.ask(process, leader, Question::Beat(request), awaited);
            }
            Effect::Operate(operation) => {
                let operation = self.mutated_operation(operation);
                let awaited =
                    Awaited::Operated { epoch: operation.epoch, number: operation.number };
                self.processes[process].in_flight = Some((operation.epoch, operation.number));
                let question = Question::Operate { node, operation };
                self.ask(process, leader, question, awaited);
            }
            Effect::HandOver { from, checkout, receipt } => {
                let to = self.process_of(from);
                let question = Question::HandOver { receipt, to: node };
                self.ask(process, to, question, Awaited::HandOver { checkout });
            }
            Effect::PassCheckin { to, receipt } => {
                let to = self.process_of(to);
                self.tally.count("check-in passed on");
                self.ask(process, to, Question::Checkin { receipt }, Awaited::Nothing);
            }
        }
    }

    fn answer(&mut self, process: ProcessIndex, ticket: Ticket, answer: Answer) {
        let Some(asker) = self.processes[process].tickets.remove(&ticket) else {
            self.violate(format!("process {process} answered ticket {ticket} twice"));
            return;
        };
        match asker.reply_to {
            ReplyTo::Nobody => {}
            ReplyTo::Peer { process: peer, call } => {
                if let Answer::HandOver(answer) = answer {
                    let answer = PeerAnswer::HandOver(answer);
                    self.send_to_process(process, peer, FromPeer::Answer { call, answer });
                }
            }
            ReplyTo::Engine { engine, call } => {
                if matches!(answer, Answer::Granted { .. }) && self.now - asker.asked_at > MS {
                    self.tally.count("granted after waiting");
                }
                let reply = self.written(process, answer);
                let machine = self.processes[process].machine;
                self.send_to_engine(machine, engine, call, reply);
            }
        }
    }

    /// The answer as it goes out: what is left of a lifetime is said when it is written.
    fn written(&self, process: ProcessIndex, answer: Answer) -> EngineReply {
        let now = self.clock_of(process).steady;
        match answer {
            Answer::Granted { receipt, life }
                if self.mutation == Some(Mutation::RetryCountsAnew) && life.ttl_ms > 0 =>
            {
                EngineReply::Granted { receipt, valid_for_ms: life.ttl_ms }
            }
            Answer::Granted { receipt, life } => {
                EngineReply::Granted { receipt, valid_for_ms: life.left_ms(now) }
            }
            Answer::Renewed { receipt, life } => {
                EngineReply::Renewed { receipt, valid_for_ms: life.left_ms(now) }
            }
            Answer::Accepted | Answer::HandOver(_) => EngineReply::Accepted,
            Answer::Denied(denial) => EngineReply::Denied(denial),
        }
    }
}
