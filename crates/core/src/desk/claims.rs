//! Checkouts that change desks: an engine shows here a receipt that another node granted.
//!
//! ```text
//!  Renew(receipt of X) ─▶ ToAsk ─▶ Asked ──Done: X's lease had ended────▶ its units arrive
//!                                    │                                        ▲
//!                                    └─LiveAt X─▶ HandingOver ──Coming────────┘
//!                                                     └─X unreachable─▶ Covering with free units
//! ```
//!
//! Units that arrive enter the book as that checkout, whether or not its request still waits, and
//! end like any other.

use std::collections::BTreeMap;

use super::Desk;
use super::book::CheckoutState;
use super::message::{Answer, Denial, Effect, FeatureUnits, HandOver, Reason, Ticket};
use super::queue::{Purpose, Waiter};
use crate::id::{CheckoutId, Epoch, FeatureId, NodeId};
use crate::ledger::NodeView;
use crate::ledger::command::{Action, ActionOutcome, ActionRefusal, LoanLine};
use crate::limits::LINES_PER_RECEIPT_MAX;
use crate::receipt::{Receipt, ReceiptLine, ReceiptLines};
use crate::time::{Moment, Now};

/// A renewal that takes longer is answered "not ready", and the engine asks again or elsewhere. The
/// others of its batch wait for it, and an engine waits 2 s for the batch.
const CLAIM_MS_MAX: u64 = 1_000;
/// A beat that fetches what was handed over is sent after this: one for all that come together.
const ARRIVING_BEAT_MS: u64 = 20;
/// Claims under way; past it engines are told to try again.
const CLAIMS_MAX: usize = 100_000;

#[derive(Debug)]
pub(super) struct Claim {
    receipt: Receipt,
    shown: Vec<u8>,
    tickets: Vec<Ticket>,
    phase: Phase,
    /// When those who asked are answered at the latest.
    answer_by: Moment,
    /// When the receipt is dead, and the claim with it.
    dead_at: Moment,
    /// The engine has ended the checkout meanwhile.
    pub(super) is_checked_in: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    ToAsk,
    Asked,
    /// `epoch` is that of the node's lease in the first view after it was asked.
    HandingOver {
        from: NodeId,
        epoch: Option<Epoch>,
    },
    /// The ledger has moved the units: the next view shows them.
    Arriving,
    Covering,
}

impl Desk {
    /// An engine showed a receipt that is not known here.
    pub(super) fn claim(
        &mut self,
        now: Now,
        receipt: Receipt,
        shown: &[u8],
        age_ms: u64,
        ticket: Ticket,
    ) -> Result<(), Reason> {
        let answer_by = now.steady + CLAIM_MS_MAX;
        if let Some(claim) = self.claims.get_mut(&receipt.checkout) {
            claim.tickets.push(ticket);
            claim.answer_by = claim.answer_by.min(answer_by);
            return Ok(());
        }
        if self.claims.len() >= CLAIMS_MAX {
            return Err(Reason::NotReady);
        }
        let left_ms = self.timings().checkout_ttl_ms.saturating_sub(age_ms);
        let claim = Claim {
            shown: shown.to_vec(),
            tickets: vec![ticket],
            phase: Phase::ToAsk,
            answer_by,
            dead_at: now.steady + self.timings().stretch(left_ms),
            is_checked_in: false,
            receipt,
        };
        self.claims.insert(claim.receipt.checkout, claim);
        Ok(())
    }

    /// The reclaims to ask the ledger for, at most `most`.
    pub(super) fn reclaims_to_ask(&mut self, most: usize) -> Vec<Action> {
        let to_ask =
            self.claims.iter_mut().filter(|(_, claim)| claim.phase == Phase::ToAsk).take(most);
        to_ask
            .map(|(checkout, claim)| {
                claim.phase = Phase::Asked;
                Action::Reclaim { checkout: *checkout, lines: loan_lines(&claim.receipt.lines) }
            })
            .collect()
    }

    pub(super) fn has_claims_to_ask(&self) -> bool {
        self.claims.values().any(|claim| claim.phase == Phase::ToAsk)
    }

    /// The ledger answered a reclaim; its view is taken in after this.
    pub(super) fn on_reclaimed(&mut self, now: Now, id: CheckoutId, outcome: &ActionOutcome) {
        let node = self.config.node;
        let Some(claim) = self.claims.get_mut(&id).filter(|it| it.phase == Phase::Asked) else {
            return;
        };
        match outcome {
            ActionOutcome::Done | ActionOutcome::Drawn { .. } => claim.phase = Phase::Arriving,
            ActionOutcome::LiveAt { node: at } if *at == node => claim.phase = Phase::Arriving,
            ActionOutcome::LiveAt { node: at } => {
                claim.phase = Phase::HandingOver { from: *at, epoch: None };
                let receipt = claim.shown.clone();
                let effect = Effect::HandOver { from: *at, checkout: id, receipt };
                self.effects.push_back(effect);
            }
            ActionOutcome::Refused(ActionRefusal::TooFewUnits) => self.start_cover(now, id),
            ActionOutcome::Refused(ActionRefusal::LeaseMayRun) => {
                self.give_up_claim(id, &Reason::NotReady.into());
            }
            ActionOutcome::Refused(_) => self.give_up_claim(id, &Reason::ReceiptExpired.into()),
        }
    }

    /// The other node answered, or (`None`) could not be reached.
    pub fn on_hand_over(&mut self, now: Now, id: CheckoutId, answer: Option<HandOver>) {
        let is_waited_for = |claim: &&mut Claim| matches!(claim.phase, Phase::HandingOver { .. });
        let Some(claim) = self.claims.get_mut(&id).filter(is_waited_for) else { return };
        match answer {
            Some(HandOver::Coming) => {
                claim.phase = Phase::Arriving;
                // The next view shows it: an engine waits, so a beat asks for one soon.
                self.next_beat = self.next_beat.min(now.steady + ARRIVING_BEAT_MS);
            }
            Some(HandOver::Ended) => self.give_up_claim(id, &Reason::ReceiptExpired.into()),
            Some(HandOver::NotNow) | None => self.start_cover(now, id),
        }
        self.on_tick(now);
    }

    /// A node that does not answer may be dead: once its lease has ended the ledger is asked again,
    /// and the units move at once. The engine has little time left by then.
    pub(super) fn reclaim_from_ended(&mut self, view: &NodeView) {
        for claim in self.claims.values_mut() {
            let Phase::HandingOver { from, epoch } = &mut claim.phase else { continue };
            let live = view.live_epochs.get(from).copied();
            if live.is_none() || epoch.is_some_and(|epoch| live != Some(epoch)) {
                claim.phase = Phase::ToAsk;
            } else {
                *epoch = live;
            }
        }
    }

    /// Covers the checkout with units of this node: they are counted twice until the other node's
    /// claim on the engine has run out, which is safe.
    fn start_cover(&mut self, now: Now, id: CheckoutId) {
        let Some(claim) = self.claims.get_mut(&id) else { return };
        claim.phase = Phase::Covering;
        let (lines, until) = (claim.receipt.lines.clone(), claim.answer_by);
        let mut units: BTreeMap<FeatureId, u64> = BTreeMap::new();
        for line in lines.iter() {
            let Some(feature) = self.directory.feature_of(line.pool) else {
                self.give_up_claim(id, &Reason::NotEntitled.into());
                return;
            };
            *units.entry(feature.clone()).or_default() += line.units.get();
        }
        let lines = units.into_iter().map(|(feature, units)| FeatureUnits { feature, units });
        self.queue.push(Waiter {
            purpose: Purpose::Cover { checkout: id },
            lines: lines.collect(),
            engine_build: None,
            tickets: Vec::new(),
            until: until.max(now.steady),
            at_once: true,
            asked_in: None,
        });
    }

    /// Free units were found for a covered checkout.
    pub(super) fn cover(&mut self, now: Now, id: CheckoutId, lines: ReceiptLines) {
        let is_running = self.book.get(id).is_some_and(|known| known.state != CheckoutState::Ended);
        if is_running || !self.claims.contains_key(&id) {
            // It arrived meanwhile, or nobody wants it any more.
            lines.iter().for_each(|line| self.take_back(line));
            return;
        }
        self.counters.covered += 1;
        self.enter_claimed(now, id, lines);
    }

    /// The ledger's view shows units that moved here.
    pub(super) fn move_in(&mut self, now: Now, id: CheckoutId, mut lines: Vec<ReceiptLine>) {
        if self.book.get(id).is_none_or(|known| known.state == CheckoutState::Ended) {
            // More than one receipt holds came by several of them, of which the engine goes on with
            // one: the others are superseded.
            let more = lines.split_off(lines.len().min(LINES_PER_RECEIPT_MAX));
            let Some(fitting) = ReceiptLines::new(lines) else { return };
            // What ended here may have run on at another node, and may do so though nobody waits
            // for it here any more: its engine uses these units.
            self.counters.reclaimed += 1;
            self.enter_claimed(now, id, fitting);
            lines = more;
        }
        // It is covered here, but the engine may not know of that yet: until its old receipt has
        // died it uses these units.
        if !lines.is_empty() {
            self.superseded.push_back((self.held_until(now.steady), lines));
        }
    }

    /// Gives back the units of covered checkouts whose old receipts have died.
    pub(super) fn give_back_superseded(&mut self, now: Now) {
        while let Some((at, _)) = self.superseded.front()
            && *at <= now.steady
            && let Some((_, lines)) = self.superseded.pop_front()
        {
            lines.iter().for_each(|line| self.take_back(line));
        }
    }

    fn enter_claimed(&mut self, now: Now, id: CheckoutId, lines: ReceiptLines) {
        // What ended here before it moved away and came back is of no interest any more.
        self.book.drop_ended(id);
        self.enter(now, id, crate::id::RequestId::default(), 0, lines.clone());
        let Some(claim) = self.claims.remove(&id) else { return };
        if claim.is_checked_in {
            self.end_checkout(now, id);
            claim.tickets.into_iter().for_each(|it| self.deny(it, Reason::ReceiptExpired));
            return;
        }
        if let Some(reason) = self.not_lending(now) {
            claim.tickets.into_iter().for_each(|ticket| self.deny(ticket, reason));
            return;
        }
        let receipt = self.receipt(id, now.steady, &lines);
        let life = self.life(now.steady);
        for ticket in claim.tickets {
            self.answer(ticket, Answer::Renewed { receipt: Some(receipt.clone()), life });
        }
    }

    /// Claims that should have arrived with the view just taken in, but did not, have ended.
    pub(super) fn end_claims_without_units(&mut self, asked: &[CheckoutId]) {
        for id in asked {
            let is_lost = self.claims.get(id).is_some_and(|claim| claim.phase == Phase::Arriving);
            if is_lost {
                self.give_up_claim(*id, &Reason::ReceiptExpired.into());
            }
        }
    }

    pub(super) fn give_up_claim(&mut self, id: CheckoutId, denial: &Denial) {
        let Some(claim) = self.claims.remove(&id) else { return };
        for ticket in claim.tickets {
            self.deny(ticket, denial.clone());
        }
    }

    pub(super) fn next_claim_deadline(&self) -> Option<Moment> {
        self.claims
            .values()
            .map(|claim| if claim.tickets.is_empty() { claim.dead_at } else { claim.answer_by })
            .min()
    }

    pub(super) fn answer_overdue_claims(&mut self, now: Now) {
        let overdue: Vec<CheckoutId> = self
            .claims
            .iter()
            .filter(|(_, claim)| claim.answer_by <= now.steady)
            .map(|(id, _)| *id)
            .collect();
        for id in overdue {
            let Some(claim) = self.claims.get_mut(&id) else { continue };
            let keep = claim.is_checked_in && claim.dead_at > now.steady;
            let tickets = std::mem::take(&mut claim.tickets);
            if !keep {
                self.claims.remove(&id);
            }
            tickets.into_iter().for_each(|ticket| self.deny(ticket, Reason::NotReady));
        }
    }

    /// After a new epoch: whatever was asked must be asked again.
    pub(super) fn restart_claims(&mut self) {
        for claim in self.claims.values_mut() {
            claim.phase = Phase::ToAsk;
        }
    }

    /// Another node asks for a checkout whose engine now talks to it.
    pub fn handle_hand_over(&mut self, now: Now, shown: &[u8], to: NodeId, ticket: Ticket) {
        let answer = match self.open_receipt(shown) {
            // Nor can one whose lease ran out: others may have moved the checkout.
            Ok(_) if self.without_lease(now).is_some() => Some(HandOver::NotNow),
            Ok(receipt) => self.start_hand_over(&receipt, to, ticket),
            // A desk that has no catalog yet can't tell.
            Err(Reason::NotReady) => Some(HandOver::NotNow),
            Err(_) => Some(HandOver::Ended),
        };
        if let Some(answer) = answer {
            self.answer(ticket, Answer::HandOver(answer));
        }
        self.ask_steward(now);
    }

    fn start_hand_over(
        &mut self,
        receipt: &Receipt,
        to: NodeId,
        ticket: Ticket,
    ) -> Option<HandOver> {
        let id = receipt.checkout;
        if self.book.get(id).is_none() && !self.has_ended_here(receipt) {
            // Perhaps it ran under an epoch before this one: to say that it has ended would lose a
            // call that the asker can have once that epoch's units are frozen.
            return Some(HandOver::NotNow);
        }
        let Some(known) = self.book.get_mut(id) else { return Some(HandOver::Ended) };
        match known.state {
            CheckoutState::Ended => return Some(HandOver::Ended),
            CheckoutState::Departing => return self.join_hand_over(id, to, ticket),
            CheckoutState::Running => {}
        }
        known.state = CheckoutState::Departing;
        let lines = loan_lines(&known.lines);
        self.departing.insert(id, (to, vec![ticket]));
        self.outbox.push_back(Action::HandOver { checkout: id, to, lines });
        None
    }

    /// A node that asks again waits for the same answer.
    fn join_hand_over(&mut self, id: CheckoutId, to: NodeId, ticket: Ticket) -> Option<HandOver> {
        match self.departing.get_mut(&id) {
            Some((receiver, tickets)) if *receiver == to => {
                tickets.push(ticket);
                None
            }
            Some(_) | None => Some(HandOver::NotNow),
        }
    }

    /// The ledger answered a hand-over.
    pub(super) fn on_handed_over(&mut self, now: Now, id: CheckoutId, outcome: &ActionOutcome) {
        let is_done = *outcome == ActionOutcome::Done;
        let answer = if is_done { HandOver::Coming } else { HandOver::NotNow };
        for ticket in self.departing.remove(&id).into_iter().flat_map(|(_, tickets)| tickets) {
            self.answer(ticket, Answer::HandOver(answer));
        }
        let Some(known) = self.book.get_mut(id) else { return };
        known.state = CheckoutState::Running;
        if !is_done {
            return;
        }
        self.counters.handed_over += 1;
        let forget_at = self.held_until(now.steady) + self.timings().margin_ms;
        if let Some(lines) = self.book.take(id) {
            lines.iter().for_each(|line| self.tills.depart(line));
        }
        self.departed.insert(id, forget_at);
    }

    /// Whether a checkout that is not in the book was granted by this desk's present epoch.
    pub(super) fn has_ended_here(&self, receipt: &Receipt) -> bool {
        self.is_of_this_epoch(receipt) && !self.departed.contains(receipt.checkout)
    }

    /// Whether this desk made the receipt, in its present epoch.
    pub(super) fn is_of_this_epoch(&self, receipt: &Receipt) -> bool {
        receipt.node == self.config.node && Some(receipt.epoch) == self.tenure.epoch()
    }
}

fn loan_lines(lines: &[ReceiptLine]) -> Vec<LoanLine> {
    lines.iter().map(|line| LoanLine { allotment: line.allotment, units: line.units }).collect()
}
