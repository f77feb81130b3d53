//! What the leader does to members when an operator, or a new node, asks for it.
//!
//! Two records are kept: the ledger says who may lend, Raft's membership who has the log and a
//! vote. A node that comes is entered in the ledger first; one that goes is taken out of the ledger
//! first, which ends its lease, and leaves Raft after that. Whatever was interrupted between the
//! two is completed by [the leader's upkeep](super::upkeep).

use std::time::Duration;

use leasehold_consensus::{Peer, ProposeError, Status as RaftStatus};
use leasehold_core::id::{Generation, InvalidId, NodeId, NodeName};
use leasehold_core::ledger::command::{Command, Outcome, Refusal};

use super::{Change, Membership, MembershipError, not_now, of_propose, refused};

/// Entries that a learner may lack and still be called caught up: less than a second's worth.
const LAG_MAX: u64 = 16;
/// Two commits: into the joint membership and out of it.
const CHANGE_DEADLINE: Duration = Duration::from_secs(8);

impl Membership {
    /// At the leader: admits a new node. Asked again from the same data directory, it completes
    /// what was begun, and gives the same answer.
    ///
    /// # Errors
    /// The id was used before, the address leads elsewhere, or the log can't be written.
    pub async fn admit(&self, node: NodeId, peer: Peer) -> Result<Generation, MembershipError> {
        let _changing = self.changing.lock().await;
        let Some((cluster, generation)) = self.consensus.standing().generation() else {
            return Err(refused("this node belongs to no cluster yet"));
        };
        let status = self.consensus.status();
        let member = status.voters.get(&node).or_else(|| status.learners.get(&node));
        match member {
            Some(member) if *member == peer => return Ok(generation),
            Some(member) if member.incarnation == peer.incarnation => {
                return Err(refused(format!(
                    "node {node} was admitted as {} in site {} at {}, and asks with other values: \
                     start it with those, or remove it and have it join under a new id",
                    member.name, member.site, member.address
                )));
            }
            Some(_) => {
                return Err(refused(format!(
                    "node {node} is a member already, with another data directory: a node that \
                     lost its disk joins under a new id, after `leasehold node remove {node}`"
                )));
            }
            None => {}
        }
        let name: NodeName =
            peer.name.parse().map_err(|error: InvalidId| refused(error.to_string()))?;
        let site = peer.site.clone();
        self.call_back(cluster, node, &peer).await?;
        let known = self.consensus.read(|replica| replica.ledger.node(node).cloned());
        let is_begun = known.is_some_and(|it| !it.removed && it.lease.is_none() && it.site == site);
        if !is_begun {
            self.commit(Command::Admit { node, site, name }).await?;
        }
        in_time(self.consensus.add_learner(node, peer)).await?;
        Ok(generation)
    }

    /// At the leader: changes a member. A leader does not remove itself: it hands leadership over
    /// first, since it would leave with the change half done.
    ///
    /// # Errors
    /// There is no such member, the change is not possible now, or the log can't be written.
    pub async fn change(&self, node: NodeId, change: Change) -> Result<(), MembershipError> {
        match change {
            Change::Promote => {
                let _changing = self.changing.lock().await;
                self.promote(node).await
            }
            Change::Remove => {
                let _changing = self.changing.lock().await;
                self.remove(node).await
            }
            Change::Fence { powered_off } => self.fence(node, powered_off).await,
            Change::Unfence => self.commit(Command::Unfence { node }).await,
        }
    }

    pub(super) async fn promote(&self, node: NodeId) -> Result<(), MembershipError> {
        let status = self.consensus.status();
        if status.voters.contains_key(&node) {
            return Ok(());
        }
        if !status.learners.contains_key(&node) {
            return Err(refused(format!("node {node} is no member: let it join first")));
        }
        if !has_caught_up(&status, node) {
            return Err(not_now(format!("node {node} has not caught up with the log yet")));
        }
        in_time(self.consensus.promote(node)).await
    }

    async fn remove(&self, node: NodeId) -> Result<(), MembershipError> {
        let status = self.consensus.status();
        let is_last = status.voters.len() == 1 && status.voters.contains_key(&node);
        if is_last {
            return Err(refused(format!("node {node} is the last voter: stop it instead")));
        }
        if node == self.node {
            return Err(not_now(format!("node {node} leads, and could not hand leadership over")));
        }
        self.require_majority_without(node, &status)?;
        match self.commit(Command::Remove { node }).await {
            // Begun before and interrupted: go on.
            Err(MembershipError::Refused { .. }) if self.is_removed(node) => {}
            other => other?,
        }
        self.take_out(node).await
    }

    pub(super) fn is_removed(&self, node: NodeId) -> bool {
        self.consensus
            .read(|replica| replica.ledger.node(node).is_some_and(|member| member.removed))
    }

    /// Takes a node that the ledger has removed out of the consensus.
    pub(super) async fn take_out(&self, node: NodeId) -> Result<(), MembershipError> {
        let status = self.consensus.status();
        if !status.voters.contains_key(&node) && !status.learners.contains_key(&node) {
            return Ok(());
        }
        in_time(self.consensus.remove(node)).await
    }

    /// Without a majority of the voters that remain the change could not be committed, and nor
    /// could anything after it.
    pub(super) fn require_majority_without(
        &self,
        node: NodeId,
        status: &RaftStatus,
    ) -> Result<(), MembershipError> {
        if !status.voters.contains_key(&node) {
            return Ok(());
        }
        let remaining: Vec<NodeId> =
            status.voters.keys().copied().filter(|voter| *voter != node).collect();
        let live: Vec<NodeId> = self.consensus.read(|replica| {
            let live = replica.ledger.leases().filter(|(_, lease)| lease.live);
            live.map(|(node, _)| node).collect()
        });
        let up = remaining.iter().filter(|voter| live.contains(voter)).count();
        if up > remaining.len() / 2 {
            return Ok(());
        }
        Err(refused(format!(
            "without node {node} only {up} of {} voters would be up: start or remove those that \
             are down first",
            remaining.len()
        )))
    }

    async fn fence(&self, node: NodeId, powered_off: bool) -> Result<(), MembershipError> {
        let newest = self.consensus.read(|replica| replica.ledger.view(node).newest_epoch);
        self.commit(Command::Fence { node, epoch: newest, powered_off }).await
    }

    async fn commit(&self, command: Command) -> Result<(), MembershipError> {
        let outcomes = self.proposals.propose(vec![command]).await.map_err(|it| of_propose(&it))?;
        match outcomes.into_iter().next() {
            // It opened a lease between the look and the commit.
            Some(Outcome::Refused(refusal @ Refusal::EpochIs { .. })) => {
                Err(not_now(refusal.to_string()))
            }
            Some(Outcome::Refused(refusal)) => Err(refused(refusal.to_string())),
            Some(_) => Ok(()),
            None => Err(not_now("the ledger gave no answer")),
        }
    }
}

pub(super) fn has_caught_up(status: &RaftStatus, node: NodeId) -> bool {
    let matched = status.matched.get(&node).copied().flatten();
    matched.is_some_and(|matched| matched + LAG_MAX >= status.last_log.unwrap_or(0))
}

pub(super) async fn in_time(
    change: impl Future<Output = Result<(), ProposeError>>,
) -> Result<(), MembershipError> {
    match tokio::time::timeout(CHANGE_DEADLINE, change).await {
        Ok(changed) => changed.map_err(|error| of_propose(&error)),
        Err(_) => Err(not_now(format!(
            "no majority confirmed the change within {CHANGE_DEADLINE:?}; it may still happen"
        ))),
    }
}
