//! What an engine holds while it uses licensed features.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use leasehold_clock::Clock;
use leasehold_proto::v1::{FeatureUsage, Reason};
use tokio::sync::{mpsc, oneshot, watch};

use crate::book::Key;
use crate::error::CheckinError;

/// Whether the engine may use what it checked out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuardState {
    /// Licensed; the client renews in time.
    Active {
        /// On the engine's steady clock.
        valid_until_ms: u64,
    },
    /// Not licensed since then: finish the call that runs, start nothing new. The client goes on
    /// trying, and the state becomes `Active` again when it succeeds.
    Lapsed {
        /// On the engine's steady clock.
        since_ms: u64,
        /// Why the last attempt was denied, if a node answered.
        denied: Option<Reason>,
    },
}

/// A license in use. Dropping it checks it in, in the background.
#[derive(Debug)]
pub struct Guard {
    key: Key,
    clock: Clock,
    state: watch::Receiver<GuardState>,
    departures: mpsc::UnboundedSender<Departure>,
    usage: Mutex<BTreeMap<String, (u64, u64)>>,
    has_departed: bool,
}

/// A guard's last word.
#[derive(Debug)]
pub(crate) struct Departure {
    pub(crate) key: Key,
    pub(crate) usage: Vec<FeatureUsage>,
    pub(crate) answer: Option<oneshot::Sender<Result<(), CheckinError>>>,
}

impl Guard {
    pub(crate) fn new(
        key: Key,
        clock: Clock,
        state: watch::Receiver<GuardState>,
        departures: mpsc::UnboundedSender<Departure>,
    ) -> Self {
        let usage = Mutex::default();
        Self { key, clock, state, departures, usage, has_departed: false }
    }

    /// The guard's number within its client, as the observer sees it.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.key
    }

    /// Whether the license counts now. Asks the clock: a deadline that passed while the machine
    /// was suspended is seen at once.
    #[must_use]
    pub fn state(&self) -> GuardState {
        let state = *self.state.borrow();
        match state {
            GuardState::Active { valid_until_ms } if self.clock.now() >= valid_until_ms => {
                GuardState::Lapsed { since_ms: valid_until_ms, denied: None }
            }
            GuardState::Active { .. } | GuardState::Lapsed { .. } => state,
        }
    }

    /// Until when the license counts on the engine's steady clock, as far as is known now; `None`
    /// when it has lapsed.
    #[must_use]
    pub fn deadline_ms(&self) -> Option<u64> {
        match self.state() {
            GuardState::Active { valid_until_ms } => Some(valid_until_ms),
            GuardState::Lapsed { .. } => None,
        }
    }

    /// Waits until the license has lapsed, and tells since when.
    pub async fn lapsed(&self) -> u64 {
        self.reached(|state| match state {
            GuardState::Lapsed { since_ms, .. } => Some(since_ms),
            GuardState::Active { .. } => None,
        })
        .await
    }

    /// Waits until the license counts: at once, or when a lapse has ended.
    pub async fn active(&self) -> u64 {
        self.reached(|state| match state {
            GuardState::Active { valid_until_ms } => Some(valid_until_ms),
            GuardState::Lapsed { .. } => None,
        })
        .await
    }

    async fn reached(&self, wanted: impl Fn(GuardState) -> Option<u64>) -> u64 {
        let mut changes = self.state.clone();
        loop {
            changes.mark_unchanged();
            if let Some(found) = wanted(self.state()) {
                return found;
            }
            if changes.changed().await.is_err() {
                // The client's task is gone: only time changes the state now, and only to lapsed.
                tokio::time::sleep(ORPHAN_POLL).await;
            }
        }
    }

    /// Adds to what will be reported at check-in for a feature of this checkout.
    pub fn usage(&self, feature: &str, recognitions: u64, syntheses: u64) {
        let mut usage = self.usage.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = usage.entry(feature.to_owned()).or_default();
        counts.0 = counts.0.saturating_add(recognitions);
        counts.1 = counts.1.saturating_add(syntheses);
    }

    /// Checks in and waits until a node has acknowledged it.
    ///
    /// # Errors
    /// If no node did. The units are free when the receipt's lifetime ends.
    pub async fn checkin(mut self) -> Result<(), CheckinError> {
        let (answer, answered) = oneshot::channel();
        self.depart(Some(answer));
        answered.await.unwrap_or(Err(CheckinError::Stopped))
    }

    fn depart(&mut self, answer: Option<oneshot::Sender<Result<(), CheckinError>>>) {
        if std::mem::replace(&mut self.has_departed, true) {
            return;
        }
        let usage = self.usage.get_mut().unwrap_or_else(PoisonError::into_inner);
        let usage = std::mem::take(usage)
            .into_iter()
            .map(|(feature, (recognitions, syntheses))| FeatureUsage {
                feature,
                recognitions,
                syntheses,
            })
            .collect();
        // Without a task there is nobody left to tell: the units are free when the lifetime ends.
        let _ = self.departures.send(Departure { key: self.key, usage, answer });
    }
}

/// How often a guard without a client looks at the clock: a lifetime is tens of seconds.
const ORPHAN_POLL: std::time::Duration = std::time::Duration::from_millis(200);

impl Drop for Guard {
    fn drop(&mut self) {
        self.depart(None);
    }
}
