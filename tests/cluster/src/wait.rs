//! Waiting for a condition, with a message for the case that it never comes true.

use std::time::{Duration, Instant};

/// Between two looks: short against every duration that a test measures.
const LOOK_EVERY: Duration = Duration::from_millis(20);

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
