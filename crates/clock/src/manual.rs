//! A clock that moves only when told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Steady and wall-clock time under a test's control; clones share one time.
#[derive(Clone, Debug, Default)]
pub struct ManualClock {
    time: Arc<Time>,
}

#[derive(Debug, Default)]
struct Time {
    steady_ms: AtomicU64,
    wall_ms: AtomicI64,
}

impl ManualClock {
    /// A clock that stands at these times.
    #[must_use]
    pub fn at(steady_ms: u64, wall_ms: i64) -> Self {
        let time = Time { steady_ms: steady_ms.into(), wall_ms: wall_ms.into() };
        Self { time: Arc::new(time) }
    }

    /// Both clocks move on by `ms`.
    pub fn advance(&self, ms: u64) {
        self.time.steady_ms.fetch_add(ms, Ordering::SeqCst);
        self.step_wall(i64::try_from(ms).unwrap_or(i64::MAX));
    }

    /// Wall-clock time jumps and steady time does not, as by NTP or after a pause of the machine.
    pub fn step_wall(&self, ms: i64) {
        self.time.wall_ms.fetch_add(ms, Ordering::SeqCst);
    }

    pub(crate) fn reading(&self) -> (u64, i64) {
        (self.time.steady_ms.load(Ordering::SeqCst), self.time.wall_ms.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Clock;

    #[test]
    fn it_moves_only_when_it_is_moved() {
        let manual = ManualClock::at(5, 1_000);
        let clock = Clock::Manual(manual.clone());
        assert_eq!(clock.reading(), (5, 1_000));
        manual.advance(7);
        assert_eq!((clock.now(), clock.wall_ms()), (12, 1_007));
        manual.step_wall(-500);
        assert_eq!(clock.reading(), (12, 507));
    }
}
