//! What only the leader can do, asked of it wherever it is; and making another node lead.

use std::time::Duration;

use leasehold_consensus::{Consensus, ProposeError};
use leasehold_core::id::NodeId;
use leasehold_core::ledger::command::{Command, Outcome};
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::actors::proposals::ProposalsHandle;
use crate::membership::{Change, Membership};
use crate::peers::{PeerError, Peers, status_of};

/// One round trip and a vote.
const HAND_OVER_DEADLINE: Duration = Duration::from_secs(2);
/// A few elections: an operator waits.
const SUCCESSION_DEADLINE: Duration = Duration::from_secs(6);
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(200);

#[derive(Clone)]
pub struct LeaderRoute {
    pub(crate) node: NodeId,
    pub(crate) consensus: Consensus,
    pub(crate) proposals: ProposalsHandle,
    pub(crate) membership: Membership,
    pub(crate) peers: Peers,
}

impl LeaderRoute {
    /// Commits commands here, or at the leader if that is another node.
    ///
    /// # Errors
    /// `UNAVAILABLE`: no leader, or it is not known whether they were committed.
    pub async fn propose(&self, commands: Vec<Command>) -> Result<Vec<Outcome>, Status> {
        match self.leader()? {
            leader if leader == self.node => {
                self.proposals.propose(commands).await.map_err(|error| propose_status(&error))
            }
            leader => self.peers.propose(leader, &commands).await.map_err(peer_status),
        }
    }

    /// Changes a member here, or at the leader if that is another node.
    ///
    /// # Errors
    /// `FAILED_PRECONDITION`: refused for good; `UNAVAILABLE`: ask again.
    pub async fn change(&self, member: NodeId, change: Change) -> Result<(), Status> {
        match self.leader()? {
            leader if leader == self.node => self.change_here(member, change).await,
            leader => self.peers.change(leader, member, change).await.map_err(peer_status),
        }
    }

    /// Changes a member, at the leader. If that is to be removed itself it hands leadership over,
    /// and has its successor do it.
    ///
    /// # Errors
    /// As [`LeaderRoute::change`].
    pub async fn change_here(&self, member: NodeId, change: Change) -> Result<(), Status> {
        if change == Change::Remove && member == self.node {
            return self.have_successor_remove_this_node().await;
        }
        self.membership.change(member, change).await.map_err(|error| status_of(&error))
    }

    async fn have_successor_remove_this_node(&self) -> Result<(), Status> {
        self.hand_over().await;
        let give_up_at = Instant::now() + SUCCESSION_DEADLINE;
        loop {
            let removed = match self.leader() {
                // Nobody took over: it says so.
                Ok(leader) if leader == self.node => {
                    let removed = self.membership.change(self.node, Change::Remove).await;
                    removed.map_err(|error| status_of(&error))
                }
                Ok(leader) => {
                    let removed = self.peers.change(leader, self.node, Change::Remove).await;
                    removed.map_err(peer_status)
                }
                Err(status) => Err(status),
            };
            match removed {
                // The successor is new to it: it may not be ready, or another may lead by now.
                Err(status)
                    if status.code() == Code::Unavailable && Instant::now() < give_up_at =>
                {
                    tokio::time::sleep(ASK_AGAIN_AFTER).await;
                }
                decided => return decided,
            }
        }
    }

    /// If this node leads, lets the voter that has most of its log lead: nobody waits for an
    /// election then.
    pub(crate) async fn hand_over(&self) {
        let mut leadership = self.consensus.leadership();
        if !leadership.borrow().is_leader {
            return;
        }
        let status = self.consensus.status();
        let others = status.voters.keys().filter(|node| **node != self.node);
        let matched = |node: &&NodeId| status.matched.get(*node).copied().flatten();
        let Some(successor) = others.max_by_key(matched) else { return };
        tracing::info!(%successor, "handing leadership over");
        if self.consensus.transfer_leader(*successor).await.is_ok() {
            let handed_over = leadership.wait_for(|led| !led.is_leader && led.leader.is_some());
            if tokio::time::timeout(HAND_OVER_DEADLINE, handed_over).await.is_err() {
                tracing::warn!(%successor, "leadership was not taken: an election will follow");
            }
        }
    }

    fn leader(&self) -> Result<NodeId, Status> {
        let leadership = self.consensus.leadership();
        let leader = leadership.borrow().leader.as_ref().map(|(node, _)| *node);
        leader.ok_or_else(|| {
            Status::unavailable("no leader is known: is a majority of the nodes up?")
        })
    }
}

fn peer_status(error: PeerError) -> Status {
    match error {
        PeerError::Call { status, .. } => Status::new(status.code(), status.message()),
        PeerError::Unknown { .. } | PeerError::NoCluster | PeerError::Address { .. } => {
            Status::unavailable(error.to_string())
        }
    }
}

fn propose_status(error: &ProposeError) -> Status {
    match error {
        ProposeError::TooLarge { .. } => Status::invalid_argument(error.to_string()),
        ProposeError::NotLeader { .. }
        | ProposeError::Unavailable { .. }
        | ProposeError::Refused { .. }
        | ProposeError::Stopped => Status::unavailable(error.to_string()),
    }
}
