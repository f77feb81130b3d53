//! A desk on a bench: a real ledger and steward beside it that answer at once, or not at all.

use std::collections::BTreeMap;

use crate::desk::message::{
    Answer, CheckoutItem, Denial, Effect, FeatureUnits, HandOver, Life, Operation, Reason, Ticket,
};
use crate::desk::{Desk, DeskConfig};
use crate::entitlement::{Date, LicenseSet};
use crate::id::{AllotmentId, CheckoutId, Epoch, NodeId, PoolId, RequestId};
use crate::ledger::Replica;
use crate::ledger::tests::fixture::{self, CLUSTER, cluster, process};
use crate::receipt::{Receipt, ReceiptKey, ReceiptLine, ReceiptLines};
use crate::steward::Steward;
use crate::steward::message::{
    Answer as StewardAnswer, BeatRequest, Effect as StewardEffect, OpenRequest,
};
use crate::time::{Moment, Now, Timings};

/// 2026-11-25, noon: the day that the ledger's fixture tells.
const WALL_MS: i64 = 1_795_608_000_000;

/// Node 1 in east; nodes 2 and 3 are members in west.
pub(super) struct Bench {
    pub(super) desk: Desk,
    pub(super) replica: Replica,
    pub(super) steward: Steward,
    now: Now,
    last_ticket: Ticket,
    answers: BTreeMap<Ticket, Answer>,
    /// Whether what the desk asks of the steward is answered.
    pub(super) is_connected: bool,
    /// What was asked while it was not, and what is for other nodes.
    pub(super) unanswered: Vec<Effect>,
}

impl Bench {
    /// A desk that knows nothing yet.
    pub(super) fn unopened(sets: Vec<LicenseSet>) -> Self {
        let ledger = cluster(&[(1, "east"), (2, "west"), (3, "west")], sets);
        let now = Now { steady: Moment(1_000), wall_ms: WALL_MS };
        let mut replica = Replica::default();
        replica.install(ledger, now.steady);
        let config = DeskConfig { node: NodeId(1), site: "east".parse().unwrap() };
        Self {
            desk: Desk::new(config),
            replica,
            steward: Steward::new(now),
            now,
            last_ticket: 0,
            answers: BTreeMap::new(),
            is_connected: true,
            unanswered: Vec::new(),
        }
    }

    /// A desk with a lease, its first beat acknowledged.
    pub(super) fn open(sets: Vec<LicenseSet>) -> Self {
        let mut bench = Self::unopened(sets);
        bench.give_catalog();
        bench.pass(20);
        assert!(bench.desk.status().lend_until.is_some(), "the desk lends");
        bench
    }

    pub(super) fn give_catalog(&mut self) {
        self.desk.on_catalog(self.now, self.replica.ledger.catalog());
        self.pump();
    }

    pub(super) fn now(&self) -> Now {
        self.now
    }

    pub(super) fn timings(&self) -> Timings {
        Timings::default()
    }

    /// Lets `ms` pass, waking the desk whenever it asks for it.
    pub(super) fn pass(&mut self, ms: u64) {
        let end = self.now.steady + ms;
        while self.desk.next_wake() <= end {
            let wake = self.desk.next_wake().max(self.now.steady + 1).min(end);
            self.set_time(wake);
            self.desk.on_tick(self.now);
            self.pump();
            if wake == end {
                break;
            }
        }
        self.set_time(end);
    }

    fn set_time(&mut self, steady: Moment) {
        let passed_ms = i64::try_from(steady.since(self.now.steady)).unwrap();
        self.now = Now { steady, wall_ms: self.now.wall_ms + passed_ms };
    }

    /// Lets the steady clock alone stand at `ms` after now, without waking the desk.
    pub(super) fn jump(&mut self, ms: u64) {
        self.set_time(self.now.steady + ms);
    }

    pub(super) fn jump_wall(&mut self, ms: i64) {
        self.now.wall_ms += ms;
    }

    pub(super) fn ticket(&mut self) -> Ticket {
        self.last_ticket += 1;
        self.last_ticket
    }

    pub(super) fn ask(&mut self, item: CheckoutItem) -> Ticket {
        let ticket = self.ticket();
        self.desk.handle_checkout(self.now, item, ticket);
        self.pump();
        ticket
    }

    pub(super) fn checkout(&mut self, request: u64, lines: &[(&str, u64)]) -> Ticket {
        self.ask(item(request, lines))
    }

    /// A checkout that must be granted; returns its receipt.
    pub(super) fn granted(&mut self, request: u64, lines: &[(&str, u64)]) -> Vec<u8> {
        let ticket = self.checkout(request, lines);
        match self.answer(ticket) {
            Some(Answer::Granted { receipt, .. }) => receipt.clone(),
            other => panic!("request {request}: {other:?}"),
        }
    }

    pub(super) fn renew(&mut self, receipt: &[u8], age_ms: u64) -> Ticket {
        let ticket = self.ticket();
        self.desk.handle_renew(self.now, receipt, age_ms, ticket);
        self.pump();
        ticket
    }

    pub(super) fn renewed(&mut self, receipt: &[u8]) -> Life {
        let ticket = self.renew(receipt, 0);
        match self.answer(ticket) {
            Some(Answer::Renewed { life, .. }) => *life,
            other => panic!("not renewed: {other:?}"),
        }
    }

    pub(super) fn checkin(&mut self, receipt: &[u8]) -> Ticket {
        let ticket = self.ticket();
        self.desk.handle_checkin(self.now, receipt, false, ticket);
        self.pump();
        ticket
    }

    /// Another node asks for a checkout.
    pub(super) fn hand_over(&mut self, receipt: &[u8], to: u64) -> Ticket {
        let ticket = self.ticket();
        self.desk.handle_hand_over(self.now, receipt, NodeId(to), ticket);
        self.pump();
        ticket
    }

    /// The answer to what was asked of another node.
    pub(super) fn answer_hand_over(&mut self, checkout: CheckoutId, answer: Option<HandOver>) {
        self.desk.on_hand_over(self.now, checkout, answer);
        self.pump();
    }

    pub(super) fn answer(&self, ticket: Ticket) -> Option<&Answer> {
        self.answers.get(&ticket)
    }

    pub(super) fn denial(&self, ticket: Ticket) -> Denial {
        match self.answer(ticket) {
            Some(Answer::Denied(denial)) => denial.clone(),
            other => panic!("not denied: {other:?}"),
        }
    }

    /// Another node opens a lease and draws from a pool.
    pub(super) fn draw_at(&mut self, node: u64, pool: PoolId, units: u64) -> AllotmentId {
        let mut ledger = self.replica.ledger.clone();
        if !ledger.view(NodeId(node)).live {
            fixture::opened(&mut ledger, node, 9);
        }
        let allotment = fixture::drawn(&mut ledger, node, pool, units);
        self.replica.ledger = ledger;
        allotment
    }

    pub(super) fn freeze(&mut self, node: u64) {
        fixture::freeze(&mut self.replica.ledger, node);
    }

    pub(super) fn operation_answered(&mut self, asked: &Operation) {
        self.reach_steward(&Effect::Operate(asked.clone()));
    }

    /// What was not answered reaches the steward after all, and is answered.
    pub(super) fn reach_steward(&mut self, asked: &Effect) {
        self.on_effect(asked);
        self.pump();
    }

    pub(super) fn pump(&mut self) {
        loop {
            let effects = self.desk.take_effects();
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                match effect {
                    Effect::Answer { ticket, answer } => {
                        let before = self.answers.insert(ticket, answer);
                        assert_eq!(before, None, "a question is answered once");
                    }
                    Effect::HandOver { .. } | Effect::PassCheckin { .. } => {
                        self.unanswered.push(effect);
                    }
                    _ if !self.is_connected => self.unanswered.push(effect),
                    Effect::Open { .. } | Effect::Beat { .. } | Effect::Operate(_) => {
                        self.on_effect(&effect);
                    }
                }
            }
        }
    }

    fn on_effect(&mut self, effect: &Effect) {
        let (now, node) = (self.now, NodeId(1));
        match effect {
            Effect::Open { after } => {
                let request = OpenRequest { node, process: process(1), after: *after, gone: None };
                self.steward.handle_open(request, 1);
            }
            Effect::Beat { epoch, seq, heard, report } => {
                let (epoch, seq, heard, report) = (*epoch, *seq, *heard, report.clone());
                let applied = Some(self.replica.ledger.checkpoint());
                let request = BeatRequest { node, epoch, seq, heard, applied, report };
                self.steward.handle_beat(now, &self.replica, request, 1);
                let gathered = Now { steady: now.steady + 50, ..now };
                self.steward.on_tick(gathered, &self.replica);
            }
            Effect::Operate(operation) => {
                self.steward.handle_operate(&self.replica, node, operation.clone(), 1);
            }
            Effect::Answer { .. } | Effect::HandOver { .. } | Effect::PassCheckin { .. } => {
                panic!("not for the steward: {effect:?}")
            }
        }
        loop {
            let effects = self.steward.take_effects();
            if effects.is_empty() {
                return;
            }
            for answered in effects {
                match answered {
                    StewardEffect::Propose { token, commands } => {
                        let outcomes = self.replica.apply(now.steady, &commands);
                        self.steward.on_proposed(now, &self.replica, token, Some(&outcomes));
                    }
                    StewardEffect::Recall { node, pools } => {
                        let pools: Vec<PoolId> = pools.iter().map(|(pool, _)| *pool).collect();
                        self.steward.on_recalled(node, &pools, None);
                    }
                    StewardEffect::Answer { answer, .. } => self.on_answer(effect, answer),
                }
            }
        }
    }

    fn on_answer(&mut self, asked: &Effect, answer: StewardAnswer) {
        match (asked, answer) {
            (Effect::Open { .. }, StewardAnswer::Open(answer)) => {
                self.desk.on_opened(self.now, answer.epoch, Some(answer.view));
            }
            (Effect::Beat { epoch, seq, .. }, StewardAnswer::Beat(answer)) => {
                self.desk.on_beat(self.now, *epoch, *seq, Some(answer));
            }
            (Effect::Operate(it), StewardAnswer::Operated(answer)) => {
                self.desk.on_operated(self.now, it.epoch, it.number, Some(answer));
            }
            (asked, answer) => panic!("{asked:?} was answered {answer:?}"),
        }
    }

    /// The operation that was sent last and not answered.
    pub(super) fn unanswered_operation(&self) -> Operation {
        let operations = self.unanswered.iter().rev().find_map(|effect| {
            if let Effect::Operate(operation) = effect { Some(operation.clone()) } else { None }
        });
        operations.expect("an operation was sent")
    }
}

pub(super) fn item(request: u64, lines: &[(&str, u64)]) -> CheckoutItem {
    let line = |(feature, units): &(&str, u64)| FeatureUnits {
        feature: feature.parse().unwrap(),
        units: *units,
    };
    CheckoutItem {
        request: RequestId(u128::from(request).to_be_bytes()),
        lines: lines.iter().map(line).collect(),
        wait_ms: 0,
        engine_build: None,
    }
}

pub(super) fn waiting(wait_ms: u64, item: CheckoutItem) -> CheckoutItem {
    CheckoutItem { wait_ms, ..item }
}

pub(super) fn built(day: &str, item: CheckoutItem) -> CheckoutItem {
    CheckoutItem { engine_build: Some(day.parse::<Date>().unwrap()), ..item }
}

pub(super) fn about(reason: Reason, feature: &str, in_use: u64, entitled: u64) -> Denial {
    let feature = Some(feature.parse().unwrap());
    Denial { feature, units_in_use: in_use, units_entitled: entitled, ..reason.into() }
}

pub(super) fn plain(reason: Reason) -> Denial {
    reason.into()
}

/// A receipt as another node would have granted it.
pub(super) fn receipt_of(node: u64, epoch: Epoch, counter: u64, lines: &[ReceiptLine]) -> Vec<u8> {
    let checkout = CheckoutId::of(epoch, counter);
    let lines = ReceiptLines::new(lines.to_vec()).unwrap();
    let receipt = Receipt { checkout, node: NodeId(node), epoch, issued_ms: 5, lines };
    receipt.seal(&receipt_key())
}

/// The receipt that another node made when it took the checkout over.
pub(super) fn remade(it: &Receipt, node: NodeId, epoch: Epoch, lines: &[ReceiptLine]) -> Vec<u8> {
    let lines = ReceiptLines::new(lines.to_vec()).unwrap();
    Receipt { node, epoch, lines, ..it.clone() }.seal(&receipt_key())
}

pub(super) fn read(receipt: &[u8]) -> Receipt {
    Receipt::open(receipt, &receipt_key()).unwrap()
}

fn receipt_key() -> ReceiptKey {
    ReceiptKey::new(CLUSTER, &[3; 32])
}
