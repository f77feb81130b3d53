//! Joining a cluster, and changing who belongs to it.
//!
//! ```text
//!  operator ─ join via M ─▶ new node ── Describe ──▶ M            which cluster, who leads
//!                               │ stamps its directory
//!                               └───── Join ──▶ leader: Admit in the ledger, learner in Raft
//!                                                 └─ promoted once it has caught up
//! ```
//!
//! The ledger remembers every id for ever: one whose disk was lost must not come back under its
//! old id, since it may have promised a vote that it no longer remembers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use leasehold_actor::{BoxError, CancellationToken};
use leasehold_consensus::{Consensus, Peer, ProposeError, Status as RaftStatus};
use leasehold_core::id::{ClusterId, NodeId};
use leasehold_core::ledger::command::{Command, Outcome, Refusal};
use leasehold_proto::internal::v1 as wire;
use leasehold_proto::internal::v1::membership_client::MembershipClient;
use leasehold_storage::DataDirectory;
use tokio::sync::Mutex;
use tonic::Status;

use crate::actors::proposals::ProposalsHandle;
use crate::peers::endpoint;
use crate::tls::Connector;

/// Entries that a learner may lack and still be called caught up: less than a second's worth.
const LAG_MAX: u64 = 16;
/// Learners are looked at this often.
const PROMOTE_EVERY: Duration = Duration::from_millis(500);
/// Two commits: into the joint membership and out of it.
const CHANGE_DEADLINE: Duration = Duration::from_secs(8);
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
}

/// What can be done to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Promote,
    Remove,
    Fence { powered_off: bool },
}

#[derive(Debug, thiserror::Error)]
pub enum MembershipError {
    #[error("{reason}")]
    Refused { reason: String },
    #[error("{reason}; ask again")]
    NotNow { reason: String },
}

impl Membership {
    /// Joins the cluster that the node at `via` belongs to.
    ///
    /// # Errors
    /// Nobody answers there, this node has data already, or the leader refuses it.
    pub async fn join(&self, via: &str) -> Result<ClusterId, MembershipError> {
        let mut directory = self.directory.lock().await;
        if self.peer.address.is_empty() {
            return Err(refused("this node has no section [peers]: the others could not reach it"));
        }
        let known = self.describe(via).await?;
        let cluster = <[u8; 16]>::try_from(&known.cluster_id[..]).map(ClusterId).map_err(|_| {
            refused(format!("the node at {via} belongs to no cluster yet: found one there first"))
        })?;
        if directory.cluster().is_some_and(|own| own != cluster) {
            return Err(refused("this node already belongs to another cluster"));
        }
        if known.leader_address.is_empty() {
            return Err(not_now(format!("the node at {via} knows no leader")));
        }
        directory.stamp_cluster(cluster).map_err(|error| refused(error.to_string()))?;
        self.consensus.set_cluster(cluster);
        let request = wire::JoinRequest {
            cluster_id: cluster.0.to_vec().into(),
            node_id: self.node.0,
            site: self.peer.site.to_string(),
            name: self.peer.name.clone(),
            peer_address: self.peer.address.clone(),
        };
        self.client(&known.leader_address).await?.join(request).await.map_err(|it| of(&it))?;
        Ok(cluster)
    }

    async fn describe(&self, via: &str) -> Result<wire::DescribeResponse, MembershipError> {
        let answered = self.client(via).await?.describe(wire::DescribeRequest {}).await;
        answered.map(tonic::Response::into_inner).map_err(|status| of(&status))
    }

    async fn client(
        &self,
        address: &str,
    ) -> Result<MembershipClient<tonic::transport::Channel>, MembershipError> {
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

    /// What this node knows of its cluster.
    #[must_use]
    pub fn description(&self) -> wire::DescribeResponse {
        let leadership = self.consensus.leadership();
        let led = leadership.borrow();
        let (leader, leader_address) = led
            .leader
            .as_ref()
            .map(|(node, peer)| (node.0, peer.address.clone()))
            .unwrap_or_default();
        // The header says which cluster this node belongs to, stamped or joined.
        let cluster_id = self.consensus.header(self.node).map(|header| header.cluster_id);
        wire::DescribeResponse {
            cluster_id: cluster_id.unwrap_or_default(),
            leader,
            leader_address,
        }
    }

    /// At the leader: admits a new node. Asked again by the same node, it completes what was begun.
    ///
    /// # Errors
    /// The id was used before, or the log can't be written.
    pub async fn admit(&self, node: NodeId, peer: Peer) -> Result<(), MembershipError> {
        let status = self.consensus.status();
        if status.voters.contains_key(&node) || status.learners.contains_key(&node) {
            return Err(refused(format!(
                "node {node} is a member already: a node that lost its disk joins under a new id, \
                 after `leasehold node remove {node}`"
            )));
        }
        let (site, name) = (peer.site.clone(), peer.name.clone());
        let known = self.consensus.read(|replica| replica.ledger.node(node).cloned());
        let is_begun = known.is_some_and(|it| !it.removed && it.lease.is_none() && it.site == site);
        if !is_begun {
            self.commit(Command::Admit { node, site, name }).await?;
        }
        in_time(self.consensus.add_learner(node, peer)).await
    }

    /// At the leader: changes a member.
    ///
    /// # Errors
    /// There is no such member, the change is not possible now, or the log can't be written.
    pub async fn change(&self, node: NodeId, change: Change) -> Result<(), MembershipError> {
        match change {
            Change::Promote => self.promote(node).await,
            Change::Remove => self.remove(node).await,
            Change::Fence { powered_off } => self.fence(node, powered_off).await,
        }
    }

    async fn promote(&self, node: NodeId) -> Result<(), MembershipError> {
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
        self.require_majority_without(node, &status)?;
        match self.commit(Command::Remove { node }).await {
            // Begun before and interrupted: go on.
            Err(MembershipError::Refused { .. })
                if self.consensus.read(|replica| {
                    replica.ledger.node(node).is_some_and(|member| member.removed)
                }) => {}
            other => other?,
        }
        if status.voters.contains_key(&node) || status.learners.contains_key(&node) {
            in_time(self.consensus.remove(node)).await?;
        }
        Ok(())
    }

    /// Without a majority of the voters that remain the change could not be committed, and nor
    /// could anything after it.
    fn require_majority_without(
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
        let lease = self
            .consensus
            .read(|replica| replica.ledger.node(node).and_then(|member| member.lease.clone()));
        let Some(lease) = lease.filter(|lease| lease.live) else {
            return Err(refused(format!("node {node} has no live lease: nothing is to be ended")));
        };
        self.commit(Command::Fence { node, epoch: lease.epoch, powered_off }).await
    }

    async fn commit(&self, command: Command) -> Result<(), MembershipError> {
        let outcomes = self.proposals.propose(vec![command]).await.map_err(|it| of_propose(&it))?;
        match outcomes.into_iter().next() {
            Some(Outcome::Refused(refusal)) => Err(of_refusal(&refusal)),
            Some(_) => Ok(()),
            None => Err(not_now("the ledger gave no answer")),
        }
    }

    /// At the leader: gives learners a vote once they have caught up.
    ///
    /// # Errors
    /// None; it runs until it is told to stop.
    pub async fn run(self, stop: CancellationToken) -> Result<(), BoxError> {
        let mut ticks = tokio::time::interval(PROMOTE_EVERY);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                _ = ticks.tick() => {}
            }
            if self.consensus.leadership().borrow().is_ready {
                self.promote_learners().await;
            }
        }
    }

    async fn promote_learners(&self) {
        let status = self.consensus.status();
        for node in status.learners.keys().filter(|node| has_caught_up(&status, **node)) {
            match self.promote(*node).await {
                Ok(()) => tracing::info!(%node, "a learner has caught up and votes from now on"),
                // Another change is under way, or the leader has changed: the next round tells.
                Err(error) => tracing::debug!(%node, %error, "not promoted"),
            }
        }
    }
}

fn has_caught_up(status: &RaftStatus, node: NodeId) -> bool {
    let matched = status.matched.get(&node).copied().flatten();
    matched.is_some_and(|matched| matched + LAG_MAX >= status.last_log.unwrap_or(0))
}

async fn in_time(
    change: impl Future<Output = Result<(), ProposeError>>,
) -> Result<(), MembershipError> {
    match tokio::time::timeout(CHANGE_DEADLINE, change).await {
        Ok(changed) => changed.map_err(|error| of_propose(&error)),
        Err(_) => Err(not_now(format!(
            "no majority confirmed the change within {CHANGE_DEADLINE:?}; it may still happen"
        ))),
    }
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

fn of_refusal(refusal: &Refusal) -> MembershipError {
    refused(refusal.to_string())
}

fn of_propose(error: &ProposeError) -> MembershipError {
    match error {
        ProposeError::TooLarge { .. } | ProposeError::Refused { .. } => refused(error.to_string()),
        ProposeError::NotLeader { .. }
        | ProposeError::Unavailable { .. }
        | ProposeError::Stopped => not_now(error.to_string()),
    }
}
