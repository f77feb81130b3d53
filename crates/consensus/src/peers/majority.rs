//! When a leader that hears no majority sends no entries: so that it can be replaced.
//!
//! openraft 0.10 silences the heartbeats of such a leader for a while, again and again, but goes on
//! repeating entries that nobody acknowledges. Where a leader is heard and hears nobody, each of
//! them keeps its followers from electing another, until the connections themselves are given up.
//! Here entries follow the rule that openraft has for heartbeats.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::{Instant as _, alias};

use crate::types::TypeConfig;
use crate::watchdog::{Metrics, MetricsReceiver};

type Instant = alias::InstantOf<TypeConfig>;

/// What this node knows of its majority, while it leads. Clones share it.
#[derive(Clone)]
pub(crate) struct Majority {
    inner: Arc<Inner>,
}

struct Inner {
    /// There is none before openraft is built, which needs the network first.
    metrics: OnceLock<MetricsReceiver>,
    election_max: Duration,
    /// The last term that this node led, and when it was first seen to.
    led: Mutex<Option<(u64, Instant)>>,
}

impl Majority {
    pub(crate) fn new(election_max: Duration) -> Self {
        let (metrics, led) = (OnceLock::new(), Mutex::new(None));
        Self { inner: Arc::new(Inner { metrics, election_max, led }) }
    }

    /// From now on it knows.
    pub(crate) fn observe(&self, metrics: MetricsReceiver) {
        // Told once, at the start.
        let _ = self.inner.metrics.set(metrics);
    }

    /// The longest randomized wait for a leader.
    pub(crate) fn election_max(&self) -> Duration {
        self.inner.election_max
    }

    /// Whether this leader has to be silent now, so that who hears it may elect another.
    pub(crate) fn is_missed(&self) -> bool {
        is_quiet(self.unheard(), self.inner.election_max)
    }

    /// For how long this leader has heard no majority; zero at any other node.
    pub(crate) fn unheard(&self) -> Duration {
        let Some(metrics) = self.inner.metrics.get() else { return Duration::ZERO };
        let metrics = metrics.borrow_watched();
        let is_alone = metrics.membership_config.membership().voter_ids().count() == 1;
        let is_leader = metrics.state.is_leader() && !is_alone;
        if is_leader { self.heard_at(&metrics).elapsed() } else { Duration::ZERO }
    }

    /// When it sent what a majority has answered, or, if nothing was answered yet, began to lead.
    fn heard_at(&self, metrics: &Metrics) -> Instant {
        if let Some(acked) = metrics.last_quorum_acked {
            return acked.into_inner();
        }
        let mut led = self.inner.led.lock().unwrap_or_else(PoisonError::into_inner);
        match *led {
            Some((term, at)) if term == metrics.current_term => at,
            _ => led.insert((metrics.current_term, Instant::now())).1,
        }
    }
}

/// A leader is trusted for the longest election. Then it is quiet for as long as that trust and an
/// election take, then it tries for as long, and so on.
fn is_quiet(unheard: Duration, election_max: Duration) -> bool {
    let Some(beyond) = unheard.checked_sub(election_max) else { return false };
    let period = 2 * election_max;
    (beyond.as_nanos() / period.as_nanos()).is_multiple_of(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A leader that heard nobody, and was heard, went on for 12 s: all leases ended meanwhile, and
    /// running calls with them.
    #[test]
    fn a_leader_without_a_majority_is_quiet_long_enough_for_an_election_and_then_tries_again() {
        let election_max = Duration::from_millis(600);
        let quiet = |ms| is_quiet(Duration::from_millis(ms), election_max);
        assert!(!quiet(0) && !quiet(599), "it is trusted still");
        assert!(quiet(600) && quiet(1_799), "the others may elect");
        assert!(!quiet(1_800) && !quiet(2_999), "it may be heard again");
        assert!(quiet(3_000));
    }

    #[test]
    fn a_node_that_knows_nothing_yet_may_speak() {
        assert!(!Majority::new(Duration::from_millis(600)).is_missed());
    }
}
