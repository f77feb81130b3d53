//! What an answer, or its absence, means to an engine.

use std::collections::BTreeMap;

use leasehold_core::desk::message::{Denial, Reason};
use leasehold_core::id::{PoolId, RequestId};
use leasehold_core::receipt::Receipt;
use leasehold_core::time::{Moment, shrink};

use crate::clock::{MS, Time};
use crate::engine::{CallKind, EngineCall, Held, Stage};
use crate::event::{CallId, EngineIndex, EngineReply};
use crate::mutation::Mutation;
use crate::network::Fate;
use crate::plan::Class;
use crate::world::{World, shown};

/// Before the next attempt when a node said no, or nobody listened.
const PAUSE_MS: u64 = 60;
const NO_ANSWER: &str = "no answer";
const NOBODY: &str = "nobody there";
/// A call that goes on to the end of the run.
const FOR_GOOD: Time = Time::MAX / 2;

impl World {
    pub(crate) fn on_engine_call_over(&mut self, engine: EngineIndex, call: CallId) {
        let takes_late_answers = self.engines[engine].takes_late_answers;
        let Some(ended) = self.engines[engine].calls.get_mut(&call) else { return };
        if ended.is_over {
            return;
        }
        ended.is_over = true;
        let ended = ended.clone();
        if !takes_late_answers {
            self.engines[engine].calls.remove(&call);
        }
        self.on_failed(engine, call, &ended, NO_ANSWER);
        self.set_engine_wake(engine);
    }

    pub(crate) fn on_reply(&mut self, engine: EngineIndex, call: CallId, reply: EngineReply) {
        // Only an answer of the node ends a call for good: a second copy finds nothing.
        let Some(ended) = self.engines[engine].calls.remove(&call) else {
            self.forget_grant(&reply);
            return;
        };
        self.trace(|| format!("engine {engine} hears on call {call}: {}", shown(&reply)));
        match (&ended.kind, reply) {
            (_, EngineReply::Refused) => self.on_failed(engine, call, &ended, NOBODY),
            (CallKind::Checkout { request }, EngineReply::Granted { receipt, valid_for_ms }) => {
                self.on_granted(engine, call, &ended, *request, receipt, valid_for_ms);
            }
            (
                CallKind::Renew { receipt: shown },
                EngineReply::Renewed { receipt, valid_for_ms },
            ) => {
                self.on_renewed(engine, call, &ended, shown, receipt, valid_for_ms);
            }
            (CallKind::Checkout { .. }, EngineReply::Denied(denial)) => {
                self.on_checkout_denied(engine, call, ended.node, &denial);
            }
            (CallKind::Renew { .. }, EngineReply::Denied(denial)) => {
                self.judge_if_current(engine, call, &ended, denial.reason.as_str());
                self.on_renewal_denied(engine, call, ended.node, &denial);
            }
            (CallKind::Checkin { .. }, EngineReply::Denied(denial))
                if denial.retry_after_ms > 0 =>
            {
                self.on_failed(engine, call, &ended, "not now");
            }
            (
                CallKind::Checkout { .. } | CallKind::Renew { .. } | CallKind::Checkin { .. },
                EngineReply::Granted { .. }
                | EngineReply::Renewed { .. }
                | EngineReply::Accepted
                | EngineReply::Denied(_),
            ) => {}
        }
        self.set_engine_wake(engine);
    }

    /// Of a grant that nobody takes any more the units are lent until it has expired.
    fn forget_grant(&mut self, reply: &EngineReply) {
        if matches!(reply, EngineReply::Granted { .. }) {
            self.forgotten_at = self.now;
        }
    }

    /// A renewal failed that the engine counted on.
    fn judge_if_current(&mut self, engine: EngineIndex, call: CallId, at: &EngineCall, said: &str) {
        let moment = self.engine_moment(engine);
        if let Stage::Held(held) = &self.engines[engine].stage
            && held.call == Some(call)
            && moment < held.valid_until
        {
            self.judge_attempt(engine, at, said);
        }
    }

    fn on_failed(&mut self, engine: EngineIndex, call: CallId, ended: &EngineCall, why: &str) {
        let moment = self.engine_moment(engine);
        self.judge_if_current(engine, call, ended, why);
        if why == NO_ANSWER || why == NOBODY {
            self.engines[engine].avoid(ended.node, moment);
        }
        let next = self.engines[engine].node_after(ended.node, moment);
        let is_loyal = self.dice.chance(500);
        match &mut self.engines[engine].stage {
            Stage::Asking(asking) if asking.call == Some(call) => {
                asking.call = None;
                if is_loyal {
                    self.tally.count("fault checkout asked for again at the same node");
                } else {
                    self.tally.count("fault checkout asked for again at another node");
                    asking.node = next;
                }
                asking.try_at = moment + PAUSE_MS;
            }
            Stage::Held(held) if held.call == Some(call) => {
                held.call = None;
                held.node = next;
                held.try_at = moment + PAUSE_MS;
            }
            Stage::Idle { .. } | Stage::Asking(_) | Stage::Held(_) => {}
        }
        if let CallKind::Checkin { receipt, tries } = &ended.kind {
            self.check_in(engine, receipt.clone(), next, tries + 1);
        }
    }

    /// When an answer's promise ends, and when in true time.
    fn deadline(&self, engine: EngineIndex, sent: Moment, valid_for_ms: u64) -> Moment {
        let from = if self.mutation == Some(Mutation::EngineCountsFromAnswer) {
            self.engine_moment(engine)
        } else {
            sent
        };
        from + shrink(valid_for_ms, self.plan.timings.clock_drift_ppm)
    }

    fn on_granted(
        &mut self,
        engine: EngineIndex,
        call: CallId,
        ended: &EngineCall,
        request: RequestId,
        receipt: Vec<u8>,
        valid_for_ms: u64,
    ) {
        let moment = self.engine_moment(engine);
        let valid_until = self.deadline(engine, ended.sent, valid_for_ms);
        let is_fresh = valid_for_ms > self.plan.timings.checkout_ttl_ms / 2;
        let is_late = valid_until <= moment && ended.fate == Fate::Delivered;
        if is_fresh && is_late && self.unfit_since(ended.machine, ended.sent_at).is_none() {
            self.violate(format!("engine {engine} was granted what was dead when it came"));
        }
        match &self.engines[engine].stage {
            Stage::Asking(asking)
                if asking.item.request == request
                    && (asking.call == Some(call) || ended.is_over)
                    && moment < valid_until =>
            {
                self.become_held(engine, ended, receipt, valid_until);
            }
            // Too late for this attempt; another is under way and will be answered the same.
            Stage::Asking(asking)
                if asking.item.request == request
                    && asking.call.is_some_and(|current| current != call) =>
            {
                self.tally.count("late grant of a request that is asked for again");
            }
            // To give it back would end the checkout that is in use, and may have moved since.
            Stage::Held(held) if held.receipt == receipt || held.earlier.contains(&receipt) => {}
            Stage::Idle { .. } | Stage::Asking(_) | Stage::Held(_) => {
                self.tally.count("grant given back");
                if let Stage::Asking(asking) = &mut self.engines[engine].stage
                    && asking.call == Some(call)
                {
                    asking.call = None;
                    asking.item.request = RequestId(self.dice.bytes16());
                }
                if self.dice.chance(200) {
                    self.forgotten_at = self.now;
                } else {
                    self.check_in(engine, receipt, ended.node, 0);
                }
            }
        }
    }

    fn become_held(
        &mut self,
        engine: EngineIndex,
        ended: &EngineCall,
        receipt: Vec<u8>,
        valid_until: Moment,
    ) {
        let lease = self.plan.timings.lease_ms * MS;
        let units = self.units_of(&receipt);
        let longest = if self.plan.class == Class::Hostile { 16 } else { 8 };
        let lasts = self.dice.between(lease / 4, longest * lease);
        let ends_at = if self.is_healed { FOR_GOOD } else { self.now + lasts };
        self.trace(|| format!("engine {engine} holds {units:?} until {ends_at}"));
        let (try_at, is_late) = self.renew_at(engine, ended.sent, valid_until);
        self.engines[engine].stage = Stage::Held(Held {
            receipt,
            earlier: Vec::new(),
            units,
            node: ended.node,
            sent: ended.sent,
            valid_until,
            valid_until_true: self.engines[engine].clock.when(valid_until, self.now),
            try_at,
            is_late,
            call: None,
            ends_at,
            troubles: Vec::new(),
        });
        self.tally.count("call begun");
        self.check_units();
    }

    pub(crate) fn units_of(&self, receipt: &[u8]) -> BTreeMap<PoolId, u64> {
        let mut units = BTreeMap::new();
        if let Ok(receipt) = Receipt::open(receipt, &self.receipt_key) {
            for line in receipt.lines.iter() {
                *units.entry(line.pool).or_default() += line.units.get();
            }
        }
        units
    }

    fn on_renewed(
        &mut self,
        engine: EngineIndex,
        call: CallId,
        ended: &EngineCall,
        shown: &[u8],
        receipt: Option<Vec<u8>>,
        valid_for_ms: u64,
    ) {
        self.revive(engine, shown);
        let moment = self.engine_moment(engine);
        let promised = self.deadline(engine, ended.sent, valid_for_ms);
        let units = receipt.as_ref().map(|receipt| self.units_of(receipt));
        let node = ended.node;
        let (try_at, is_late) = match &self.engines[engine].stage {
            Stage::Held(held) => {
                let (sent, until) = (held.sent.max(ended.sent), held.valid_until.max(promised));
                self.renew_at(engine, sent, until)
            }
            Stage::Idle { .. } | Stage::Asking(_) => (moment, false),
        };
        let extended = &mut self.engines[engine];
        match &mut extended.stage {
            Stage::Held(held) if held.receipt == shown && moment < held.valid_until => {
                if held.call == Some(call) || ended.is_over {
                    held.call = None;
                }
                if let (Some(receipt), Some(units)) = (receipt, units) {
                    held.earlier.push(std::mem::replace(&mut held.receipt, receipt));
                    held.units = units;
                    self.tally.count("checkout moved with its engine");
                }
                held.node = node;
                held.sent = held.sent.max(ended.sent);
                held.valid_until = held.valid_until.max(promised);
                held.valid_until_true = extended.clock.when(held.valid_until, self.now);
                (held.try_at, held.is_late) = (try_at, is_late);
                held.troubles.clear();
                self.tally.count("renewed");
                self.check_units();
            }
            // To check in what it brought would end the checkout that is in use.
            Stage::Held(held) if held.earlier.iter().any(|earlier| earlier == shown) => {
                held.call = held.call.filter(|current| *current != call);
                self.tally.count("late renewal of a checkout that has moved on");
            }
            Stage::Idle { .. } | Stage::Asking(_) | Stage::Held(_) => {
                self.tally.count("late renewal, nothing extended");
                if let Some(receipt) = receipt {
                    self.check_in(engine, receipt, node, 0);
                }
            }
        }
    }

    /// Mutation: a checkout that has lapsed is used again.
    fn revive(&mut self, engine: EngineIndex, shown: &[u8]) {
        let moment = self.engine_moment(engine);
        let revived = &mut self.engines[engine];
        if let Some(mut held) = revived.lapsed.take().filter(|held| held.receipt == shown) {
            held.valid_until = moment + 1;
            held.call = None;
            revived.stage = Stage::Held(held);
        }
    }

    fn on_checkout_denied(
        &mut self,
        engine: EngineIndex,
        call: CallId,
        node: usize,
        denial: &Denial,
    ) {
        let moment = self.engine_moment(engine);
        let request = RequestId(self.dice.bytes16());
        let next = self.engines[engine].node_after(node, moment);
        let Stage::Asking(asking) = &mut self.engines[engine].stage else { return };
        if asking.call != Some(call) {
            return;
        }
        asking.call = None;
        match denial.reason {
            Reason::CutOff | Reason::Draining | Reason::NotReady => {
                asking.item.request = request;
                asking.node = next;
                asking.try_at = moment + PAUSE_MS;
            }
            Reason::Exhausted
            | Reason::NoEntitlement
            | Reason::NotEntitled
            | Reason::ContractEnded
            | Reason::MaintenanceEnded
            | Reason::ReceiptInvalid
            | Reason::ReceiptExpired
            | Reason::RequestReused
            | Reason::BadRequest => self.become_idle(engine),
        }
    }

    fn on_renewal_denied(
        &mut self,
        engine: EngineIndex,
        call: CallId,
        node: usize,
        denial: &Denial,
    ) {
        let moment = self.engine_moment(engine);
        let next = self.engines[engine].node_after(node, moment);
        let Stage::Held(held) = &mut self.engines[engine].stage else { return };
        if held.call != Some(call) {
            return;
        }
        held.call = None;
        if denial.reason == Reason::ReceiptExpired {
            self.lapse(engine, "told that it has ended");
            return;
        }
        held.node = next;
        held.try_at = moment + PAUSE_MS;
    }

    pub(crate) fn refuse(&mut self, engine: EngineIndex, call: CallId, from: usize) {
        if self.dice.chance(700) {
            self.send_to_engine(from, engine, call, EngineReply::Refused);
        }
    }

    /// When an engine renews, and whether that is late: at a third of the lifetime, if it does as
    /// it should.
    fn renew_at(
        &mut self,
        engine: EngineIndex,
        sent: Moment,
        valid_until: Moment,
    ) -> (Moment, bool) {
        let span_ms = valid_until.since(sent);
        if self.engines[engine].is_tardy && !self.is_healed {
            self.tally.count("fault engine renewed late");
            return (sent + span_ms * self.dice.between(60, 101) / 100, true);
        }
        (sent + span_ms / 3, false)
    }

    /// An engine stops asking for more; some go on with what they hold.
    pub(crate) fn calm_engine(&mut self, engine: EngineIndex) {
        self.engines[engine].is_done = true;
        let goes_on = self.dice.chance(500);
        let ends_at = if goes_on { FOR_GOOD } else { self.now + self.dice.below(1_000 * MS) };
        match &mut self.engines[engine].stage {
            Stage::Held(held) => held.ends_at = ends_at,
            Stage::Idle { .. } | Stage::Asking(_) => {}
        }
        self.set_engine_wake(engine);
    }
}
