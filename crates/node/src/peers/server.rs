//! Calls from other nodes.

use bytes::Bytes;
use leasehold_consensus::{Consensus, PeerCertificate};
use leasehold_core::desk::message::{Operation, Report, Want};
use leasehold_core::id::{Epoch, NodeId, PoolId};
use leasehold_core::ledger::Checkpoint;
use leasehold_core::ledger::command::Action;
use leasehold_core::steward::message::{BeatRequest, OpenRequest};
use leasehold_proto::internal::v1 as wire;
use leasehold_proto::internal::v1::desk_server::Desk;
use leasehold_proto::internal::v1::steward_server::Steward;
use tonic::{Extensions, Request, Response, Status};

use super::{decode, encode};
use crate::actors::desk::DeskHandle;
use crate::actors::steward::StewardHandle;
use crate::membership::has_left;
use crate::tls::PeerInfo;

/// The services that a node offers to the others, beside Raft's.
#[derive(Clone)]
pub struct PeerService {
    pub consensus: Consensus,
    pub steward: StewardHandle,
    pub desk: DeskHandle,
}

impl PeerService {
    /// Checks that a message is from a member of this cluster for this node, and returns who sent
    /// it.
    pub(super) fn sender(
        &self,
        header: Option<&wire::Header>,
        extensions: &Extensions,
    ) -> Result<NodeId, Status> {
        self.consensus.check_header(header, certificate(extensions).as_ref())?;
        let from = NodeId(header.map_or(0, |header| header.from_node));
        let standing =
            self.consensus.read(|replica| replica.ledger.node(from).map(|member| member.removed));
        match standing {
            Some(false) => Ok(from),
            // It is needed until the change that takes it out is committed.
            Some(true) if !has_left(&self.consensus, from) => {
                Err(Status::unavailable(format!("node {from} is being removed")))
            }
            Some(true) => Err(Status::failed_precondition(format!(
                "node {from} was removed from the cluster: stop it; to come back it joins under \
                 a new id with an empty data directory"
            ))),
            // Not a member yet as far as this node has applied: it may be behind.
            None => Err(Status::unavailable(format!("node {from} is not known here yet"))),
        }
    }

    fn require_leader(&self) -> Result<(), Status> {
        let leadership = self.consensus.leadership();
        let led = leadership.borrow();
        if led.is_leader && led.is_ready {
            Ok(())
        } else {
            Err(Status::unavailable("not the leader"))
        }
    }
}

#[tonic::async_trait]
impl Steward for PeerService {
    async fn open(
        &self,
        request: Request<wire::OpenRequest>,
    ) -> Result<Response<wire::OpenResponse>, Status> {
        let from = self.sender(request.get_ref().header.as_ref(), request.extensions())?;
        self.require_leader()?;
        let asked: OpenRequest = decode(&request.get_ref().payload)?;
        let answer = self.steward.open(OpenRequest { node: from, ..asked }).await;
        let payload = encode(&answer.ok_or_else(unknown)?)?;
        Ok(Response::new(wire::OpenResponse { payload }))
    }

    async fn beat(
        &self,
        request: Request<wire::BeatRequest>,
    ) -> Result<Response<wire::BeatResponse>, Status> {
        let node = self.sender(request.get_ref().header.as_ref(), request.extensions())?;
        self.require_leader()?;
        let wire::BeatRequest { epoch, seq, heard_seq, payload, .. } = request.into_inner();
        let (report, applied): (Report, Option<Checkpoint>) = decode(&payload)?;
        let (epoch, heard) = (Epoch(epoch), heard_seq);
        let asked = BeatRequest { node, epoch, seq, heard, applied, report };
        let answer = self.steward.beat(asked).await.ok_or_else(unknown)?;
        Ok(Response::new(wire::BeatResponse { payload: encode(&answer)? }))
    }

    async fn operate(
        &self,
        request: Request<wire::OperateRequest>,
    ) -> Result<Response<wire::OperateResponse>, Status> {
        let node = self.sender(request.get_ref().header.as_ref(), request.extensions())?;
        self.require_leader()?;
        let wire::OperateRequest { epoch, operation, payload, .. } = request.into_inner();
        let (actions, wants): (Vec<Action>, Vec<Want>) = decode(&payload)?;
        let operation = Operation { epoch: Epoch(epoch), number: operation, actions, wants };
        let answer = self.steward.operate(node, operation).await.ok_or_else(unknown)?;
        Ok(Response::new(wire::OperateResponse { payload: encode(&answer)? }))
    }

    async fn figures(
        &self,
        request: Request<wire::FiguresRequest>,
    ) -> Result<Response<wire::FiguresResponse>, Status> {
        self.sender(request.get_ref().header.as_ref(), request.extensions())?;
        self.require_leader()?;
        let figures = self.steward.figures();
        let figures = figures.ok_or_else(|| Status::unavailable("not the leader"))?;
        Ok(Response::new(wire::FiguresResponse { payload: encode(&figures)? }))
    }
}

#[tonic::async_trait]
impl Desk for PeerService {
    async fn hand_over(
        &self,
        request: Request<wire::HandOverRequest>,
    ) -> Result<Response<wire::HandOverResponse>, Status> {
        let to = self.sender(request.get_ref().header.as_ref(), request.extensions())?;
        let receipt = request.into_inner().receipt;
        let answer = self.desk.hand_over(receipt, to).await.map_err(busy)?;
        Ok(Response::new(wire::HandOverResponse { payload: encode(&answer)? }))
    }

    async fn pass_checkin(
        &self,
        request: Request<wire::PassCheckinRequest>,
    ) -> Result<Response<wire::PassCheckinResponse>, Status> {
        self.sender(request.get_ref().header.as_ref(), request.extensions())?;
        let receipts: Vec<Vec<u8>> = decode(&request.into_inner().payload)?;
        let receipts = receipts.into_iter().map(Bytes::from).collect();
        // Accepted or not tells the sender nothing that it could act on.
        self.desk.checkin(receipts, true).await.map_err(busy)?;
        Ok(Response::new(wire::PassCheckinResponse { payload: Bytes::new() }))
    }

    async fn recall(
        &self,
        request: Request<wire::RecallRequest>,
    ) -> Result<Response<wire::RecallResponse>, Status> {
        self.sender(request.get_ref().header.as_ref(), request.extensions())?;
        let pools: Vec<(PoolId, u64)> = decode(&request.into_inner().payload)?;
        let returning = self.desk.recall(pools).await.map_err(busy)?;
        Ok(Response::new(wire::RecallResponse { payload: encode(&returning)? }))
    }
}

/// What the certificate says of whoever is at the other end; `None` on plain text.
pub(crate) fn certificate(extensions: &Extensions) -> Option<PeerCertificate> {
    let identity = extensions.get::<PeerInfo>()?.identity.clone()?;
    Some(PeerCertificate { node: identity.node, cluster: identity.cluster })
}

fn unknown() -> Status {
    Status::unavailable("not committed, or it is not known whether it was: ask again")
}

fn busy(error: leasehold_actor::AskError) -> Status {
    Status::unavailable(error.to_string())
}
