//! Who answers: the steward wherever the leader is, and the desk of any node.

use bytes::Bytes;
use leasehold_consensus::Consensus;
use leasehold_core::desk::message::{BeatAnswer, HandOver, Operated, Operation};
use leasehold_core::id::{NodeId, PoolId};
use leasehold_core::steward::message::{BeatRequest, OpenAnswer, OpenRequest};

use super::desk::DeskHandle;
use super::steward::StewardHandle;
use crate::expulsion::Expulsion;
use crate::peers::{PeerError, Peers};

/// From a desk to the leader's steward and to other desks. `None` means: no answer, ask again.
#[derive(Clone, Debug)]
pub struct Route {
    pub consensus: Consensus,
    pub steward: StewardHandle,
    pub desks: DeskRoute,
    pub expulsion: Expulsion,
}

impl Route {
    pub async fn open(&self, request: OpenRequest) -> Option<OpenAnswer> {
        match self.leader()? {
            Leader::Here => self.steward.open(request).await,
            Leader::At(node) => self.obey(self.desks.peers.open(node, request).await),
        }
    }

    pub async fn beat(&self, request: BeatRequest) -> Option<BeatAnswer> {
        match self.leader()? {
            Leader::Here => self.steward.beat(request).await,
            Leader::At(node) => self.obey(self.desks.peers.beat(node, request).await),
        }
    }

    pub async fn operate(&self, node: NodeId, operation: Operation) -> Option<Operated> {
        match self.leader()? {
            Leader::Here => self.steward.operate(node, operation).await,
            Leader::At(leader) => heard(self.desks.peers.operate(leader, operation).await),
        }
    }

    pub async fn hand_over(&self, from: NodeId, receipt: Vec<u8>) -> Option<HandOver> {
        self.desks.hand_over(from, Bytes::from(receipt)).await
    }

    pub async fn pass_checkin(&self, to: NodeId, receipt: Vec<u8>) {
        self.desks.pass_checkin(to, Bytes::from(receipt)).await;
    }

    /// A leader that says this node was removed, or is of another cluster, is believed.
    fn obey<T>(&self, answer: Result<T, PeerError>) -> Option<T> {
        if let Err(error) = &answer
            && error.is_rejection()
        {
            self.expulsion.tell(&error.to_string());
        }
        heard(answer)
    }

    fn leader(&self) -> Option<Leader> {
        let leadership = self.consensus.leadership();
        let led = leadership.borrow();
        if led.is_leader {
            return Some(Leader::Here);
        }
        led.leader.as_ref().map(|(node, _)| Leader::At(*node))
    }
}

enum Leader {
    Here,
    At(NodeId),
}

/// To the desk of a node.
#[derive(Clone, Debug)]
pub struct DeskRoute {
    pub node: NodeId,
    pub local: DeskHandle,
    pub peers: Peers,
}

impl DeskRoute {
    pub async fn recall(
        &self,
        node: NodeId,
        pools: Vec<(PoolId, u64)>,
    ) -> Option<Vec<(PoolId, u64)>> {
        if node == self.node {
            return self.local.recall(pools).await.ok();
        }
        heard(self.peers.recall(node, pools).await)
    }

    async fn hand_over(&self, from: NodeId, receipt: Bytes) -> Option<HandOver> {
        if from == self.node {
            return self.local.hand_over(receipt, self.node).await.ok();
        }
        heard(self.peers.hand_over(from, receipt).await)
    }

    async fn pass_checkin(&self, to: NodeId, receipt: Bytes) {
        if to == self.node {
            // Without an answer the checkout ends with its time.
            let _ = self.local.checkin(vec![receipt], true).await;
        } else {
            heard(self.peers.pass_checkin(to, vec![receipt]).await);
        }
    }
}

/// A peer that gives no answer is nothing to act on but by asking again; whoever looks for the
/// cause finds it in the log.
fn heard<T>(answer: Result<T, PeerError>) -> Option<T> {
    answer.inspect_err(|error| tracing::debug!(%error, "no answer from a peer")).ok()
}
