//! The fair queue: whoever waits longer for a feature is served first, and no request is passed by
//! one that came later and wants one of the same features.
//!
//! A request that names several features stands in each feature's line and is served when it heads
//! all of them, so a large request is not starved by small ones. Running calls stand before new
//! ones: they have little time, and what they wait for is the only thing that can keep them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::message::{CheckoutItem, FeatureUnits, Ticket};
use crate::entitlement::Date;
use crate::id::{CheckoutId, FeatureId, RequestId};
use crate::time::Moment;

pub(super) type WaiterId = u64;

/// A request that could not be served at once.
#[derive(Clone, Debug)]
pub(super) struct Waiter {
    pub purpose: Purpose,
    pub lines: Vec<FeatureUnits>,
    pub engine_build: Option<Date>,
    /// Those who asked; a repeated request joins the first.
    pub tickets: Vec<Ticket>,
    /// When it must be answered.
    pub until: Moment,
    /// Denied as soon as a denial is certain, without waiting for units in use.
    pub at_once: bool,
    /// The operation that told the steward of it.
    pub asked_in: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    New {
        request: RequestId,
        content: u64,
    },
    /// Free units for a checkout whose own can't be had from the node that holds them.
    Cover {
        checkout: CheckoutId,
    },
}

#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    last_id: WaiterId,
    waiters: BTreeMap<WaiterId, Waiter>,
    lines: BTreeMap<FeatureId, VecDeque<WaiterId>>,
    deadlines: BTreeSet<(Moment, WaiterId)>,
    by_request: BTreeMap<RequestId, WaiterId>,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.waiters.len()
    }

    pub(super) fn push(&mut self, waiter: Waiter) -> WaiterId {
        self.last_id += 1;
        let id = self.last_id;
        let is_running = matches!(waiter.purpose, Purpose::Cover { .. });
        for line in &waiter.lines {
            let waiters = &self.waiters;
            let queue = self.lines.entry(line.feature.clone()).or_default();
            let is_new = |id: &WaiterId| {
                waiters.get(id).is_some_and(|it| matches!(it.purpose, Purpose::New { .. }))
            };
            let at = if is_running { queue.iter().position(is_new) } else { None };
            queue.insert(at.unwrap_or(queue.len()), id);
        }
        if let Purpose::New { request, .. } = &waiter.purpose {
            self.by_request.insert(*request, id);
        }
        self.deadlines.insert((waiter.until, id));
        self.waiters.insert(id, waiter);
        id
    }

    pub(super) fn by_request(&mut self, request: RequestId) -> Option<&mut Waiter> {
        let id = self.by_request.get(&request)?;
        self.waiters.get_mut(id)
    }

    pub(super) fn get(&self, id: WaiterId) -> Option<&Waiter> {
        self.waiters.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: WaiterId) -> Option<&mut Waiter> {
        self.waiters.get_mut(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (WaiterId, &Waiter)> {
        self.waiters.iter().map(|(id, waiter)| (*id, waiter))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Waiter> {
        self.waiters.values_mut()
    }

    pub(super) fn remove(&mut self, id: WaiterId) -> Option<Waiter> {
        let waiter = self.waiters.remove(&id)?;
        for line in &waiter.lines {
            if let Some(queue) = self.lines.get_mut(&line.feature) {
                if queue.front() == Some(&id) {
                    queue.pop_front();
                } else {
                    queue.retain(|other| *other != id);
                }
                if queue.is_empty() {
                    self.lines.remove(&line.feature);
                }
            }
        }
        if let Purpose::New { request, .. } = &waiter.purpose {
            self.by_request.remove(request);
        }
        self.deadlines.remove(&(waiter.until, id));
        Some(waiter)
    }

    /// Whether a new request for these features would pass somebody by.
    pub(super) fn is_anyone_before(&self, item: &CheckoutItem) -> bool {
        item.lines.iter().any(|line| self.lines.contains_key(&line.feature))
    }

    /// Those that head the lines of all their features, longest waiting first.
    pub(super) fn heads(&self) -> Vec<WaiterId> {
        let fronts: BTreeSet<WaiterId> =
            self.lines.values().filter_map(|queue| queue.front().copied()).collect();
        fronts.into_iter().filter(|id| self.heads_all(*id)).collect()
    }

    /// Units wanted of each feature.
    pub(super) fn wanted(&self) -> BTreeMap<FeatureId, u64> {
        let mut wanted: BTreeMap<FeatureId, u64> = BTreeMap::new();
        for line in self.waiters.values().flat_map(|waiter| &waiter.lines) {
            let units = wanted.entry(line.feature.clone()).or_default();
            *units = units.saturating_add(line.units);
        }
        wanted
    }

    pub(super) fn next_deadline(&self) -> Option<Moment> {
        self.deadlines.first().map(|(until, _)| *until)
    }

    /// Those that must be answered now.
    pub(super) fn overdue(&self, now: Moment) -> Vec<WaiterId> {
        self.deadlines.iter().take_while(|(until, _)| *until <= now).map(|(_, id)| *id).collect()
    }

    pub(super) fn heads_line(&self, id: WaiterId, feature: &FeatureId) -> bool {
        self.lines.get(feature).and_then(|queue| queue.front()) == Some(&id)
    }

    fn heads_all(&self, id: WaiterId) -> bool {
        self.waiters.get(&id).is_some_and(|waiter| {
            waiter.lines.iter().all(|line| self.heads_line(id, &line.feature))
        })
    }
}
