//! True time, which only the simulator knows, and the clocks that machines and engines read.

use leasehold_core::time::{Moment, Now};

/// True time in microseconds since the run began.
pub(crate) type Time = u64;

pub(crate) const MS: Time = 1_000;
pub(crate) const SECOND: Time = 1_000 * MS;

/// Noon of 2026-11-25 in Unix milliseconds: far from a change of the calendar day.
const WALL_START_MS: i64 = 1_795_608_000_000;
/// From there to the next day.
pub(crate) const NOON_TO_MIDNIGHT_MS: u64 = 12 * 3_600_000;
const PPM: i64 = 1_000_000;

/// A steady clock of a fixed rate error, and the wall clock beside it.
#[derive(Clone, Debug)]
pub(crate) struct LocalClock {
    rate_ppm: i64,
    /// The steady clock stands at `base_steady` until `base_true`, then runs.
    base_true: Time,
    base_steady: Time,
    wall_offset_ms: i64,
}

impl LocalClock {
    /// `rate_ppm` above zero: fast.
    pub(crate) fn new(rate_ppm: i64, offset: Time) -> Self {
        Self { rate_ppm, base_true: 0, base_steady: offset, wall_offset_ms: 0 }
    }

    fn steady(&self, at: Time) -> Time {
        let passed = i128::from(at.saturating_sub(self.base_true));
        let counted = passed * i128::from(PPM + self.rate_ppm) / i128::from(PPM);
        self.base_steady + Time::try_from(counted).unwrap_or(0)
    }

    pub(crate) fn moment(&self, at: Time) -> Moment {
        Moment(self.steady(at) / MS)
    }

    pub(crate) fn now(&self, at: Time) -> Now {
        let since_start = i64::try_from(at / MS).unwrap_or(i64::MAX);
        let wall_ms = WALL_START_MS + self.wall_offset_ms + since_start;
        Now { steady: self.moment(at), wall_ms }
    }

    /// The first true time at which this clock shows `moment`, if that lies ahead of `at`.
    pub(crate) fn when(&self, moment: Moment, at: Time) -> Time {
        let target = moment.0.saturating_mul(MS);
        let ahead = i128::from(target.saturating_sub(self.base_steady));
        let rate = i128::from(PPM + self.rate_ppm);
        let needed = (ahead * i128::from(PPM) + rate - 1) / rate;
        let mut when = self.base_true.saturating_add(Time::try_from(needed).unwrap_or(Time::MAX));
        // Rounding of the two divisions differs by a microsecond at most.
        while when < Time::MAX && self.steady(when) < target {
            when += 1;
        }
        when.max(at)
    }

    /// The steady clock stands still from `at` for `duration`; the wall clock runs on.
    pub(crate) fn freeze(&mut self, at: Time, duration: Time) {
        self.base_steady = self.steady(at);
        self.base_true = at + duration;
    }

    /// A steady clock that stands still runs on from `at`.
    pub(crate) fn thaw(&mut self, at: Time) {
        self.base_true = self.base_true.min(at);
    }

    pub(crate) fn step_wall(&mut self, by_ms: i64) {
        self.wall_offset_ms += by_ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_reached_when_the_clock_says_so_and_not_before() {
        for rate_ppm in [-100_000, -9_999, 0, 7, 10_000, 100_000] {
            let clock = LocalClock::new(rate_ppm, 12_345_678);
            for ms in [12_346, 12_400, 99_999, 1_234_567] {
                let when = clock.when(Moment(ms), 0);
                assert!(clock.moment(when) >= Moment(ms), "{rate_ppm} {ms}");
                assert!(clock.moment(when - 1) < Moment(ms), "{rate_ppm} {ms}");
            }
        }
    }

    #[test]
    fn a_frozen_clock_stands_still_while_the_wall_clock_runs_on() {
        let mut clock = LocalClock::new(0, 0);
        clock.freeze(5 * SECOND, 10 * SECOND);
        let now = clock.now(15 * SECOND);
        assert_eq!(now.steady, Moment(5_000));
        assert_eq!(now.wall_ms, WALL_START_MS + 15_000);
        assert_eq!(clock.moment(16 * SECOND), Moment(6_000));
    }
}
