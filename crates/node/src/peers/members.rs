//! Membership, as other nodes ask for it.

use leasehold_consensus::{Peer, PeerCertificate};
use leasehold_core::id::{Incarnation, NodeId};
use leasehold_core::ledger::command::Command;
use leasehold_proto::internal::v1 as wire;
use leasehold_proto::internal::v1::change_request;
use leasehold_proto::internal::v1::membership_server::Membership as MembershipRpc;
use tonic::{Extensions, Request, Response, Status};

use super::server::{PeerService, certificate};
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
        require_certificate_of(request.get_ref().node_id, request.extensions())?;
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
        let incarnation = <[u8; 16]>::try_from(&asked.incarnation[..]).map(Incarnation);
        let incarnation = incarnation.map_err(|_| {
            Status::invalid_argument("incarnation: expected the 16 bytes of a data directory's id")
        })?;
        let peer = Peer { address: asked.peer_address, site, name: asked.name, incarnation };
        let generation = self
            .membership
            .admit(NodeId(asked.node_id), peer)
            .await
            .map_err(|error| status_of(&error))?;
        tracing::info!(node = asked.node_id, "a node has joined");
        Ok(Response::new(wire::JoinResponse { generation: generation.0.to_vec().into() }))
    }

    async fn call_back(
        &self,
        _request: Request<wire::CallBackRequest>,
    ) -> Result<Response<wire::CallBackResponse>, Status> {
        Ok(Response::new(self.membership.identification()))
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
        let from = self.peers.sender(request.get_ref().header.as_ref(), request.extensions())?;
        let commands: Vec<Command> = decode(&request.get_ref().payload)?;
        if let Some(command) = commands.iter().find(|command| !may_propose(from, command)) {
            return Err(Status::permission_denied(format!(
                "node {from} may not propose this for others: {command:?}"
            )));
        }
        let outcomes = self.leader.proposals.propose(commands).await;
        let outcomes = outcomes.map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(Response::new(wire::ProposeResponse { payload: encode(&outcomes)? }))
    }
}

/// A member commits for itself, and passes on what its operator has installed. All else is the
/// leader's own business: it decides by what it has seen.
fn may_propose(from: NodeId, command: &Command) -> bool {
    match command {
        Command::InstallEntitlement { .. } => true,
        Command::Close { node, .. } => *node == from,
        Command::Found(_)
        | Command::Admit { .. }
        | Command::Open { .. }
        | Command::Beat { .. }
        | Command::Operate { .. }
        | Command::Freeze { .. }
        | Command::Fence { .. }
        | Command::Lapse { .. }
        | Command::Thaw { .. }
        | Command::Remove { .. }
        | Command::Day { .. }
        | Command::Unfence { .. } => false,
    }
}

/// A node that is no member yet has no header to be checked by.
fn require_certificate_of(node: u64, extensions: &Extensions) -> Result<(), Status> {
    match certificate(extensions) {
        None => Ok(()),
        Some(PeerCertificate { node: Some(certified), .. }) if certified.0 == node => Ok(()),
        Some(PeerCertificate { node: Some(certified), .. }) => Err(Status::permission_denied(
            format!("the certificate is that of node {certified}, and node {node} is to join"),
        )),
        Some(PeerCertificate { node: None, .. }) => Err(Status::permission_denied(format!(
            "the certificate of node {node} names no node: issue it anew, with the URI \
             leasehold://node/{node} among its alternative names"
        ))),
    }
}

pub(crate) fn status_of(error: &MembershipError) -> Status {
    match error {
        MembershipError::Refused { .. } => Status::failed_precondition(error.to_string()),
        MembershipError::NotNow { .. } => Status::unavailable(error.to_string()),
    }
}
