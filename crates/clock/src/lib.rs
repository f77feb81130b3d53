//! The clock that durations of leases and checkouts are counted on, and its twin for tests.
//!
//! `MONOTONIC_RAW + (BOOTTIME − MONOTONIC)`: the sum counts the time a machine was suspended and
//! is never slewed. No single clock of the kernel does both: NTP may slew `BOOTTIME` and
//! `MONOTONIC` by several percent, and `MONOTONIC_RAW` stands still in a suspend, as do the
//! `Instant`s of std and tokio. `BOOTTIME − MONOTONIC` is the time spent suspended: both are
//! slewed alike, so slewing cancels out.
//!
//! A reading says when it was taken, on this machine, since it was booted. It is meaningless on
//! any other machine; only durations travel.
//!
//! Invariants: a reading of [`Clock::Steady`] never goes back within a process. It lags the ideal
//! sum by at most the rounding to a millisecond and [`BRACKET_NS_MAX`]. Linux only.

mod manual;
mod steady;

pub use manual::ManualClock;
pub use steady::BRACKET_NS_MAX;

/// A source of steady and of wall-clock time, cheap to clone.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// This machine's clocks.
    #[default]
    Steady,
    /// A clock that moves only when a test moves it.
    Manual(ManualClock),
}

impl Clock {
    /// Milliseconds on the clock that counts suspends and is never slewed.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.reading().0
    }

    /// Unix time in milliseconds. It may jump; nothing that must be safe may depend on it.
    #[must_use]
    pub fn wall_ms(&self) -> i64 {
        self.reading().1
    }

    /// `(steady_ms, wall_ms)` of the same instant, so that the two may be compared: wall-clock
    /// time that ran ahead of steady time means that the machine stood still.
    #[must_use]
    pub fn reading(&self) -> (u64, i64) {
        match self {
            Clock::Steady => steady::reading(),
            Clock::Manual(clock) => clock.reading(),
        }
    }
}
