//! The verdict on a run, by what its engines have noted and by nothing else.
//!
//! Units beyond those entitled fail a run whenever they are found. So does a lost call, but for
//! faults by which the design loses some: such a fault opens a window, which ends one lifetime of a
//! checkout after the fault. What is found in a window is counted and not blamed; whoever opens
//! one judges just before the fault, and again when the window has ended.

use std::collections::BTreeMap;
use std::time::Duration;

use leasehold::demo::{Record, judge};
use leasehold_clock::Clock;

/// What was judged until now.
#[derive(Debug)]
pub(super) struct Judge {
    entitled: BTreeMap<String, u64>,
    /// When, on the engines' clock.
    judged_ms: u64,
    no_promise_until_ms: u64,
    lost: usize,
    lost_without_promise: usize,
}

impl Judge {
    pub(super) fn new(entitled: &[(&str, u64)]) -> Self {
        let entitled = entitled.iter().map(|(name, units)| ((*name).to_owned(), *units)).collect();
        let (judged_ms, no_promise_until_ms) = (Clock::Steady.now(), 0);
        Self { entitled, judged_ms, no_promise_until_ms, lost: 0, lost_without_promise: 0 }
    }

    /// A fault has ended just now by which the design loses calls: they lapse within `lifetime`.
    pub(super) fn promise_nothing_for(&mut self, lifetime: Duration) {
        let lifetime_ms = u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX);
        self.no_promise_until_ms = Clock::Steady.now().saturating_add(lifetime_ms);
    }

    /// Judges what was noted since the last time.
    ///
    /// # Panics
    /// If more units were in use than entitled, or a call was lost outside of a window.
    pub(super) fn judge(&mut self, record: &Record, when: &str) {
        let now_ms = Clock::Steady.now();
        for used in judge(&record.intervals(), &self.entitled) {
            assert!(
                used.over_issued_ms == 0,
                "over-issued, found {when}: {used:?}; the engines' clock says {now_ms}"
            );
        }
        let lost = record.lost() - self.lost;
        let is_excused = self.judged_ms < self.no_promise_until_ms;
        assert!(lost == 0 || is_excused, "{lost} calls were lost, found {when}");
        self.judged_ms = now_ms;
        self.lost += lost;
        self.lost_without_promise += lost;
    }

    /// Calls lost in windows.
    pub(super) fn lost_without_promise(&self) -> usize {
        self.lost_without_promise
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use leasehold_client::{Observer, Use};

    use super::*;

    const LIFETIME: Duration = Duration::from_secs(3_600);

    fn begin(record: &Arc<Record>, guard: u64) {
        let at_ms = Clock::Steady.now();
        let valid_until_ms = at_ms + 1_000;
        let lines = vec![("cpa".to_owned(), 1)];
        let began = Use::Began { guard, lines, sent_ms: at_ms, at_ms, valid_until_ms };
        record.witness(0).on_use(&began);
    }

    fn lose(record: &Arc<Record>, guard: u64) {
        begin(record, guard);
        record.witness(0).on_use(&Use::Lapsed { guard, at_ms: Clock::Steady.now() });
    }

    #[test]
    fn what_is_lost_in_a_window_is_counted_and_not_blamed() {
        let record = Arc::new(Record::default());
        let mut judge = Judge::new(&[("cpa", 1)]);
        judge.judge(&record, "before");
        judge.promise_nothing_for(LIFETIME);
        lose(&record, 1);
        judge.judge(&record, "in the window");
        assert_eq!(judge.lost_without_promise(), 1);
    }

    #[test]
    #[should_panic(expected = "1 calls were lost, found after a fault")]
    fn a_call_that_is_lost_outside_of_a_window_fails_the_run() {
        let record = Arc::new(Record::default());
        let mut judge = Judge::new(&[("cpa", 1)]);
        judge.promise_nothing_for(Duration::ZERO);
        judge.judge(&record, "when the window has ended");
        lose(&record, 1);
        judge.judge(&record, "after a fault");
    }

    #[test]
    #[should_panic(expected = "over-issued, found in a window")]
    fn a_window_excuses_no_unit_beyond_those_entitled() {
        let record = Arc::new(Record::default());
        let mut judge = Judge::new(&[("cpa", 1)]);
        judge.promise_nothing_for(LIFETIME);
        begin(&record, 1);
        begin(&record, 2);
        judge.judge(&record, "in a window");
    }
}
