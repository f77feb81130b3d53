//! Membership, as other nodes ask for it.

use leasehold_consensus::Peer;
use leasehold_core::id::NodeId;
use leasehold_core::ledger::command::Command;
use leasehold_proto::internal::v1 as wire;
use leasehold_proto::internal::v1::change_request;
use leasehold_proto::internal::v1::membership_server::Membership as MembershipRpc;
use tonic::{Request, Response, Status};

use super::server::PeerService;
use super::{decode, encode};
use crate::leader::LeaderRoute;
use crate::membership::{Change, Membership, MembershipError};

#[derive(Clone)]
pub struct MembershipService {
    pub peers: PeerService,
    pub membership: Membership,
    pub leader: LeaderRoute,
}

#[tonic::async_trait]
impl MembershipRpc for MembershipService {
    async fn invite(
        &self,
        request: Request<wire::InviteRequest>,
    ) -> Result<Response<wire::InviteResponse>, Status> {
        let via = request.into_inner().via;
        let cluster = self.membership.join(&via).await.map_err(|error| status_of(&error))?;
        tracing::info!(%cluster, via, "joined, since a member asked this node to");
        Ok(Response::new(wire::InviteResponse { node_id: self.membership.node.0 }))
    }

    async fn describe(
        &self,
        request: Request<wire::DescribeRequest>,
    ) -> Result<Response<wire::DescribeResponse>, Status> {
        let asker = NodeId(request.into_inner().node_id);
        Ok(Response::new(self.membership.description(asker)))
    }

    async fn join(
        &self,
        request: Request<wire::JoinRequest>,
    ) -> Result<Response<wire::JoinResponse>, Status> {
        let asked = request.into_inner();
        if asked.cluster_id != self.membership.description(NodeId(0)).cluster_id {
            return Err(Status::failed_precondition("this node belongs to another cluster"));
        }
        if asked.node_id == 0 || asked.peer_address.is_empty() {
            return Err(Status::invalid_argument("node_id and peer_address must be given"));
        }
        let site = asked
            .site
            .parse()
            .map_err(|error| Status::invalid_argument(format!("site: {error}")))?;
        let peer = Peer { address: asked.peer_address, site, name: asked.name };
        self.membership
            .admit(NodeId(asked.node_id), peer)
            .await
            .map_err(|error| status_of(&error))?;
        tracing::info!(node = asked.node_id, "a node has joined");
        Ok(Response::new(wire::JoinResponse {}))
    }

    async fn change(
        &self,
        request: Request<wire::ChangeRequest>,
    ) -> Result<Response<wire::ChangeResponse>, Status> {
        self.peers.sender(request.get_ref().header.as_ref(), request.extensions())?;
        let wire::ChangeRequest { node_id, change, .. } = request.into_inner();
        let change = match change {
            Some(change_request::Change::Promote(_)) => Change::Promote,
            Some(change_request::Change::Remove(_)) => Change::Remove,
            Some(change_request::Change::Fence(fence)) => {
                Change::Fence { powered_off: fence.powered_off }
            }
            Some(change_request::Change::Unfence(_)) => Change::Unfence,
            None => return Err(Status::invalid_argument("change: this node does not know it")),
        };
        self.leader.change_here(NodeId(node_id), change).await?;
        Ok(Response::new(wire::ChangeResponse {}))
    }

    async fn propose(
        &self,
        request: Request<wire::ProposeRequest>,
    ) -> Result<Response<wire::ProposeResponse>, Status> {
        self.peers.sender(request.get_ref().header.as_ref(), request.extensions())?;
        let commands: Vec<Command> = decode(&request.get_ref().payload)?;
        let outcomes = self.leader.proposals.propose(commands).await;
        let outcomes = outcomes.map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(Response::new(wire::ProposeResponse { payload: encode(&outcomes)? }))
    }
}

pub(crate) fn status_of(error: &MembershipError) -> Status {
    match error {
        MembershipError::Refused { .. } => Status::failed_precondition(error.to_string()),
        MembershipError::NotNow { .. } => Status::unavailable(error.to_string()),
    }
}
