//! What an answer, or its absence, does to a session.

use std::collections::BTreeMap;

use leasehold_proto::v1::{self, checkin_answer, checkout_answer, renew_answer};

use super::session::{Held, Stage};
use super::verdict::{self, CheckoutVerdict, RenewVerdict};
use super::{Answers, Book, CallId, Failure, Key, Notice, Outstanding};
use crate::error::{CheckinError, CheckoutError, Denial};
use crate::router::NodeIndex;

/// Bounds of what a node may say about when to ask again, and what holds when it says nothing.
const RETRY_MS_MIN: u64 = 250;
const RETRY_MS_MAX: u64 = 5_000;
const RETRY_MS_DEFAULT: u64 = 1_000;

/// Which call an answer belongs to.
#[derive(Clone, Copy)]
struct Source {
    call: CallId,
    node: NodeIndex,
    sent_ms: u64,
}

impl Book {
    /// A call came to its end.
    pub(crate) fn on_call_ended(
        &mut self,
        now_ms: u64,
        call: CallId,
        result: Result<Answers, Failure>,
    ) {
        let Some(Outstanding { node, sent_ms, keys }) = self.outstanding.remove(&call) else {
            return;
        };
        let source = Source { call, node, sent_ms };
        match result {
            Ok(answers) => {
                if self.router.on_success(node) {
                    self.bring_forward(now_ms);
                }
                self.on_answers(now_ms, source, &keys, answers);
            }
            Err(failure) => {
                self.router.on_failure(now_ms, node, sent_ms);
                for key in keys {
                    self.on_failed(now_ms, source, key, &failure);
                }
            }
        }
        self.tick(now_ms);
    }

    fn on_answers(&mut self, now_ms: u64, source: Source, keys: &[Key], answers: Answers) {
        let answered = match answers {
            Answers::Checkout(answers) => each(keys, answers, |key, answer| {
                self.on_checkout_answer(now_ms, source, key, answer);
            }),
            Answers::Renew(answers) => each(keys, answers, |key, answer| {
                self.on_renew_answer(now_ms, source, key, answer);
            }),
            Answers::Checkin(answers) => each(keys, answers, |key, answer| {
                self.on_checkin_answer(now_ms, source, key, answer);
            }),
        };
        let detail = format!("the node answered {answered} of {} items", keys.len());
        let failure = Failure { was_not_sent: false, detail };
        for key in &keys[answered..] {
            self.on_failed(now_ms, source, *key, &failure);
        }
    }

    fn on_checkout_answer(
        &mut self,
        now_ms: u64,
        source: Source,
        key: Key,
        answer: v1::CheckoutAnswer,
    ) {
        let is_awaited = self.settle(key, source.call);
        match answer.answer {
            Some(checkout_answer::Answer::Granted(granted)) => {
                let valid_until_ms = verdict::valid_until(source.sent_ms, granted.valid_for_ms);
                if is_awaited && now_ms < valid_until_ms {
                    self.become_held(now_ms, source, key, granted.receipt.into(), valid_until_ms);
                } else {
                    self.give_back(now_ms, granted.receipt.into(), source.node);
                    self.on_late_grant(now_ms, key, is_awaited);
                }
            }
            Some(checkout_answer::Answer::Denied(denied)) if is_awaited => {
                self.on_checkout_denied(now_ms, source, key, denied.into());
            }
            None if is_awaited => {
                self.on_checkout_denied(now_ms, source, key, Denial::unspecified());
            }
            Some(checkout_answer::Answer::Denied(_)) | None => {}
        }
        self.leave_if_departed(now_ms, key);
    }

    /// The engine was held up for a checkout's whole lifetime: ask again under a new name.
    fn on_late_grant(&mut self, now_ms: u64, key: Key, is_awaited: bool) {
        let request_id = self.request_id();
        let Some(session) = self.sessions.get_mut(&key).filter(|_| is_awaited) else { return };
        session.try_at(now_ms + RETRY_MS_MIN);
        match &mut session.stage {
            Stage::Asking(asking) => {
                asking.request_id = request_id;
                asking.last_failure = "the answer came later than what it granted".to_owned();
            }
            Stage::Lapsed(lapsed) => lapsed.request_id = request_id,
            Stage::Held(_) | Stage::Ending(_) => {}
        }
        self.reschedule(key);
    }

    fn on_checkout_denied(&mut self, now_ms: u64, source: Source, key: Key, denial: Denial) {
        let request_id = self.request_id();
        let verdict = verdict::of_checkout(denial.reason);
        if verdict == CheckoutVerdict::Elsewhere {
            self.router.leave(now_ms, source.node, retry_ms(&denial));
        }
        let pause_ms = match verdict {
            CheckoutVerdict::Final => self.router.jitter(retry_ms(&denial)),
            CheckoutVerdict::Elsewhere => 0,
        };
        let Some(session) = self.sessions.get_mut(&key) else { return };
        session.try_at(now_ms + pause_ms);
        match &mut session.stage {
            Stage::Asking(_) if verdict == CheckoutVerdict::Final => {
                self.refuse(key, CheckoutError::Denied(denial));
            }
            // A repeat under the same name would get the same denial.
            Stage::Asking(asking) => {
                asking.request_id = request_id;
                asking.last_denial = Some(denial);
            }
            Stage::Lapsed(lapsed) => {
                lapsed.request_id = request_id;
                let since_ms = lapsed.since_ms;
                self.notices.push(Notice::Lapsed { key, since_ms, denied: Some(denial) });
            }
            Stage::Held(_) | Stage::Ending(_) => {}
        }
        self.reschedule(key);
    }

    fn become_held(
        &mut self,
        now_ms: u64,
        source: Source,
        key: Key,
        receipt: Vec<u8>,
        valid_until_ms: u64,
    ) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        if let Stage::Lapsed(lapsed) = &session.stage
            && session.departed.is_none()
        {
            session.overrun_ms += now_ms.saturating_sub(lapsed.since_ms);
        }
        let sent_ms = source.sent_ms;
        session.stage = Stage::Held(Held {
            receipt,
            node: source.node,
            extended_by_ms: sent_ms,
            valid_until_ms,
            next_try_ms: renew_at(sent_ms, valid_until_ms),
            denied: BTreeMap::new(),
        });
        if session.departed.is_none() {
            self.notices.push(Notice::Granted { key, sent_ms, valid_until_ms });
        }
        self.reschedule(key);
    }

    fn on_renew_answer(&mut self, now_ms: u64, source: Source, key: Key, answer: v1::RenewAnswer) {
        let is_awaited = self.settle(key, source.call);
        match answer.answer {
            Some(renew_answer::Answer::Renewed(renewed)) => {
                self.on_renewed(now_ms, source, key, is_awaited, renewed);
            }
            Some(renew_answer::Answer::Denied(denied)) if is_awaited => {
                self.on_renewal_denied(now_ms, source, key, &denied.into());
            }
            None if is_awaited => {
                self.on_renewal_denied(now_ms, source, key, &Denial::unspecified());
            }
            Some(renew_answer::Answer::Denied(_)) | None => {}
        }
        self.leave_if_departed(now_ms, key);
    }

    fn on_renewed(
        &mut self,
        now_ms: u64,
        source: Source,
        key: Key,
        is_awaited: bool,
        renewed: v1::Renewed,
    ) {
        let promised_ms = verdict::valid_until(source.sent_ms, renewed.valid_for_ms);
        let is_new = !renewed.receipt.is_empty();
        let Some(session) = self.sessions.get_mut(&key) else {
            return self.give_back_late(now_ms, source, renewed.receipt.into());
        };
        let is_departed = session.departed.is_some();
        match &mut session.stage {
            // Of a departed session only the receipt counts: it is checked in at once.
            Stage::Held(held) if is_awaited && (now_ms < held.valid_until_ms || is_departed) => {
                if is_new {
                    held.receipt = renewed.receipt.into();
                }
                held.node = source.node;
                held.extended_by_ms = source.sent_ms;
                held.valid_until_ms = held.valid_until_ms.max(promised_ms);
                held.next_try_ms = renew_at(source.sent_ms, held.valid_until_ms);
                held.denied.clear();
                let valid_until_ms = held.valid_until_ms;
                if !is_departed {
                    self.notices.push(Notice::Extended { key, valid_until_ms });
                }
                self.reschedule(key);
            }
            Stage::Held(held) if is_awaited => {
                let (since_ms, old) = (held.valid_until_ms, held.receipt.clone());
                let receipt = if is_new { renewed.receipt.into() } else { old };
                self.give_back_late(now_ms, source, receipt);
                self.become_lapsed(now_ms, key, since_ms);
            }
            Stage::Lapsed(lapsed) if !is_new => {
                let receipt = lapsed.receipt.clone();
                self.give_back_late(now_ms, source, receipt);
            }
            Stage::Lapsed(_) | Stage::Held(_) | Stage::Asking(_) | Stage::Ending(_) => {
                self.give_back_late(now_ms, source, renewed.receipt.into());
            }
        }
    }

    fn give_back_late(&mut self, now_ms: u64, source: Source, receipt: Vec<u8>) {
        if !receipt.is_empty() {
            self.give_back(now_ms, receipt, source.node);
        }
    }

    fn on_renewal_denied(&mut self, now_ms: u64, source: Source, key: Key, denial: &Denial) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        let is_departed = session.departed.is_some();
        let Stage::Held(held) = &mut session.stage else { return };
        match verdict::of_renewal(denial.reason) {
            RenewVerdict::Dead if is_departed => {}
            RenewVerdict::Dead => {
                let since_ms = held.valid_until_ms.min(now_ms);
                self.become_lapsed(now_ms, key, since_ms);
            }
            RenewVerdict::Elsewhere => {
                held.denied.insert(source.node, now_ms + retry_ms(denial));
                held.next_try_ms = now_ms;
                self.reschedule(key);
            }
        }
    }

    fn on_checkin_answer(
        &mut self,
        now_ms: u64,
        source: Source,
        key: Key,
        answer: v1::CheckinAnswer,
    ) {
        self.settle(key, source.call);
        let Some(checkin_answer::Answer::Denied(denied)) = answer.answer else {
            return self.forget(key, Ok(()));
        };
        let denial = Denial::from(denied);
        if !verdict::checkin_may_be_retried(denial.reason) {
            return self.forget(key, Err(CheckinError::Denied(denial)));
        }
        let Some(session) = self.sessions.get_mut(&key) else { return };
        if let Stage::Ending(ending) = &mut session.stage {
            ending.denied.retain(|_, until_ms| *until_ms > now_ms);
            ending.denied.insert(source.node, now_ms + retry_ms(&denial));
            ending.next_try_ms = now_ms;
            ending.last_failure = denial.to_string();
        }
        self.reschedule(key);
    }

    fn on_failed(&mut self, now_ms: u64, source: Source, key: Key, failure: &Failure) {
        if !self.settle(key, source.call) {
            return;
        }
        let Some(session) = self.sessions.get_mut(&key) else { return };
        session.try_at(now_ms);
        match &mut session.stage {
            Stage::Asking(asking) => asking.last_failure.clone_from(&failure.detail),
            Stage::Ending(ending) => {
                ending.last_failure.clone_from(&failure.detail);
                if !failure.was_not_sent && ending.told.is_none() {
                    ending.told = Some(source.node);
                }
            }
            Stage::Held(_) | Stage::Lapsed(_) => {}
        }
        self.reschedule(key);
        self.leave_if_departed(now_ms, key);
    }

    /// Notes that the call has ended. Tells whether the session still waited for it.
    fn settle(&mut self, key: Key, call: CallId) -> bool {
        let Some(session) = self.sessions.get_mut(&key) else { return false };
        let is_awaited = session.call == Some(call);
        if is_awaited {
            session.call = None;
            self.reschedule(key);
        }
        is_awaited
    }

    fn leave_if_departed(&mut self, now_ms: u64, key: Key) {
        let is_free =
            |session: &super::Session| session.departed.is_some() && session.call.is_none();
        if self.sessions.get(&key).is_some_and(is_free) {
            self.become_ending(now_ms, key);
            self.reschedule(key);
        }
    }

    /// A node is back: whoever waited for one need not wait longer.
    fn bring_forward(&mut self, now_ms: u64) {
        let is_waiting = |(key, session): (&Key, &super::Session)| {
            (session.is_put_off && session.call.is_none()).then_some(*key)
        };
        let keys: Vec<Key> = self.sessions.iter().filter_map(is_waiting).collect();
        for key in keys {
            if let Some(session) = self.sessions.get_mut(&key) {
                session.is_put_off = false;
                session.try_at(now_ms);
            }
            self.reschedule(key);
        }
    }
}

/// Pairs answers with keys; tells how many keys had an answer.
fn each<Answer>(keys: &[Key], answers: Vec<Answer>, mut on: impl FnMut(Key, Answer)) -> usize {
    let answered = keys.len().min(answers.len());
    for (key, answer) in keys.iter().zip(answers) {
        on(*key, answer);
    }
    answered
}

/// A third of the lifetime has passed.
fn renew_at(sent_ms: u64, valid_until_ms: u64) -> u64 {
    sent_ms + valid_until_ms.saturating_sub(sent_ms) / 3
}

fn retry_ms(denial: &Denial) -> u64 {
    match denial.retry_after_ms {
        0 => RETRY_MS_DEFAULT,
        asked_ms => asked_ms.clamp(RETRY_MS_MIN, RETRY_MS_MAX),
    }
}
