//! The nodes from outside, as an operator sees them: status and events from the operators' port,
//! counters from `/metrics`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use leasehold_proto::v1;
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::cluster::Cluster;

/// One look at all nodes.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// By node; `None`: it does not answer.
    pub(super) answers: Vec<Option<v1::StatusResponse>>,
    /// What the cluster has decided since the last look.
    pub(super) events: Vec<v1::Event>,
}

/// What must be remembered from look to look.
#[derive(Debug, Default)]
pub(super) struct Watch {
    newest_event: u64,
    counted: BTreeMap<(usize, &'static str), u64>,
    moved: MovedCalls,
}

/// Calls whose licenses went to another node, as the nodes count them. What a node counted in the
/// last moment before it was killed is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MovedCalls {
    /// The dead node's lease had ended: its units moved with the call.
    pub reclaimed: u64,
    /// The dead node's lease had not ended yet: other units stepped in.
    pub covered: u64,
    /// A node that lived gave the call away.
    pub handed_over: u64,
}

/// A node that does not answer within this is shown as silent. A node asks the leader first, and
/// waits up to a second for it; the next look is late then.
const LOOK_DEADLINE: Duration = Duration::from_millis(1_500);

impl Watch {
    /// Asks all nodes at once.
    pub(super) async fn look(&mut self, cluster: &Cluster) -> Look {
        let nodes = cluster.nodes().len();
        let asked = (0..nodes).map(|index| ask(cluster, index));
        let answered = join_all(asked).await;
        let mut look = Look::default();
        for (index, (status, page)) in answered.into_iter().enumerate() {
            if let Some(page) = page {
                self.count(index, &page);
            }
            look.answers.push(status);
        }
        if let Some(newest) = look.newest_node() {
            let events = cluster.events(newest, self.newest_event);
            if let Ok(Ok(events)) = tokio::time::timeout(LOOK_DEADLINE, events).await {
                self.newest_event = events.last().map_or(self.newest_event, |it| it.number);
                look.events = events;
            }
        }
        look
    }

    pub(super) fn moved(&self) -> MovedCalls {
        self.moved
    }

    fn count(&mut self, node: usize, page: &str) {
        let mut rise = |name: &'static str| {
            let now = counter(page, name);
            let before = self.counted.insert((node, name), now).unwrap_or(0);
            // A process that was started again counts from nothing.
            if now >= before { now - before } else { now }
        };
        let MovedCalls { reclaimed, covered, handed_over } = &mut self.moved;
        *reclaimed += rise("leasehold_checkouts_reclaimed_total");
        *covered += rise("leasehold_checkouts_covered_total");
        *handed_over += rise("leasehold_checkouts_handed_over_total");
    }
}

impl Look {
    /// The answer of the node that knows most.
    pub(super) fn newest(&self) -> Option<&v1::StatusResponse> {
        self.answers.get(self.newest_node()?)?.as_ref()
    }

    fn newest_node(&self) -> Option<usize> {
        let known = |index: &usize| self.answers[*index].as_ref().map(|it| it.applied_index);
        (0..self.answers.len()).filter(|index| known(index).is_some()).max_by_key(known)
    }

    /// The leader that answers itself, by its index.
    pub(super) fn leader(&self) -> Option<usize> {
        let leads = |status: &v1::StatusResponse| status.leader == Some(status.answering_node);
        let terms = self.answers.iter().enumerate().filter_map(|(index, status)| {
            status.as_ref().filter(|status| leads(status)).map(|status| (status.term, index))
        });
        terms.max().map(|(_, index)| index)
    }

    /// Whether every node answers, knows the leader and lends.
    pub(super) fn is_healthy(&self) -> bool {
        self.leader().is_some()
            && self.answers.iter().all(|status| {
                status.as_ref().is_some_and(|status| {
                    status.leader.is_some() && own(status).is_some_and(is_lending)
                })
            })
    }

    /// Units in checkouts at the node at `index`, as it says itself.
    pub(super) fn in_use_at(&self, index: usize) -> u64 {
        let status = self.answers[index].as_ref();
        status.and_then(own).and_then(|node| node.units_in_use).unwrap_or(0)
    }

    /// The same of all other nodes.
    pub(super) fn in_use_elsewhere(&self, index: usize) -> u64 {
        let others = (0..self.answers.len()).filter(|other| *other != index);
        others.map(|other| self.in_use_at(other)).sum()
    }

    /// Units that ended leases hold.
    pub(super) fn frozen(&self) -> Option<u64> {
        Some(self.newest()?.nodes.iter().map(|node| node.units_frozen).sum())
    }
}

/// What a node says of itself.
pub(super) fn own(status: &v1::StatusResponse) -> Option<&v1::NodeStatus> {
    status.nodes.iter().find(|node| node.node_id == status.answering_node)
}

/// The id of the node at this place of the list.
pub(super) fn id_of(index: usize) -> u64 {
    index as u64 + 1
}

fn is_lending(node: &v1::NodeStatus) -> bool {
    node.lease() == v1::LeaseState::Live
}

async fn ask(cluster: &Cluster, index: usize) -> (Option<v1::StatusResponse>, Option<String>) {
    if cluster.process_id(index).is_none() {
        return (None, None);
    }
    let http = cluster.nodes()[index].http;
    let both = async { tokio::join!(cluster.status(index), metrics(http)) };
    match tokio::time::timeout(LOOK_DEADLINE, both).await {
        Ok((status, page)) => (status.ok(), page.ok()),
        Err(_) => (None, None),
    }
}

async fn metrics(address: SocketAddr) -> std::io::Result<String> {
    let mut connection = TcpStream::connect(address).await?;
    let request = "GET /metrics HTTP/1.0\r\nhost: node\r\nconnection: close\r\n\r\n";
    connection.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// The value of a counter without labels; 0 if the page has none, as a node makes it when it first
/// counts.
fn counter(page: &str, name: &str) -> u64 {
    let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_restarted_node_counts_is_added_to_what_it_counted_before() {
        let page = |reclaimed: u64| {
            format!(
                "# HELP leasehold_checkouts_reclaimed_total Checkouts moved here.\n\
                 leasehold_checkouts_reclaimed_total {reclaimed}\n\
                 leasehold_checkouts_covered_total 1\n"
            )
        };
        let mut watch = Watch::default();
        for reclaimed in [4, 7, 2, 2] {
            watch.count(0, &page(reclaimed));
        }
        watch.count(1, &page(10));
        let expected = MovedCalls { reclaimed: 7 + 2 + 10, covered: 2, handed_over: 0 };
        assert_eq!(watch.moved(), expected);
    }

    fn status(node: u64, leader: u64, term: u64, applied_index: u64) -> Option<v1::StatusResponse> {
        let of = |node_id: u64| v1::NodeStatus {
            node_id,
            lease: v1::LeaseState::Live.into(),
            units_in_use: (node_id == node).then_some(10 * node_id),
            ..v1::NodeStatus::default()
        };
        Some(v1::StatusResponse {
            answering_node: node,
            leader: Some(leader),
            term,
            applied_index,
            nodes: vec![of(1), of(2), of(3)],
            ..v1::StatusResponse::default()
        })
    }

    #[test]
    fn a_deposed_leader_that_does_not_know_it_yet_is_not_taken_for_the_leader() {
        let answers = vec![status(1, 1, 4, 90), status(2, 2, 5, 95), status(3, 2, 5, 94)];
        let mut look = Look { answers, events: Vec::new() };
        assert_eq!(look.leader(), Some(1));
        assert_eq!(look.newest().unwrap().answering_node, 2);
        assert_eq!((look.in_use_at(1), look.in_use_elsewhere(1)), (20, 10 + 30));
        assert!(look.is_healthy());
        look.answers[2] = None;
        assert!(!look.is_healthy());
    }
}
