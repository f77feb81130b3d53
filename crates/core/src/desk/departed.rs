//! Checkouts that were handed over, until their old receipts have died. One may come back and
//! leave again: then the last time counts.

use std::collections::{BTreeMap, VecDeque};

use crate::id::CheckoutId;
use crate::time::Moment;

#[derive(Debug, Default)]
pub(super) struct Departed {
    /// When each may be forgotten.
    until: BTreeMap<CheckoutId, Moment>,
    /// In the order of time; an entry that `until` does not confirm is of an earlier departure.
    queue: VecDeque<(Moment, CheckoutId)>,
}

impl Departed {
    pub(super) fn insert(&mut self, id: CheckoutId, forget_at: Moment) {
        self.until.insert(id, forget_at);
        self.queue.push_back((forget_at, id));
    }

    pub(super) fn contains(&self, id: CheckoutId) -> bool {
        self.until.contains_key(&id)
    }

    /// Takes out those whose time has come, at most `most`.
    pub(super) fn take_due(&mut self, now: Moment, most: usize) -> Vec<CheckoutId> {
        let mut due = Vec::new();
        while due.len() < most
            && let Some((at, id)) = self.queue.front().copied()
            && at <= now
        {
            self.queue.pop_front();
            if self.until.get(&id) == Some(&at) {
                self.until.remove(&id);
                due.push(id);
            }
        }
        due
    }

    pub(super) fn clear(&mut self) {
        self.until.clear();
        self.queue.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A checkout left, came back and left again. Its trace was forgotten when the receipts of the
    /// first departure had died: the engine, which held one of the second, was told that its
    /// running call had ended.
    #[test]
    fn what_came_back_and_left_again_is_remembered_from_its_last_departure() {
        let [twice, once] = [1, 2].map(|byte| CheckoutId([byte; 16]));
        let mut departed = Departed::default();
        departed.insert(twice, Moment(1_000));
        departed.insert(once, Moment(1_500));
        departed.insert(twice, Moment(2_000));
        assert_eq!(departed.take_due(Moment(1_999), 10), [once]);
        assert!(departed.contains(twice) && !departed.contains(once));
        assert_eq!(departed.take_due(Moment(2_000), 0), []);
        assert_eq!(departed.take_due(Moment(2_000), 10), [twice]);
        assert!(!departed.contains(twice));
    }
}
