//! Changes of members: thin, the node decides when.

use std::collections::BTreeSet;

use leasehold_core::id::NodeId;
use openraft::ChangeMembers;

use crate::consensus::Consensus;
use crate::error::ProposeError;
use crate::types::Peer;

impl Consensus {
    /// Adds a node that gets the log and has no vote. Returns once the change is committed.
    ///
    /// # Errors
    /// As [`Consensus::propose`], or another change is under way.
    pub async fn add_learner(&self, node: NodeId, peer: Peer) -> Result<(), ProposeError> {
        self.raft().add_learner(node.0, peer, false).await?;
        Ok(())
    }

    /// Gives a learner a vote. Only for one that has caught up, or the cluster may have to wait
    /// for it: see `matched` in [`Consensus::status`].
    ///
    /// # Errors
    /// As [`Consensus::propose`], the node is no learner, or another change is under way.
    pub async fn promote(&self, node: NodeId) -> Result<(), ProposeError> {
        let change = ChangeMembers::AddVoterIds(BTreeSet::from([node.0]));
        self.raft().change_membership(change, true).await?;
        metrics::counter!("leasehold_server_learner_promote_successes_total").increment(1);
        Ok(())
    }

    /// Takes a node out, whether it votes or not. Its id must never be used again.
    ///
    /// # Errors
    /// As [`Consensus::propose`], it is the last voter, or another change is under way.
    pub async fn remove(&self, node: NodeId) -> Result<(), ProposeError> {
        if self.status().voters.contains_key(&node) {
            let change = ChangeMembers::RemoveVoters(BTreeSet::from([node.0]));
            self.raft().change_membership(change, false).await?;
            return Ok(());
        }
        let change = ChangeMembers::RemoveNodes(BTreeSet::from([node.0]));
        self.raft().change_membership(change, false).await?;
        Ok(())
    }

    /// Completes a change of voters that a leader before this one left half done: both the old and
    /// the new voters must agree until then.
    ///
    /// # Errors
    /// As [`Consensus::propose`], or another change is under way.
    pub async fn finish_change(&self) -> Result<(), ProposeError> {
        // To the newer of the two configurations as it is: nobody is added.
        let change = ChangeMembers::AddVoterIds(BTreeSet::new());
        self.raft().change_membership(change, false).await?;
        Ok(())
    }

    /// Asks another voter to lead. Whether it does shows in [`Consensus::leadership`].
    ///
    /// # Errors
    /// Consensus has stopped on this node.
    pub async fn transfer_leader(&self, to: NodeId) -> Result<(), ProposeError> {
        self.raft().trigger().transfer_leader(to.0).await.map_err(|_| ProposeError::Stopped)
    }
}
