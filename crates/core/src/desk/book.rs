//! The checkouts a desk holds: found by checkout or by request, and expired in time.
//!
//! A million of them must fit 200 MB, so a record is found through two tables of indices, and a
//! receipt is made again when asked for, not stored. Records are never visited in hash order.

use std::collections::{BTreeMap, VecDeque};
use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use crate::id::{CheckoutId, RequestId};
use crate::receipt::ReceiptLines;
use crate::time::Moment;

/// Ended checkouts whose request ids are still remembered. Past this many the oldest are
/// forgotten before their time: at 100,000 checkouts a second they would fill the memory.
const ENDED_MAX: usize = 200_000;
/// Expiry is looked at in steps of this: late by at most that, never early.
pub(super) const BUCKET_MS: u64 = 64;

#[derive(Clone, Debug)]
pub(super) struct Checkout {
    pub id: CheckoutId,
    /// The request that was granted; zero for one that moved here.
    pub request: RequestId,
    /// What was asked for, to notice a request id used again for something else.
    pub content: u64,
    /// When the receipt was made.
    pub issued: Moment,
    /// When it was last granted or renewed.
    pub renewed: Moment,
    pub lines: ReceiptLines,
    pub state: CheckoutState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CheckoutState {
    Running,
    /// The ledger has been asked to move it to another node.
    Departing,
    Ended,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Book {
    records: slab::Slab<Checkout>,
    by_checkout: HashTable<u32>,
    by_request: HashTable<u32>,
    hasher: FixedState,
    /// When to look at which checkouts: at most one entry each.
    buckets: BTreeMap<u64, Vec<CheckoutId>>,
    /// Ended checkouts, oldest first, and when their request ids may be forgotten.
    ended: VecDeque<(Moment, CheckoutId)>,
    running: usize,
}

impl Book {
    /// Checkouts that have not ended.
    pub(super) fn running(&self) -> usize {
        self.running
    }

    pub(super) fn get(&self, id: CheckoutId) -> Option<&Checkout> {
        self.find(id).map(|index| &self.records[index])
    }

    pub(super) fn get_mut(&mut self, id: CheckoutId) -> Option<&mut Checkout> {
        self.find(id).map(|index| &mut self.records[index])
    }

    pub(super) fn by_request(&self, request: RequestId) -> Option<&Checkout> {
        let hash = self.hasher.hash_one(request);
        let found =
            self.by_request.find(hash, |index| self.records[*index as usize].request == request)?;
        Some(&self.records[*found as usize])
    }

    pub(super) fn insert(&mut self, checkout: Checkout, look_at: Moment) {
        let (id, request) = (checkout.id, checkout.request);
        let Ok(index) = u32::try_from(self.records.insert(checkout)) else { return };
        let records = &self.records;
        let hasher = &self.hasher;
        self.by_checkout.insert_unique(hasher.hash_one(id), index, |index| {
            hasher.hash_one(records[*index as usize].id)
        });
        if request != RequestId::default() {
            self.by_request.insert_unique(hasher.hash_one(request), index, |index| {
                hasher.hash_one(records[*index as usize].request)
            });
        }
        self.running += 1;
        self.look_at(id, look_at);
    }

    /// Has [`Book::due`] name this checkout once `at` has come.
    pub(super) fn look_at(&mut self, id: CheckoutId, at: Moment) {
        self.buckets.entry(at.0.div_ceil(BUCKET_MS)).or_default().push(id);
    }

    /// When [`Book::due`] has something to name.
    pub(super) fn next_look(&self) -> Option<Moment> {
        self.buckets.keys().next().map(|bucket| Moment(bucket.saturating_mul(BUCKET_MS)))
    }

    /// Checkouts to look at now. Each is named once and must be asked for again if it lives on.
    pub(super) fn due(&mut self, now: Moment) -> Vec<CheckoutId> {
        let mut due = Vec::new();
        while let Some(entry) = self.buckets.first_entry() {
            if entry.key().saturating_mul(BUCKET_MS) > now.0 {
                break;
            }
            due.append(&mut entry.remove());
        }
        due
    }

    /// Marks a checkout as ended: its request id stays known until `forget_at`.
    pub(super) fn end(&mut self, id: CheckoutId, forget_at: Moment) -> Option<ReceiptLines> {
        let checkout = self.get_mut(id).filter(|it| it.state != CheckoutState::Ended)?;
        checkout.state = CheckoutState::Ended;
        let lines = checkout.lines.clone();
        self.running -= 1;
        self.ended.push_back((forget_at, id));
        if self.ended.len() > ENDED_MAX
            && let Some((_, oldest)) = self.ended.pop_front()
        {
            self.remove(oldest);
        }
        Some(lines)
    }

    /// Takes a running checkout out at once, with its request id: it lives on elsewhere.
    pub(super) fn take(&mut self, id: CheckoutId) -> Option<ReceiptLines> {
        let checkout = self.get_mut(id).filter(|it| it.state != CheckoutState::Ended)?;
        checkout.state = CheckoutState::Ended;
        let lines = checkout.lines.clone();
        self.running -= 1;
        self.remove(id);
        Some(lines)
    }

    /// Forgets ended checkouts whose time has come.
    pub(super) fn forget(&mut self, now: Moment) {
        while let Some((forget_at, id)) = self.ended.front().copied() {
            if forget_at > now {
                break;
            }
            self.ended.pop_front();
            self.remove(id);
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn find(&self, id: CheckoutId) -> Option<usize> {
        let hash = self.hasher.hash_one(id);
        let found = self.by_checkout.find(hash, |index| self.records[*index as usize].id == id)?;
        Some(*found as usize)
    }

    /// Forgets an ended checkout before its time.
    pub(super) fn drop_ended(&mut self, id: CheckoutId) {
        self.remove(id);
    }

    fn remove(&mut self, id: CheckoutId) {
        let Some(index) = self.find(id) else { return };
        if self.records[index].state != CheckoutState::Ended {
            return;
        }
        let request = self.records[index].request;
        let is_it = |found: &u32| *found as usize == index;
        if let Ok(entry) = self.by_checkout.find_entry(self.hasher.hash_one(id), is_it) {
            entry.remove();
        }
        if let Ok(entry) = self.by_request.find_entry(self.hasher.hash_one(request), is_it) {
            entry.remove();
        }
        self.records.remove(index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{AllotmentId, Epoch, PoolId};
    use crate::receipt::ReceiptLine;
    use crate::units::Units;

    fn checkout(counter: u64) -> Checkout {
        let (pool, allotment) = (PoolId(0), AllotmentId(2));
        let line = ReceiptLine { pool, allotment, units: Units::ONE };
        Checkout {
            id: CheckoutId::of(Epoch(1), counter),
            request: RequestId(u128::from(counter).to_be_bytes()),
            content: counter,
            issued: Moment(0),
            renewed: Moment(0),
            lines: ReceiptLines::new(vec![line]).unwrap(),
            state: CheckoutState::Running,
        }
    }

    #[test]
    fn ten_thousand_checkouts_are_found_by_either_name_and_forgotten_in_time() {
        let mut book = Book::default();
        for counter in 1..=10_000 {
            book.insert(checkout(counter), Moment(counter));
        }
        for counter in 1..=10_000 {
            let it = checkout(counter);
            assert_eq!(book.get(it.id).unwrap().content, counter);
            assert_eq!(book.by_request(it.request).unwrap().id, it.id);
            book.end(it.id, Moment(20_000)).unwrap();
            assert!(book.end(it.id, Moment(20_000)).is_none(), "it ended before");
        }
        assert_eq!(book.running(), 0);
        book.forget(Moment(19_999));
        assert!(book.get(checkout(1).id).is_some());
        book.forget(Moment(20_000));
        assert!(book.get(checkout(1).id).is_none());
        assert!(book.by_request(checkout(1).request).is_none());
        assert!(book.records.is_empty() && book.by_request.is_empty());
    }

    #[test]
    fn a_checkout_is_never_named_before_its_time() {
        let mut book = Book::default();
        for counter in 1..=1_000 {
            book.insert(checkout(counter), Moment(counter));
        }
        for now in 0..2_000 {
            for id in book.due(Moment(now)) {
                assert!(book.get(id).unwrap().content <= now);
            }
        }
        assert_eq!(book.next_look(), None);
    }
}
