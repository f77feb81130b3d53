//! The gRPC servers: which services stand behind which listener, and with what limits.

use std::time::Duration;

use leasehold_actor::{BoxError, CancellationToken};
use leasehold_consensus::RaftService;
use leasehold_proto::FILE_DESCRIPTOR_SET;
use leasehold_proto::internal::v1::desk_server::DeskServer;
use leasehold_proto::internal::v1::membership_server::MembershipServer;
use leasehold_proto::internal::v1::raft_server::RaftServer;
use leasehold_proto::internal::v1::steward_server::StewardServer;
use leasehold_proto::v1::admin_server::AdminServer;
use leasehold_proto::v1::licensing_server::LicensingServer;
use tonic::transport::Server;
use tonic_health::pb::health_server::{Health, HealthServer};

use crate::peers::MembershipService;
use crate::services::admin::AdminService;
use crate::services::licensing::LicensingService;
use crate::tls::Listener;

/// An idle connection is asked for a sign of life, so that a peer that vanished frees its place.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(30);
const KEEPALIVE_WITHIN: Duration = Duration::from_secs(10);
/// Calls under way on one connection: an engine host with a thousand calls batches them.
const STREAMS_PER_CONNECTION_MAX: u32 = 1_024;

pub(crate) async fn serve_engines<H: Health>(
    listener: Listener,
    licensing: LicensingService,
    health: HealthServer<H>,
    stop: CancellationToken,
) -> Result<(), BoxError> {
    builder()
        .add_service(LicensingServer::new(licensing))
        .add_service(health)
        .add_service(reflection()?)
        .serve_with_incoming_shutdown(listener.incoming(), stop.cancelled_owned())
        .await?;
    Ok(())
}

pub(crate) async fn serve_admin(
    listener: Listener,
    admin: AdminService,
    stop: CancellationToken,
) -> Result<(), BoxError> {
    builder()
        .add_service(AdminServer::new(admin))
        .add_service(reflection()?)
        .serve_with_incoming_shutdown(listener.incoming(), stop.cancelled_owned())
        .await?;
    Ok(())
}

pub(crate) async fn serve_peers(
    listener: Listener,
    raft: RaftServer<RaftService>,
    members: MembershipService,
    stop: CancellationToken,
) -> Result<(), BoxError> {
    builder()
        .add_service(raft)
        .add_service(StewardServer::new(members.peers.clone()))
        .add_service(DeskServer::new(members.peers.clone()))
        .add_service(MembershipServer::new(members))
        .serve_with_incoming_shutdown(listener.incoming(), stop.cancelled_owned())
        .await?;
    Ok(())
}

/// A server with the settings of all of a node's.
pub fn builder() -> Server {
    Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_EVERY))
        .http2_keepalive_timeout(Some(KEEPALIVE_WITHIN))
        .max_concurrent_streams(Some(STREAMS_PER_CONNECTION_MAX))
}

fn reflection() -> Result<
    tonic_reflection::server::v1::ServerReflectionServer<
        impl tonic_reflection::server::v1::ServerReflection,
    >,
    tonic_reflection::server::Error,
> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
}
