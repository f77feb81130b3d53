//! Waiting for a condition, with a message for the case that it never comes true.

use std::time::{Duration, Instant};

use leasehold::demo::Record;
use leasehold_clock::Clock;

use crate::shape::Shape;

/// Between two looks: short against every duration that a test measures.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A machine that is so much late has other troubles.
const LATE: Duration = Duration::from_secs(10);

/// Looks until there is something, and returns it.
///
/// # Panics
/// If there is nothing after `within`.
pub async fn until<Found>(
    what: &str,
    within: Duration,
    mut look: impl AsyncFnMut() -> Option<Found>,
) -> Found {
    let began = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(began.elapsed() < within, "{what}: not so within {within:?}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Lets `time` pass on the clock of engines and nodes, where time itself is what is waited for.
///
/// # Panics
/// If that clock stands.
pub async fn pass(time: Duration) {
    let end_ms = Clock::Steady.now() + u64::try_from(time.as_millis()).expect("not for ages");
    until("time passes", time + LATE, async || (Clock::Steady.now() > end_ms).then_some(())).await;
}

/// Outlives every promise made until now: a checkout that can't be renewed has lapsed by then.
///
/// # Panics
/// If the clock stands.
pub async fn outlive(shape: &Shape) {
    pass(Duration::from_millis(shape.timings.checkout_ttl_ms)).await;
}

/// Waits until at least so many calls run.
///
/// # Panics
/// If they do not within `within`.
pub async fn until_running(record: &Record, calls: usize, within: Duration) {
    until(&format!("{calls} calls run"), within, async || {
        (record.running(Clock::Steady.now()) >= calls).then_some(())
    })
    .await;
}

/// Waits until more than so many calls have begun.
///
/// # Panics
/// If they have not within `within`.
pub async fn until_begun(record: &Record, calls: usize, within: Duration) {
    until(&format!("{calls} calls have begun"), within, async || {
        (record.calls() > calls).then_some(())
    })
    .await;
}
