//! What a desk shows of itself to operators, tests and metrics.

use std::collections::BTreeMap;

use super::Desk;
use super::message::{Reason, Report};
use crate::id::{Epoch, FeatureId, PoolId};
use crate::time::Moment;

/// What a desk has done since its process started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeskCounters {
    pub checkouts_asked: u64,
    pub granted: u64,
    pub renewed: u64,
    pub checked_in: u64,
    pub expired: u64,
    pub reclaimed: u64,
    pub covered: u64,
    pub handed_over: u64,
    pub denied: BTreeMap<Reason, u64>,
    pub denied_features: BTreeMap<FeatureId, u64>,
    /// Milliseconds that engines went on after their checkout had ended, by pool.
    pub overrun_ms: BTreeMap<PoolId, u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeskStatus {
    pub epoch: Option<Epoch>,
    /// Until when the desk may lend, on its own clock.
    pub lend_until: Option<Moment>,
    pub running: usize,
    pub waiting: usize,
    pub claims: usize,
    /// This node's ledger differs from the others': nothing is lent until an operator has acted.
    pub is_diverged: bool,
    pub report: Report,
    pub counters: DeskCounters,
}

impl Desk {
    #[must_use]
    pub fn status(&self) -> DeskStatus {
        DeskStatus {
            epoch: self.tenure.epoch(),
            lend_until: self.tenure.until(),
            running: self.book.running(),
            waiting: self.queue.len(),
            claims: self.claims.len(),
            is_diverged: self.is_diverged,
            report: self.report(),
            counters: self.counters.clone(),
        }
    }
}
