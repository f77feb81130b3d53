//! An honest engine: checks out, renews at a third of the lifetime, moves to another node when one
//! fails, checks in; and never uses a unit past the deadline that it counts from its own sending.

use std::collections::BTreeMap;

use leasehold_core::desk::message::{CheckoutItem, FeatureUnits};
use leasehold_core::id::{NodeId, PoolId, RequestId};
use leasehold_core::limits::WAIT_MS_MAX;
use leasehold_core::time::Moment;

use crate::clock::{LocalClock, MS, SECOND, Time};
use crate::event::{Asked, CallId, EngineIndex, Event, MachineIndex};
use crate::excuse::Trouble;
use crate::mutation::Mutation;
use crate::network::Fate;
use crate::plan::{CALL_DEADLINE, Class};
use crate::world::{World, shown};

#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) clock: LocalClock,
    /// Nodes to ask, those of the own site first.
    pub(crate) nodes: Vec<NodeId>,
    /// Until when each of them is left alone, since it did not serve.
    pub(crate) avoid_until: Vec<Moment>,
    pub(crate) stage: Stage,
    pub(crate) calls: BTreeMap<CallId, EngineCall>,
    /// Its transport hands over answers that come after the call's deadline.
    pub(crate) takes_late_answers: bool,
    pub(crate) wake_at: Option<Time>,
    /// A checkout that lapsed; only a mutated engine remembers it.
    pub(crate) lapsed: Option<Held>,
    pub(crate) is_done: bool,
    /// It renews when there is hardly any time left, until everything is healed.
    pub(crate) is_tardy: bool,
    /// When a message of its was lost or late.
    pub(crate) mishap_at: Option<Time>,
}

#[derive(Debug)]
pub(crate) enum Stage {
    Idle { until: Time },
    Asking(Asking),
    Held(Held),
}

#[derive(Debug)]
pub(crate) struct Asking {
    pub(crate) item: CheckoutItem,
    pub(crate) node: usize,
    pub(crate) try_at: Moment,
    pub(crate) give_up_at: Moment,
    pub(crate) call: Option<CallId>,
}

#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) receipt: Vec<u8>,
    /// Earlier receipts of the same checkout.
    pub(crate) earlier: Vec<Vec<u8>>,
    /// What the receipt is for; an engine can't know, the simulator does.
    pub(crate) units: BTreeMap<PoolId, u64>,
    pub(crate) node: usize,
    /// When the attempt was sent that extended it last.
    pub(crate) sent: Moment,
    pub(crate) valid_until: Moment,
    /// The same in true time.
    pub(crate) valid_until_true: Time,
    pub(crate) try_at: Moment,
    /// The renewal that is due, or under way, comes later than at a third of the lifetime.
    pub(crate) is_late: bool,
    pub(crate) call: Option<CallId>,
    pub(crate) ends_at: Time,
    /// Failed renewals since the last success.
    pub(crate) troubles: Vec<Trouble>,
}

#[derive(Clone, Debug)]
pub(crate) struct EngineCall {
    pub(crate) sent: Moment,
    pub(crate) node: usize,
    pub(crate) kind: CallKind,
    pub(crate) is_over: bool,
    /// To which machine it went, and when in true time.
    pub(crate) machine: MachineIndex,
    pub(crate) sent_at: Time,
    pub(crate) fate: Fate,
    pub(crate) is_forged: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum CallKind {
    Checkout { request: RequestId },
    Renew { receipt: Vec<u8> },
    Checkin { receipt: Vec<u8>, tries: u32 },
}

/// A node that did not answer, or was not there, is left alone for so long, while others answer.
const AVOID_MS: u64 = 2_000;
/// How long an engine tries to get a checkout, beyond the wait it asks for.
const PATIENCE_MS: u64 = 3_000;
/// Attempts to check in; after that the checkout ends by itself.
const CHECKIN_TRIES: u32 = 4;

impl Engine {
    /// The node to ask after `node`: the next that is not left alone, else just the next.
    pub(crate) fn node_after(&self, node: usize, moment: Moment) -> usize {
        let count = self.nodes.len();
        let others = (1..=count).map(|step| (node + step) % count);
        let next = (node + 1) % count;
        others.into_iter().find(|other| self.avoid_until[*other] <= moment).unwrap_or(next)
    }

    pub(crate) fn avoid(&mut self, node: usize, moment: Moment) {
        self.avoid_until[node] = moment + AVOID_MS;
    }
}

impl World {
    pub(crate) fn engine_moment(&self, engine: EngineIndex) -> Moment {
        self.engines[engine].clock.moment(self.now)
    }

    pub(crate) fn on_engine_wake(&mut self, engine: EngineIndex) {
        let woken = &mut self.engines[engine];
        if woken.wake_at.is_some_and(|at| at > self.now) {
            return;
        }
        woken.wake_at = None;
        let moment = woken.clock.moment(self.now);
        match &self.engines[engine].stage {
            Stage::Idle { until } if *until <= self.now && !self.engines[engine].is_done => {
                self.start_asking(engine);
            }
            Stage::Idle { .. } => {}
            Stage::Asking(asking) if asking.give_up_at <= moment => {
                self.tally.count("checkout given up");
                self.become_idle(engine);
            }
            Stage::Asking(asking) if asking.call.is_none() && asking.try_at <= moment => {
                self.send_checkout(engine);
            }
            Stage::Asking(_) => {}
            Stage::Held(held) if held.valid_until <= moment => self.lapse(engine, "in time"),
            Stage::Held(held) if held.ends_at <= self.now => self.end_call(engine),
            Stage::Held(held) if held.call.is_none() && held.try_at <= moment => {
                self.send_renewal(engine);
            }
            Stage::Held(_) => {}
        }
        self.set_engine_wake(engine);
    }

    pub(crate) fn set_engine_wake(&mut self, engine: EngineIndex) {
        let now = self.now;
        let set = &mut self.engines[engine];
        let clock = &set.clock;
        let at = match &set.stage {
            Stage::Idle { .. } if set.is_done => return,
            Stage::Idle { until } => *until,
            Stage::Asking(asking) => {
                let try_at = if asking.call.is_none() { asking.try_at } else { asking.give_up_at };
                clock.when(try_at.min(asking.give_up_at), now)
            }
            Stage::Held(held) => {
                let try_at = if held.call.is_none() { held.try_at } else { held.valid_until };
                clock.when(try_at.min(held.valid_until), now).min(held.ends_at)
            }
        };
        let at = at.max(now + MS / 4);
        if set.wake_at.is_none_or(|set_at| set_at <= now || set_at > at) {
            set.wake_at = Some(at);
            self.queue.push(at, Event::EngineWake { engine });
        }
    }

    pub(crate) fn become_idle(&mut self, engine: EngineIndex) {
        let lease = self.plan.timings.lease_ms * MS;
        let until = self.now + self.dice.between(10 * MS, lease);
        self.engines[engine].stage = Stage::Idle { until };
    }

    fn start_asking(&mut self, engine: EngineIndex) {
        let features = self.features.clone();
        let mut lines: Vec<FeatureUnits> = Vec::new();
        for _ in 0..self.dice.between(1, 3) {
            let mut feature = &features[self.dice.index(features.len())];
            if self.dice.chance(20) {
                feature = &self.vain_features[self.dice.index(self.vain_features.len())];
            }
            if lines.iter().all(|line| line.feature != *feature) {
                let units = if self.dice.chance(150) { 2 } else { 1 };
                lines.push(FeatureUnits { feature: feature.clone(), units });
            }
        }
        let waits = self.plan.class == Class::Hostile || self.dice.chance(500);
        let mut wait_ms = if waits { self.dice.below(1_500) } else { 0 };
        // What comes after the end of all faults would be found in use then.
        let longest_ms = (self.plan.heal_at.saturating_sub(self.now) / MS).min(WAIT_MS_MAX);
        let half_ms = self.plan.timings.checkout_ttl_ms / 2;
        if self.plan.class == Class::Wild && longest_ms > half_ms && self.dice.chance(30) {
            self.tally.count("wait of longer than half a lifetime");
            wait_ms = self.dice.between(half_ms, longest_ms);
        }
        let engine_build = self.dice.chance(10).then_some(self.late_build);
        let request = RequestId(self.dice.bytes16());
        let item = CheckoutItem { request, lines, wait_ms, engine_build };
        self.ask_for(engine, item, 0);
    }

    pub(crate) fn ask_for(&mut self, engine: EngineIndex, item: CheckoutItem, node: usize) {
        let moment = self.engine_moment(engine);
        let give_up_at = moment + item.wait_ms + PATIENCE_MS;
        let asking = Asking { item, node, try_at: moment, give_up_at, call: None };
        self.engines[engine].stage = Stage::Asking(asking);
        self.send_checkout(engine);
    }

    fn send_checkout(&mut self, engine: EngineIndex) {
        let Stage::Asking(asking) = &self.engines[engine].stage else { return };
        let (mut item, node) = (asking.item.clone(), asking.node);
        if !self.is_healed {
            // Careless engines use a name twice, or ask for nothing.
            match self.dice.below(200) {
                0..=2 => {
                    self.tally.count("fault request id may be used twice");
                    item.lines[0].units += 1;
                }
                3 => {
                    self.tally.count("fault request for nothing");
                    item.lines.clear();
                }
                _ => {}
            }
        }
        let wait = item.wait_ms * MS;
        let kind = CallKind::Checkout { request: item.request };
        let call = self.call(engine, node, kind, Asked::Checkout(item), CALL_DEADLINE + wait);
        if let Stage::Asking(asking) = &mut self.engines[engine].stage {
            asking.call = Some(call);
        }
    }

    fn send_renewal(&mut self, engine: EngineIndex) {
        let moment = self.engine_moment(engine);
        let Stage::Held(held) = &self.engines[engine].stage else { return };
        let (mut receipt, node) = (held.receipt.clone(), held.node);
        let age_ms = moment.since(held.sent);
        let kind = CallKind::Renew { receipt: receipt.clone() };
        let is_forged = !self.is_healed && self.plan.class == Class::Wild && self.dice.chance(3);
        if is_forged {
            self.tally.count("fault receipt forged");
            let last = receipt.len() - 1;
            receipt[last] ^= 1;
        }
        let asked = Asked::Renew { receipt, age_ms };
        let call = self.call(engine, node, kind, asked, CALL_DEADLINE);
        if let Some(call) = self.engines[engine].calls.get_mut(&call) {
            call.is_forged = is_forged;
        }
        if let Stage::Held(held) = &mut self.engines[engine].stage {
            held.call = Some(call);
        }
    }

    pub(crate) fn check_in(
        &mut self,
        engine: EngineIndex,
        receipt: Vec<u8>,
        node: usize,
        tries: u32,
    ) {
        if tries >= CHECKIN_TRIES {
            return;
        }
        let kind = CallKind::Checkin { receipt: receipt.clone(), tries };
        self.call(engine, node, kind, Asked::Checkin { receipt }, CALL_DEADLINE);
    }

    fn call(
        &mut self,
        engine: EngineIndex,
        node: usize,
        kind: CallKind,
        asked: Asked,
        deadline: Time,
    ) -> CallId {
        let call = self.new_call();
        let at = self.engines[engine].nodes[node];
        self.trace(|| format!("engine {engine} asks node {at}, call {call}: {}", shown(&asked)));
        let machine = self.machine_for(engine, node);
        let made = EngineCall {
            sent: self.engine_moment(engine),
            node,
            kind,
            is_over: false,
            machine,
            sent_at: self.now,
            fate: Fate::Delivered,
            is_forged: false,
        };
        self.engines[engine].calls.insert(call, made);
        self.queue.push(self.now + deadline, Event::EngineCallOver { engine, call });
        self.send_to_machine(engine, machine, call, asked);
        call
    }

    /// The call that the checkout was for is over.
    fn end_call(&mut self, engine: EngineIndex) {
        let idle = Stage::Idle { until: self.now + self.dice.below(SECOND) };
        let Stage::Held(held) = std::mem::replace(&mut self.engines[engine].stage, idle) else {
            return;
        };
        self.trace(|| format!("engine {engine} ends its call"));
        match self.dice.below(20) {
            0 => self.tally.count("fault engine gone without check-in"),
            1 => {
                self.tally.count("fault check-in sent twice");
                self.check_in(engine, held.receipt.clone(), held.node, 0);
                self.check_in(engine, held.receipt, held.node, 0);
            }
            2 => {
                self.tally.count("fault check-in at another node");
                let other = (held.node + 1) % self.engines[engine].nodes.len();
                self.check_in(engine, held.receipt, other, 0);
            }
            _ => self.check_in(engine, held.receipt, held.node, 0),
        }
    }

    /// What it held, or had asked for, it has forgotten; nobody takes the answers.
    pub(crate) fn crash_engine(&mut self, engine: EngineIndex) {
        let name = match &self.engines[engine].stage {
            Stage::Idle { .. } => "fault engine crashed, idle",
            Stage::Asking(_) => "fault engine crashed, asking",
            Stage::Held(_) => "fault engine crashed, in a call",
        };
        self.tally.count(name);
        self.engines[engine].calls.clear();
        self.become_idle(engine);
        self.set_engine_wake(engine);
    }

    /// The license ends, the call does not: it is a loss.
    pub(crate) fn lapse(&mut self, engine: EngineIndex, cause: &str) {
        let Stage::Held(held) = &self.engines[engine].stage else { return };
        let held = held.clone();
        self.trace(|| format!("engine {engine} lost its call: {cause}"));
        self.count_loss(engine, &held, cause);
        let until = self.now + self.dice.below(SECOND);
        self.engines[engine].stage = Stage::Idle { until };
        self.check_in(engine, held.receipt.clone(), held.node, 0);
        if self.mutation == Some(Mutation::EngineResurrects) {
            self.engines[engine].lapsed = Some(held);
        }
    }
}
