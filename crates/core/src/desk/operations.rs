//! The desk's dealings with the ledger, by way of the steward: its lease, its beats, and one
//! operation at a time.
//!
//! One operation is under way at most, its content fixed and its number one more than the last, so
//! that a repeat is applied once and every view can be placed before or after it.

use std::collections::BTreeMap;

use super::headroom::SPARE_ASK_MS;
use super::message::{Answer, BeatAnswer, Effect, HandOver, Operated, Operation, PoolUse};
use super::message::{Report, Supply, Want};
use super::queue::WaiterId;
use super::{Desk, InFlight};
use crate::id::{CheckoutId, Epoch, PoolId};
use crate::ledger::NodeView;
use crate::ledger::command::{Action, ActionOutcome};
use crate::limits::ACTIONS_PER_OPERATION_MAX;
use crate::time::{Moment, Now};

/// An operation or an opening without an answer is sent again after this: above a round trip
/// between sites and a sync, and often enough within the time an engine waits.
const RETRY_MS: u64 = 150;
/// What was neither answered nor given up by then is sent again all the same: it may have gone to a
/// leader that is dead or cut off, and the call's own deadline is longer than a call can wait. The
/// pause doubles from one to the next, up to the deadline of a call: a slow leader is not buried.
const RESEND_MS: u64 = 500;
const RESEND_MS_MAX: u64 = 4_000;
/// A beat that failed is followed by the next after this.
const BEAT_RETRY_MS: u64 = 250;
/// While requests wait, the steward is asked again this often: units come free at other nodes.
const ASK_AGAIN_MS: u64 = 200;
/// After units were recalled for this desk they arrive within a round trip or two.
const RECALL_MS: u64 = 50;
/// Actions that one operation takes; the rest of the limit is left for the steward's draws.
const OWN_ACTIONS_MAX: usize = ACTIONS_PER_OPERATION_MAX - 64;
/// Wants of one operation: each may need draws from several pools.
pub(super) const WANTS_MAX: usize = 32;

impl Desk {
    /// The ledger's answer to [`Effect::Open`]; `opened` is the epoch, `None` without an answer.
    pub fn on_opened(&mut self, now: Now, opened: Option<Epoch>, view: Option<NodeView>) {
        self.next_open = now.steady + RETRY_MS;
        if let Some(view) = &view {
            self.newest_epoch = self.newest_epoch.max(view.newest_epoch);
        }
        // A late answer may name an epoch that has been opened, and has ended, since.
        let is_new = |epoch: &Epoch| {
            self.tenure.epoch().is_none() && *epoch > self.closed_epoch && !self.is_retired
        };
        if let Some(epoch) = opened.filter(is_new) {
            self.become_open(now, epoch);
            if let Some(view) = view {
                self.on_view(now, &view);
            }
        }
        self.on_tick(now);
    }

    /// A new epoch starts with an empty desk.
    fn become_open(&mut self, now: Now, epoch: Epoch) {
        self.newest_epoch = self.newest_epoch.max(epoch);
        self.operation = 0;
        self.granted = 0;
        self.next_beat = now.steady;
        self.tenure.become_open(epoch);
    }

    /// The lease has ended: nothing of it is ours any more. Engines bring their receipts back.
    pub(super) fn become_closed(&mut self, now: Now) {
        self.closed_epoch = self.tenure.epoch().unwrap_or_default().max(self.closed_epoch);
        self.tenure.become_closed();
        self.tills.clear();
        self.book.clear();
        self.outbox.clear();
        self.recalled.clear();
        self.departed.clear();
        self.spare_asks.clear();
        self.in_flight = None;
        for (_, tickets) in std::mem::take(&mut self.departing).into_values() {
            for ticket in tickets {
                self.answer(ticket, Answer::HandOver(HandOver::NotNow));
            }
        }
        self.superseded.clear();
        self.queue.iter_mut().for_each(|waiter| waiter.asked_in = None);
        self.restart_claims();
        self.next_open = now.steady;
    }

    pub(super) fn keep_lease(&mut self, now: Now) {
        // Looked at here too, so that a pause is noticed though no engine asks for anything.
        let _ = self.not_lending(now);
        let is_known = self.catalog.version > 0;
        if self.tenure.epoch().is_none() {
            if self.next_open <= now.steady {
                // Whether it can be asked now or not: the desk is woken again after this.
                self.next_open = now.steady + RETRY_MS;
                if is_known && !self.is_fenced && !self.is_retired {
                    self.next_open = now.steady + RESEND_MS;
                    // The ledger takes what is replaced for lent no more: a late answer that
                    // names it must not bring it back.
                    self.closed_epoch = self.closed_epoch.max(self.newest_epoch);
                    self.effects.push_back(Effect::Open { after: self.newest_epoch });
                }
            }
            return;
        }
        if self.next_beat <= now.steady || self.tenure.needs_beat() {
            self.send_beat(now);
        }
    }

    fn send_beat(&mut self, now: Now) {
        self.next_beat = now.steady + self.timings().heartbeat_ms;
        self.give_back_due = true;
        let report = self.report();
        if let Some((epoch, seq, heard)) = self.tenure.send(now) {
            self.effects.push_back(Effect::Beat { epoch, seq, heard, report });
        }
    }

    /// The answer to a beat; `None` if there was none.
    pub fn on_beat(&mut self, now: Now, epoch: Epoch, seq: u64, answer: Option<BeatAnswer>) {
        if self.tenure.epoch() != Some(epoch) {
            return;
        }
        match answer {
            Some(answer) if answer.live => {
                let timings = *self.timings();
                if let Some(sent_at) = self.tenure.acknowledge(seq, &timings) {
                    self.on_reached_since(now, sent_at);
                }
                self.on_view(now, &answer.view);
            }
            Some(answer) => {
                // That beat's lease has ended, whatever newer views say.
                self.newest_epoch = self.newest_epoch.max(answer.view.newest_epoch);
                self.become_closed(now);
            }
            None => self.next_beat = self.next_beat.min(now.steady + BEAT_RETRY_MS),
        }
        self.on_tick(now);
    }

    /// A leader has answered what was sent at `sent_at`. An operation that was sent before that and
    /// has no answer went to another leader, or was lost: its next turn need not be waited for.
    fn on_reached_since(&mut self, now: Now, sent_at: Moment) {
        if let Some(in_flight) = self.in_flight.as_mut().filter(|it| it.sent_at < sent_at) {
            in_flight.retry_at = in_flight.retry_at.min(now.steady + RETRY_MS);
            in_flight.pause_ms = RESEND_MS;
        }
    }

    /// Takes in what the ledger says this node holds. An older view than the newest is ignored.
    pub fn on_view(&mut self, now: Now, view: &NodeView) {
        if view.version < self.view_version {
            return;
        }
        self.newest_epoch = self.newest_epoch.max(view.newest_epoch);
        self.is_fenced = view.fenced;
        let Some(epoch) = self.tenure.epoch() else { return };
        if view.newest_epoch != epoch || !view.live {
            // A view from before this epoch was opened says nothing about it.
            if view.newest_epoch >= epoch {
                self.become_closed(now);
            }
            return;
        }
        if view.operation != self.operation {
            // It shows an operation whose answer has not been taken in: wait for the answer.
            return;
        }
        self.view_version = view.version;
        self.overdrawn = view.overdrawn.iter().copied().collect();
        let settled = self.in_flight.is_none();
        for (checkout, lines) in self.tills.apply(view, settled) {
            self.move_in(now, checkout, lines);
        }
        self.reclaim_from_ended(view);
        self.serve_queue(now);
        self.ask_steward(now);
    }

    /// The leader wants units for other nodes. Returns what will go back with the next operation.
    pub fn handle_recall(&mut self, now: Now, wanted: &[(PoolId, u64)]) -> Vec<(PoolId, u64)> {
        let mut returning = Vec::new();
        for (pool, units) in wanted {
            let units = self.tills.free(*pool).min(*units);
            if units > 0 {
                self.recalled.insert(*pool, units);
                returning.push((*pool, units));
            }
        }
        self.ask_steward(now);
        returning
    }

    /// Sends what there is to say, if no operation is under way.
    pub(super) fn ask_steward(&mut self, now: Now) {
        let Some(epoch) = self.tenure.epoch() else { return };
        if let Some(in_flight) = &mut self.in_flight {
            if in_flight.retry_at <= now.steady {
                in_flight.sent_at = now.steady;
                in_flight.retry_at = now.steady + in_flight.pause_ms;
                in_flight.pause_ms = (2 * in_flight.pause_ms).min(RESEND_MS_MAX);
                self.effects.push_back(Effect::Operate(in_flight.operation.clone()));
            }
            return;
        }
        // Before its first beat was acknowledged a desk can do nothing with units.
        if self.tenure.until().is_none() {
            return;
        }
        let (wants, asked) = self.wants(now);
        let actions = self.actions(now);
        if wants.is_empty() && actions.is_empty() {
            return;
        }
        let number = self.operation + 1;
        for id in asked {
            if let Some(waiter) = self.queue.get_mut(id) {
                waiter.asked_in.get_or_insert(number);
            }
        }
        let operation = Operation { epoch, number, actions, wants };
        self.effects.push_back(Effect::Operate(operation.clone()));
        let (sent_at, retry_at) = (now.steady, now.steady + RESEND_MS);
        self.in_flight = Some(InFlight { operation, sent_at, retry_at, pause_ms: 2 * RESEND_MS });
    }

    fn actions(&mut self, now: Now) -> Vec<Action> {
        let from_outbox = self.outbox.len().min(OWN_ACTIONS_MAX);
        let mut actions: Vec<Action> = self.outbox.drain(..from_outbox).collect();
        if self.has_claims_to_ask() {
            actions.extend(self.reclaims_to_ask(OWN_ACTIONS_MAX - actions.len()));
        }
        let left = OWN_ACTIONS_MAX - actions.len();
        let checkouts = self.departed.take_due(now.steady, left);
        if !checkouts.is_empty() {
            actions.push(Action::Forget { checkouts });
        }
        actions.extend(self.give_back(now));
        actions
    }

    /// What to ask for, and which waiters that is for.
    fn wants(&mut self, now: Now) -> (Vec<Want>, Vec<WaiterId>) {
        let is_new = self.queue.iter().any(|(_, waiter)| waiter.asked_in.is_none());
        let (mut wants, mut asked) = (Vec::new(), Vec::new());
        if is_new || (self.queue.len() > 0 && self.next_ask <= now.steady) {
            (wants, asked) = self.wants_of_queue(now.steady);
            self.next_ask = now.steady + ASK_AGAIN_MS;
        }
        if wants.is_empty() && self.next_spare_ask <= now.steady {
            wants = self.spare_wants(now);
            if !wants.is_empty() {
                self.next_spare_ask = now.steady + SPARE_ASK_MS;
            }
        }
        (wants, asked)
    }

    /// The wants of those who wait, as many as one operation takes: whoever was never asked for
    /// comes first, then whoever waits longest.
    fn wants_of_queue(&self, now: Moment) -> (Vec<Want>, Vec<WaiterId>) {
        let stocks = self.stocks(now);
        let mut wants: BTreeMap<Vec<PoolId>, Want> = BTreeMap::new();
        let mut asked = Vec::new();
        let never = self.queue.iter().filter(|(_, waiter)| waiter.asked_in.is_none());
        let again = self.queue.iter().filter(|(_, waiter)| waiter.asked_in.is_some());
        for (id, waiter) in never.chain(again) {
            let choices = waiter.lines.iter().map(|line| {
                (self.choice(&line.feature, waiter.engine_build), &line.feature, line.units)
            });
            let choices: Vec<_> = choices.filter(|(choice, ..)| !choice.is_empty()).collect();
            let new = choices.iter().filter(|(choice, ..)| !wants.contains_key(choice)).count();
            if wants.len() + new > WANTS_MAX {
                continue;
            }
            for (choice, feature, units) in choices {
                // Headroom is kept for engines of any build.
                let is_widest = self.choice(feature, None) == choice;
                let stock = stocks.get(feature).filter(|_| is_widest);
                let spare = stock.map_or(0, |stock| stock.headroom);
                let none = Want { pools: choice.clone(), need: 0, spare };
                let want = wants.entry(choice).or_insert(none);
                want.need = want.need.saturating_add(units);
            }
            asked.push(id);
        }
        let mut wants: Vec<Want> = wants.into_values().collect();
        for want in &mut wants {
            let free = self.free_of(&want.pools);
            // What is left when all are served counts as headroom: it would come back else.
            want.spare = want.spare.saturating_sub(free.saturating_sub(want.need));
            want.need = want.need.saturating_sub(free);
        }
        (wants, asked)
    }

    /// The answer to operation `number` of `epoch`; `None` if there was none: it may have been
    /// applied, so it is sent again as it was.
    pub fn on_operated(&mut self, now: Now, epoch: Epoch, number: u64, answer: Option<Operated>) {
        let is_ours = self.tenure.epoch() == Some(epoch)
            && self.in_flight.as_ref().is_some_and(|it| it.operation.number == number);
        if !is_ours {
            return;
        }
        match answer {
            None => {
                if let Some(in_flight) = &mut self.in_flight {
                    in_flight.retry_at = in_flight.retry_at.min(now.steady + RETRY_MS);
                }
            }
            Some(Operated::Refused { view }) => {
                self.newest_epoch = self.newest_epoch.max(view.newest_epoch);
                self.become_closed(now);
            }
            Some(Operated::Applied { outcomes, supplies, view }) => {
                let Some(in_flight) = self.in_flight.take() else { return };
                self.operation = number;
                let claimed = self.settle(now, &in_flight.operation.actions, &outcomes);
                self.take_supplies(now, &in_flight.operation.wants, &supplies);
                self.on_view(now, &view);
                self.end_claims_without_units(&claimed);
                self.deny_certain(number);
            }
        }
        self.on_tick(now);
    }

    /// Takes in what the ledger did of each action. Returns the checkouts that it moved here.
    fn settle(
        &mut self,
        now: Now,
        actions: &[Action],
        outcomes: &[ActionOutcome],
    ) -> Vec<CheckoutId> {
        let mut claimed = Vec::new();
        for (action, outcome) in actions.iter().zip(outcomes) {
            match action {
                Action::Reclaim { checkout, .. } => {
                    self.on_reclaimed(now, *checkout, outcome);
                    claimed.push(*checkout);
                }
                Action::HandOver { checkout, .. } => self.on_handed_over(now, *checkout, outcome),
                Action::Draw { .. } | Action::Return { .. } | Action::Forget { .. } => {}
            }
        }
        claimed
    }

    fn take_supplies(&mut self, now: Now, wants: &[Want], supplies: &[Supply]) {
        if supplies.iter().any(|supply| matches!(supply, Supply::Recalling { .. })) {
            self.next_ask = now.steady + RECALL_MS;
        }
        for (want, supply) in wants.iter().zip(supplies) {
            self.supplies.insert(want.pools.clone(), *supply);
        }
    }

    pub(super) fn report(&self) -> Report {
        let mut report = Report {
            pools: BTreeMap::new(),
            waiting: self.queue.wanted(),
            running: self.book.running() as u64,
            denied: self.counters.denied_features.clone(),
            overrun_ms: self.counters.overrun_ms.clone(),
        };
        for (pool, till) in self.tills.iter() {
            report.pools.insert(pool, PoolUse { in_use: till.used, free: till.free() });
        }
        for bound in self.tills.bound() {
            report.pools.entry(bound.pool).or_default().in_use += bound.units.get();
        }
        report
    }
}
