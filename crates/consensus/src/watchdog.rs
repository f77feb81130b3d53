//! Watches the Raft core and the disk: who leads, who is a member, and whether this node must end.
//!
//! openraft's core is a task: when it dies the process lives on and answers nothing. So someone
//! has to look, and whoever owns the process has to end it.

use std::collections::BTreeSet;
use std::time::Duration;

use leasehold_core::id::NodeId;
use leasehold_storage::LogStore;
use openraft::alias;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::Fatal;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::error::FatalError;
use crate::peers::Channels;
use crate::types::{Peer, TypeConfig};

/// Who leads, as this node knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    pub term: u64,
    pub leader: Option<(NodeId, Peer)>,
    pub is_leader: bool,
    /// Leads, and has applied an entry of its own term: it knows all that was committed before.
    pub is_ready: bool,
}

pub(crate) type Metrics = openraft::RaftMetrics<TypeConfig>;
pub(crate) type MetricsReceiver = alias::WatchReceiverOf<TypeConfig, Metrics>;

/// How often a running sync is looked at: small against the limit of a stall.
const STALL_INTERVAL: Duration = Duration::from_millis(500);

pub(crate) struct Watchdog {
    pub(crate) node: NodeId,
    pub(crate) log: LogStore,
    pub(crate) stall_max: Duration,
    pub(crate) metrics: MetricsReceiver,
    pub(crate) channels: Channels,
    /// Of the cluster, when last looked at.
    pub(crate) members: BTreeSet<u64>,
    pub(crate) leadership: watch::Sender<Leadership>,
    pub(crate) fatal: watch::Sender<Option<FatalError>>,
}

impl Watchdog {
    /// Runs until the core ends, by request or by failure.
    pub(crate) async fn run(mut self) {
        let mut failed = self.log.failed();
        let mut interval = tokio::time::interval(STALL_INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = Duration::ZERO;
        let cause = loop {
            if let Some(error) = failed.borrow_and_update().clone() {
                break Some(FatalError::Storage(error));
            }
            if let Err(end) = self.observe() {
                break cause_of(&end);
            }
            tokio::select! {
                biased;
                _ = failed.changed() => {}
                changed = self.metrics.changed() => if changed.is_err() {
                    break cause_of(&Fatal::Panicked);
                },
                _ = interval.tick() => {
                    let stalled = self.log.stalled_for();
                    seen = seen_stalled(seen, stalled);
                    if seen > self.stall_max {
                        let limit_ms = self.stall_max.as_millis();
                        break Some(FatalError::Stalled { for_ms: stalled.as_millis(), limit_ms });
                    }
                }
            }
        };
        // Nobody is to believe that this node leads.
        self.leadership.send_modify(|leadership| {
            *leadership = Leadership { term: leadership.term, ..Leadership::default() };
        });
        if let Some(cause) = cause {
            tracing::error!(error = %cause, "consensus has failed: this process must end");
            self.fatal.send_replace(Some(cause));
        }
    }

    fn observe(&mut self) -> Result<(), Fatal<TypeConfig>> {
        let metrics = self.metrics.borrow_watched();
        metrics.running_state.clone()?;
        let leadership = leadership(self.node, &metrics);
        let membership = metrics.membership_config.membership();
        let members: BTreeSet<u64> = membership.nodes().map(|(id, _)| *id).collect();
        drop(metrics);
        let former = std::mem::replace(&mut self.members, members);
        former.difference(&self.members).for_each(|peer| self.channels.give_up(*peer));
        self.leadership.send_if_modified(|known| {
            let is_new = *known != leadership;
            *known = leadership;
            is_new
        });
        Ok(())
    }
}

/// For how long a sync has been seen to run, after one more look. A process that was paused in the
/// middle of a sync finds that it took as long as the pause, though nothing is wrong with the disk:
/// so looks count, and not what passed between two of them.
fn seen_stalled(seen: Duration, running: Duration) -> Duration {
    if running > STALL_INTERVAL { seen + STALL_INTERVAL } else { Duration::ZERO }
}

fn cause_of(end: &Fatal<TypeConfig>) -> Option<FatalError> {
    match end {
        Fatal::Stopped => None,
        Fatal::StorageError(_) | Fatal::Panicked => {
            Some(FatalError::Core { reason: end.to_string() })
        }
    }
}

fn leadership(node: NodeId, metrics: &Metrics) -> Leadership {
    let membership = metrics.membership_config.membership();
    let leader =
        metrics.current_leader.and_then(|id| Some((NodeId(id), membership.get_node(&id)?.clone())));
    let is_leader = metrics.state.is_leader() && metrics.current_leader == Some(node.0);
    let applied = metrics.last_applied.map(|id| *id.committed_leader_id());
    let is_own = applied
        .is_some_and(|leader| leader.term == metrics.current_term && leader.node_id == node.0);
    Leadership { term: metrics.current_term, leader, is_leader, is_ready: is_leader && is_own }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A node that was stopped for 12 s in the middle of a sync once ended itself when it was let
    /// go on, because of a disk that had done its work in a millisecond.
    #[test]
    fn a_pause_of_the_process_is_no_stall_of_the_disk() {
        let after_pause = seen_stalled(Duration::ZERO, Duration::from_secs(12));
        assert_eq!(after_pause, STALL_INTERVAL);
        assert_eq!(seen_stalled(after_pause, Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn a_sync_that_is_seen_to_run_again_and_again_is_a_stall() {
        let looks = (2..=22).map(|look| look * STALL_INTERVAL);
        let seen = looks.fold(Duration::ZERO, seen_stalled);
        assert!(seen > Duration::from_secs(10), "{seen:?}");
    }
}
