//! The engines' own record of when they could use which unit, gathered through the SDK's observer.
//!
//! A use begins when the grant *arrives*: before that the engine could not start anything, and
//! the node may have lent the unit to another engine while the request waited. It ends at the
//! first of: the deadline that the engine counted, the lapse, the end of the guard. The SDK
//! reports an end before it sends the check-in, so no honest node can be blamed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use leasehold_client::{Observer, Use};

use super::verdict::{Interval, Verdict};

/// One record for many engines, all on one clock.
#[derive(Debug, Default)]
pub struct Record {
    uses: Mutex<Uses>,
}

#[derive(Debug, Default)]
struct Uses {
    /// By engine and guard. The end is the newest deadline.
    open: BTreeMap<(usize, u64), Interval>,
    closed: Vec<Interval>,
    /// Guards that lost their license; if they get another, it is the same call.
    lapsed: BTreeSet<(usize, u64)>,
    calls: usize,
    lost: usize,
}

/// One engine's pen.
#[derive(Debug)]
pub struct Witness {
    record: Arc<Record>,
    engine: usize,
}

impl Record {
    /// What is to be given to the SDK client of `engine`.
    #[must_use]
    pub fn witness(self: &Arc<Self>, engine: usize) -> Arc<Witness> {
        Arc::new(Witness { record: Arc::clone(self), engine })
    }

    /// Every use, also those that run: these until their deadline.
    #[must_use]
    pub fn intervals(&self) -> Vec<Interval> {
        let uses = self.lock();
        uses.closed.iter().chain(uses.open.values()).cloned().collect()
    }

    /// All that was recorded until now.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let (calls, lost) = (self.calls(), self.lost());
        Verdict { calls, lost, intervals: self.intervals() }
    }

    /// Calls that were licensed at their start.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.lock().calls
    }

    /// How often a call lost its license before it ended.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.lock().lost
    }

    /// Units that engines can use at `now_ms`, by feature.
    #[must_use]
    pub fn in_use(&self, now_ms: u64) -> BTreeMap<String, u64> {
        let mut in_use = BTreeMap::new();
        for interval in self.lock().open.values().filter(|open| open.until_ms > now_ms) {
            for (feature, units) in &interval.lines {
                *in_use.entry(feature.clone()).or_default() += units;
            }
        }
        in_use
    }

    /// How many uses run at `now_ms`.
    #[must_use]
    pub fn running(&self, now_ms: u64) -> usize {
        self.running_of(now_ms, |_| true)
    }

    /// Of these, the uses by engines that are `wanted`.
    #[must_use]
    pub fn running_of(&self, now_ms: u64, wanted: impl Fn(usize) -> bool) -> usize {
        let uses = self.lock();
        let open = uses.open.iter().filter(|(_, open)| open.until_ms > now_ms);
        open.filter(|((engine, _), _)| wanted(*engine)).count()
    }

    fn note(&self, engine: usize, event: &Use) {
        let uses = &mut *self.lock();
        match event {
            Use::Began { guard, lines, at_ms, valid_until_ms, .. } => {
                let key = (engine, *guard);
                uses.close(key, *at_ms);
                uses.calls += usize::from(!uses.lapsed.remove(&key));
                let (lines, from_ms) = (lines.clone(), *at_ms);
                let until_ms = *valid_until_ms;
                uses.open.insert(key, Interval { lines, from_ms, until_ms });
            }
            Use::Extended { guard, valid_until_ms, .. } => {
                if let Some(open) = uses.open.get_mut(&(engine, *guard)) {
                    open.until_ms = open.until_ms.max(*valid_until_ms);
                }
            }
            Use::Lapsed { guard, at_ms } => {
                uses.lost += 1;
                uses.lapsed.insert((engine, *guard));
                uses.close((engine, *guard), *at_ms);
            }
            Use::Ended { guard, at_ms } => {
                let key = (engine, *guard);
                uses.lapsed.remove(&key);
                let is_late = uses.open.get(&key).is_some_and(|open| open.until_ms < *at_ms);
                uses.lost += usize::from(is_late);
                uses.close(key, *at_ms);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Uses> {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Uses {
    fn close(&mut self, key: (usize, u64), at_ms: u64) {
        if let Some(mut interval) = self.open.remove(&key) {
            interval.until_ms = interval.until_ms.min(at_ms);
            self.closed.push(interval);
        }
    }
}

impl Observer for Witness {
    fn on_use(&self, event: &Use) {
        self.record.note(self.engine, event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn began(guard: u64, at_ms: u64, valid_until_ms: u64) -> Use {
        let lines = vec![("cpa".to_owned(), 2)];
        Use::Began { guard, lines, sent_ms: at_ms - 1, at_ms, valid_until_ms }
    }

    fn spans(record: &Record) -> Vec<(u64, u64)> {
        record.intervals().iter().map(|interval| (interval.from_ms, interval.until_ms)).collect()
    }

    #[test]
    fn a_use_lasts_from_the_grant_to_the_end_of_the_guard() {
        let record = Arc::new(Record::default());
        let witness = record.witness(0);
        witness.on_use(&began(1, 100, 400));
        witness.on_use(&Use::Extended { guard: 1, at_ms: 200, valid_until_ms: 500 });
        assert_eq!(record.in_use(450), BTreeMap::from([("cpa".to_owned(), 2)]));
        assert_eq!((record.running(450), record.running(500)), (1, 0));
        assert_eq!(record.running_of(450, |engine| engine == 1), 0);
        witness.on_use(&Use::Ended { guard: 1, at_ms: 420 });
        assert_eq!(spans(&record), [(100, 420)]);
        assert!(record.in_use(410).is_empty());
    }

    #[test]
    fn a_lapse_ends_a_use_and_a_new_grant_begins_another() {
        let record = Arc::new(Record::default());
        let witness = record.witness(0);
        witness.on_use(&began(1, 100, 400));
        witness.on_use(&Use::Lapsed { guard: 1, at_ms: 400 });
        witness.on_use(&began(1, 600, 900));
        assert_eq!((record.calls(), record.lost()), (1, 1), "checked out anew, but lost");
        witness.on_use(&Use::Ended { guard: 1, at_ms: 950 });
        assert_eq!(spans(&record), [(100, 400), (600, 900)], "nothing counts past its deadline");
        assert_eq!(record.lost(), 2, "it ran on without a license");
    }

    #[test]
    fn guards_of_different_engines_may_have_the_same_number() {
        let record = Arc::new(Record::default());
        record.witness(0).on_use(&began(1, 100, 400));
        record.witness(1).on_use(&began(1, 100, 300));
        record.witness(0).on_use(&Use::Ended { guard: 1, at_ms: 200 });
        assert_eq!(spans(&record), [(100, 200), (100, 300)]);
    }
}
