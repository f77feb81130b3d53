//! Raft's messages between nodes, over gRPC.
//!
//! Every message names its cluster, its sender and its receiver: an address that now belongs to
//! another node, or to a node of another cluster, must not be taken for the old one.

mod client;
mod contact;
mod majority;
mod route;
mod server;

use std::sync::Arc;
use std::time::Duration;

use leasehold_core::id::NodeId;
use tonic::transport::{Channel, Endpoint};

use crate::types::{LogId, Membership, Peer, SnapshotMeta, Vote};

pub(crate) use self::client::{Channels, Network};
pub(crate) use self::majority::Majority;
pub use self::route::{FORMAT, PeerCertificate};
pub(crate) use self::route::{Own, Reached, Record, Route};
pub(crate) use self::server::server;
pub use self::server::{Admitted, Certified, RaftService};

/// Makes the one long-lived channel to a peer. The node brings its own, with mutual TLS.
pub type Connect =
    Arc<dyn Fn(NodeId, &Peer) -> Result<Channel, tonic::transport::Error> + Send + Sync>;

/// Connects without TLS, when the first message is sent: for one machine, and for tests.
#[must_use]
pub fn connect_plaintext() -> Connect {
    Arc::new(|_, peer| {
        let endpoint = Endpoint::from_shared(format!("http://{}", peer.address))?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true)
            .tcp_nodelay(true);
        Ok(endpoint.connect_lazy())
    })
}

/// Above any round trip.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A connection that a partition has cut is noticed, and made anew.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// An append: at most one entry of the largest size, or a few small ones, and some overhead.
const MESSAGE_BYTES_MAX: usize = 8 << 20;
/// A piece of a snapshot: below gRPC's default limit, and quick to check for a cancellation.
const CHUNK_BYTES: usize = 256 << 10;

/// What comes with a snapshot: the sender's vote, and what the content stands for.
#[derive(serde::Serialize, serde::Deserialize)]
struct Description {
    vote: Vote,
    last_log_id: Option<LogId>,
    last_membership: Membership,
}

impl Description {
    fn new(vote: Vote, meta: SnapshotMeta) -> Self {
        Self { vote, last_log_id: meta.last_log_id, last_membership: meta.last_membership }
    }

    fn into_parts(self) -> (Vote, SnapshotMeta) {
        let Self { vote, last_log_id, last_membership } = self;
        (vote, SnapshotMeta { last_log_id, last_membership })
    }
}
