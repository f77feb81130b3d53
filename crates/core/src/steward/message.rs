//! What nodes ask of the steward, and what it wants done.

use serde::{Deserialize, Serialize};

use crate::desk::message::{BeatAnswer, Operated, Report, Ticket};
use crate::id::{Epoch, NodeId, PoolId, ProcessId};
use crate::ledger::command::Command;
use crate::ledger::{Checkpoint, NodeView};

/// A node asks for a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenRequest {
    pub node: NodeId,
    pub process: ProcessId,
    /// The node's newest epoch as it knows it.
    pub after: Epoch,
    /// The process that the lock of the data directory proves to have ended.
    pub gone: Option<ProcessId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenAnswer {
    /// The epoch opened; `None`: ask again with the newest epoch of the view.
    pub epoch: Option<Epoch>,
    pub view: NodeView,
}

/// A node renews its lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BeatRequest {
    pub node: NodeId,
    pub epoch: Epoch,
    pub seq: u64,
    /// The newest beat of this epoch that the sender saw acknowledged.
    pub heard: u64,
    /// What the sender's replica has come to.
    pub applied: Option<Checkpoint>,
    pub report: Report,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Open(OpenAnswer),
    Beat(BeatAnswer),
    Operated(Operated),
    /// It may or may not have been committed, or was not proposed: ask again.
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Answer {
        ticket: Ticket,
        answer: Answer,
    },
    /// Put these into one log entry: [`super::Steward::on_proposed`].
    Propose {
        token: u64,
        commands: Vec<Command>,
    },
    /// Ask a node for idle units: [`super::Steward::on_recalled`].
    Recall {
        node: NodeId,
        pools: Vec<(PoolId, u64)>,
    },
}
