//! Taking peers' messages.

use leasehold_proto::internal::v1::raft_server::{Raft as RaftRpc, RaftServer};
use leasehold_proto::internal::v1::{Header, RaftRequest, RaftResponse, SnapshotChunk};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tonic::{Request, Response, Status, Streaming};

use super::{Description, MESSAGE_BYTES_MAX, Route};
use crate::codec;
use crate::types::{Raft, Snapshot};

/// A state of a million nodes and pools would fit; memory is not given to a stranger's number.
const SNAPSHOT_BYTES_MAX: u64 = 1 << 30;

/// The service `leasehold.internal.v1.Raft` of one node.
pub struct RaftService {
    route: Route,
    raft: Raft,
}

pub(crate) fn server(route: Route, raft: Raft) -> RaftServer<RaftService> {
    RaftServer::new(RaftService { route, raft })
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

impl RaftService {
    #[allow(clippy::result_large_err)] // tonic's own error type.
    fn read<Q: DeserializeOwned>(&self, request: Request<RaftRequest>) -> Result<Q, Status> {
        let request = request.into_inner();
        self.route.check(request.header.as_ref())?;
        count_received(request.header.as_ref(), request.payload.len());
        decode(&request.payload)
    }

    async fn collect(&self, mut chunks: Streaming<SnapshotChunk>) -> Result<Parts, Status> {
        let first = chunks.message().await?;
        let first = first.ok_or_else(|| Status::invalid_argument("the snapshot has no chunk"))?;
        self.route.check(first.header.as_ref())?;
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
        answer(self.raft.append_entries(self.read(request)?).await)
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
        let Parts { description, content } = self.collect(request.into_inner()).await?;
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
