//! What happens to members by itself: the leader promotes learners and completes what an earlier
//! leader left half done; a node that hears of no leader asks whether it still belongs.

use std::time::Duration;

use leasehold_actor::{BoxError, CancellationToken};
use leasehold_core::id::NodeId;
use tokio::time::Instant;

use super::change::{has_caught_up, in_time};
use super::{Membership, MembershipError};

/// The look at the members: learners get their vote within this after they have caught up.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A few elections. A node that was taken out while it was down never hears of a leader again: no
/// leader talks to it, and nobody votes for it.
const ASK_AFTER: Duration = Duration::from_secs(5);

impl Membership {
    /// Looks after the members until it is told to stop.
    ///
    /// # Errors
    /// None.
    pub async fn run(self, stop: CancellationToken) -> Result<(), BoxError> {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        let mut led_at = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                _ = ticks.tick() => {}
            }
            let leadership = self.consensus.leadership().borrow().clone();
            if leadership.leader.is_some() {
                led_at = Instant::now();
            }
            if leadership.is_ready {
                self.lead().await;
            } else if led_at.elapsed() > ASK_AFTER {
                self.ask_whether_it_belongs().await;
                led_at = Instant::now();
            }
        }
    }

    async fn lead(&self) {
        // Whoever holds it is in the middle of a change.
        let Ok(_changing) = self.changing.try_lock() else { return };
        self.finish_change().await;
        self.take_out_removed().await;
        self.promote_learners().await;
    }

    async fn finish_change(&self) {
        if !self.consensus.status().is_joint {
            return;
        }
        match in_time(self.consensus.finish_change()).await {
            Ok(()) => tracing::info!("a change of voters that was left half done is complete"),
            Err(error) => tracing::debug!(%error, "a change of voters is still half done"),
        }
    }

    async fn take_out_removed(&self) {
        let status = self.consensus.status();
        let members = status.voters.keys().chain(status.learners.keys());
        let removed = members.copied().filter(|node| *node != self.node && self.is_removed(*node));
        for node in removed {
            if let Err(error) = self.try_take_out(node).await {
                tracing::debug!(%node, %error, "not taken out yet");
            } else {
                tracing::info!(%node, "a removed node was taken out of the consensus");
            }
        }
    }

    async fn try_take_out(&self, node: NodeId) -> Result<(), MembershipError> {
        self.require_majority_without(node, &self.consensus.status())?;
        self.take_out(node).await
    }

    async fn promote_learners(&self) {
        let status = self.consensus.status();
        let learners = status.learners.keys().copied();
        for node in learners.filter(|node| has_caught_up(&status, *node)) {
            if self.is_removed(node) {
                continue;
            }
            match self.promote(node).await {
                Ok(()) => tracing::info!(%node, "a learner has caught up and votes from now on"),
                // The leader has changed: the next one does it.
                Err(error) => tracing::debug!(%node, %error, "not promoted"),
            }
        }
    }

    /// Asks every other member that this node knows of, until one says that it was removed.
    async fn ask_whether_it_belongs(&self) {
        let status = self.consensus.status();
        let members = status.voters.iter().chain(&status.learners);
        let Some((own, _)) = self.consensus.standing().generation() else { return };
        for (_, peer) in members.filter(|(node, _)| **node != self.node) {
            let Ok(known) = self.describe(&peer.address).await else { continue };
            if known.is_removed && known.cluster_id == own.0[..] {
                self.expulsion.tell("this node was removed from the cluster while it was away");
                return;
            }
        }
    }
}
