//! Who answers: the steward wherever the leader is, and the desk of any node.

use bytes::Bytes;
use leasehold_core::desk::message::{BeatAnswer, HandOver, Operated, Operation};
use leasehold_core::id::{NodeId, PoolId};
use leasehold_core::steward::message::{BeatRequest, OpenAnswer, OpenRequest};

use super::desk::DeskHandle;
use super::steward::StewardHandle;

/// From a desk to the leader's steward and to other desks. `None` means: no answer, ask again.
#[derive(Clone, Debug)]
pub struct Route {
    pub steward: StewardHandle,
    pub desks: DeskRoute,
}

impl Route {
    pub async fn open(&self, request: OpenRequest) -> Option<OpenAnswer> {
        self.steward.open(request).await
    }

    pub async fn beat(&self, request: BeatRequest) -> Option<BeatAnswer> {
        self.steward.beat(request).await
    }

    pub async fn operate(&self, node: NodeId, operation: Operation) -> Option<Operated> {
        self.steward.operate(node, operation).await
    }

    pub async fn hand_over(&self, from: NodeId, receipt: Vec<u8>) -> Option<HandOver> {
        self.desks.hand_over(from, receipt).await
    }

    pub async fn pass_checkin(&self, to: NodeId, receipt: Vec<u8>) {
        self.desks.pass_checkin(to, receipt).await;
    }
}

/// To the desk of a node.
#[derive(Clone, Debug)]
pub struct DeskRoute {
    pub node: NodeId,
    pub local: DeskHandle,
}

impl DeskRoute {
    pub async fn recall(
        &self,
        node: NodeId,
        pools: Vec<(PoolId, u64)>,
    ) -> Option<Vec<(PoolId, u64)>> {
        if node != self.node {
            return None;
        }
        self.local.recall(pools).await.ok()
    }

    async fn hand_over(&self, from: NodeId, receipt: Vec<u8>) -> Option<HandOver> {
        if from != self.node {
            return None;
        }
        self.local.hand_over(Bytes::from(receipt), self.node).await.ok()
    }

    async fn pass_checkin(&self, to: NodeId, receipt: Vec<u8>) {
        if to == self.node {
            // Without an answer the checkout ends with its time.
            let _ = self.local.checkin(vec![Bytes::from(receipt)], true).await;
        }
    }
}
