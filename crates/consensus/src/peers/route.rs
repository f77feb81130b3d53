//! For whom a message is and from whom: what it begins with, and the check of it.
//!
//! A node is only itself, and one that was removed is nobody. So the sender's certificate names the
//! sender; both ends name their data directory's incarnation, for whoever lost its disk has forgotten
//! what it promised; and the generation, which no stranger knows, keeps other clusters out, even one
//! that was founded under the same id.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use leasehold_core::id::{ClusterId, Generation, Incarnation, NodeId};
use leasehold_proto::internal::v1::Header;
use leasehold_storage::Standing;
use tokio::sync::watch;
use tonic::Status;

use crate::machine::Machine;

/// Who sends, and in which cluster. Clones share what was refused.
#[derive(Clone)]
pub(crate) struct Route {
    own: Own,
    standing: watch::Receiver<Standing>,
    machine: Arc<Machine>,
    refused: Arc<Mutex<BTreeSet<Refused>>>,
}

/// Who this node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Own {
    pub(crate) node: NodeId,
    pub(crate) incarnation: Incarnation,
}

/// What a peer's certificate says of it; on plain text there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerCertificate {
    pub node: Option<NodeId>,
    /// Not every authority names it.
    pub cluster: Option<ClusterId>,
}

/// What is committed of a node, as far as this one has applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    /// It may have been admitted since: a voter that lags must hear such a leader.
    Unknown,
    Member(Incarnation),
    /// It was removed, and is no part of the consensus any more.
    Left,
}

/// Whom a message has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reached {
    Member,
    /// A node that has asked to join, and hears by this that it was admitted.
    Joiner {
        cluster: ClusterId,
        generation: Generation,
    },
}

/// A sender, as it says itself, and why its messages are refused.
type Refused = (u64, &'static str);
/// The reason, for metrics, and the answer.
type Fault = (&'static str, Status);

/// Version of the header and of the payloads' encoding.
pub const FORMAT: u32 = 2;
/// Refusals that the log was told of; more are an attack, of which the counter tells.
const TOLD_MAX: usize = 64;

impl Route {
    pub(crate) fn new(
        own: Own,
        standing: watch::Receiver<Standing>,
        machine: Arc<Machine>,
    ) -> Self {
        Self { own, standing, machine, refused: Arc::default() }
    }

    pub(crate) fn node(&self) -> NodeId {
        self.own.node
    }

    pub(crate) fn standing(&self) -> Standing {
        *self.standing.borrow()
    }

    /// What a message to the data directory `incarnation` of node `to` begins with; `None` while this
    /// node is no member.
    pub(crate) fn header(&self, to: NodeId, incarnation: Incarnation) -> Option<Header> {
        let (cluster, generation) = self.standing().generation()?;
        Some(Header {
            cluster_id: cluster.0.to_vec().into(),
            from_node: self.own.node.0,
            to_node: to.0,
            format: FORMAT,
            generation: generation.0.to_vec().into(),
            from_incarnation: self.own.incarnation.0.to_vec().into(),
            to_incarnation: incarnation.0.to_vec().into(),
        })
    }

    /// Checks a message that members alone take.
    #[allow(clippy::result_large_err)] // tonic's own error type.
    pub(crate) fn check(
        &self,
        header: Option<&Header>,
        certificate: Option<&PeerCertificate>,
    ) -> Result<(), Status> {
        match self.judge(header, certificate) {
            Ok(Reached::Member) => Ok(()),
            Ok(Reached::Joiner { cluster, .. }) => {
                let why = format!(
                    "node {} is joining cluster {cluster}, and has heard of no admission yet",
                    self.own.node
                );
                Err(self.refuse(header, ("joining", Status::unavailable(why))))
            }
            Err(fault) => Err(self.refuse(header, fault)),
        }
    }

    /// Checks a leader's entries: a node that joins takes those, too.
    #[allow(clippy::result_large_err)] // tonic's own error type.
    pub(crate) fn check_entries(
        &self,
        header: Option<&Header>,
        certificate: Option<&PeerCertificate>,
    ) -> Result<Reached, Status> {
        self.judge(header, certificate).map_err(|fault| self.refuse(header, fault))
    }

    /// Each refusal is counted; the log hears once of each sender and reason.
    fn refuse(&self, header: Option<&Header>, (reason, status): Fault) -> Status {
        metrics::counter!("leasehold_network_peer_refused_total", "reason" => reason).increment(1);
        let from = header.map_or(0, |header| header.from_node);
        if self.is_new((from, reason)) {
            let why = status.message();
            tracing::warn!(from_node = from, reason, "a message of a node is refused: {why}");
        }
        status
    }

    #[allow(clippy::result_large_err)] // tonic's own error type.
    fn judge(
        &self,
        header: Option<&Header>,
        certificate: Option<&PeerCertificate>,
    ) -> Result<Reached, Fault> {
        let header = header
            .ok_or_else(|| ("no_header", Status::invalid_argument("the header is missing")))?;
        if header.format != FORMAT {
            let why = format!("format {} is unknown, this node knows {FORMAT}", header.format);
            return Err(("format", Status::invalid_argument(why)));
        }
        let reached = self.judge_cluster(header)?;
        self.judge_receiver(header)?;
        self.judge_certificate(header, certificate)?;
        self.judge_sender(header)?;
        Ok(reached)
    }

    #[allow(clippy::result_large_err)] // tonic's own error type.
    fn judge_cluster(&self, header: &Header) -> Result<Reached, Fault> {
        let node = self.own.node;
        let standing = self.standing();
        let Some(cluster) = standing.cluster() else {
            let why = format!("node {node} belongs to no cluster yet: let it join first");
            return Err(("no_cluster", Status::unavailable(why)));
        };
        if header.cluster_id != cluster.0[..] {
            let why =
                format!("node {node} belongs to cluster {cluster}, the message to another one");
            return Err(("other_cluster", Status::failed_precondition(why)));
        }
        let generation = <[u8; 16]>::try_from(&header.generation[..]).map(Generation);
        match (standing.generation(), generation) {
            (Some((_, own)), Ok(generation)) if own == generation => Ok(Reached::Member),
            (None, Ok(generation)) => Ok(Reached::Joiner { cluster, generation }),
            (Some(_) | None, Ok(_) | Err(_)) => {
                let why = format!(
                    "the message is not of node {node}'s generation of cluster {cluster}: another \
                     cluster was founded, or recovered, under the same id"
                );
                Err(("other_generation", Status::failed_precondition(why)))
            }
        }
    }

    /// The sender is not at fault: it goes by what it was told of this node.
    #[allow(clippy::result_large_err)] // tonic's own error type.
    fn judge_receiver(&self, header: &Header) -> Result<(), Fault> {
        let Own { node, incarnation } = self.own;
        if header.to_node != node.0 {
            let why = format!(
                "this is node {node}, the message is for node {}: correct the address of that node",
                header.to_node
            );
            return Err(("other_node", Status::unavailable(why)));
        }
        if header.to_incarnation != incarnation.0[..] {
            let why = format!(
                "node {node} runs from another data directory than the one that was admitted: \
                 remove node {node}, and have this one join under a new id"
            );
            return Err(("other_incarnation", Status::unavailable(why)));
        }
        Ok(())
    }

    #[allow(clippy::result_large_err)] // tonic's own error type.
    fn judge_certificate(
        &self,
        header: &Header,
        certificate: Option<&PeerCertificate>,
    ) -> Result<(), Fault> {
        let Some(PeerCertificate { node, cluster }) = certificate else { return Ok(()) };
        let refused = |why: String| Err(("certificate", Status::permission_denied(why)));
        match node {
            None => {
                return refused(
                    "the certificate names no node: issue it anew, with the URI \
                     leasehold://node/<id> among its alternative names"
                        .to_owned(),
                );
            }
            Some(node) if node.0 != header.from_node => {
                return refused(format!(
                    "the certificate is that of node {node}, the message is from node {}",
                    header.from_node
                ));
            }
            Some(_) => {}
        }
        match cluster {
            Some(cluster) if cluster.0[..] != header.cluster_id => {
                refused(format!("the certificate is for cluster {cluster}, the message of another"))
            }
            Some(_) | None => Ok(()),
        }
    }

    #[allow(clippy::result_large_err)] // tonic's own error type.
    fn judge_sender(&self, header: &Header) -> Result<(), Fault> {
        let from = NodeId(header.from_node);
        match self.machine.record_of(from) {
            Record::Member(incarnation) if header.from_incarnation != incarnation.0[..] => {
                let why = format!(
                    "node {from} was admitted with another data directory: it has forgotten what it \
                     promised, and joins under a new id after `leasehold node remove {from}`"
                );
                Err(("sender_incarnation", Status::failed_precondition(why)))
            }
            Record::Left => {
                let why = format!(
                    "node {from} was removed from the cluster: stop it; to come back it joins under \
                     a new id with an empty data directory"
                );
                Err(("removed", Status::failed_precondition(why)))
            }
            Record::Unknown | Record::Member(_) => Ok(()),
        }
    }

    fn is_new(&self, refused: Refused) -> bool {
        let mut known = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        known.len() < TOLD_MAX && known.insert(refused)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use leasehold_clock::Clock;
    use tonic::Code;

    use super::*;

    const CLUSTER: ClusterId = ClusterId([7; 16]);
    const GENERATION: Generation = Generation([8; 16]);
    const MEMBER: Standing = Standing::Member { cluster: CLUSTER, generation: GENERATION };

    /// Node `node`, whose incarnation is made of its number.
    pub(crate) fn route(node: u64, standing: Standing) -> Route {
        let own = Own { node: NodeId(node), incarnation: incarnation(node) };
        let machine = Arc::new(Machine::new(Clock::Steady));
        Route::new(own, watch::Sender::new(standing).subscribe(), machine)
    }

    pub(crate) fn member(node: u64) -> Route {
        route(node, MEMBER)
    }

    fn incarnation(node: u64) -> Incarnation {
        Incarnation([u8::try_from(node).unwrap(); 16])
    }

    fn from_1_to_2() -> Header {
        member(1).header(NodeId(2), incarnation(2)).unwrap()
    }

    #[test]
    fn a_message_names_its_cluster_its_generation_and_both_ends() {
        let header = from_1_to_2();
        member(2).check(Some(&header), None).unwrap();
        let (cluster, generation) = (ClusterId([9; 16]), Generation([9; 16]));
        let other = Standing::Member { cluster, generation: GENERATION };
        let twice_founded = Standing::Member { cluster: CLUSTER, generation };
        let lost_disk = || {
            let own = Own { incarnation: Incarnation([99; 16]), ..member(2).own };
            Route { own, ..member(2) }
        };
        for (receiver, code, expected) in [
            (route(2, Standing::Fresh), Code::Unavailable, "belongs to no cluster yet"),
            (route(2, other), Code::FailedPrecondition, "the message to another one"),
            (route(2, twice_founded), Code::FailedPrecondition, "generation of cluster"),
            (member(3), Code::Unavailable, "this is node 3, the message is for node 2"),
            (
                lost_disk(),
                Code::Unavailable,
                "another data directory than the one that was admitted",
            ),
        ] {
            let status = receiver.check(Some(&header), None).unwrap_err();
            assert_eq!(status.code(), code, "{}", status.message());
            assert!(status.message().contains(expected), "{}", status.message());
        }
        for standing in [Standing::Fresh, Standing::Joining { cluster: CLUSTER }] {
            assert_eq!(route(1, standing).header(NodeId(2), incarnation(2)), None);
        }
    }

    /// It was stamped and listened as a member before the leader had been asked: refused, it voted.
    #[test]
    fn a_node_that_joins_takes_the_entries_of_its_cluster_and_nothing_else() {
        let joiner = route(2, Standing::Joining { cluster: CLUSTER });
        let header = from_1_to_2();
        let reached = joiner.check_entries(Some(&header), None).unwrap();
        assert_eq!(reached, Reached::Joiner { cluster: CLUSTER, generation: GENERATION });
        let status = joiner.check(Some(&header), None).unwrap_err();
        assert!(status.message().contains("has heard of no admission yet"), "{status}");

        let for_another = Header { to_incarnation: vec![1; 16].into(), ..header.clone() };
        joiner.check_entries(Some(&for_another), None).unwrap_err();
        let of_another = Header { cluster_id: vec![1; 16].into(), ..header };
        joiner.check_entries(Some(&of_another), None).unwrap_err();
    }

    #[test]
    fn a_certificate_must_be_that_of_the_node_that_speaks() {
        let header = from_1_to_2();
        let named = |node, cluster| PeerCertificate { node, cluster };
        for certificate in [named(Some(NodeId(1)), None), named(Some(NodeId(1)), Some(CLUSTER))] {
            member(2).check(Some(&header), Some(&certificate)).unwrap();
        }
        for (certificate, expected) in [
            (named(None, None), "the certificate names no node"),
            (named(Some(NodeId(3)), None), "the certificate is that of node 3"),
            (named(Some(NodeId(1)), Some(ClusterId([1; 16]))), "the certificate is for cluster 01"),
        ] {
            let status = member(2).check(Some(&header), Some(&certificate)).unwrap_err();
            assert_eq!(status.code(), Code::PermissionDenied);
            assert!(status.message().contains(expected), "{}", status.message());
        }
    }

    #[test]
    fn a_message_without_a_header_or_in_another_format_is_refused() {
        let header = from_1_to_2();
        for format in [FORMAT - 1, FORMAT + 1] {
            let other = Header { format, ..header.clone() };
            let status = member(2).check(Some(&other), None).unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument);
        }
        assert_eq!(member(2).check(None, None).unwrap_err().code(), Code::InvalidArgument);
        let cut = Header { generation: vec![8; 15].into(), ..header };
        member(2).check(Some(&cut), None).unwrap_err();
    }

    #[test]
    fn the_log_hears_of_each_sender_and_reason_once_and_of_no_crowd() {
        let route = member(1);
        assert!(route.is_new((2, "other_cluster")));
        assert!(!route.is_new((2, "other_cluster")));
        assert!(route.is_new((2, "other_node")));
        let told = (0..1_000).filter(|from| route.is_new((*from, "format"))).count();
        assert_eq!(told, TOLD_MAX - 2);
    }
}
