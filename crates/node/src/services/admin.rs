//! The operator's API. Reads come from what this node has applied; changes go through the log.

use std::time::Duration;

use leasehold_actor::CancellationToken;
use leasehold_clock::Clock;
use leasehold_consensus::Consensus;
use leasehold_core::entitlement::{Entitlement, EntitlementError, key_id};
use leasehold_core::id::NodeId;
use leasehold_core::ledger::command::{Command, Outcome};
use leasehold_core::limits::ENTITLEMENT_BYTES_MAX;
use leasehold_core::time::{Moment, Timings};
use leasehold_proto::v1;
use leasehold_proto::v1::admin_server::Admin;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::events::wire_event;
use super::figures::FigureSources;
use super::status::{self, Sources};
use crate::actors::desk::DeskHandle;
use crate::actors::steward::StewardHandle;
use crate::founding::{FoundError, Founder};
use crate::leader::LeaderRoute;
use crate::membership::{Change, Membership};
use crate::peers::status_of;

/// Keys that one cluster trusts: the vendor's current one, the next, and room for emergencies.
const TRUSTED_KEYS_MAX: usize = 16;
/// Events under way to one reader; a slower one is waited for.
const EVENTS_BUFFER: usize = 64;
/// A reader that follows is told of new events at the latest after this.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub struct AdminService {
    pub node: NodeId,
    pub clock: Clock,
    pub consensus: Consensus,
    pub steward: StewardHandle,
    pub desk: DeskHandle,
    pub founder: Founder,
    pub membership: Membership,
    pub leader: LeaderRoute,
    /// Ends the streams of those who follow events.
    pub stop: CancellationToken,
}

#[tonic::async_trait]
impl Admin for AdminService {
    async fn init_cluster(
        &self,
        request: Request<v1::InitClusterRequest>,
    ) -> Result<Response<v1::InitClusterResponse>, Status> {
        let call = request.into_inner();
        let timings = call.timings.map(timings_of);
        let trusted_keys = trusted_keys(&call.trusted_keys)?;
        let cluster = self
            .founder
            .found(timings, trusted_keys)
            .await
            .map_err(|error| found_status(&error))?;
        tracing::info!(%cluster, "cluster founded");
        Ok(Response::new(v1::InitClusterResponse { cluster_id: cluster.0.to_vec().into() }))
    }

    async fn status(
        &self,
        _request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        let figures = self.figures().gather().await;
        let mut raft = self.consensus.status();
        if !self.consensus.hears_leader().await {
            // Else it is the last one that was known, which may have been dead for long.
            raft.leader = None;
        }
        let sources = Sources {
            node: self.node,
            now: Moment(self.clock.now()),
            raft: &raft,
            figures: &figures,
        };
        Ok(Response::new(status::status(&self.consensus, &sources)))
    }

    async fn list_sets(
        &self,
        _request: Request<v1::ListSetsRequest>,
    ) -> Result<Response<v1::ListSetsResponse>, Status> {
        let sets = self.consensus.read(|replica| status::sets(&replica.ledger));
        Ok(Response::new(v1::ListSetsResponse { sets }))
    }

    async fn install_entitlement(
        &self,
        request: Request<v1::InstallEntitlementRequest>,
    ) -> Result<Response<v1::InstallEntitlementResponse>, Status> {
        let envelope = request.into_inner().entitlement.to_vec();
        if envelope.is_empty() || envelope.len() > ENTITLEMENT_BYTES_MAX {
            return Err(Status::invalid_argument(format!(
                "entitlement: {} bytes, expected 1 to {ENTITLEMENT_BYTES_MAX}; send the vendor's \
                 file as it is",
                envelope.len()
            )));
        }
        // Checked here too: what will be refused needs no place in the log.
        let is_new = self.check_entitlement(&envelope)?;
        let command = Command::InstallEntitlement { envelope };
        let outcomes = self.leader.propose(vec![command]).await?;
        match outcomes.into_iter().next() {
            Some(Outcome::Installed { serial }) => {
                if is_new {
                    tracing::info!(serial, "entitlement installed");
                }
                Ok(Response::new(v1::InstallEntitlementResponse { serial }))
            }
            Some(Outcome::Refused(refusal)) => {
                Err(Status::failed_precondition(refusal.to_string()))
            }
            Some(_) | None => Err(Status::internal("the ledger gave no answer")),
        }
    }

    async fn show_entitlement(
        &self,
        _request: Request<v1::ShowEntitlementRequest>,
    ) -> Result<Response<v1::ShowEntitlementResponse>, Status> {
        let shown = self.consensus.read(|replica| {
            let ledger = &replica.ledger;
            let installed = ledger.installed()?;
            let entitlement = &installed.entitlement;
            Some(v1::ShowEntitlementResponse {
                serial: entitlement.serial,
                cluster_id: entitlement.cluster.0.to_vec().into(),
                entitlement: installed.envelope.clone().into(),
                signed_by: self.signer(&installed.envelope, replica),
                issued: entitlement.issued.to_string(),
                customer: entitlement.customer.clone(),
                contact_days: entitlement.contact_days,
                sets: status::sets(ledger),
            })
        });
        shown.map(Response::new).ok_or_else(|| {
            Status::not_found("no entitlement is installed: run `leasehold entitlement install`")
        })
    }

    async fn join_cluster(
        &self,
        request: Request<v1::JoinClusterRequest>,
    ) -> Result<Response<v1::JoinClusterResponse>, Status> {
        let cluster = self
            .membership
            .join(&request.into_inner().via)
            .await
            .map_err(|error| status_of(&error))?;
        tracing::info!(%cluster, "joined");
        Ok(Response::new(v1::JoinClusterResponse { cluster_id: cluster.0.to_vec().into() }))
    }

    async fn add_node(
        &self,
        request: Request<v1::AddNodeRequest>,
    ) -> Result<Response<v1::AddNodeResponse>, Status> {
        let invited = self.membership.invite(&request.into_inner().peer_address).await;
        let node = invited.map_err(|error| status_of(&error))?;
        Ok(Response::new(v1::AddNodeResponse { node_id: node.0 }))
    }

    async fn promote_node(
        &self,
        request: Request<v1::PromoteNodeRequest>,
    ) -> Result<Response<v1::PromoteNodeResponse>, Status> {
        self.leader.change(NodeId(request.into_inner().node_id), Change::Promote).await?;
        Ok(Response::new(v1::PromoteNodeResponse {}))
    }

    async fn remove_node(
        &self,
        request: Request<v1::RemoveNodeRequest>,
    ) -> Result<Response<v1::RemoveNodeResponse>, Status> {
        self.leader.change(NodeId(request.into_inner().node_id), Change::Remove).await?;
        Ok(Response::new(v1::RemoveNodeResponse {}))
    }

    async fn fence_node(
        &self,
        request: Request<v1::FenceNodeRequest>,
    ) -> Result<Response<v1::FenceNodeResponse>, Status> {
        let v1::FenceNodeRequest { node_id, powered_off } = request.into_inner();
        self.leader.change(NodeId(node_id), Change::Fence { powered_off }).await?;
        Ok(Response::new(v1::FenceNodeResponse {}))
    }

    async fn unfence_node(
        &self,
        request: Request<v1::UnfenceNodeRequest>,
    ) -> Result<Response<v1::UnfenceNodeResponse>, Status> {
        self.leader.change(NodeId(request.into_inner().node_id), Change::Unfence).await?;
        Ok(Response::new(v1::UnfenceNodeResponse {}))
    }

    type EventsStream = ReceiverStream<Result<v1::EventsResponse, Status>>;

    async fn events(
        &self,
        request: Request<v1::EventsRequest>,
    ) -> Result<Response<Self::EventsStream>, Status> {
        let v1::EventsRequest { since, follow } = request.into_inner();
        let (sender, events) = mpsc::channel(EVENTS_BUFFER);
        let (consensus, stop) = (self.consensus.clone(), self.stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = send_events(&consensus, &sender, since, follow) => {}
            }
        });
        Ok(Response::new(ReceiverStream::new(events)))
    }
}

/// Ends when everything was sent, or the reader is gone.
async fn send_events(
    consensus: &Consensus,
    sender: &mpsc::Sender<Result<v1::EventsResponse, Status>>,
    since: u64,
    follow: bool,
) {
    let mut last = since;
    let mut applied = consensus.subscribe_applied();
    loop {
        let new: Vec<v1::Event> = consensus.read(|replica| {
            let events = replica.ledger.events().filter(|event| event.number > last);
            events.map(wire_event).collect()
        });
        for event in new {
            last = event.number;
            if sender.send(Ok(v1::EventsResponse { event: Some(event) })).await.is_err() {
                return;
            }
        }
        if !follow {
            return;
        }
        tokio::select! {
            () = sender.closed() => return,
            changed = tokio::time::timeout(FOLLOW_EVERY, applied.changed()) => {
                if matches!(changed, Ok(Err(_))) {
                    return;
                }
            }
        }
    }
}

impl AdminService {
    fn figures(&self) -> FigureSources {
        FigureSources {
            node: self.node,
            consensus: self.consensus.clone(),
            steward: self.steward.clone(),
            desk: self.desk.clone(),
            peers: self.leader.peers.clone(),
        }
    }

    /// Whether it is another one than that in force.
    fn check_entitlement(&self, envelope: &[u8]) -> Result<bool, Status> {
        self.consensus.read(|replica| {
            let ledger = &replica.ledger;
            let founding = ledger.founding().ok_or_else(not_founded)?;
            if ledger.installed().is_some_and(|installed| installed.envelope == envelope) {
                return Ok(false);
            }
            let newer_than = ledger.entitlement_serial();
            Entitlement::open(envelope, &founding.trusted_keys, founding.cluster, newer_than)
                .map(|_| true)
                .map_err(|error: EntitlementError| Status::invalid_argument(error.to_string()))
        })
    }

    /// The trusted key that the envelope names; empty if the names can't be read.
    fn signer(&self, envelope: &[u8], replica: &leasehold_core::ledger::Replica) -> bytes::Bytes {
        let Ok(unverified) = Entitlement::decode_unverified(envelope) else {
            return bytes::Bytes::new();
        };
        let keys = replica.ledger.founding().map(|it| it.trusted_keys.as_slice());
        keys.unwrap_or_default()
            .iter()
            .find(|key| unverified.key_ids.contains(&key_id(key)))
            .map(|key| bytes::Bytes::copy_from_slice(key))
            .unwrap_or_default()
    }
}

fn trusted_keys(keys: &[bytes::Bytes]) -> Result<Vec<[u8; 32]>, Status> {
    if keys.is_empty() || keys.len() > TRUSTED_KEYS_MAX {
        return Err(Status::invalid_argument(format!(
            "trusted_keys: {} keys, expected 1 to {TRUSTED_KEYS_MAX} of the vendor's public keys",
            keys.len()
        )));
    }
    let parsed = keys.iter().map(|key| {
        <[u8; 32]>::try_from(&key[..]).map_err(|_| {
            let length = key.len();
            Status::invalid_argument(format!("trusted_keys: a key of {length} bytes, expected 32"))
        })
    });
    parsed.collect()
}

/// 0 means the default.
fn timings_of(wire: v1::Timings) -> Timings {
    let default = Timings::default();
    let or = |value: u64, default: u64| if value == 0 { default } else { value };
    Timings {
        lease_ms: or(wire.lease_ms, default.lease_ms),
        heartbeat_ms: or(wire.heartbeat_ms, default.heartbeat_ms),
        checkout_ttl_ms: or(wire.checkout_ttl_ms, default.checkout_ttl_ms),
        clock_drift_ppm: or(wire.clock_drift_ppm, default.clock_drift_ppm),
        margin_ms: or(wire.margin_ms, default.margin_ms),
        election_max_ms: or(wire.election_max_ms, default.election_max_ms),
    }
}

fn not_founded() -> Status {
    Status::failed_precondition(
        "this node belongs to no cluster yet: run `leasehold cluster init` first",
    )
}

fn found_status(error: &FoundError) -> Status {
    match error {
        FoundError::AlreadyFounded { .. } => Status::already_exists(error.to_string()),
        FoundError::Refused { .. } => Status::invalid_argument(error.to_string()),
        FoundError::Failed { .. } => Status::unavailable(error.to_string()),
    }
}
