//! What every node reports to the leader, gathered for an operator who asks any node.

use leasehold_consensus::Consensus;
use leasehold_core::desk::DeskStatus;
use leasehold_core::id::NodeId;

use crate::actors::desk::DeskHandle;
use crate::actors::steward::{Figures, NodeFigures, StewardHandle};
use crate::peers::Peers;

/// Where figures come from.
#[derive(Clone, Debug)]
pub struct FigureSources {
    pub node: NodeId,
    pub consensus: Consensus,
    pub steward: StewardHandle,
    pub desk: DeskHandle,
    pub peers: Peers,
}

impl FigureSources {
    /// All that can be learned within a second; this node's own always.
    pub async fn gather(&self) -> Figures {
        let mut figures = match self.steward.figures() {
            Some(figures) => figures,
            None => self.ask_leader().await.unwrap_or_default(),
        };
        let desk = self.desk.observe().borrow().clone();
        if let Some(own) = own(desk) {
            figures.insert(self.node, own);
        }
        figures
    }

    async fn ask_leader(&self) -> Option<Figures> {
        let leader = self.consensus.status().leader.filter(|leader| *leader != self.node)?;
        let answered = self.peers.figures(leader).await;
        answered.inspect_err(|error| tracing::debug!(%error, "no figures of the leader")).ok()
    }
}

/// What this node's desk shows of itself, which is newer than what it has told the leader.
fn own(desk: DeskStatus) -> Option<NodeFigures> {
    Some(NodeFigures { epoch: desk.epoch?, age_ms: 0, report: desk.report })
}
