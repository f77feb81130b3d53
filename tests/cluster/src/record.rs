//! What engines validly used and when, by their own record; and the verdict on it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use leasehold_client::{Observer, Use};

/// Gathers the events of many engines of this process; they share one clock. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Record(Arc<Mutex<Events>>);

#[derive(Debug, Default)]
struct Events {
    engines: usize,
    events: Vec<(usize, Use)>,
}

/// Units that one engine validly used from `from_ms` until before `until_ms`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interval {
    pub lines: Vec<(String, u64)>,
    pub from_ms: u64,
    pub until_ms: u64,
}

/// What a record proves.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Calls that were licensed at their start.
    pub calls: usize,
    /// Calls that lost their license before they ended.
    pub lost: usize,
    /// In the order in which they ended.
    pub intervals: Vec<Interval>,
}

struct OneEngine {
    number: usize,
    record: Record,
}

impl Observer for OneEngine {
    fn on_use(&self, event: &Use) {
        self.record.events().events.push((self.number, event.clone()));
    }
}

impl Record {
    /// The observer of one more engine.
    #[must_use]
    pub fn engine(&self) -> Arc<dyn Observer> {
        let mut events = self.events();
        events.engines += 1;
        Arc::new(OneEngine { number: events.engines, record: self.clone() })
    }

    /// What was recorded until now.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        Verdict::of(&self.events().events)
    }

    fn events(&self) -> std::sync::MutexGuard<'_, Events> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Verdict {
    fn of(events: &[(usize, Use)]) -> Self {
        let mut verdict = Self::default();
        let mut open: BTreeMap<(usize, u64), Interval> = BTreeMap::new();
        let mut known = std::collections::BTreeSet::new();
        for (engine, event) in events {
            match event {
                Use::Began { guard, lines, at_ms, valid_until_ms, .. } => {
                    verdict.calls += usize::from(known.insert((*engine, *guard)));
                    let (lines, from_ms, until_ms) = (lines.clone(), *at_ms, *valid_until_ms);
                    open.insert((*engine, *guard), Interval { lines, from_ms, until_ms });
                }
                Use::Extended { guard, valid_until_ms, .. } => {
                    if let Some(interval) = open.get_mut(&(*engine, *guard)) {
                        interval.until_ms = interval.until_ms.max(*valid_until_ms);
                    }
                }
                Use::Lapsed { guard, at_ms } => {
                    verdict.lost += 1;
                    let interval = open.remove(&(*engine, *guard));
                    verdict.intervals.extend(interval.map(|it| it.ended(*at_ms)));
                }
                Use::Ended { guard, at_ms } => {
                    let Some(interval) = open.remove(&(*engine, *guard)) else { continue };
                    verdict.lost += usize::from(interval.until_ms < *at_ms);
                    verdict.intervals.push(interval.ended(*at_ms));
                }
            }
        }
        verdict.intervals.extend(open.into_values());
        verdict
    }

    /// The most units of `feature` that were in valid use at the same time.
    #[must_use]
    pub fn most_in_use(&self, feature: &str) -> u64 {
        self.steps(feature).map(|(_, in_use)| in_use).max().unwrap_or(0)
    }

    /// The longest time between two moments in which fewer than `units` of `feature` were in use.
    #[must_use]
    pub fn longest_below(&self, feature: &str, units: u64, from_ms: u64, until_ms: u64) -> u64 {
        let (mut longest, mut below_since) = (0, Some(from_ms));
        for (at_ms, in_use) in self.steps(feature) {
            let at_ms = at_ms.clamp(from_ms, until_ms);
            if in_use >= units {
                longest = longest.max(below_since.take().map_or(0, |since| at_ms - since));
            } else {
                below_since.get_or_insert(at_ms);
            }
        }
        longest.max(below_since.map_or(0, |since| until_ms - since))
    }

    /// Calls that were licensed at a moment.
    #[must_use]
    pub fn running_at(&self, at_ms: u64) -> usize {
        let is_running = |it: &&Interval| (it.from_ms..it.until_ms).contains(&at_ms);
        self.intervals.iter().filter(is_running).count()
    }

    /// Calls that began, by their first moment of use, in a span of time.
    #[must_use]
    pub fn began_between(&self, from_ms: u64, until_ms: u64) -> usize {
        let is_within = |it: &&Interval| (from_ms..until_ms).contains(&it.from_ms);
        self.intervals.iter().filter(is_within).count()
    }

    /// # Panics
    /// If a call was lost, or more than the entitled units of a feature were in use.
    pub fn assert_clean(&self, entitled: &[(&str, u64)]) {
        assert_eq!(self.lost, 0, "of {} calls {} were lost", self.calls, self.lost);
        self.assert_not_over_issued(entitled);
    }

    /// # Panics
    /// If more than the entitled units of a feature were in use at the same time.
    pub fn assert_not_over_issued(&self, entitled: &[(&str, u64)]) {
        for (feature, units) in entitled {
            let most = self.most_in_use(feature);
            assert!(most <= *units, "{most} units of {feature} were in use, entitled are {units}");
        }
    }

    /// Units in use from each moment on at which their number changed.
    fn steps(&self, feature: &str) -> impl Iterator<Item = (u64, u64)> {
        let mut changes: BTreeMap<u64, i128> = BTreeMap::new();
        for interval in &self.intervals {
            let units = interval.units_of(feature);
            *changes.entry(interval.from_ms).or_default() += i128::from(units);
            *changes.entry(interval.until_ms.max(interval.from_ms)).or_default() -=
                i128::from(units);
        }
        let mut in_use = 0;
        changes.into_iter().map(move |(at_ms, change)| {
            in_use += change;
            (at_ms, u64::try_from(in_use).expect("each interval ends after it began"))
        })
    }
}

impl Interval {
    fn ended(self, at_ms: u64) -> Self {
        Self { until_ms: self.until_ms.min(at_ms), ..self }
    }

    fn units_of(&self, feature: &str) -> u64 {
        let lines = self.lines.iter().filter(|(name, _)| name == feature);
        lines.map(|(_, units)| units).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn began(guard: u64, at_ms: u64, valid_until_ms: u64) -> (usize, Use) {
        let lines = vec![("cpa".to_owned(), 1)];
        (1, Use::Began { guard, lines, sent_ms: at_ms, at_ms, valid_until_ms })
    }

    fn ended(guard: u64, at_ms: u64) -> (usize, Use) {
        (1, Use::Ended { guard, at_ms })
    }

    #[test]
    fn a_unit_that_is_passed_on_in_the_same_millisecond_is_used_once() {
        let verdict = Verdict::of(&[began(1, 0, 50), ended(1, 10), began(2, 10, 60), ended(2, 20)]);
        assert_eq!((verdict.calls, verdict.lost, verdict.most_in_use("cpa")), (2, 0, 1));
        verdict.assert_clean(&[("cpa", 1)]);
    }

    #[test]
    fn units_that_overlap_by_a_millisecond_are_used_twice() {
        let verdict = Verdict::of(&[began(1, 0, 50), began(2, 9, 60), ended(1, 10), ended(2, 20)]);
        assert_eq!(verdict.most_in_use("cpa"), 2);
    }

    #[test]
    fn a_call_past_its_deadline_is_lost_and_uses_nothing_from_then_on() {
        let extended = (1, Use::Extended { guard: 1, at_ms: 20, valid_until_ms: 70 });
        let verdict = Verdict::of(&[began(1, 0, 50), extended, ended(1, 90), began(2, 70, 99)]);
        assert_eq!((verdict.lost, verdict.most_in_use("cpa")), (1, 1));

        let lapsed = (1, Use::Lapsed { guard: 1, at_ms: 51 });
        let verdict = Verdict::of(&[began(1, 0, 50), lapsed, began(1, 60, 99), ended(1, 70)]);
        assert_eq!((verdict.calls, verdict.lost), (1, 1), "checked out anew, but lost");
    }

    #[test]
    fn the_longest_time_below_a_level_counts_both_ends() {
        let verdict = Verdict::of(&[began(1, 5, 50), ended(1, 10), began(2, 17, 60), ended(2, 20)]);
        assert_eq!(verdict.longest_below("cpa", 1, 0, 20), 7);
        assert_eq!(verdict.longest_below("cpa", 1, 0, 40), 20);
    }
}
