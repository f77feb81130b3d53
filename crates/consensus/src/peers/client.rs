//! Sending to peers. A failure of transport is an error, never an answer: above all, a peer that
//! can't be reached has granted nothing.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use leasehold_core::id::NodeId;
use leasehold_proto::internal::v1::raft_client::RaftClient;
use leasehold_proto::internal::v1::{Header, RaftRequest, RaftResponse, SnapshotChunk};
use openraft::errors::{
    NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable,
};
use openraft::network::{RPCOption, RPCTypes};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetworkFactory, network::v2::RaftNetworkV2};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

use super::contact::{Contact, Kind};
use super::majority::Majority;
use super::{CHUNK_BYTES, Connect, Description, MESSAGE_BYTES_MAX, Route};
use crate::codec;
use crate::types::{Peer, Snapshot, SnapshotData, TypeConfig, Vote};

type RpcError = RPCError<TypeConfig>;
/// The inner error is a refusal or a broken connection, the outer one the deadline.
type Timed = Result<Result<Response<RaftResponse>, Status>, tokio::time::error::Elapsed>;

/// Gives openraft a client for each peer; they share the peer's one channel.
pub(crate) struct Network {
    route: Route,
    connect: Connect,
    majority: Majority,
    channels: Channels,
}

/// The one channel to each peer, and what is known from it. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Channels {
    peers: Arc<Mutex<BTreeMap<u64, (Contact, Channel)>>>,
}

impl Network {
    pub(crate) fn new(route: Route, connect: Connect, majority: Majority) -> Self {
        Self { route, connect, majority, channels: Channels::default() }
    }

    pub(crate) fn channels(&self) -> Channels {
        self.channels.clone()
    }

    fn channel(
        &mut self,
        target: u64,
        peer: &Peer,
    ) -> Result<(Contact, Channel), tonic::transport::Error> {
        let mut peers = self.channels.lock();
        if let Some((contact, channel)) = peers.get(&target)
            && contact.peer() == peer
        {
            return Ok((contact.clone(), channel.clone()));
        }
        let contact = Contact::new(NodeId(target), peer.clone(), self.majority.election_max());
        let made = (contact, (self.connect)(NodeId(target), peer)?);
        peers.insert(target, made.clone());
        Ok(made)
    }
}

impl Channels {
    /// Gives up the one to a node that is no member any more, and what was known of it.
    pub(crate) fn give_up(&self, peer: u64) {
        if let Some((contact, _)) = self.lock().remove(&peer) {
            contact.forget();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, (Contact, Channel)>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = PeerClient;

    async fn new_client(&mut self, target: u64, node: &Peer) -> PeerClient {
        let client = self.channel(target, node).map(|(contact, channel)| {
            let client = RaftClient::new(channel)
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX);
            (contact, client)
        });
        let (route, majority) = (self.route.clone(), self.majority.clone());
        PeerClient { route, majority, target, client }
    }
}

/// One peer, for one of openraft's tasks.
pub(crate) struct PeerClient {
    route: Route,
    majority: Majority,
    target: u64,
    /// An address that is none stays an error until the membership corrects it.
    client: Result<(Contact, RaftClient<Channel>), tonic::transport::Error>,
}

impl PeerClient {
    fn open(&self) -> Result<(&Contact, RaftClient<Channel>, Header), RpcError> {
        let (contact, client) = self.client.as_ref().map_err(Unreachable::new)?;
        let header = self.route.header(NodeId(self.target), contact.peer().incarnation);
        let header = header
            .ok_or_else(|| Unreachable::from_string("this node belongs to no cluster yet"))?;
        Ok((contact, client.clone(), header))
    }

    async fn call<Q, A, F, R>(
        &self,
        (kind, contact_kind): (RPCTypes, Kind),
        within: Duration,
        request: &Q,
        send: F,
    ) -> Result<A, RpcError>
    where
        Q: Serialize,
        A: DeserializeOwned,
        F: FnOnce(RaftClient<Channel>, RaftRequest) -> R,
        R: Future<Output = Result<Response<RaftResponse>, Status>>,
    {
        let (contact, client, header) = self.open()?;
        let payload = codec::encode(request).map_err(|error| NetworkError::new(&error))?;
        // Openraft may drop this call at its deadline: then it was not answered either.
        let attempt = contact.attempt(contact_kind, payload.len());
        let request = RaftRequest { header: Some(header), payload: payload.into() };
        let answer = tokio::time::timeout(within, send(client, request)).await;
        if has_answered(&answer) {
            attempt.answered();
        }
        self.read(kind, within, answer)
    }

    fn read<A: DeserializeOwned>(
        &self,
        kind: RPCTypes,
        within: Duration,
        answer: Timed,
    ) -> Result<A, RpcError> {
        let Ok(answer) = answer else {
            let (id, target) = (self.route.node().0, self.target);
            return Err(Timeout { action: kind, id, target, timeout: within }.into());
        };
        let response = answer.map_err(|status| rpc_error(&status))?.into_inner();
        codec::decode(&response.payload, "an answer of a peer")
            .map_err(|error| NetworkError::new(&error).into())
    }
}

/// A refusal that the peer has written is an answer; one that is made up here because the connection
/// is gone has a cause.
fn has_answered(answer: &Timed) -> bool {
    match answer {
        Ok(Ok(_)) => true,
        Ok(Err(status)) => std::error::Error::source(status).is_none(),
        Err(_) => false,
    }
}

fn rpc_error(status: &Status) -> RpcError {
    if status.code() == Code::Unavailable || status.code() == Code::FailedPrecondition {
        // Nothing there that would listen: wait before the next attempt.
        Unreachable::new(status).into()
    } else {
        NetworkError::new(status).into()
    }
}

impl RaftNetworkV2<TypeConfig> for PeerClient {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RpcError> {
        if self.majority.is_missed() {
            let why = "not sent: this leader hears no majority, and the others may elect another";
            return Err(Unreachable::from_string(why).into());
        }
        let send = async |mut client: RaftClient<Channel>, request| client.append(request).await;
        let (kind, within) = if request.entries.is_empty() {
            (Kind::Heartbeat, option.hard_ttl())
        } else {
            // It waits for a sync of the peer's disk as well. Openraft's deadline is a heartbeat's,
            // which waits for no disk: a slow one would get the same entries sent again and again.
            // A peer that takes longer than an election is as good as away.
            (Kind::Other, option.hard_ttl().max(self.majority.election_max()))
        };
        self.call((RPCTypes::AppendEntries, kind), within, &request, send).await
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        let send = async |mut client: RaftClient<Channel>, request| client.vote(request).await;
        self.call((RPCTypes::Vote, Kind::Other), option.hard_ttl(), &request, send).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        let send = async |mut client: RaftClient<Channel>, request| client.pre_vote(request).await;
        self.call((RPCTypes::Vote, Kind::Other), option.hard_ttl(), &request, send).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let (contact, mut client, header) = self.open()?;
        let description = codec::encode(&Description::new(vote, snapshot.meta))
            .map_err(|error| NetworkError::new(&error))?;
        let attempt = contact.attempt(Kind::Other, snapshot.snapshot.len());
        let chunks = chunks(header, description, snapshot.snapshot);
        let within = option.hard_ttl();
        let sent = tokio::time::timeout(within, client.snapshot(futures::stream::iter(chunks)));
        tokio::select! {
            biased;
            closed = cancel => Err(closed.into()),
            answer = sent => {
                if has_answered(&answer) {
                    attempt.answered();
                }
                Ok(self.read(RPCTypes::InstallSnapshot, within, answer)?)
            }
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RpcError> {
        let send =
            async |mut client: RaftClient<Channel>, request| client.transfer_leader(request).await;
        let kind = (RPCTypes::TransferLeader, Kind::Other);
        self.call(kind, option.hard_ttl(), &request, send).await
    }
}

/// The pieces of a snapshot; at least one, which says what they make up.
fn chunks(
    header: Header,
    description: Vec<u8>,
    content: SnapshotData,
) -> impl Iterator<Item = SnapshotChunk> + Send + 'static {
    let content = tonic::codegen::Bytes::from(content);
    let first = SnapshotChunk {
        header: Some(header),
        description: description.into(),
        content_bytes: content.len() as u64,
        ..SnapshotChunk::default()
    };
    let starts = (0..content.len()).step_by(CHUNK_BYTES);
    let rest = starts.map(move |start| SnapshotChunk {
        content: content.slice(start..content.len().min(start + CHUNK_BYTES)),
        ..SnapshotChunk::default()
    });
    std::iter::once(first).chain(rest)
}

#[cfg(test)]
mod tests {
    use leasehold_proto::internal::v1::raft_server::{Raft, RaftServer};
    use openraft::entry::RaftEntry;
    use openraft::impls::leader_id_adv::LeaderId;
    use openraft::vote::RaftLeaderId;
    use tokio::net::TcpListener;
    use tokio_stream::wrappers::TcpListenerStream;
    use tonic::{Request, Streaming};

    use super::super::connect_plaintext;
    use super::super::route::tests::member;
    use super::*;
    use crate::types::{Entry, LogId};

    const HEARTBEAT: Duration = Duration::from_millis(50);

    /// The deadline of openraft once held for entries too: behind a slow disk each attempt was
    /// given up shortly before its answer.
    #[tokio::test]
    async fn a_peer_with_a_slow_disk_is_waited_for_with_entries_and_not_with_a_heartbeat() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = Peer { address: listener.local_addr().unwrap().to_string(), ..Peer::default() };
        let server = tonic::transport::Server::builder()
            .add_service(RaftServer::new(SlowPeer { sync: 4 * HEARTBEAT }))
            .serve_with_incoming(TcpListenerStream::new(listener));
        let server = tokio::spawn(server);
        let majority = Majority::new(Duration::from_secs(1));
        let mut network = Network::new(member(1), connect_plaintext(), majority);
        let mut client = network.new_client(2, &peer).await;

        let log_id = LogId::new(LeaderId { term: 1, node_id: 1 }.to_committed(), 1);
        let entry = Entry::new_blank(log_id);
        let answer = client.append_entries(append(vec![entry]), RPCOption::new(HEARTBEAT)).await;
        assert!(answer.unwrap().is_success());
        let late = client.append_entries(append(vec![]), RPCOption::new(HEARTBEAT)).await;
        assert!(matches!(late, Err(RPCError::Timeout(_))), "{late:?}");
        server.abort();
    }

    fn append(entries: Vec<Entry>) -> AppendEntriesRequest<TypeConfig> {
        let (vote, prev_log_id, leader_commit) = (Vote::new(1, 1), None, None);
        AppendEntriesRequest { vote, prev_log_id, entries, leader_commit }
    }

    /// Answers every append, after its sync.
    struct SlowPeer {
        sync: Duration,
    }

    #[tonic::async_trait]
    impl Raft for SlowPeer {
        async fn append(
            &self,
            _request: Request<RaftRequest>,
        ) -> Result<Response<RaftResponse>, Status> {
            tokio::time::sleep(self.sync).await;
            let answer = AppendEntriesResponse::<TypeConfig>::Success;
            Ok(Response::new(RaftResponse { payload: codec::encode(&answer).unwrap().into() }))
        }

        async fn vote(
            &self,
            _request: Request<RaftRequest>,
        ) -> Result<Response<RaftResponse>, Status> {
            Err(Status::unimplemented("it is asked for appends alone"))
        }

        async fn pre_vote(
            &self,
            request: Request<RaftRequest>,
        ) -> Result<Response<RaftResponse>, Status> {
            self.vote(request).await
        }

        async fn snapshot(
            &self,
            _request: Request<Streaming<SnapshotChunk>>,
        ) -> Result<Response<RaftResponse>, Status> {
            Err(Status::unimplemented("it is asked for appends alone"))
        }

        async fn transfer_leader(
            &self,
            request: Request<RaftRequest>,
        ) -> Result<Response<RaftResponse>, Status> {
            self.vote(request).await
        }
    }
}
