//! Calls to other nodes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use leasehold_consensus::Consensus;
use leasehold_core::desk::message::{BeatAnswer, HandOver, Operated, Operation};
use leasehold_core::id::{NodeId, PoolId};
use leasehold_core::ledger::command::{Command, Outcome};
use leasehold_core::steward::message::{BeatRequest, OpenAnswer, OpenRequest};
use leasehold_proto::internal::v1 as wire;
use leasehold_proto::internal::v1::change_request;
use leasehold_proto::internal::v1::desk_client::DeskClient;
use leasehold_proto::internal::v1::membership_client::MembershipClient;
use leasehold_proto::internal::v1::steward_client::StewardClient;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use super::connect::channel;
use super::{decode, encode};
use crate::actors::steward::Figures;
use crate::membership::Change;
use crate::tls::Connector;

/// A commit across sites; whoever asks asks again, so it need not be long.
const STEWARD_DEADLINE: Duration = Duration::from_secs(3);
/// The ledger must move a checkout; engines wait for that.
const HAND_OVER_DEADLINE: Duration = Duration::from_millis(700);
/// One round trip: a recall is answered from memory, and somebody waits for the units.
const RECALL_DEADLINE: Duration = Duration::from_millis(300);
/// One round trip; an operator who asks for the status waits, and gets this node's own without it.
const FIGURES_DEADLINE: Duration = Duration::from_secs(1);
/// An operator waits; a change of members takes two commits.
const CHANGE_DEADLINE: Duration = Duration::from_secs(10);

/// Every other node of the cluster; cheap to clone.
#[derive(Clone)]
pub struct Peers {
    consensus: Consensus,
    connector: Connector,
    channels: Arc<Mutex<BTreeMap<NodeId, (String, Channel)>>>,
}

/// Why another node gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    #[error("node {node} is not a member that this node knows")]
    Unknown { node: NodeId },
    #[error("this node belongs to no cluster yet")]
    NoCluster,
    #[error("the address of node {node} can't be used")]
    Address { node: NodeId, source: tonic::transport::Error },
    #[error("node {node}: {}", .status.message())]
    Call { node: NodeId, status: Status },
}

impl PeerError {
    /// Whether the other node says that this one has no place in the cluster.
    #[must_use]
    pub fn is_rejection(&self) -> bool {
        matches!(self, Self::Call { status, .. } if status.code() == Code::FailedPrecondition)
    }
}

impl Peers {
    #[must_use]
    pub fn new(consensus: Consensus, connector: Connector) -> Self {
        Self { consensus, connector, channels: Arc::default() }
    }

    /// # Errors
    /// No answer in time, or a refusal.
    pub async fn open(&self, leader: NodeId, asked: OpenRequest) -> Result<OpenAnswer, PeerError> {
        let header = Some(self.header(leader)?);
        let payload = encode(&asked).map_err(|status| call(leader, status))?;
        let request = timed(wire::OpenRequest { header, payload }, STEWARD_DEADLINE);
        let answered = self.steward(leader)?.open(request).await;
        let answer = answered.map_err(|status| call(leader, status))?.into_inner();
        decode(&answer.payload).map_err(|status| call(leader, status))
    }

    /// # Errors
    /// No answer in time, or a refusal.
    pub async fn beat(&self, leader: NodeId, asked: BeatRequest) -> Result<BeatAnswer, PeerError> {
        let header = Some(self.header(leader)?);
        let payload =
            encode(&(&asked.report, asked.applied)).map_err(|status| call(leader, status))?;
        let BeatRequest { epoch, seq, heard, .. } = asked;
        let request = wire::BeatRequest { header, epoch: epoch.0, seq, heard_seq: heard, payload };
        let answered = self.steward(leader)?.beat(timed(request, STEWARD_DEADLINE)).await;
        let answer = answered.map_err(|status| call(leader, status))?.into_inner();
        decode(&answer.payload).map_err(|status| call(leader, status))
    }

    /// # Errors
    /// No answer in time, or a refusal.
    pub async fn operate(
        &self,
        leader: NodeId,
        operation: Operation,
    ) -> Result<Operated, PeerError> {
        let header = Some(self.header(leader)?);
        let steps = (&operation.actions, &operation.wants);
        let payload = encode(&steps).map_err(|status| call(leader, status))?;
        let Operation { epoch, number, .. } = operation;
        let request = wire::OperateRequest { header, epoch: epoch.0, operation: number, payload };
        let answered = self.steward(leader)?.operate(timed(request, STEWARD_DEADLINE)).await;
        let answer = answered.map_err(|status| call(leader, status))?.into_inner();
        decode(&answer.payload).map_err(|status| call(leader, status))
    }

    /// # Errors
    /// No answer in time, or a refusal.
    pub async fn hand_over(&self, from: NodeId, receipt: Bytes) -> Result<HandOver, PeerError> {
        let header = Some(self.header(from)?);
        let request = timed(wire::HandOverRequest { header, receipt }, HAND_OVER_DEADLINE);
        let answered = self.desk(from)?.hand_over(request).await;
        let answer = answered.map_err(|status| call(from, status))?.into_inner();
        decode(&answer.payload).map_err(|status| call(from, status))
    }

    /// # Errors
    /// No answer in time, or a refusal.
    pub async fn pass_checkin(&self, to: NodeId, receipts: Vec<Bytes>) -> Result<(), PeerError> {
        let header = Some(self.header(to)?);
        let receipts: Vec<Vec<u8>> = receipts.iter().map(|it| it.to_vec()).collect();
        let payload = encode(&receipts).map_err(|status| call(to, status))?;
        let request = timed(wire::PassCheckinRequest { header, payload }, HAND_OVER_DEADLINE);
        self.desk(to)?.pass_checkin(request).await.map_err(|status| call(to, status))?;
        Ok(())
    }

    /// # Errors
    /// No answer in time, or a refusal.
    pub async fn recall(
        &self,
        node: NodeId,
        pools: Vec<(PoolId, u64)>,
    ) -> Result<Vec<(PoolId, u64)>, PeerError> {
        let header = Some(self.header(node)?);
        let payload = encode(&pools).map_err(|status| call(node, status))?;
        let request = timed(wire::RecallRequest { header, payload }, RECALL_DEADLINE);
        let answered = self.desk(node)?.recall(request).await;
        let answer = answered.map_err(|status| call(node, status))?.into_inner();
        decode(&answer.payload).map_err(|status| call(node, status))
    }

    /// What every node last reported to the leader.
    ///
    /// # Errors
    /// No answer in time, or a refusal.
    pub async fn figures(&self, leader: NodeId) -> Result<Figures, PeerError> {
        let header = Some(self.header(leader)?);
        let request = timed(wire::FiguresRequest { header }, FIGURES_DEADLINE);
        let answered = self.steward(leader)?.figures(request).await;
        let answer = answered.map_err(|status| call(leader, status))?.into_inner();
        decode(&answer.payload).map_err(|status| call(leader, status))
    }

    /// Has the leader commit commands.
    ///
    /// # Errors
    /// No answer in time, or a refusal.
    pub async fn propose(
        &self,
        leader: NodeId,
        commands: &[Command],
    ) -> Result<Vec<Outcome>, PeerError> {
        let header = Some(self.header(leader)?);
        let payload = encode(&commands).map_err(|status| call(leader, status))?;
        let request = timed(wire::ProposeRequest { header, payload }, CHANGE_DEADLINE);
        let answered = self.membership(leader)?.propose(request).await;
        let answer = answered.map_err(|status| call(leader, status))?.into_inner();
        decode(&answer.payload).map_err(|status| call(leader, status))
    }

    /// Has the leader change a member.
    ///
    /// # Errors
    /// No answer in time, or a refusal.
    pub async fn change(
        &self,
        leader: NodeId,
        member: NodeId,
        change: Change,
    ) -> Result<(), PeerError> {
        let header = Some(self.header(leader)?);
        let change = match change {
            Change::Promote => change_request::Change::Promote(wire::Promote {}),
            Change::Remove => change_request::Change::Remove(wire::Remove {}),
            Change::Fence { powered_off } => {
                change_request::Change::Fence(wire::Fence { powered_off })
            }
            Change::Unfence => change_request::Change::Unfence(wire::Unfence {}),
        };
        let request = wire::ChangeRequest { header, node_id: member.0, change: Some(change) };
        let answered = self.membership(leader)?.change(timed(request, CHANGE_DEADLINE)).await;
        answered.map(drop).map_err(|status| call(leader, status))
    }

    fn header(&self, to: NodeId) -> Result<wire::Header, PeerError> {
        self.consensus.header(to).ok_or(PeerError::NoCluster)
    }

    fn steward(&self, node: NodeId) -> Result<StewardClient<Channel>, PeerError> {
        self.channel(node).map(StewardClient::new)
    }

    fn membership(&self, node: NodeId) -> Result<MembershipClient<Channel>, PeerError> {
        self.channel(node).map(MembershipClient::new)
    }

    fn desk(&self, node: NodeId) -> Result<DeskClient<Channel>, PeerError> {
        self.channel(node).map(DeskClient::new)
    }

    /// The channel to a node; a new one if its address has changed.
    fn channel(&self, node: NodeId) -> Result<Channel, PeerError> {
        let status = self.consensus.status();
        let peer = status.voters.get(&node).or_else(|| status.learners.get(&node));
        let address = &peer.ok_or(PeerError::Unknown { node })?.address;
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, channel)) = channels.get(&node)
            && known == address
        {
            return Ok(channel.clone());
        }
        let made = channel(address, &self.connector)
            .map_err(|source| PeerError::Address { node, source })?;
        channels.insert(node, (address.clone(), made.clone()));
        Ok(made)
    }
}

impl std::fmt::Debug for Peers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peers").finish_non_exhaustive()
    }
}

fn timed<T>(message: T, deadline: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(deadline);
    request
}

fn call(node: NodeId, status: Status) -> PeerError {
    PeerError::Call { node, status }
}
