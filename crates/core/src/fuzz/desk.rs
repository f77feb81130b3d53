//! A desk to which leader, peers and engines say anything.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::arbitrary::{
    allotment, checkout, epoch, feature, hand_over, node, number, operated, pool, sets, timings,
    units, view,
};
use super::cases;
use crate::desk::message::{
    Answer, BeatAnswer, CheckoutItem, Effect, FeatureUnits, HandOver, Operated, Operation,
};
use crate::desk::{Desk, DeskConfig};
use crate::entitlement::LicenseSet;
use crate::id::{CheckoutId, Epoch, NodeId, PoolId, RequestId};
use crate::ledger::NodeView;
use crate::ledger::tests::fixture::{CLUSTER, cluster};
use crate::receipt::{Receipt, ReceiptKey, ReceiptLine, ReceiptLines};
use crate::time::{Moment, Now, Timings};

#[derive(Clone, Debug)]
enum Step {
    Catalog(Vec<LicenseSet>, Timings),
    View(NodeView),
    Opened(Option<NodeView>),
    Beaten(Option<(bool, NodeView)>),
    Operated(Option<Operated>),
    HandedOver(CheckoutId, Option<HandOver>),
    Checkout(CheckoutItem),
    Renew(Shown, u64),
    Checkin(Shown, bool),
    HandOver(Shown, NodeId),
    Overrun(Shown, u64),
    Recall(Vec<(PoolId, u64)>),
    Pass { ms: u64, wall_ms: i64 },
    Drain,
    Retire,
    Diverged,
}

/// A receipt as somebody shows it.
#[derive(Clone, Debug)]
enum Shown {
    Garbage(Vec<u8>),
    /// Under the cluster's key, by a node that says what it likes.
    Made(Receipt),
    /// One that this desk has given.
    Given(Index),
}

fn shown() -> impl Strategy<Value = Shown> {
    let line = (pool(), allotment(), units().prop_filter("some units", |it| !it.is_zero()))
        .prop_map(|(pool, allotment, units)| ReceiptLine { pool, allotment, units });
    let made = (checkout(), node(), epoch(), number(), vec(line, 1..=8)).prop_map(
        |(checkout, node, epoch, issued_ms, lines)| {
            let lines = ReceiptLines::new(lines).unwrap();
            Shown::Made(Receipt { checkout, node, epoch, issued_ms, lines })
        },
    );
    prop_oneof![
        1 => vec(any::<u8>(), 0..260).prop_map(Shown::Garbage),
        3 => made,
        4 => any::<Index>().prop_map(Shown::Given),
    ]
}

fn item() -> impl Strategy<Value = CheckoutItem> {
    let line = (feature(), prop_oneof![4 => 1..3_u64, 1 => number()])
        .prop_map(|(feature, units)| FeatureUnits { feature, units });
    let wait_ms = prop_oneof![2 => Just(0), 1 => 0..60_000_u64, 1 => number()];
    (0..40_u8, vec(line, 0..4), wait_ms).prop_map(|(request, lines, wait_ms)| CheckoutItem {
        request: RequestId([request; 16]),
        lines,
        wait_ms,
        engine_build: None,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let ms = prop_oneof![12 => 0..2_000_u64, 4 => 0..40_000_u64, 1 => number()];
    let wall_ms = prop_oneof![8 => Just(0), 1 => any::<i64>()];
    let checkouts = (checkout(), prop::option::of(hand_over()));
    prop_oneof![
        1 => (sets(), timings()).prop_map(|(sets, timings)| Step::Catalog(sets, timings)),
        4 => view().prop_map(Step::View),
        4 => prop::option::of(view()).prop_map(Step::Opened),
        6 => prop::option::of((prop::bool::weighted(0.9), view())).prop_map(Step::Beaten),
        8 => prop::option::weighted(0.9, operated()).prop_map(Step::Operated),
        2 => checkouts.prop_map(|(checkout, answer)| Step::HandedOver(checkout, answer)),
        8 => item().prop_map(Step::Checkout),
        6 => (shown(), prop_oneof![4 => 0..20_000_u64, 1 => number()])
            .prop_map(|(shown, age_ms)| Step::Renew(shown, age_ms)),
        2 => (shown(), any::<bool>()).prop_map(|(shown, passed)| Step::Checkin(shown, passed)),
        2 => (shown(), node()).prop_map(|(shown, to)| Step::HandOver(shown, to)),
        1 => (shown(), number()).prop_map(|(shown, ms)| Step::Overrun(shown, ms)),
        1 => vec((pool(), number()), 0..3).prop_map(Step::Recall),
        6 => (ms, wall_ms).prop_map(|(ms, wall_ms)| Step::Pass { ms, wall_ms }),
        1 => prop::sample::select(vec![Step::Drain, Step::Drain, Step::Retire, Step::Diverged]),
    ]
}

proptest! {
    #![proptest_config(cases(800))]

    #[test]
    fn nothing_that_is_said_to_a_desk_breaks_it(
        steps in vec((step(), prop::bool::weighted(0.8)), 1..100),
    ) {
        let mut run = Run::new();
        for (step, is_steered) in steps {
            run.take(step, is_steered);
            run.settle();
        }
    }
}

struct Run {
    desk: Desk,
    now: Now,
    key: ReceiptKey,
    catalog_version: u64,
    version: u64,
    last_epoch: u64,
    operation: u64,
    asked: Option<Operation>,
    beat: Option<(Epoch, u64)>,
    given: Vec<Vec<u8>>,
    last_ticket: u64,
    open: BTreeSet<u64>,
}

impl Run {
    fn new() -> Self {
        let config = DeskConfig { node: NodeId(1), site: "east".parse().unwrap() };
        let mut desk = Desk::new(config);
        let now = Now { steady: Moment(1_000), wall_ms: 1_795_608_000_000 };
        let catalog = super::ledger::start().catalog();
        let (key, catalog_version) =
            (ReceiptKey::new(CLUSTER, &catalog.receipt_key), catalog.version);
        desk.on_catalog(now, catalog);
        Self {
            desk,
            now,
            key,
            catalog_version,
            version: 1,
            last_epoch: 0,
            operation: 0,
            asked: None,
            beat: None,
            given: Vec::new(),
            last_ticket: 0,
            open: BTreeSet::new(),
        }
    }

    /// A view that the desk takes for the newest of its lease.
    fn steered(&mut self, view: NodeView, is_steered: bool) -> NodeView {
        let Some(epoch) = self.desk.status().epoch.filter(|_| is_steered) else { return view };
        self.version += 1;
        let (version, operation) = (self.version, self.operation);
        NodeView { version, newest_epoch: epoch, live: true, operation, ..view }
    }

    fn shown(&self, shown: &Shown) -> Vec<u8> {
        match shown {
            Shown::Garbage(bytes) => bytes.clone(),
            Shown::Made(receipt) => receipt.seal(&self.key),
            Shown::Given(_) if self.given.is_empty() => Vec::new(),
            Shown::Given(index) => self.given[index.index(self.given.len())].clone(),
        }
    }

    fn ticket(&mut self) -> u64 {
        self.last_ticket += 1;
        self.open.insert(self.last_ticket);
        self.last_ticket
    }

    fn take(&mut self, step: Step, is_steered: bool) {
        let now = self.now;
        match step {
            Step::Catalog(sets, timings) => {
                self.catalog_version += 1;
                let mut catalog = cluster(&[(1, "east")], sets).catalog();
                (catalog.version, catalog.timings) = (self.catalog_version, timings);
                self.desk.on_catalog(now, catalog);
            }
            Step::View(view) => {
                let view = self.steered(view, is_steered);
                self.desk.on_view(now, &view);
            }
            Step::Opened(view) => {
                self.last_epoch += 1;
                let mut view = view.unwrap_or_default();
                if is_steered {
                    self.version += 1;
                    view = NodeView {
                        version: self.version,
                        newest_epoch: Epoch(self.last_epoch),
                        live: true,
                        operation: 0,
                        ..view
                    };
                }
                let was = self.desk.status().epoch;
                self.desk.on_opened(now, Some(Epoch(self.last_epoch)), Some(view));
                if self.desk.status().epoch != was {
                    self.operation = 0;
                }
            }
            Step::Beaten(answer) => {
                let Some((epoch, seq)) = self.beat else { return };
                let answer = answer.map(|(live, view)| {
                    let view = self.steered(view, is_steered);
                    BeatAnswer { live, view }
                });
                self.desk.on_beat(now, epoch, seq, answer);
            }
            Step::Operated(answer) => self.operated(answer, is_steered),
            asked @ (Step::HandedOver(..)
            | Step::Checkout(_)
            | Step::Renew(..)
            | Step::Checkin(..)
            | Step::HandOver(..)
            | Step::Overrun(..)
            | Step::Recall(_)
            | Step::Pass { .. }
            | Step::Drain
            | Step::Retire
            | Step::Diverged) => self.ask(asked),
        }
    }

    fn operated(&mut self, answer: Option<Operated>, is_steered: bool) {
        let Some(asked) = self.asked.clone() else { return };
        let is_applied = matches!(answer, Some(Operated::Applied { .. }));
        if is_applied {
            self.operation = asked.number;
        }
        let answer = answer.map(|answer| match answer {
            Operated::Applied { outcomes, supplies, view } => {
                let view = self.steered(view, is_steered);
                Operated::Applied { outcomes, supplies, view }
            }
            Operated::Refused { view } => Operated::Refused { view },
        });
        self.desk.on_operated(self.now, asked.epoch, asked.number, answer);
    }

    fn ask(&mut self, step: Step) {
        let now = self.now;
        match step {
            Step::HandedOver(checkout, answer) => self.desk.on_hand_over(now, checkout, answer),
            Step::Checkout(item) => {
                let ticket = self.ticket();
                self.desk.handle_checkout(now, item, ticket);
            }
            Step::Renew(shown, age_ms) => {
                let (shown, ticket) = (self.shown(&shown), self.ticket());
                self.desk.handle_renew(now, &shown, age_ms, ticket);
            }
            Step::Checkin(shown, is_passed_on) => {
                let (shown, ticket) = (self.shown(&shown), self.ticket());
                self.desk.handle_checkin(now, &shown, is_passed_on, ticket);
            }
            Step::HandOver(shown, to) => {
                let (shown, ticket) = (self.shown(&shown), self.ticket());
                self.desk.handle_hand_over(now, &shown, to, ticket);
            }
            Step::Overrun(shown, ms) => self.desk.handle_overrun(&self.shown(&shown), ms),
            Step::Recall(pools) => {
                self.desk.handle_recall(now, &pools);
            }
            Step::Pass { ms, wall_ms } => {
                let passed_ms = i64::try_from(ms).unwrap_or(i64::MAX);
                let wall_ms = now.wall_ms.saturating_add(passed_ms).saturating_add(wall_ms);
                self.now = Now { steady: now.steady + ms, wall_ms };
                self.desk.on_tick(self.now);
            }
            Step::Drain => self.desk.drain(now),
            Step::Diverged => self.desk.on_diverged(now),
            Step::Retire => {
                self.desk.retire(now);
            }
            Step::Catalog(..)
            | Step::View(_)
            | Step::Opened(_)
            | Step::Beaten(_)
            | Step::Operated(_) => unreachable!("taken before"),
        }
    }

    fn settle(&mut self) {
        for effect in self.desk.take_effects() {
            match effect {
                Effect::Answer { ticket, answer } => {
                    assert!(self.open.remove(&ticket), "{ticket} was answered twice: {answer:?}");
                    if let Answer::Granted { receipt, .. }
                    | Answer::Renewed { receipt: Some(receipt), .. } = answer
                    {
                        Receipt::open(&receipt, &self.key).expect("a desk's own receipt");
                        self.given.push(receipt);
                    }
                }
                Effect::Beat { epoch, seq, .. } => self.beat = Some((epoch, seq)),
                Effect::Operate(operation) => self.asked = Some(operation),
                Effect::Open { .. } | Effect::HandOver { .. } | Effect::PassCheckin { .. } => {}
            }
        }
        let _ = (self.desk.next_wake(), self.desk.status(), self.desk.would_lend(self.now));
    }
}
