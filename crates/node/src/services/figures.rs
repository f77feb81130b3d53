//! What every node reports to the leader, gathered for an operator who asks any node.

use std::collections::BTreeMap;

use leasehold_clock::Clock;
use leasehold_consensus::Consensus;
use leasehold_core::desk::DeskStatus;
use leasehold_core::desk::message::Report;
use leasehold_core::id::{Epoch, NodeId};
use leasehold_core::time::Moment;
use serde::{Deserialize, Serialize};

use crate::actors::desk::DeskHandle;
use crate::actors::steward::StewardHandle;
use crate::peers::Peers;

/// The newest report of each node, as far as it is known here.
pub type Figures = BTreeMap<NodeId, NodeFigures>;

/// What one node said of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeFigures {
    pub epoch: Epoch,
    /// How long ago, at the leader.
    pub age_ms: u64,
    pub report: Report,
}

/// Those that the leader has; `None` if another node leads.
#[must_use]
pub fn at_leader(steward: &StewardHandle, clock: &Clock) -> Option<Figures> {
    let now = Moment(clock.now());
    let figures = steward.reports()?.into_iter().map(|(node, known)| {
        let age_ms = now.since(known.at);
        (node, NodeFigures { epoch: known.epoch, age_ms, report: known.report })
    });
    Some(figures.collect())
}

/// Where figures come from.
#[derive(Clone, Debug)]
pub struct FigureSources {
    pub node: NodeId,
    pub clock: Clock,
    pub consensus: Consensus,
    pub steward: StewardHandle,
    pub desk: DeskHandle,
    pub peers: Peers,
}

impl FigureSources {
    /// All that can be learned within a second; this node's own always.
    pub async fn gather(&self) -> Figures {
        let mut figures = match at_leader(&self.steward, &self.clock) {
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
