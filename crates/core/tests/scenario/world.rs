//! One ledger with its steward, desks and engines on one clock, and a network between them.
//!
//! Messages take [`HOP_MS`], log entries [`COMMIT_MS`]. After every event the ledger's invariants
//! are checked, and that the units which engines hold validly are not more than entitled.

use std::collections::BTreeMap;

use leasehold_core::desk::message::{
    Answer, BeatAnswer, CheckoutItem, Effect, FeatureUnits, HandOver, Operated,
};
use leasehold_core::desk::{Desk, DeskConfig};
use leasehold_core::entitlement::{
    Date, Entitlement, FORMAT, FeatureLine, LicenseSet, SetKind, SigningKey,
};
use leasehold_core::id::{CheckoutId, ClusterId, Epoch, NodeId, PoolId, ProcessId, RequestId};
use leasehold_core::ledger::command::{Command, Founding, Outcome};
use leasehold_core::ledger::{NodeView, Replica};
use leasehold_core::receipt::{Receipt, ReceiptKey};
use leasehold_core::steward::message::{Answer as StewardAnswer, BeatRequest, OpenRequest};
use leasehold_core::steward::{Steward, message::Effect as StewardEffect};
use leasehold_core::time::{Moment, Now, Timings};

use super::show;

const HOP_MS: u64 = 5;
const COMMIT_MS: u64 = 5;
/// A call without an answer is given up after this; one for a checkout earlier, as an engine waits.
const CALL_MS: u64 = 1_000;
const HAND_OVER_MS: u64 = 700;
/// 2026-11-25, noon.
const WALL_MS: i64 = 1_795_608_000_000;
const CLUSTER: ClusterId = ClusterId([0x11; 16]);
const RECEIPT_KEY: [u8; 32] = [3; 32];

/// What a scenario's engine asks for.
#[derive(Clone)]
pub(crate) struct Item {
    pub(crate) lines: Vec<(String, u64)>,
    pub(crate) wait_ms: u64,
    pub(crate) request: Option<u64>,
    pub(crate) build: Option<Date>,
}

pub(crate) struct World {
    now_ms: u64,
    wall_ms: i64,
    queue: BTreeMap<(u64, u64), Event>,
    last_number: u64,
    replica: Replica,
    steward: Steward,
    serial: u64,
    machines: BTreeMap<String, Machine>,
    engines: BTreeMap<String, Engine>,
    calls: BTreeMap<u64, Call>,
    /// Who waits for an answer of a desk.
    tickets: BTreeMap<u64, Asker>,
    events_shown: u64,
    output: Vec<String>,
}

/// A node's program, running or not.
struct Machine {
    node: NodeId,
    site: String,
    desk: Option<Desk>,
    process: ProcessId,
    gone: Option<ProcessId>,
    is_cut: bool,
    wall_ahead_ms: i64,
}

#[derive(Default)]
struct Engine {
    receipt: Option<Vec<u8>>,
    /// When it sent what was last granted or renewed, and until when that holds.
    sent_ms: u64,
    until_ms: u64,
}

/// Something asked over the network.
struct Call {
    machine: String,
    process: ProcessId,
    what: Asked,
}

#[derive(Clone)]
enum Asked {
    Open,
    Beat { epoch: Epoch, seq: u64 },
    Operate { epoch: Epoch, number: u64 },
    HandOver { checkout: CheckoutId },
}

enum Asker {
    Checkout { engine: String, sent_ms: u64 },
    Renew { engine: String, sent_ms: u64 },
    Checkin { engine: String },
    Peer { call: u64 },
    Nobody,
}

enum Event {
    ToSteward { call: u64, effect: Effect },
    FromSteward { call: u64, answer: StewardAnswer },
    GiveUp { call: u64 },
    Apply { token: u64, commands: Vec<Command> },
    Catalog { machine: String },
    Recall { node: NodeId, pools: Vec<(PoolId, u64)> },
    Recalled { node: NodeId, pools: Vec<PoolId>, returning: Option<Vec<(PoolId, u64)>> },
    AskHandOver { call: u64, at: NodeId, by: NodeId, receipt: Vec<u8> },
    HandedOver { call: u64, answer: HandOver },
    PassedCheckin { at: NodeId, receipt: Vec<u8> },
}

impl World {
    pub(crate) fn new() -> Self {
        let now = Now { steady: Moment(0), wall_ms: WALL_MS };
        let mut replica = Replica::default();
        let founding = Founding {
            cluster: CLUSTER,
            timings: Timings::default(),
            receipt_key: RECEIPT_KEY,
            trusted_keys: vec![vendor_key().verifying_key().to_bytes()],
        };
        replica.apply(now.steady, &[Command::Found(founding)]);
        Self {
            now_ms: 0,
            wall_ms: WALL_MS,
            queue: BTreeMap::new(),
            last_number: 0,
            replica,
            steward: Steward::new(now),
            serial: 0,
            machines: BTreeMap::new(),
            engines: BTreeMap::new(),
            calls: BTreeMap::new(),
            tickets: BTreeMap::new(),
            events_shown: 0,
            output: Vec::new(),
        }
    }

    pub(crate) fn take_output(&mut self) -> Vec<String> {
        std::mem::take(&mut self.output)
    }

    pub(crate) fn install(&mut self, sets: Vec<LicenseSet>) {
        self.serial += 1;
        let entitlement = Entitlement {
            format: FORMAT,
            cluster: CLUSTER,
            serial: self.serial,
            issued: "2026-11-25".parse().unwrap(),
            customer: "Example Bank".into(),
            contact_days: 60,
            sets,
        };
        let envelope = entitlement.seal(&vendor_key());
        let outcome = self.apply(&[Command::InstallEntitlement { envelope }]).remove(0);
        assert_eq!(outcome, Outcome::Installed { serial: self.serial });
    }

    pub(crate) fn add_node(&mut self, name: &str, site: &str) {
        let node = NodeId(self.machines.len() as u64 + 1);
        let admit =
            Command::Admit { node, site: site.parse().unwrap(), name: name.parse().unwrap() };
        assert_eq!(self.apply(&[admit]), [Outcome::Done]);
        self.add_machine(name, node, site);
    }

    pub(crate) fn add_twin(&mut self, name: &str, of: &str) {
        let (node, site) = (self.machine(of).node, self.machine(of).site.clone());
        self.add_machine(name, node, &site);
    }

    fn add_machine(&mut self, name: &str, node: NodeId, site: &str) {
        let machine = Machine {
            node,
            site: site.into(),
            desk: None,
            process: ProcessId::default(),
            gone: None,
            is_cut: false,
            wall_ahead_ms: 0,
        };
        self.machines.insert(name.into(), machine);
        self.start(name, false);
    }

    pub(crate) fn start(&mut self, name: &str, is_proven: bool) {
        let number = self.next_number();
        let machine = self.machine_mut(name);
        let config = DeskConfig { node: machine.node, site: machine.site.parse().unwrap() };
        machine.gone = is_proven.then_some(machine.process);
        machine.process = ProcessId(u128::from(number).to_be_bytes());
        machine.desk = Some(Desk::new(config));
        self.later(HOP_MS, Event::Catalog { machine: name.into() });
    }

    pub(crate) fn crash(&mut self, name: &str) {
        self.machine_mut(name).desk = None;
    }

    pub(crate) fn set_cut(&mut self, name: &str, is_cut: bool) {
        self.machine_mut(name).is_cut = is_cut;
    }

    pub(crate) fn jump_wall(&mut self, name: &str, by_ms: u64) {
        self.machine_mut(name).wall_ahead_ms += i64::try_from(by_ms).unwrap();
    }

    pub(crate) fn set_day(&mut self, day: &str) {
        let day: Date = day.parse().unwrap();
        // Every machine's clock shows it; a desk must not take that for a pause of its machine.
        let ahead_ms = i64::try_from(day.start_ms()).unwrap() - self.wall_ms;
        self.wall_ms += ahead_ms;
        self.machines.values_mut().for_each(|machine| machine.wall_ahead_ms -= ahead_ms);
    }

    pub(crate) fn drain(&mut self, name: &str) {
        let now = self.now_at(name);
        self.desk(name).drain(now);
    }

    /// As a node stops: its desk gives up its lease, and then the ledger is told.
    pub(crate) fn retire(&mut self, name: &str) {
        let now = self.now_at(name);
        let close = self.desk(name).retire(now).expect("a lease to give up");
        assert_eq!(self.apply(&[close]), [Outcome::Done]);
    }

    pub(crate) fn fence(&mut self, name: &str, powered_off: bool) {
        let node = self.machine(name).node;
        let epoch = self.replica.ledger.view(node).newest_epoch;
        let fence = Command::Fence { node, epoch, powered_off };
        assert_eq!(self.apply(&[fence]), [Outcome::Done]);
    }

    pub(crate) fn unfence(&mut self, name: &str) {
        let node = self.machine(name).node;
        assert_eq!(self.apply(&[Command::Unfence { node }]), [Outcome::Done]);
    }

    pub(crate) fn checkout(&mut self, engine: &str, at: &str, item: &Item) {
        let ticket = self.ask(Asker::Checkout { engine: engine.into(), sent_ms: self.now_ms });
        let line = |(feature, units): &(String, u64)| FeatureUnits {
            feature: feature.parse().unwrap(),
            units: *units,
        };
        let item = CheckoutItem {
            request: RequestId(u128::from(item.request.unwrap_or(1_000 + ticket)).to_be_bytes()),
            lines: item.lines.iter().map(line).collect(),
            wait_ms: item.wait_ms,
            engine_build: item.build,
        };
        let now = self.now_at(at);
        self.desk(at).handle_checkout(now, item, ticket);
    }

    /// Shows the engine's receipt; `age_ms` only to lie about it.
    pub(crate) fn renew(&mut self, name: &str, at: &str, age_ms: Option<u64>, is_forged: bool) {
        let ticket = self.ask(Asker::Renew { engine: name.into(), sent_ms: self.now_ms });
        let (mut receipt, age_ms) = {
            let engine = &self.engines[name];
            let receipt = engine.receipt.clone().expect("the engine holds a receipt");
            (receipt, age_ms.unwrap_or(self.now_ms - engine.sent_ms))
        };
        if is_forged {
            *receipt.last_mut().unwrap() ^= 1;
        }
        let now = self.now_at(at);
        self.desk(at).handle_renew(now, &receipt, age_ms, ticket);
    }

    pub(crate) fn checkin(&mut self, name: &str, at: &str) {
        let ticket = self.ask(Asker::Checkin { engine: name.into() });
        let engine = self.engines.get_mut(name).expect("an engine that holds something");
        engine.until_ms = 0;
        let receipt = engine.receipt.clone().expect("the engine holds a receipt");
        let now = self.now_at(at);
        self.desk(at).handle_checkin(now, &receipt, false, ticket);
    }

    pub(crate) fn show_pools(&mut self) {
        self.output.extend(show::pools(&self.replica.ledger));
    }

    pub(crate) fn show_desk(&mut self, name: &str) {
        let now = self.now();
        let status = self.machine(name).desk.as_ref().map(Desk::status);
        self.output.push(show::desk(name, now.steady, status));
    }

    pub(crate) fn show_events(&mut self) {
        let (shown, events) = show::events(&self.replica.ledger, self.events_shown);
        self.events_shown = shown;
        self.output.extend(events);
    }

    pub(crate) fn run_for(&mut self, ms: u64) {
        let end_ms = self.now_ms + ms;
        self.settle();
        while let Some(at_ms) = self.next_ms().filter(|at_ms| *at_ms <= end_ms) {
            self.now_ms = self.now_ms.max(at_ms);
            self.wake();
            self.settle();
            while let Some(event) = self.due_event() {
                self.on_event(event);
                self.settle();
            }
        }
        self.now_ms = end_ms;
    }

    /// Does what the machines want done, until they want nothing more.
    pub(crate) fn settle(&mut self) {
        loop {
            let steward: Vec<_> = self.steward.take_effects().into();
            let names: Vec<String> = self.machines.keys().cloned().collect();
            let mut is_quiet = steward.is_empty();
            steward.into_iter().for_each(|effect| self.do_for_steward(effect));
            for name in names {
                let desk = self.machine_mut(&name).desk.as_mut();
                let effects = desk.map(Desk::take_effects).unwrap_or_default();
                is_quiet &= effects.is_empty();
                effects.into_iter().for_each(|effect| self.do_for_desk(&name, effect));
            }
            if is_quiet {
                break;
            }
        }
        self.check();
    }

    fn next_ms(&self) -> Option<u64> {
        let desks = self.machines.values().filter_map(|machine| machine.desk.as_ref());
        let wakes = desks.map(|desk| desk.next_wake().0).chain([self.steward.next_wake().0]);
        wakes.chain(self.queue.keys().next().map(|(at_ms, _)| *at_ms)).min()
    }

    fn due_event(&mut self) -> Option<Event> {
        let entry = self.queue.first_entry()?;
        (entry.key().0 <= self.now_ms).then(|| entry.remove())
    }

    fn wake(&mut self) {
        let now = self.now();
        if self.steward.next_wake() <= now.steady {
            self.steward.on_tick(now, &self.replica);
            assert!(self.steward.next_wake() > now.steady, "the steward would spin");
        }
        for (name, machine) in &mut self.machines {
            let now = Now { wall_ms: now.wall_ms + machine.wall_ahead_ms, ..now };
            let Some(desk) = machine.desk.as_mut().filter(|desk| desk.next_wake() <= now.steady)
            else {
                continue;
            };
            desk.on_tick(now);
            assert!(desk.next_wake() > now.steady, "the desk of {name} would spin");
        }
    }

    fn do_for_steward(&mut self, effect: StewardEffect) {
        match effect {
            StewardEffect::Answer { ticket, answer } => {
                self.later(HOP_MS, Event::FromSteward { call: ticket, answer });
            }
            StewardEffect::Propose { token, commands } => {
                self.later(COMMIT_MS, Event::Apply { token, commands });
            }
            StewardEffect::Recall { node, pools } => {
                self.later(HOP_MS, Event::Recall { node, pools });
            }
        }
    }

    fn do_for_desk(&mut self, name: &str, effect: Effect) {
        let what = match &effect {
            Effect::Answer { ticket, answer } => {
                self.on_desk_answer(name, *ticket, answer);
                return;
            }
            Effect::PassCheckin { to, receipt } => {
                if !self.machine(name).is_cut {
                    self.later(HOP_MS, Event::PassedCheckin { at: *to, receipt: receipt.clone() });
                }
                return;
            }
            Effect::Open { .. } => Asked::Open,
            Effect::Beat { epoch, seq, .. } => Asked::Beat { epoch: *epoch, seq: *seq },
            Effect::Operate(it) => Asked::Operate { epoch: it.epoch, number: it.number },
            Effect::HandOver { checkout, .. } => Asked::HandOver { checkout: *checkout },
        };
        let call = self.next_number();
        let (by, is_cut, process) = {
            let machine = self.machine(name);
            (machine.node, machine.is_cut, machine.process)
        };
        let wait_ms = if matches!(what, Asked::HandOver { .. }) { HAND_OVER_MS } else { CALL_MS };
        self.calls.insert(call, Call { machine: name.into(), process, what });
        self.later(wait_ms, Event::GiveUp { call });
        if is_cut {
            return;
        }
        if let Effect::HandOver { from, receipt, .. } = effect {
            self.later(HOP_MS, Event::AskHandOver { call, at: from, by, receipt });
        } else {
            self.later(HOP_MS, Event::ToSteward { call, effect });
        }
    }

    fn on_desk_answer(&mut self, at: &str, ticket: u64, answer: &Answer) {
        let Some(asker) = self.tickets.remove(&ticket) else { panic!("{ticket} answered twice") };
        let (name, sent_ms) = match asker {
            Asker::Nobody => return,
            Asker::Peer { call } => {
                let Answer::HandOver(answer) = answer else { panic!("to a peer: {answer:?}") };
                if !self.machine(at).is_cut {
                    self.later(HOP_MS, Event::HandedOver { call, answer: *answer });
                }
                return;
            }
            Asker::Checkin { engine } => (engine, self.now_ms),
            Asker::Checkout { engine, sent_ms } | Asker::Renew { engine, sent_ms } => {
                (engine, sent_ms)
            }
        };
        let now_ms = self.now_ms;
        let engine = self.engines.entry(name.clone()).or_default();
        let is_late = engine.until_ms <= now_ms;
        let said = match answer {
            Answer::Granted { receipt, life } => {
                engine.receipt = Some(receipt.clone());
                engine.sent_ms = sent_ms;
                engine.until_ms = sent_ms + life.left_ms(Moment(now_ms));
                let lines = show::receipt(&self.replica.ledger, &open(receipt));
                format!("granted {lines}, valid {} ms", life.left_ms(Moment(now_ms)))
            }
            Answer::Renewed { .. } if is_late => "renewed too late".into(),
            Answer::Renewed { receipt, life } => {
                engine.sent_ms = sent_ms;
                engine.until_ms = sent_ms + life.left_ms(Moment(now_ms));
                let left_ms = life.left_ms(Moment(now_ms));
                match receipt {
                    None => format!("renewed, valid {left_ms} ms"),
                    Some(receipt) => {
                        engine.receipt = Some(receipt.clone());
                        let lines = show::receipt(&self.replica.ledger, &open(receipt));
                        format!("renewed with a new receipt {lines}, valid {left_ms} ms")
                    }
                }
            }
            Answer::Accepted => "accepted".into(),
            Answer::Denied(denial) => show::denial(denial),
            Answer::HandOver(_) => panic!("a hand-over was answered to an engine"),
        };
        self.say(&format!("{name} at {at}: {said}"));
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Apply { token, commands } => {
                let outcomes = self.apply(&commands);
                let now = self.now();
                self.steward.on_proposed(now, &self.replica, token, Some(&outcomes));
            }
            Event::ToSteward { call, effect } => self.ask_steward(call, effect),
            Event::FromSteward { call, answer } => {
                let is_cut =
                    self.calls.get(&call).is_none_or(|it| self.machine(&it.machine).is_cut);
                if !is_cut && let Some(call) = self.calls.remove(&call) {
                    self.answer_call(&call, Some(answer));
                }
            }
            Event::GiveUp { call } => {
                if let Some(call) = self.calls.remove(&call) {
                    self.answer_call(&call, None);
                }
            }
            Event::Catalog { machine } => self.give_catalog(&machine),
            Event::Recall { node, pools } => self.recall(node, &pools),
            Event::Recalled { node, pools, returning } => {
                self.steward.on_recalled(node, &pools, returning.as_deref());
            }
            Event::AskHandOver { call, at, by, receipt } => {
                let Some(name) = self.reachable(at) else { return };
                let ticket = self.ask(Asker::Peer { call });
                let now = self.now_at(&name);
                self.desk(&name).handle_hand_over(now, &receipt, by, ticket);
            }
            Event::HandedOver { call, answer } => {
                let Some(call) = self.calls.remove(&call) else { return };
                self.answer_hand_over(&call, Some(answer));
            }
            Event::PassedCheckin { at, receipt } => {
                let Some(name) = self.reachable(at) else { return };
                let ticket = self.ask(Asker::Nobody);
                let now = self.now_at(&name);
                self.desk(&name).handle_checkin(now, &receipt, true, ticket);
            }
        }
    }

    fn ask_steward(&mut self, call: u64, effect: Effect) {
        let now = self.now();
        let (node, process, gone) = {
            let machine = self.machine(&self.calls[&call].machine);
            (machine.node, machine.process, machine.gone)
        };
        match effect {
            Effect::Open { after } => {
                self.steward.handle_open(OpenRequest { node, process, after, gone }, call);
            }
            Effect::Beat { epoch, seq, heard, report } => {
                let applied = None;
                let request = BeatRequest { node, epoch, seq, heard, applied, report };
                self.steward.handle_beat(now, &self.replica, request, call);
            }
            Effect::Operate(operation) => {
                self.steward.handle_operate(&self.replica, node, operation, call);
            }
            Effect::Answer { .. } | Effect::HandOver { .. } | Effect::PassCheckin { .. } => {
                panic!("not for the steward: {effect:?}")
            }
        }
    }

    fn answer_call(&mut self, call: &Call, answer: Option<StewardAnswer>) {
        if let Asked::HandOver { .. } = call.what {
            self.answer_hand_over(call, None);
            return;
        }
        let now = self.now_at(&call.machine);
        if self.machine(&call.machine).process != call.process {
            return;
        }
        if let Some(view) = answer.as_ref().and_then(view_of) {
            let newest = view.catalog_version;
            let desk = self.machine_mut(&call.machine).desk.as_ref();
            if desk.is_some_and(|desk| desk.catalog_version() < newest) {
                self.give_catalog(&call.machine);
            }
        }
        let Some(desk) = self.machine_mut(&call.machine).desk.as_mut() else { return };
        match call.what {
            Asked::Open => {
                let answer = answer.and_then(|it| {
                    if let StewardAnswer::Open(answer) = it { Some(answer) } else { None }
                });
                let epoch = answer.as_ref().and_then(|answer| answer.epoch);
                desk.on_opened(now, epoch, answer.map(|answer| answer.view));
            }
            Asked::Beat { epoch, seq } => {
                let answer = answer.and_then(|it| {
                    if let StewardAnswer::Beat(answer) = it { Some(answer) } else { None }
                });
                desk.on_beat(now, epoch, seq, answer);
            }
            Asked::Operate { epoch, number } => {
                let answer = answer.and_then(|it| {
                    if let StewardAnswer::Operated(answer) = it { Some(answer) } else { None }
                });
                desk.on_operated(now, epoch, number, answer);
            }
            Asked::HandOver { .. } => {}
        }
    }

    fn answer_hand_over(&mut self, call: &Call, answer: Option<HandOver>) {
        let Asked::HandOver { checkout } = call.what else { return };
        let now = self.now_at(&call.machine);
        let machine = self.machine_mut(&call.machine);
        if machine.process != call.process {
            return;
        }
        if let Some(desk) = machine.desk.as_mut() {
            desk.on_hand_over(now, checkout, answer);
        }
    }

    fn recall(&mut self, node: NodeId, pools: &[(PoolId, u64)]) {
        let ids = pools.iter().map(|(pool, _)| *pool).collect();
        let Some(name) = self.reachable(node) else {
            self.later(CALL_MS, Event::Recalled { node, pools: ids, returning: None });
            return;
        };
        let now = self.now_at(&name);
        let returning = Some(self.desk(&name).handle_recall(now, pools));
        self.later(HOP_MS, Event::Recalled { node, pools: ids, returning });
    }

    fn give_catalog(&mut self, name: &str) {
        let catalog = self.replica.ledger.catalog();
        let now = self.now_at(name);
        let machine = self.machine_mut(name);
        if let Some(desk) = machine.desk.as_mut().filter(|_| !machine.is_cut) {
            desk.on_catalog(now, catalog);
        }
    }

    fn apply(&mut self, commands: &[Command]) -> Vec<Outcome> {
        let version = self.replica.ledger.catalog().version;
        let outcomes = self.replica.apply(Moment(self.now_ms), commands);
        if self.replica.ledger.catalog().version > version {
            for machine in self.machines.keys().cloned().collect::<Vec<_>>() {
                self.later(HOP_MS, Event::Catalog { machine });
            }
        }
        outcomes
    }

    fn check(&self) {
        let ledger = &self.replica.ledger;
        assert_eq!(ledger.check(), Ok(()), "at {} ms", self.now_ms);
        let mut held: BTreeMap<PoolId, u64> = BTreeMap::new();
        let valid = self.engines.values().filter(|engine| engine.until_ms > self.now_ms);
        for line in valid
            .filter_map(|engine| engine.receipt.as_ref())
            .flat_map(|it| open(it).lines.to_vec())
        {
            *held.entry(line.pool).or_default() += line.units.get();
        }
        for (pool, total) in ledger.totals() {
            let held = held.get(&pool).copied().unwrap_or(0);
            // A cut is complete when running checkouts have ended.
            let is_cut = total.reserve < 0;
            assert!(
                held <= total.entitled.get() || is_cut,
                "pool {pool} at {} ms: engines hold {held} of {total:?}",
                self.now_ms
            );
        }
    }

    fn say(&mut self, what: &str) {
        self.output.push(format!("{} {what}", show::time(self.now_ms)));
    }

    fn later(&mut self, in_ms: u64, event: Event) {
        let number = self.next_number();
        self.queue.insert((self.now_ms + in_ms, number), event);
    }

    fn ask(&mut self, asker: Asker) -> u64 {
        let ticket = self.next_number();
        self.tickets.insert(ticket, asker);
        ticket
    }

    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    fn now(&self) -> Now {
        let wall_ms = self.wall_ms + i64::try_from(self.now_ms).unwrap();
        Now { steady: Moment(self.now_ms), wall_ms }
    }

    fn now_at(&self, name: &str) -> Now {
        let now = self.now();
        Now { wall_ms: now.wall_ms + self.machine(name).wall_ahead_ms, ..now }
    }

    fn machine(&self, name: &str) -> &Machine {
        self.machines.get(name).unwrap_or_else(|| panic!("no node {name}"))
    }

    fn machine_mut(&mut self, name: &str) -> &mut Machine {
        self.machines.get_mut(name).unwrap_or_else(|| panic!("no node {name}"))
    }

    fn desk(&mut self, name: &str) -> &mut Desk {
        self.machine_mut(name).desk.as_mut().unwrap_or_else(|| panic!("{name} does not run"))
    }

    fn reachable(&self, node: NodeId) -> Option<String> {
        let mut named = self.machines.iter().filter(|(_, machine)| machine.node == node);
        named.find(|(_, it)| it.desk.is_some() && !it.is_cut).map(|(name, _)| name.clone())
    }
}

/// A floating production set with a contract far beyond any scenario.
pub(crate) fn license_set(name: &str, features: &[(&str, u64)]) -> LicenseSet {
    let line = |(feature, units): &(&str, u64)| FeatureLine {
        feature: feature.parse().unwrap(),
        units: *units,
    };
    LicenseSet {
        name: name.parse().unwrap(),
        kind: SetKind::Production,
        home: None,
        covers: vec![],
        starts: "2026-01-01".parse().unwrap(),
        contract_end: "2099-12-31".parse().unwrap(),
        maintenance_until: "2099-12-31".parse().unwrap(),
        autonomy_s: None,
        features: features.iter().map(line).collect(),
    }
}

fn view_of(answer: &StewardAnswer) -> Option<&NodeView> {
    match answer {
        StewardAnswer::Open(answer) => Some(&answer.view),
        StewardAnswer::Beat(BeatAnswer { view, .. })
        | StewardAnswer::Operated(Operated::Applied { view, .. } | Operated::Refused { view }) => {
            Some(view)
        }
        StewardAnswer::Unknown => None,
    }
}

fn open(receipt: &[u8]) -> Receipt {
    Receipt::open(receipt, &ReceiptKey::new(CLUSTER, &RECEIPT_KEY)).unwrap()
}

fn vendor_key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}
