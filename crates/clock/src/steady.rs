//! Reading four clocks of the kernel as if at one instant.

use std::sync::atomic::{AtomicU64, Ordering};

use rustix::time::{ClockId, clock_gettime};

/// A sample counts only if all its clocks were read within this time, suspends included: far
/// below the millisecond that readings are rounded to, far above what the reads cost (~100 ns).
pub const BRACKET_NS_MAX: i128 = 50_000;

/// Samples before a thread that is preempted again and again takes the last one. Being preempted
/// three times within some 100 ns each is a machine so late that the margin no longer helps: its
/// answers come too late by more than the sample is wrong.
const SAMPLES_MAX: usize = 4;

/// The latest reading of this process, which none may fall below: two threads may read the
/// clocks in one order and return in the other.
static LATEST_MS: AtomicU64 = AtomicU64::new(0);

pub(crate) fn reading() -> (u64, i64) {
    let mut sample = Sample::take();
    for _ in 1..SAMPLES_MAX {
        if sample.bracket_ns <= BRACKET_NS_MAX {
            break;
        }
        sample = Sample::take();
    }
    (not_before_latest(sample.steady_ms()), sample.wall_ms())
}

/// All clocks, read between two readings of `BOOTTIME`. `BOOTTIME` runs through suspends, so the
/// bracket also shows a suspend that fell between the reads, which `MONOTONIC` would hide.
struct Sample {
    /// Lags the ideal sum by at most `bracket_ns`, and never leads it: `BOOTTIME` is read first.
    steady_ns: i128,
    wall_ns: i128,
    bracket_ns: i128,
}

impl Sample {
    fn take() -> Self {
        let boot = nanoseconds(ClockId::Boottime);
        let monotonic = nanoseconds(ClockId::Monotonic);
        let raw = nanoseconds(ClockId::MonotonicRaw);
        let wall_ns = nanoseconds(ClockId::Realtime);
        let bracket_ns = nanoseconds(ClockId::Boottime) - boot;
        Self { steady_ns: raw + (boot - monotonic), wall_ns, bracket_ns }
    }

    fn steady_ms(&self) -> u64 {
        u64::try_from(self.steady_ns / NS_PER_MS).unwrap_or(0)
    }

    fn wall_ms(&self) -> i64 {
        i64::try_from(self.wall_ns.div_euclid(NS_PER_MS)).unwrap_or(i64::MAX)
    }
}

fn not_before_latest(ms: u64) -> u64 {
    // The load comes first so that threads share the cache line except once a millisecond.
    let latest = LATEST_MS.load(Ordering::Relaxed);
    if ms <= latest { latest } else { LATEST_MS.fetch_max(ms, Ordering::Relaxed).max(ms) }
}

const NS_PER_MS: i128 = 1_000_000;

fn nanoseconds(clock: ClockId) -> i128 {
    let time = clock_gettime(clock);
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant, SystemTime};

    use super::*;

    #[test]
    fn a_reading_never_goes_back_between_threads() {
        let latest = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50_000 {
                        // Returned by some thread before this one began to read.
                        let before = latest.load(Ordering::SeqCst);
                        let (now, _) = reading();
                        assert!(now >= before, "{now} was read after {before}");
                        latest.fetch_max(now, Ordering::SeqCst);
                    }
                });
            }
        });
    }

    #[test]
    fn it_runs_as_fast_as_a_second_does() {
        let (start, began) = (reading().0, Instant::now());
        let mut elapsed = Duration::ZERO;
        while elapsed < Duration::from_millis(100) {
            elapsed = began.elapsed();
        }
        let counted = reading().0 - start;
        // Slewing may change an `Instant`'s rate by a tenth; preemption may only add.
        assert!((89..5_000).contains(&counted), "100 ms were counted as {counted} ms");
    }

    #[test]
    fn the_wall_clock_is_unix_time() {
        let before = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let (_, wall_ms) = reading();
        let ahead = i128::from(wall_ms) - i128::try_from(before.as_millis()).unwrap();
        assert!((-1..5_000).contains(&ahead), "{ahead} ms ahead");
    }

    #[test]
    fn suspended_time_counts() {
        let raw_ms = nanoseconds(ClockId::MonotonicRaw) / NS_PER_MS;
        let suspended_ns = nanoseconds(ClockId::Boottime) - nanoseconds(ClockId::Monotonic);
        let least = raw_ms + suspended_ns / NS_PER_MS - 1;
        assert!(i128::from(reading().0) >= least);
    }
}
