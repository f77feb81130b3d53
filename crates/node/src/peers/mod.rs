//! The other nodes: one long-lived channel to each, and the calls that go over it.
//!
//! ```text
//!  desk ── Route ──▶ PeerClient ══ mutual TLS ══▶ PeerService ──▶ steward, desk
//!                     (header: cluster, from, to)   (checks it, and the certificate's node)
//! ```
//!
//! Raft's own messages go over channels of the same make, held by the consensus crate.

mod client;
mod connect;
mod members;
mod server;

pub use client::{PeerError, Peers};
pub use connect::{connect, endpoint};
pub use members::MembershipService;
pub(crate) use members::status_of;
pub use server::PeerService;
pub(crate) use server::certificate;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tonic::Status;

/// Payloads are MessagePack with named fields, version 1 of the header's format.
fn encode<T: Serialize>(value: &T) -> Result<bytes::Bytes, Status> {
    rmp_serde::to_vec_named(value)
        .map(bytes::Bytes::from)
        .map_err(|error| Status::internal(format!("a payload can't be encoded: {error}")))
}

fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T, Status> {
    rmp_serde::from_slice(payload)
        .map_err(|error| Status::invalid_argument(format!("payload: {error}")))
}
