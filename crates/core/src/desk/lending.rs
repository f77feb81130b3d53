//! Who gets which units, in which order, and when a checkout ends.

use super::Desk;
use super::book::{Checkout, CheckoutState};
use super::message::{Answer, Denial, FeatureUnits, Reason, Supply};
use super::queue::{Purpose, Waiter, WaiterId};
use super::till::TakenBack;
use crate::entitlement::Date;
use crate::id::{CheckoutId, FeatureId, PoolId, RequestId};
use crate::ledger::command::Action;
use crate::limits::LINES_PER_RECEIPT_MAX;
use crate::receipt::{ReceiptLine, ReceiptLines};
use crate::time::{Moment, Now};

/// A departing checkout is looked at again after this: its operation is about to be answered.
const DEPARTING_LOOK_MS: u64 = 1_000;

/// Not enough free units for every line.
#[derive(Debug)]
pub(super) struct Short;

impl Desk {
    /// Takes all the units asked for out of the tills, or none.
    pub(super) fn allocate(
        &mut self,
        now: Now,
        lines: &[FeatureUnits],
        engine_build: Option<Date>,
    ) -> Result<ReceiptLines, Short> {
        let mut plan: Vec<(PoolId, u64)> = Vec::with_capacity(lines.len());
        for line in lines {
            let mut missing = line.units;
            for pool in self.directory.open_pools(&line.feature, engine_build) {
                if missing == 0 || self.overdrawn.contains(&pool) {
                    continue;
                }
                let units = missing.min(self.tills.free(pool));
                if units > 0 {
                    plan.push((pool, units));
                    missing -= units;
                }
            }
            if missing > 0 || plan.len() > LINES_PER_RECEIPT_MAX {
                return Err(Short);
            }
        }
        let lent: Vec<ReceiptLine> = plan
            .into_iter()
            .filter_map(|(pool, units)| self.tills.lend(now.steady, pool, units))
            .collect();
        ReceiptLines::new(lent).ok_or(Short)
    }

    pub(super) fn grant(
        &mut self,
        now: Now,
        request: RequestId,
        content: u64,
        lines: ReceiptLines,
    ) -> Answer {
        self.granted += 1;
        self.counters.granted += 1;
        let id = CheckoutId::of(self.tenure.epoch().unwrap_or_default(), self.granted);
        let receipt = self.receipt(id, now.steady, &lines);
        self.enter(now, id, request, content, lines);
        Answer::Granted { receipt, life: self.life(now.steady) }
    }

    /// Writes a checkout into the book.
    pub(super) fn enter(
        &mut self,
        now: Now,
        id: CheckoutId,
        request: RequestId,
        content: u64,
        lines: ReceiptLines,
    ) {
        let checkout = Checkout {
            id,
            request,
            content,
            issued: now.steady,
            renewed: now.steady,
            lines,
            state: CheckoutState::Running,
        };
        let look_at = self.held_until(now.steady);
        self.book.insert(checkout, look_at);
    }

    /// Ends a checkout: its units are free for others, or go back to where they were taken from.
    pub(super) fn end_checkout(&mut self, now: Now, id: CheckoutId) {
        let is_departing =
            self.book.get(id).is_some_and(|known| known.state == CheckoutState::Departing);
        if is_departing {
            // The ledger may have moved its units already; its new node ends it in time.
            return;
        }
        let forget_at = self.held_until(now.steady);
        let Some(lines) = self.book.end(id, forget_at) else { return };
        for line in lines.iter() {
            self.take_back(line);
        }
    }

    pub(super) fn take_back(&mut self, line: &ReceiptLine) {
        match self.tills.take_back(line) {
            TakenBack::Bound { allotment, units } => {
                self.outbox.push_back(Action::Return { allotment, units });
            }
            TakenBack::Free(_) | TakenBack::Gone => {}
        }
    }

    pub(super) fn end_overdue_checkouts(&mut self, now: Now) {
        for id in self.book.due(now.steady) {
            let Some(known) = self.book.get(id) else { continue };
            match known.state {
                CheckoutState::Ended => {}
                CheckoutState::Departing => self.book.look_at(id, now.steady + DEPARTING_LOOK_MS),
                CheckoutState::Running => self.end_or_look_later(now, id, known.renewed),
            }
        }
        self.book.forget(now.steady);
    }

    fn end_or_look_later(&mut self, now: Now, id: CheckoutId, renewed: Moment) {
        let held_until = self.held_until(renewed);
        if held_until > now.steady {
            self.book.look_at(id, held_until);
            return;
        }
        self.counters.expired += 1;
        self.end_checkout(now, id);
    }

    /// Serves those who head the queue, as far as free units go.
    pub(super) fn serve_queue(&mut self, now: Now) {
        if self.queue.len() == 0 || self.not_lending(now).is_some() {
            return;
        }
        loop {
            let mut served = false;
            for id in self.queue.heads() {
                let Some(waiter) = self.queue.get(id) else { continue };
                let (lines, build) = (waiter.lines.clone(), waiter.engine_build);
                if let Ok(lent) = self.allocate(now, &lines, build)
                    && let Some(waiter) = self.queue.remove(id)
                {
                    self.serve(now, waiter, lent);
                    served = true;
                }
            }
            if !served {
                return;
            }
        }
    }

    fn serve(&mut self, now: Now, waiter: Waiter, lines: ReceiptLines) {
        match waiter.purpose {
            Purpose::New { request, content } => {
                let answer = self.grant(now, request, content, lines);
                for ticket in waiter.tickets {
                    self.answer(ticket, answer.clone());
                }
            }
            Purpose::Cover { checkout } => self.cover(now, checkout, lines),
        }
    }

    pub(super) fn deny_waiter(&mut self, id: WaiterId, denial: Denial) {
        let Some(waiter) = self.queue.remove(id) else { return };
        match waiter.purpose {
            Purpose::New { .. } => {
                for ticket in waiter.tickets {
                    self.deny(ticket, denial.clone());
                }
            }
            Purpose::Cover { checkout } => self.give_up_claim(checkout, &denial),
        }
    }

    /// Denies those for whom the steward's newest answer is certain.
    pub(super) fn deny_certain(&mut self, operation: u64) {
        let certain: Vec<(WaiterId, Denial)> = self
            .queue
            .iter()
            .filter(|(_, waiter)| {
                waiter.at_once && waiter.asked_in.is_some_and(|asked| asked <= operation)
            })
            .filter_map(|(id, waiter)| Some((id, self.certain_denial(id, waiter)?)))
            .collect();
        for (id, denial) in certain {
            self.deny_waiter(id, denial);
        }
    }

    /// The denial that is certain now, unless units may still come.
    fn certain_denial(&self, id: WaiterId, waiter: &Waiter) -> Option<Denial> {
        waiter.lines.iter().find_map(|line| {
            let choice = self.choice(&line.feature, waiter.engine_build);
            if choice.is_empty() {
                return self.directory.refusal(&line.feature, waiter.engine_build);
            }
            let free = self.free_of(&choice);
            // Free units are of no use to it while somebody before it waits for them.
            if free >= line.units && self.queue.heads_line(id, &line.feature) {
                return None;
            }
            match self.supplies.get(&choice)? {
                Supply::Exhausted { in_use, entitled } => Some(Denial {
                    feature: Some(line.feature.clone()),
                    units_in_use: in_use.saturating_sub(free),
                    units_entitled: *entitled,
                    ..Reason::Exhausted.into()
                }),
                Supply::NotServed => {
                    let feature = Some(line.feature.clone());
                    Some(Denial { feature, ..Reason::NotEntitled.into() })
                }
                Supply::Met | Supply::Recalling { .. } => None,
            }
        })
    }

    /// The pools that may serve a line, the preferred one first.
    pub(super) fn choice(&self, feature: &FeatureId, engine_build: Option<Date>) -> Vec<PoolId> {
        self.directory.open_pools(feature, engine_build).collect()
    }

    /// Free units that could be lent, of any of these pools.
    pub(super) fn free_of(&self, choice: &[PoolId]) -> u64 {
        let lendable = choice.iter().filter(|pool| !self.overdrawn.contains(pool));
        lendable.map(|pool| self.tills.free(*pool)).sum()
    }

    /// Answers those whose wait is over: exhausted if the steward could be asked, else cut off.
    pub(super) fn answer_overdue_waiters(&mut self, now: Now) {
        for id in self.queue.overdue(now.steady) {
            let Some(waiter) = self.queue.get(id) else { continue };
            let was_answered = waiter.asked_in.is_some_and(|asked| asked <= self.operation);
            let denial = match self.certain_denial(id, waiter) {
                Some(denial) if was_answered => denial,
                Some(_) | None if was_answered => self.too_late(id, waiter),
                Some(_) | None => Reason::CutOff.into(),
            };
            self.deny_waiter(id, denial);
        }
    }

    /// The denial of a request for which units are on their way, or went to those before it.
    fn too_late(&self, id: WaiterId, waiter: &Waiter) -> Denial {
        let short = waiter.lines.iter().find(|line| {
            let free = self.free_of(&self.choice(&line.feature, waiter.engine_build));
            free < line.units || !self.queue.heads_line(id, &line.feature)
        });
        let Some(line) = short.or(waiter.lines.first()) else { return Reason::Exhausted.into() };
        let choice = self.choice(&line.feature, waiter.engine_build);
        let free = self.free_of(&choice);
        let entitled = self.directory.entitled(&line.feature, waiter.engine_build);
        let in_use = match self.supplies.get(&choice) {
            Some(Supply::Recalling { in_use, .. } | Supply::Exhausted { in_use, .. }) => *in_use,
            Some(Supply::Met | Supply::NotServed) | None => entitled,
        };
        Denial {
            feature: Some(line.feature.clone()),
            units_in_use: in_use.saturating_sub(free),
            units_entitled: entitled,
            ..Reason::Exhausted.into()
        }
    }

    /// After a new catalog: those whom no pool may serve any more.
    pub(super) fn refuse_hopeless_waiters(&mut self) {
        let hopeless: Vec<(WaiterId, Denial)> =
            self.queue
                .iter()
                .filter_map(|(id, waiter)| {
                    let denial = waiter.lines.iter().find_map(|line| {
                        self.directory.refusal(&line.feature, waiter.engine_build)
                    })?;
                    Some((id, denial))
                })
                .collect();
        for (id, denial) in hopeless {
            self.deny_waiter(id, denial);
        }
    }
}
