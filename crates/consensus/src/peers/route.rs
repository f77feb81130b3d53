//! For whom a message is: what it begins with, and the check of it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use leasehold_core::id::{ClusterId, NodeId};
use leasehold_proto::internal::v1::Header;
use tokio::sync::watch;
use tonic::Status;

/// Who sends, and in which cluster. Clones share what was refused.
#[derive(Clone)]
pub(crate) struct Route {
    pub(crate) node: NodeId,
    cluster: watch::Receiver<Option<ClusterId>>,
    refused: Arc<Mutex<BTreeSet<Refused>>>,
}

/// A sender, as it says itself, and why its messages are refused.
type Refused = (u64, &'static str);

/// Version of the payloads' encoding.
const FORMAT: u32 = 1;
/// Refusals that the log was told of; more are an attack, of which the counter tells.
const TOLD_MAX: usize = 64;

impl Route {
    pub(crate) fn new(node: NodeId, cluster: watch::Receiver<Option<ClusterId>>) -> Self {
        Self { node, cluster, refused: Arc::default() }
    }

    pub(crate) fn header(&self, to: NodeId) -> Option<Header> {
        let cluster = (*self.cluster.borrow())?;
        Some(Header {
            cluster_id: cluster.0.to_vec().into(),
            from_node: self.node.0,
            to_node: to.0,
            format: FORMAT,
        })
    }

    /// Each refusal is counted; the log hears once of each sender and reason.
    #[allow(clippy::result_large_err)] // tonic's own error type.
    pub(crate) fn check(&self, header: Option<&Header>) -> Result<(), Status> {
        let (reason, status) = match self.fault_in(header) {
            None => return Ok(()),
            Some(fault) => fault,
        };
        metrics::counter!("leasehold_network_peer_refused_total", "reason" => reason).increment(1);
        let from = header.map_or(0, |header| header.from_node);
        if self.is_new((from, reason)) {
            let why = status.message();
            tracing::warn!(from_node = from, reason, "a message of a node is refused: {why}");
        }
        Err(status)
    }

    fn fault_in(&self, header: Option<&Header>) -> Option<(&'static str, Status)> {
        let Some(header) = header else {
            return Some(("no_header", Status::invalid_argument("the header is missing")));
        };
        let Some(cluster) = *self.cluster.borrow() else {
            let why = format!("node {} belongs to no cluster yet: let it join first", self.node);
            return Some(("no_cluster", Status::failed_precondition(why)));
        };
        if header.cluster_id != cluster.0[..] {
            let why = format!(
                "node {} belongs to cluster {cluster}, the message to another one",
                self.node
            );
            return Some(("other_cluster", Status::failed_precondition(why)));
        }
        if header.to_node != self.node.0 {
            let why = format!(
                "this is node {}, the message is for node {}: correct the address of that node",
                self.node, header.to_node
            );
            return Some(("other_node", Status::failed_precondition(why)));
        }
        if header.format != FORMAT {
            let why = format!("format {} is unknown, this node knows {FORMAT}", header.format);
            return Some(("format", Status::invalid_argument(why)));
        }
        None
    }

    fn is_new(&self, refused: Refused) -> bool {
        let mut known = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        known.len() < TOLD_MAX && known.insert(refused)
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    fn route(node: u64, cluster: Option<u8>) -> Route {
        let cluster = watch::Sender::new(cluster.map(|byte| ClusterId([byte; 16]))).subscribe();
        Route::new(NodeId(node), cluster)
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

    #[test]
    fn the_log_hears_of_each_sender_and_reason_once_and_of_no_crowd() {
        let route = route(1, Some(7));
        assert!(route.is_new((2, "other_cluster")));
        assert!(!route.is_new((2, "other_cluster")));
        assert!(route.is_new((2, "other_node")));
        let told = (0..1_000).filter(|from| route.is_new((*from, "format"))).count();
        assert_eq!(told, TOLD_MAX - 2);
    }
}
