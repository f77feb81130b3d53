//! Which messages to send: one checkout each, renewals and check-ins in batches by node.

use std::collections::BTreeMap;

use leasehold_proto::v1;

use super::session::{Held, Stage, Terms};
use super::{Book, Call, Items, Key, Outstanding};
use crate::error::{CheckinError, CheckoutError};
use crate::router::{NodeIndex, Target};

/// Items in one message: what a node accepts.
const ITEMS_PER_CALL_MAX: usize = 1024;
/// Renewals due within this go out with those that are due now, in one message.
const BATCH_WITHIN_MS: u64 = 1_000;

impl Book {
    pub(super) fn ask(&mut self, now_ms: u64, key: Key) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        let Stage::Asking(asking) = &mut session.stage else { return };
        if asking.give_up_ms <= now_ms {
            let error = match asking.last_denial.take() {
                Some(denial) => CheckoutError::Denied(denial),
                None => CheckoutError::Unavailable {
                    tried_for_ms: now_ms - asking.asked_ms,
                    last: std::mem::take(&mut asking.last_failure),
                },
            };
            self.refuse(key, error);
            return;
        }
        match self.router.target(now_ms, None, &BTreeMap::new()) {
            Target::WaitUntil(until_ms) => {
                session.put_off(until_ms);
                self.reschedule(key);
            }
            Target::Node(node) => {
                let request_id = asking.request_id;
                let left_ms = asking.give_up_ms - now_ms;
                let deadline_ms = (self.patience.call_ms + session.terms.wait_ms).min(left_ms);
                let item = checkout_item(&session.terms, request_id, session.terms.wait_ms);
                self.send(now_ms, node, deadline_ms, vec![key], Items::Checkout(vec![item]));
            }
        }
    }

    pub(super) fn ask_anew(&mut self, now_ms: u64, key: Key) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        let Stage::Lapsed(lapsed) = &mut session.stage else { return };
        match self.router.target(now_ms, None, &BTreeMap::new()) {
            Target::WaitUntil(until_ms) => {
                session.put_off(until_ms);
                self.reschedule(key);
            }
            Target::Node(node) => {
                // No wait: a queue is for a call that has not begun.
                let item = checkout_item(&session.terms, lapsed.request_id, 0);
                let deadline_ms = self.patience.call_ms;
                self.send(now_ms, node, deadline_ms, vec![key], Items::Checkout(vec![item]));
            }
        }
    }

    /// Takes along what is due soon, so that an engine's renewals stay in one message.
    pub(super) fn gather_early_renewals(
        &mut self,
        now_ms: u64,
        targets: &mut BTreeMap<NodeIndex, Target>,
        renewals: &mut BTreeMap<NodeIndex, Vec<(Key, v1::RenewItem)>>,
    ) {
        let soon = (now_ms + 1, 0)..(now_ms + BATCH_WITHIN_MS, Key::MAX);
        let keys: Vec<Key> = self.agenda.range(soon).map(|(_, key)| *key).collect();
        for key in keys {
            let is_near = self.sessions.get(&key).is_some_and(|session| match &session.stage {
                Stage::Held(held) => !session.is_put_off && held.is_renewal_near(now_ms),
                Stage::Asking(_) | Stage::Lapsed(_) | Stage::Ending(_) => false,
            });
            if is_near {
                self.gather_renewal(now_ms, key, targets, renewals);
            }
        }
    }

    /// `targets` remembers where the renewals of each node go, so that they stay together.
    pub(super) fn gather_renewal(
        &mut self,
        now_ms: u64,
        key: Key,
        targets: &mut BTreeMap<NodeIndex, Target>,
        renewals: &mut BTreeMap<NodeIndex, Vec<(Key, v1::RenewItem)>>,
    ) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        let Stage::Held(held) = &mut session.stage else { return };
        if session.call.is_some() {
            return;
        }
        held.denied.retain(|_, until_ms| *until_ms > now_ms);
        let home = held.node;
        let target = if held.denied.is_empty() {
            let router = &mut self.router;
            *targets.entry(home).or_insert_with(|| router.target(now_ms, Some(home), &held.denied))
        } else {
            self.router.target(now_ms, Some(home), &held.denied)
        };
        match target {
            Target::WaitUntil(until_ms) => {
                session.put_off(until_ms);
                self.reschedule(key);
            }
            Target::Node(node) => {
                let item = v1::RenewItem {
                    receipt: held.receipt.clone().into(),
                    age_ms: now_ms.saturating_sub(held.extended_by_ms),
                    overrun_ms: std::mem::take(&mut session.overrun_ms),
                };
                renewals.entry(node).or_default().push((key, item));
            }
        }
    }

    pub(super) fn gather_checkin(
        &mut self,
        now_ms: u64,
        key: Key,
        checkins: &mut BTreeMap<NodeIndex, Vec<(Key, v1::CheckinItem)>>,
    ) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        let Stage::Ending(ending) = &mut session.stage else { return };
        if ending.give_up_ms <= now_ms {
            let last = std::mem::take(&mut ending.last_failure);
            self.forget(key, Err(CheckinError::Unavailable { last }));
            return;
        }
        match self.router.target(now_ms, Some(ending.node), &ending.denied) {
            Target::WaitUntil(until_ms) => {
                session.put_off(until_ms);
                self.reschedule(key);
            }
            Target::Node(node) => {
                let may_count = ending.told.is_none_or(|told| told == node);
                let item = v1::CheckinItem {
                    receipt: ending.receipt.clone().into(),
                    usage: if may_count { ending.usage.clone() } else { Vec::new() },
                    overrun_ms: if may_count { session.overrun_ms } else { 0 },
                };
                checkins.entry(node).or_default().push((key, item));
            }
        }
    }

    pub(super) fn send_batches<Item>(
        &mut self,
        now_ms: u64,
        batches: BTreeMap<NodeIndex, Vec<(Key, Item)>>,
        items_of: fn(Vec<Item>) -> Items,
    ) {
        for (node, mut batch) in batches {
            while !batch.is_empty() {
                let rest = batch.split_off(batch.len().min(ITEMS_PER_CALL_MAX));
                let (keys, items) = batch.into_iter().unzip();
                self.send(now_ms, node, self.patience.call_ms, keys, items_of(items));
                batch = rest;
            }
        }
    }

    fn send(
        &mut self,
        now_ms: u64,
        node: NodeIndex,
        deadline_ms: u64,
        keys: Vec<Key>,
        items: Items,
    ) {
        let id = self.next_call;
        self.next_call += 1;
        for key in &keys {
            if let Some(session) = self.sessions.get_mut(key) {
                session.call = Some(id);
                session.is_put_off = false;
            }
            self.reschedule(*key);
        }
        self.outstanding.insert(id, Outstanding { node, sent_ms: now_ms, keys });
        self.calls.push(Call { id, node, deadline_ms, items });
    }
}

impl Held {
    /// Whether its regular renewal is due, or so soon that it may share a message with others.
    fn is_renewal_near(&self, now_ms: u64) -> bool {
        let lifetime_ms = self.valid_until_ms - self.extended_by_ms;
        self.next_try_ms <= now_ms + (lifetime_ms / 10).min(BATCH_WITHIN_MS)
    }
}

fn checkout_item(terms: &Terms, request_id: [u8; 16], wait_ms: u64) -> v1::CheckoutItem {
    v1::CheckoutItem {
        request_id: request_id.to_vec().into(),
        lines: terms.lines.clone(),
        wait_ms,
        engine_build_date: terms.build_date.clone(),
    }
}
