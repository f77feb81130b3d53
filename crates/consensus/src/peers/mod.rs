//! Raft's messages between nodes, over gRPC.
//!
//! Every message names its cluster, its sender and its receiver: an address that now belongs to
//! another node, or to a node of another cluster, must not be taken for the old one.

mod client;
mod contact;
mod majority;
mod server;

use std::sync::Arc;
use std::time::Duration;

use leasehold_core::id::{ClusterId, NodeId};
use leasehold_proto::internal::v1::Header;
use tokio::sync::watch;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::types::{LogId, Membership, Peer, SnapshotMeta, Vote};

pub(crate) use self::client::Network;
pub(crate) use self::majority::Majority;
pub use self::server::RaftService;
pub(crate) use self::server::server;

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
/// Version of the payloads' encoding.
const FORMAT: u32 = 1;
/// An append: at most one entry of the largest size, or a few small ones, and some overhead.
const MESSAGE_BYTES_MAX: usize = 8 << 20;
/// A piece of a snapshot: below gRPC's default limit, and quick to check for a cancellation.
const CHUNK_BYTES: usize = 256 << 10;

/// Who sends, and in which cluster.
#[derive(Clone)]
pub(crate) struct Route {
    pub(crate) node: NodeId,
    pub(crate) cluster: watch::Receiver<Option<ClusterId>>,
}

impl Route {
    pub(crate) fn header(&self, to: NodeId) -> Option<Header> {
        let cluster = (*self.cluster.borrow())?;
        Some(Header {
            cluster_id: cluster.0.to_vec().into(),
            from_node: self.node.0,
            to_node: to.0,
            format: FORMAT,
        })
    }

    #[allow(clippy::result_large_err)] // tonic's own error type.
    pub(crate) fn check(&self, header: Option<&Header>) -> Result<(), Status> {
        let header = header.ok_or_else(|| Status::invalid_argument("the header is missing"))?;
        let Some(cluster) = *self.cluster.borrow() else {
            return Err(Status::failed_precondition(format!(
                "node {} belongs to no cluster yet: let it join first",
                self.node
            )));
        };
        if header.cluster_id != cluster.0[..] {
            return Err(Status::failed_precondition(format!(
                "node {} belongs to cluster {cluster}, the message to another one",
                self.node
            )));
        }
        if header.to_node != self.node.0 {
            return Err(Status::failed_precondition(format!(
                "this is node {}, the message is for node {}: correct the address of that node",
                self.node, header.to_node
            )));
        }
        if header.format != FORMAT {
            return Err(Status::invalid_argument(format!(
                "format {} is unknown, this node knows {FORMAT}",
                header.format
            )));
        }
        Ok(())
    }
}

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

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    fn route(node: u64, cluster: Option<u8>) -> Route {
        let cluster = watch::Sender::new(cluster.map(|byte| ClusterId([byte; 16]))).subscribe();
        Route { node: NodeId(node), cluster }
    }

    #[test]
    fn a_message_names_its_cluster_and_its_receiver() {
        let header = route(1, Some(7)).header(NodeId(2)).unwrap();
        route(2, Some(7)).check(Some(&header)).unwrap();
        for (receiver, expected) in [
            (route(2, None), "belongs to no cluster yet"),
            (route(2, Some(8)), "the message to another one"),
            (route(3, Some(7)), "this is node 3, the message is for node 2"),
        ] {
            let status = receiver.check(Some(&header)).unwrap_err();
            assert_eq!(status.code(), Code::FailedPrecondition);
            assert!(status.message().contains(expected), "{}", status.message());
        }
        assert_eq!(route(1, None).header(NodeId(2)), None, "nothing to name");
    }

    #[test]
    fn a_message_without_a_header_or_in_a_later_format_is_refused() {
        let receiver = route(2, Some(7));
        let header = route(1, Some(7)).header(NodeId(2)).unwrap();
        let later = Header { format: 2, ..header };
        for header in [None, Some(&later)] {
            assert_eq!(receiver.check(header).unwrap_err().code(), Code::InvalidArgument);
        }
    }
}
