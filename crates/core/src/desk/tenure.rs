//! The desk's lease as its holder sees it: counted from the sending of beats, checked at each use.

use std::collections::VecDeque;

use crate::id::Epoch;
use crate::time::{Moment, Now, Timings};

/// Beats without an answer that are remembered: at one a second, three leases' worth.
const UNANSWERED_MAX: usize = 32;

/// A node's right to lend.
#[derive(Clone, Debug, Default)]
pub(super) struct Tenure {
    open: Option<OpenTenure>,
    /// Set while the wall clock has shown that the steady clock stood still: nothing is lent until
    /// a beat with a number above this one, and so sent after that was seen, is acknowledged. Of
    /// beats sent before, the steady clock can't tell: it may show the same moment still.
    confirm_after: Option<u64>,
    last_check: Option<Now>,
    /// Both clocks when the newest acknowledged beat was sent.
    confirmed: Option<Now>,
}

#[derive(Clone, Debug)]
struct OpenTenure {
    epoch: Epoch,
    last_seq: u64,
    heard_seq: u64,
    /// Beats without an answer: number and when they were sent.
    sent: VecDeque<(u64, Now)>,
    until: Option<Moment>,
}

impl Tenure {
    pub(super) fn epoch(&self) -> Option<Epoch> {
        self.open.as_ref().map(|open| open.epoch)
    }

    pub(super) fn become_open(&mut self, epoch: Epoch) {
        let sent = VecDeque::new();
        self.open = Some(OpenTenure { epoch, last_seq: 0, heard_seq: 0, sent, until: None });
        self.confirm_after = self.confirm_after.map(|_| 0);
    }

    pub(super) fn become_closed(&mut self) {
        self.open = None;
    }

    /// Whether units may be lent at this very moment.
    pub(super) fn may_lend(&mut self, now: Now, timings: &Timings) -> bool {
        self.watch_clocks(now, timings);
        self.confirm_after.is_none() && self.until().is_some_and(|until| now.steady < until)
    }

    /// Whether a beat is to be sent now, for one that is yet to be sent must be acknowledged.
    pub(super) fn needs_beat(&self) -> bool {
        let last_seq = self.open.as_ref().map(|open| open.last_seq);
        last_seq.is_some() && last_seq == self.confirm_after
    }

    pub(super) fn until(&self) -> Option<Moment> {
        self.open.as_ref().and_then(|open| open.until)
    }

    /// Notes a beat as sent now. Every attempt has a new number.
    pub(super) fn send(&mut self, now: Now) -> Option<(Epoch, u64, u64)> {
        let open = self.open.as_mut()?;
        open.last_seq += 1;
        open.sent.push_back((open.last_seq, now));
        if open.sent.len() > UNANSWERED_MAX {
            open.sent.pop_front();
        }
        Some((open.epoch, open.last_seq, open.heard_seq))
    }

    /// A beat was committed and its lease is live: lend until T(1−ρ) − m after it was *sent*.
    /// Tells when that was, of a beat that is remembered.
    pub(super) fn acknowledge(&mut self, seq: u64, timings: &Timings) -> Option<Moment> {
        let open = self.open.as_mut()?;
        let &(_, sent) = open.sent.iter().find(|(sent, _)| *sent == seq)?;
        let sent_at = sent.steady;
        open.sent.retain(|(sent, _)| *sent > seq);
        open.heard_seq = open.heard_seq.max(seq);
        open.until = open.until.max(Some(sent_at + timings.lend_for_ms()));
        if self.confirm_after.is_some_and(|after| seq > after) {
            self.confirm_after = None;
        }
        if self.confirmed.is_none_or(|known| known.steady < sent_at) {
            self.confirmed = Some(sent);
        }
        Some(sent_at)
    }

    /// If wall-clock time ran ahead of the steady clock by more than the margin and what their
    /// rates explain, the machine was paused in a way that the steady clock did not count. Looked
    /// at since the last check, and since the beat was sent on which the right to lend rests:
    /// several short pauses may add up.
    fn watch_clocks(&mut self, now: Now, timings: &Timings) {
        // A wall clock that is set back takes along what is compared with it, or it would hide as
        // much of a later pause.
        let sent = self.open.iter_mut().flat_map(|open| &mut open.sent).map(|(_, known)| known);
        for known in self.confirmed.iter_mut().chain(sent) {
            let passed_ms = i64::try_from(now.steady.since(known.steady)).unwrap_or(i64::MAX);
            known.wall_ms = known.wall_ms.min(now.wall_ms.saturating_sub(passed_ms));
        }
        let has_stood_still =
            |past: Option<Now>| past.is_some_and(|past| has_stood_still(past, now, timings));
        // What was noticed since that beat stays noticed until a later one is acknowledged.
        let is_noticed = self.confirm_after.is_some();
        if has_stood_still(self.last_check) || (!is_noticed && has_stood_still(self.confirmed)) {
            self.confirm_after = Some(self.open.as_ref().map_or(0, |open| open.last_seq));
        }
        self.last_check = Some(now);
    }
}

fn has_stood_still(past: Now, now: Now, timings: &Timings) -> bool {
    let wall_ms = now.wall_ms.saturating_sub(past.wall_ms);
    let passed_ms = timings.stretch(now.steady.since(past.steady));
    let explained_ms = passed_ms.saturating_add(timings.margin_ms);
    wall_ms > i64::try_from(explained_ms).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Now {
        Now { steady: Moment(ms), wall_ms: 1_000_000 + i64::try_from(ms).unwrap() }
    }

    fn open() -> Tenure {
        let mut tenure = Tenure::default();
        tenure.become_open(Epoch(1));
        tenure
    }

    #[test]
    fn the_holder_counts_from_its_send() {
        let timings = Timings::default();
        let mut tenure = open();
        assert!(!tenure.may_lend(at(0), &timings), "opening a lease is no right to lend");
        tenure.send(at(1_000));
        tenure.acknowledge(1, &timings);
        let end = 1_000 + timings.lend_for_ms();
        assert!(tenure.may_lend(at(end - 1), &timings));
        assert!(!tenure.may_lend(at(end), &timings));
    }

    #[test]
    fn a_late_acknowledgement_never_shortens_the_right() {
        let timings = Timings::default();
        let mut tenure = open();
        tenure.send(at(1_000));
        tenure.send(at(2_000));
        tenure.acknowledge(2, &timings);
        tenure.acknowledge(1, &timings);
        assert_eq!(tenure.until(), Some(Moment(2_000 + timings.lend_for_ms())));
    }

    #[test]
    fn a_wall_clock_that_ran_ahead_stops_lending_until_a_later_beat_is_acknowledged() {
        let timings = Timings::default();
        let mut tenure = open();
        tenure.send(at(1_000));
        tenure.acknowledge(1, &timings);
        assert!(tenure.may_lend(at(1_100), &timings));
        tenure.send(at(1_150));
        let jumped = Now { steady: Moment(1_200), wall_ms: at(1_200).wall_ms + 60_000 };
        assert!(!tenure.may_lend(jumped, &timings));
        tenure.acknowledge(2, &timings);
        assert!(!tenure.may_lend(jumped, &timings), "that beat was sent before the jump");
        let later = Now { steady: Moment(1_300), wall_ms: jumped.wall_ms + 100 };
        tenure.send(later);
        tenure.acknowledge(3, &timings);
        assert!(tenure.may_lend(later, &timings));
    }

    /// A desk that looked rarely on a clock that was slow by ρ found more wall-clock time gone than
    /// the margin explains. It waited for a confirmation, which each further look put off.
    #[test]
    fn a_slow_steady_clock_is_no_paused_machine() {
        let timings = Timings { clock_drift_ppm: 60_000, margin_ms: 20, ..Timings::default() };
        let mut tenure = open();
        tenure.send(at(1_000));
        tenure.acknowledge(1, &timings);
        for seconds in 0..9 {
            let (steady_ms, true_ms) = (seconds * 944, seconds * 1_000);
            let now = Now { steady: Moment(1_000 + steady_ms), ..at(1_000 + true_ms) };
            assert!(tenure.may_lend(now, &timings), "after {seconds} s");
        }
    }

    /// A machine that is halted again and again for less than the margin: each halt alone is no
    /// reason to stop, and together they made the lease run on for as long as they lasted.
    #[test]
    fn pauses_below_the_margin_add_up() {
        let timings = Timings::default();
        let mut tenure = open();
        tenure.send(at(1_000));
        tenure.acknowledge(1, &timings);
        let mut now = at(1_000);
        let mut may_lend = Vec::new();
        for _ in 0..3 {
            now.steady = now.steady + 10;
            now.wall_ms += 10 + 100;
            may_lend.push(tenure.may_lend(now, &timings));
        }
        assert_eq!(may_lend, [true, true, false]);
    }

    /// What the step was below the margin, it hid of a later pause, up to the margin once more.
    #[test]
    fn a_small_step_back_hides_nothing_of_a_later_pause() {
        let timings = Timings::default();
        let step_ms = i64::try_from(timings.margin_ms * 9 / 10).unwrap();
        let mut tenure = open();
        tenure.send(at(1_000));
        tenure.acknowledge(1, &timings);
        let mut now = at(1_100);
        let mut may_lend = Vec::new();
        for by_ms in [-step_ms, step_ms, step_ms] {
            now.wall_ms += by_ms;
            may_lend.push(tenure.may_lend(now, &timings));
        }
        assert_eq!(may_lend, [true, true, false]);
    }

    #[test]
    fn a_pause_is_noticed_though_the_wall_clock_was_set_back_before() {
        let timings = Timings::default();
        let mut tenure = open();
        tenure.send(at(1_000));
        tenure.acknowledge(1, &timings);
        assert!(tenure.may_lend(at(1_000), &timings));
        let set_back = |ms: u64| Now { wall_ms: at(ms).wall_ms - 60_000, ..at(ms) };
        assert!(tenure.may_lend(set_back(1_100), &timings));
        let mut now = set_back(1_100);
        let mut may_lend = true;
        for _ in 0..3 {
            now.wall_ms += 100;
            may_lend = tenure.may_lend(now, &timings);
        }
        assert!(!may_lend);
    }
}
