//! What engines ask: check out, renew, check in.

use std::collections::BTreeSet;
use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use super::Desk;
use super::book::CheckoutState;
use super::message::{Answer, CheckoutItem, Denial, Effect, Reason, Ticket};
use super::queue::{Purpose, Waiter};
use crate::id::RequestId;
use crate::limits::{
    CHECKOUTS_MAX, FEATURES_PER_CHECKOUT_MAX, UNITS_PER_LINE_MAX, WAIT_MS_MAX, WAITING_MAX,
};
use crate::receipt::Receipt;
use crate::time::Now;

/// A request that does not wait is answered within this, certain or not: callers hear a pause
/// above half a second.
const DECIDE_MS_MAX: u64 = 450;

impl Desk {
    pub fn handle_checkout(&mut self, now: Now, item: CheckoutItem, ticket: Ticket) {
        self.counters.checkouts_asked += 1;
        if let Err(denial) = self.try_checkout(now, item, ticket) {
            self.deny(ticket, denial);
        }
        self.ask_steward(now);
    }

    fn try_checkout(&mut self, now: Now, item: CheckoutItem, ticket: Ticket) -> Result<(), Denial> {
        require_sane(&item)?;
        let content = FixedState::default().hash_one((&item.lines, item.engine_build));
        if self.repeat_answer(item.request, content, ticket)? {
            return Ok(());
        }
        if self.is_draining {
            return Err(Reason::Draining.into());
        }
        if let Some(reason) = self.not_lending(now) {
            return Err(reason.into());
        }
        for line in &item.lines {
            if let Some(denial) = self.directory.refusal(&line.feature, item.engine_build) {
                return Err(denial);
            }
        }
        if self.book.running() >= CHECKOUTS_MAX {
            return Err(Reason::NotReady.into());
        }
        if !self.queue.is_anyone_before(&item)
            && let Ok(lines) = self.allocate(now, &item.lines, item.engine_build)
        {
            let answer = self.grant(now, item.request, content, lines);
            self.answer(ticket, answer);
            return Ok(());
        }
        self.enqueue(now, item, content, ticket)
    }

    /// Answers a request id that is known here: the identical answer, or a refusal.
    fn repeat_answer(
        &mut self,
        request: RequestId,
        content: u64,
        ticket: Ticket,
    ) -> Result<bool, Denial> {
        if let Some(known) = self.book.by_request(request) {
            if known.content != content {
                return Err(Reason::RequestReused.into());
            }
            let (id, issued, renewed) = (known.id, known.issued, known.renewed);
            let ended = known.state == CheckoutState::Ended;
            let receipt = self.receipt(id, issued, &known.lines);
            let mut life = self.life(renewed);
            if ended {
                life.ttl_ms = 0;
            }
            self.answer(ticket, Answer::Granted { receipt, life });
            return Ok(true);
        }
        let Some(waiter) = self.queue.by_request(request) else { return Ok(false) };
        match waiter.purpose {
            Purpose::New { content: known, .. } if known == content => {
                waiter.tickets.push(ticket);
                Ok(true)
            }
            Purpose::New { .. } | Purpose::Cover { .. } => Err(Reason::RequestReused.into()),
        }
    }

    fn enqueue(
        &mut self,
        now: Now,
        item: CheckoutItem,
        content: u64,
        ticket: Ticket,
    ) -> Result<(), Denial> {
        if self.queue.len() >= WAITING_MAX {
            return Err(Reason::Exhausted.into());
        }
        let wait_ms = item.wait_ms.clamp(DECIDE_MS_MAX, WAIT_MS_MAX).min(self.longest_wait_ms());
        self.queue.push(Waiter {
            purpose: Purpose::New { request: item.request, content },
            lines: item.lines,
            engine_build: item.engine_build,
            tickets: vec![ticket],
            until: now.steady + wait_ms,
            at_once: item.wait_ms == 0,
            asked_in: None,
        });
        Ok(())
    }

    /// An engine counts a grant from the sending of its request: after a wait of half the lifetime
    /// the grant is still good for the other half, and one that waits longer asks again.
    fn longest_wait_ms(&self) -> u64 {
        self.timings().checkout_ttl_ms / 2
    }

    /// Extends a checkout, or moves it here. `age_ms` is the receipt's age on the engine's clock.
    pub fn handle_renew(&mut self, now: Now, shown: &[u8], age_ms: u64, ticket: Ticket) {
        match self.try_renew(now, shown, age_ms, ticket) {
            Ok(Some(answer)) => self.answer(ticket, answer),
            Ok(None) => {}
            Err(reason) => self.deny(ticket, reason),
        }
        self.ask_steward(now);
    }

    fn try_renew(
        &mut self,
        now: Now,
        shown: &[u8],
        age_ms: u64,
        ticket: Ticket,
    ) -> Result<Option<Answer>, Reason> {
        let receipt = self.open_receipt(shown)?;
        if age_ms > self.timings().checkout_ttl_ms {
            return Err(Reason::ReceiptExpired);
        }
        // A desk whose lease ran out can't tell what has ended: others may have moved the checkout.
        if let Some(reason) = self.not_lending(now) {
            return Err(reason);
        }
        let Some(known) = self.book.get(receipt.checkout) else {
            return self.renew_unknown(now, receipt, shown, age_ms, ticket);
        };
        let (state, renewed) = (known.state, known.renewed);
        match state {
            // It may live on elsewhere, under a receipt made there.
            CheckoutState::Ended if !self.is_of_this_epoch(&receipt) => {
                return self.renew_unknown(now, receipt, shown, age_ms, ticket);
            }
            CheckoutState::Ended => return Err(Reason::ReceiptExpired),
            CheckoutState::Departing => return Err(Reason::NotReady),
            CheckoutState::Running => {}
        }
        if self.held_until(renewed) <= now.steady {
            self.end_checkout(now, receipt.checkout);
            if !self.is_of_this_epoch(&receipt) {
                return self.renew_unknown(now, receipt, shown, age_ms, ticket);
            }
            return Err(Reason::ReceiptExpired);
        }
        Ok(Some(self.extend(now, &receipt)))
    }

    /// Renews a running checkout: the later deadline stays.
    fn extend(&mut self, now: Now, shown: &Receipt) -> Answer {
        self.counters.renewed += 1;
        let epoch = self.tenure.epoch();
        let node = self.config.node;
        let mut renewed = now.steady;
        let mut changed = None;
        if let Some(known) = self.book.get_mut(shown.checkout) {
            known.renewed = known.renewed.max(now.steady);
            renewed = known.renewed;
            let is_same = shown.node == node
                && Some(shown.epoch) == epoch
                && shown.lines[..] == known.lines[..];
            changed = (!is_same).then(|| (known.issued, known.lines.clone()));
        }
        let receipt = changed.map(|(issued, lines)| self.receipt(shown.checkout, issued, &lines));
        Answer::Renewed { receipt, life: self.life(renewed) }
    }

    fn renew_unknown(
        &mut self,
        now: Now,
        receipt: Receipt,
        shown: &[u8],
        age_ms: u64,
        ticket: Ticket,
    ) -> Result<Option<Answer>, Reason> {
        if self.has_ended_here(&receipt) {
            return Err(Reason::ReceiptExpired);
        }
        self.claim(now, receipt, shown, age_ms, ticket)?;
        Ok(None)
    }

    /// Ends a checkout. Idempotent; `is_passed_on` says that another node sent it.
    pub fn handle_checkin(&mut self, now: Now, shown: &[u8], is_passed_on: bool, ticket: Ticket) {
        match self.open_receipt(shown) {
            Ok(receipt) => {
                self.checkin(now, &receipt, shown, is_passed_on);
                self.answer(ticket, Answer::Accepted);
            }
            Err(reason) => self.deny(ticket, reason),
        }
        self.serve_queue(now);
        self.ask_steward(now);
    }

    fn checkin(&mut self, now: Now, receipt: &Receipt, shown: &[u8], is_passed_on: bool) {
        let id = receipt.checkout;
        if let Some(known) = self.book.get(id) {
            if known.state != CheckoutState::Ended {
                self.counters.checked_in += 1;
            }
            self.end_checkout(now, id);
            return;
        }
        if let Some(claim) = self.claims.get_mut(&id) {
            // The units may already be on their way here: they are given back on arrival.
            claim.is_checked_in = true;
            return;
        }
        // Under a frozen allotment nothing is freed before the thaw; a live node frees its own.
        if receipt.node != self.config.node && !is_passed_on {
            let receipt_bytes = shown.to_vec();
            self.effects
                .push_back(Effect::PassCheckin { to: receipt.node, receipt: receipt_bytes });
        }
    }

    /// An engine reports how long it went on without a valid checkout. What comes with a receipt
    /// of another cluster is not counted.
    pub fn handle_overrun(&mut self, shown: &[u8], overrun_ms: u64) {
        let Ok(receipt) = self.open_receipt(shown) else { return };
        for line in receipt.lines.iter() {
            let total = self.counters.overrun_ms.entry(line.pool).or_default();
            *total = total.saturating_add(overrun_ms);
        }
    }

    pub(super) fn open_receipt(&self, shown: &[u8]) -> Result<Receipt, Reason> {
        if self.catalog.version == 0 {
            return Err(Reason::NotReady);
        }
        Receipt::open(shown, &self.receipt_key).map_err(|_| Reason::ReceiptInvalid)
    }
}

fn require_sane(item: &CheckoutItem) -> Result<(), Denial> {
    let mut features = BTreeSet::new();
    let is_sane = !item.lines.is_empty()
        && item.lines.len() <= FEATURES_PER_CHECKOUT_MAX
        && item.request != RequestId::default()
        && item.wait_ms <= WAIT_MS_MAX;
    if !is_sane {
        return Err(Reason::BadRequest.into());
    }
    for line in &item.lines {
        let is_good =
            (1..=UNITS_PER_LINE_MAX).contains(&line.units) && features.insert(&line.feature);
        if !is_good {
            let feature = Some(line.feature.clone());
            return Err(Denial { feature, ..Reason::BadRequest.into() });
        }
    }
    Ok(())
}
