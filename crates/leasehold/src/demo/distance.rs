//! Data centers that are far from each other, on one machine: delay proxies before the nodes.
//!
//! What comes from another site goes through a node's proxy, for peers and for engines alike; what
//! comes from its own site goes straight to the node, and so do operators.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;

use super::link::Mesh;

/// The proxies, for as long as the demo runs.
#[derive(Debug)]
pub(super) struct Distance {
    mesh: Mesh,
    round_trip: Duration,
    /// By node.
    outsides: Vec<Outside>,
}

/// Where a node is reached from other sites.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outside {
    pub(super) engines: SocketAddr,
    pub(super) peers: SocketAddr,
}

/// All that is not in the node's site: each of them is equally far. Node ids begin with 1.
const ELSEWHERE: u64 = 0;

impl Distance {
    /// Between each two sites a question and its answer take `round_trip`.
    pub(super) fn new(round_trip: Duration) -> Self {
        Self { mesh: Mesh::new(), round_trip, outsides: Vec::new() }
    }

    /// Puts proxies at `outside` before the next node, which listens at `here`.
    pub(super) async fn lead_to(&mut self, outside: Outside, here: Outside) -> anyhow::Result<()> {
        let id = self.outsides.len() as u64 + 1;
        self.mesh.set_round_trip(ELSEWHERE, id, self.round_trip);
        for (listen, target) in [(outside.engines, here.engines), (outside.peers, here.peers)] {
            let started = self.mesh.lead_from_to(ELSEWHERE, id, listen, target).await;
            started.with_context(|| format!("no proxy can listen at {listen}"))?;
        }
        self.outsides.push(outside);
        Ok(())
    }

    pub(super) fn outside(&self, node: usize) -> Option<Outside> {
        self.outsides.get(node).copied()
    }
}
