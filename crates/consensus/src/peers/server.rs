//! Taking peers' messages.

use std::sync::Arc;

use futures::future::BoxFuture;
use leasehold_core::id::{ClusterId, Generation};
use leasehold_proto::internal::v1::raft_server::{Raft as RaftRpc, RaftServer};
use leasehold_proto::internal::v1::{Header, RaftRequest, RaftResponse, SnapshotChunk};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tonic::{Extensions, Request, Response, Status, Streaming};

use super::{Description, MESSAGE_BYTES_MAX, PeerCertificate, Reached, Route};
use crate::codec;
use crate::types::{Raft, Snapshot};

/// A state of a million nodes and pools would fit; memory is not given to a stranger's number.
const SNAPSHOT_BYTES_MAX: u64 = 1 << 30;

/// Reads who a message's connection is from; `None` on plain text.
pub type Certified = fn(&Extensions) -> Option<PeerCertificate>;

/// Writes down that this node, which has asked to join, is a member from now on.
pub type Admitted =
    Arc<dyn Fn(ClusterId, Generation) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// The service `leasehold.internal.v1.Raft` of one node.
pub struct RaftService {
    route: Route,
    raft: Raft,
    certified: Certified,
    admitted: Admitted,
}

pub(crate) fn server(
    route: Route,
    raft: Raft,
    certified: Certified,
    admitted: Admitted,
) -> RaftServer<RaftService> {
    RaftServer::new(RaftService { route, raft, certified, admitted })
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

impl RaftService {
    #[allow(clippy::result_large_err)] // tonic's own error type.
    fn read<Q: DeserializeOwned>(&self, request: Request<RaftRequest>) -> Result<Q, Status> {
        let certificate = (self.certified)(request.extensions());
        self.route.check(request.get_ref().header.as_ref(), certificate.as_ref())?;
        read_checked(request)
    }

    /// Entries come to a node that joins, too: by the first of them it hears that it was admitted.
    /// That is on the disk before it takes any.
    async fn read_entries<Q: DeserializeOwned>(
        &self,
        request: Request<RaftRequest>,
    ) -> Result<Q, Status> {
        let certificate = (self.certified)(request.extensions());
        let header = request.get_ref().header.as_ref();
        match self.route.check_entries(header, certificate.as_ref())? {
            Reached::Member => {}
            Reached::Joiner { cluster, generation } => {
                (self.admitted)(cluster, generation).await.map_err(Status::unavailable)?;
            }
        }
        read_checked(request)
    }

    async fn collect(
        &self,
        mut chunks: Streaming<SnapshotChunk>,
        certificate: Option<PeerCertificate>,
    ) -> Result<Parts, Status> {
        let first = chunks.message().await?;
        let first = first.ok_or_else(|| Status::invalid_argument("the snapshot has no chunk"))?;
        self.route.check(first.header.as_ref(), certificate.as_ref())?;
        let description = decode(&first.description)?;
        let bytes = first.content_bytes;
        if bytes > SNAPSHOT_BYTES_MAX {
            return Err(Status::resource_exhausted(format!(
                "a snapshot of {bytes} bytes is too large: expected at most {SNAPSHOT_BYTES_MAX}"
            )));
        }
        let mut content = first.content.to_vec();
        while let Some(chunk) = chunks.message().await? {
            content.extend_from_slice(&chunk.content);
            if content.len() as u64 > bytes {
                break;
            }
        }
        if content.len() as u64 != bytes {
            return Err(Status::data_loss(format!(
                "{} bytes of a snapshot of {bytes} have arrived",
                content.len()
            )));
        }
        count_received(first.header.as_ref(), content.len());
        Ok(Parts { description, content })
    }
}

#[allow(clippy::result_large_err)] // tonic's own error type.
fn read_checked<Q: DeserializeOwned>(request: Request<RaftRequest>) -> Result<Q, Status> {
    let request = request.into_inner();
    count_received(request.header.as_ref(), request.payload.len());
    decode(&request.payload)
}

/// By sender; only headers of this cluster's nodes get here, so that strangers make no time series.
fn count_received(header: Option<&Header>, payload_bytes: usize) {
    let from = header.map_or(0, |header| header.from_node).to_string();
    metrics::counter!("leasehold_network_peer_received_bytes_total", "from" => from)
        .increment(payload_bytes as u64);
}

struct Parts {
    description: Description,
    content: Vec<u8>,
}

#[tonic::async_trait]
impl RaftRpc for RaftService {
    async fn append(
        &self,
        request: Request<RaftRequest>,
    ) -> Result<Response<RaftResponse>, Status> {
        answer(self.raft.append_entries(self.read_entries(request).await?).await)
    }

    async fn vote(&self, request: Request<RaftRequest>) -> Result<Response<RaftResponse>, Status> {
        answer(self.raft.vote(self.read(request)?).await)
    }

    async fn pre_vote(
        &self,
        request: Request<RaftRequest>,
    ) -> Result<Response<RaftResponse>, Status> {
        answer(self.raft.pre_vote(self.read(request)?).await)
    }

    async fn snapshot(
        &self,
        request: Request<Streaming<SnapshotChunk>>,
    ) -> Result<Response<RaftResponse>, Status> {
        let certificate = (self.certified)(request.extensions());
        let Parts { description, content } =
            self.collect(request.into_inner(), certificate).await?;
        let (vote, meta) = description.into_parts();
        let snapshot = Snapshot { meta, snapshot: content };
        answer(self.raft.install_full_snapshot(vote, snapshot).await)
    }

    async fn transfer_leader(
        &self,
        request: Request<RaftRequest>,
    ) -> Result<Response<RaftResponse>, Status> {
        answer(self.raft.handle_transfer_leader(self.read(request)?).await)
    }
}

#[allow(clippy::result_large_err)] // tonic's own error type.
fn decode<Q: DeserializeOwned>(payload: &[u8]) -> Result<Q, Status> {
    codec::decode(payload, "the payload")
        .map_err(|error| Status::invalid_argument(error.to_string()))
}

/// An error here means that the core is gone: the protocol's refusals are answers.
#[allow(clippy::result_large_err)] // tonic's own error type.
fn answer<A: Serialize, E: std::fmt::Display>(
    result: Result<A, E>,
) -> Result<Response<RaftResponse>, Status> {
    let answer = result.map_err(|error| Status::unavailable(error.to_string()))?;
    let payload = codec::encode(&answer).map_err(|error| Status::internal(error.to_string()))?;
    Ok(Response::new(RaftResponse { payload: payload.into() }))
}
