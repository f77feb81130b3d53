//! Joining a cluster, and changing who belongs to it.
//!
//! ```text
//!  operator ─ join via M ─▶ new node ── Describe ──▶ M            which cluster, who leads
//!           ─ add N at M ─▶ M ── Invite ──▶ new node N            the same, begun from this side
//!                               │ writes down that it joins
//!                               └───── Join ──▶ leader
//!                               ◀── CallBack ──── is it the one that asks?
//!                                                 Admit in the ledger, learner in Raft
//!                               ◀──── answer ──── the generation: it is a member
//!                                                 └─ promoted once it has caught up
//! ```
//!
//! A definite refusal clears what was written down; after no answer the node goes on joining, and
//! the leader's first entries tell it that it was admitted.
//!
//! The ledger remembers every id for ever: one whose disk was lost must not come back under its
//! old id, since it may have promised a vote that it no longer remembers.

mod change;
mod upkeep;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use leasehold_consensus::{Consensus, Peer, ProposeError};
use leasehold_core::id::{ClusterId, Generation, NodeId};
use leasehold_proto::internal::v1 as wire;
use leasehold_proto::internal::v1::membership_client::MembershipClient;
use leasehold_storage::DataDirectory;
use tokio::sync::Mutex;
use tonic::Status;
use tonic::transport::Channel;

use crate::actors::proposals::ProposalsHandle;
use crate::expulsion::Expulsion;
use crate::peers::endpoint;
use crate::tls::Connector;

/// Two round trips and a commit.
const JOIN_DEADLINE: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub struct Membership {
    pub(crate) node: NodeId,
    pub(crate) peer: Peer,
    pub(crate) consensus: Consensus,
    pub(crate) proposals: ProposalsHandle,
    pub(crate) connector: Connector,
    pub(crate) directory: Arc<Mutex<DataDirectory>>,
    pub(crate) expulsion: Expulsion,
    /// Held by whoever changes members: a change takes two commits, and between them it must not
    /// be taken for one that was left half done.
    pub(crate) changing: Arc<Mutex<()>>,
}

/// What can be done to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Promote,
    Remove,
    Fence { powered_off: bool },
    Unfence,
}

#[derive(Debug, thiserror::Error)]
pub enum MembershipError {
    #[error("{reason}")]
    Refused { reason: String },
    #[error("{reason}; ask again")]
    NotNow { reason: String },
}

impl Membership {
    /// Joins the cluster that the node at `via` belongs to. Asked again after no answer, it goes on;
    /// a member of that cluster has nothing to do.
    ///
    /// # Errors
    /// Nobody answers there, this node stands elsewhere already, or the leader refuses it.
    pub async fn join(&self, via: &str) -> Result<ClusterId, MembershipError> {
        let mut directory = self.directory.lock().await;
        if self.peer.address.is_empty() {
            return Err(refused("this node has no section [peers]: the others could not reach it"));
        }
        let known = self.describe(via).await?;
        let cluster = <[u8; 16]>::try_from(&known.cluster_id[..]).map(ClusterId).map_err(|_| {
            refused(format!("the node at {via} belongs to no cluster yet: found one there first"))
        })?;
        if directory.standing().generation().is_some_and(|(own, _)| own == cluster) {
            return Ok(cluster);
        }
        if known.leader_address.is_empty() {
            return Err(not_now(format!("the node at {via} knows no leader")));
        }
        // On the disk before the leader is asked: whatever it answers, this node founds no cluster
        // and gives no vote until it knows.
        directory.begin_joining(cluster).map_err(|error| refused(error.to_string()))?;
        self.consensus.stand(directory.standing());
        let asked = self.ask_to_join(cluster, &known.leader_address).await;
        match asked {
            Ok(generation) => {
                directory
                    .become_member(cluster, generation)
                    .map_err(|it| not_now(it.to_string()))?;
            }
            Err(MembershipError::Refused { .. }) => {
                directory.give_up_joining().map_err(|error| not_now(error.to_string()))?;
            }
            // It may have been admitted: the leader's entries will tell.
            Err(MembershipError::NotNow { .. }) => {}
        }
        self.consensus.stand(directory.standing());
        asked.map(|_| cluster)
    }

    async fn ask_to_join(
        &self,
        cluster: ClusterId,
        leader: &str,
    ) -> Result<Generation, MembershipError> {
        let request = wire::JoinRequest {
            cluster_id: cluster.0.to_vec().into(),
            node_id: self.node.0,
            site: self.peer.site.to_string(),
            name: self.peer.name.clone(),
            peer_address: self.peer.address.clone(),
            incarnation: self.peer.incarnation.0.to_vec().into(),
        };
        let answered = self.client(leader).await?.join(request).await.map_err(|it| of(&it))?;
        let generation = <[u8; 16]>::try_from(&answered.into_inner().generation[..]);
        generation.map(Generation).map_err(|_| not_now("the leader's answer names no generation"))
    }

    /// The leader's first entries have told this node, which asked to join, that it is a member.
    ///
    /// # Errors
    /// It stands elsewhere, or the directory can't be written.
    pub(crate) async fn admitted(
        &self,
        cluster: ClusterId,
        generation: Generation,
    ) -> Result<(), String> {
        let mut directory = self.directory.lock().await;
        directory.become_member(cluster, generation).map_err(|error| error.to_string())?;
        self.consensus.stand(directory.standing());
        Ok(())
    }

    /// Whom the address of this node leads to, for a leader that calls back.
    #[must_use]
    pub fn identification(&self) -> wire::CallBackResponse {
        wire::CallBackResponse {
            node_id: self.node.0,
            incarnation: self.peer.incarnation.0.to_vec().into(),
            format: leasehold_consensus::FORMAT,
        }
    }

    /// At the leader: the address must lead to the very node that asks, or it would be a learner for
    /// ever, and its address in the log for good.
    pub(super) async fn call_back(
        &self,
        cluster: ClusterId,
        node: NodeId,
        peer: &Peer,
    ) -> Result<(), MembershipError> {
        let address = &peer.address;
        let unreachable = |reason: String| {
            refused(format!(
                "the peer_address {address} of node {node} does not lead back to it: {reason}"
            ))
        };
        let mut client = match self.client(address).await {
            Ok(client) => client,
            Err(error) => return Err(unreachable(error.to_string())),
        };
        let request = wire::CallBackRequest { cluster_id: cluster.0.to_vec().into() };
        let answered = client.call_back(request).await;
        let at = answered.map_err(|status| unreachable(status.message().to_owned()))?.into_inner();
        if at.node_id != node.0 {
            return Err(unreachable(format!("node {} answers there", at.node_id)));
        }
        if at.incarnation != peer.incarnation.0[..] {
            return Err(unreachable(
                "a node of the same id with another data directory answers there".to_owned(),
            ));
        }
        if at.format != leasehold_consensus::FORMAT {
            return Err(unreachable(format!(
                "it speaks format {}, this cluster {}: install the same version",
                at.format,
                leasehold_consensus::FORMAT
            )));
        }
        Ok(())
    }

    /// Has the node whose peers listener is at `address` join this node's cluster.
    ///
    /// # Errors
    /// This node can't be joined through, nobody answers there, or that node or the leader refuses.
    pub async fn invite(&self, address: &str) -> Result<NodeId, MembershipError> {
        if self.peer.address.is_empty() {
            return Err(refused("this node has no section [peers]: ask a node that has one"));
        }
        if self.consensus.standing().generation().is_none() {
            return Err(refused(
                "this node belongs to no cluster yet: run `leasehold cluster init` first",
            ));
        }
        let request = wire::InviteRequest { via: self.peer.address.clone() };
        let joined = self.client(address).await?.invite(request).await.map_err(|it| of(&it))?;
        Ok(NodeId(joined.into_inner().node_id))
    }

    async fn describe(&self, at: &str) -> Result<wire::DescribeResponse, MembershipError> {
        let request = wire::DescribeRequest { node_id: self.node.0 };
        let answered = self.client(at).await?.describe(request).await;
        answered.map(tonic::Response::into_inner).map_err(|status| of(&status))
    }

    async fn client(&self, address: &str) -> Result<MembershipClient<Channel>, MembershipError> {
        let endpoint = endpoint(address)
            .map_err(|_| refused(format!("`{address}` is no address: expected HOST:PORT")))?;
        let connected =
            endpoint.timeout(JOIN_DEADLINE).connect_with_connector(self.connector.clone()).await;
        connected.map(MembershipClient::new).map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            not_now(format!(
                "no connection to {address}: {}",
                cause.unwrap_or_else(|| error.to_string())
            ))
        })
    }

    /// What this node knows of its cluster, and of the node `asker` (0 for nobody).
    #[must_use]
    pub fn description(&self, asker: NodeId) -> wire::DescribeResponse {
        let leadership = self.consensus.leadership();
        let led = leadership.borrow();
        let (leader, leader_address) = led
            .leader
            .as_ref()
            .map(|(node, peer)| (node.0, peer.address.clone()))
            .unwrap_or_default();
        // One that joins can't tell whether it belongs there.
        let member_of = self.consensus.standing().generation().map(|(cluster, _)| cluster);
        wire::DescribeResponse {
            cluster_id: member_of.map(|cluster| cluster.0.to_vec().into()).unwrap_or_default(),
            leader,
            leader_address,
            is_removed: has_left(&self.consensus, asker),
        }
    }
}

/// Whether a node was removed, and is no part of the consensus any more. Until then it is still
/// needed: the change that takes it out may not be committed without its help.
pub(crate) fn has_left(consensus: &Consensus, node: NodeId) -> bool {
    let is_removed = |member: &leasehold_core::ledger::Node| member.removed;
    let is_removed = consensus.read(|replica| replica.ledger.node(node).is_some_and(is_removed));
    let status = consensus.status();
    is_removed && !status.voters.contains_key(&node) && !status.learners.contains_key(&node)
}

/// Founding members, for a cluster of one.
pub(crate) fn founding(node: NodeId, peer: &Peer) -> BTreeMap<NodeId, Peer> {
    BTreeMap::from([(node, peer.clone())])
}

fn refused(reason: impl Into<String>) -> MembershipError {
    MembershipError::Refused { reason: reason.into() }
}

fn not_now(reason: impl Into<String>) -> MembershipError {
    MembershipError::NotNow { reason: reason.into() }
}

fn of(status: &Status) -> MembershipError {
    use tonic::Code::{Cancelled, DeadlineExceeded, Unavailable};
    if matches!(status.code(), Unavailable | DeadlineExceeded | Cancelled) {
        return not_now(status.message());
    }
    refused(status.message())
}

fn of_propose(error: &ProposeError) -> MembershipError {
    match error {
        ProposeError::TooLarge { .. } | ProposeError::Refused { .. } => refused(error.to_string()),
        ProposeError::NotLeader { .. }
        | ProposeError::Unavailable { .. }
        | ProposeError::Stopped => not_now(error.to_string()),
    }
}
