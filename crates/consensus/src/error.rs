//! What can go wrong, in words for the caller and for the operator.

use std::time::Duration;

use leasehold_core::id::NodeId;
use leasehold_storage::StorageError;
use openraft::errors::{ClientWriteError, RaftError};

use crate::config::InvalidConfig;
use crate::types::{Peer, TypeConfig};

/// Why consensus could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("node {configured} can't start with the data directory of node {stamped}")]
    OtherNode { configured: NodeId, stamped: NodeId },
    #[error(
        "the log was purged up to entry {purged}, but {}: a part of the ledger is lost. Restore \
         the directory `snapshots`, or remove this node from the cluster and let it join again \
         with a new id and an empty data directory", newest_text(*.newest)
    )]
    SnapshotMissing { purged: u64, newest: Option<u64> },
    #[error("the state on disk can't be taken up: {reason}")]
    Recovery { reason: String },
}

fn newest_text(newest: Option<u64>) -> String {
    newest.map_or_else(
        || "there is no snapshot".to_owned(),
        |index| format!("the newest snapshot ends at entry {index}"),
    )
}

/// Why a proposal has no outcome.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Nothing was proposed.
    #[error("this node does not lead{}", leader_text(.leader.as_ref()))]
    NotLeader { leader: Option<(NodeId, Peer)> },
    /// The commands may or may not be applied, now or later.
    #[error("not known to be committed: {reason}")]
    Unavailable { reason: Uncertain },
    /// Nothing was proposed.
    #[error("{bytes} bytes of commands are too many for one entry: expected at most {most}")]
    TooLarge { bytes: usize, most: usize },
    /// Nothing was proposed: a change of members that is not possible now.
    #[error("the change of members was refused: {reason}")]
    Refused { reason: String },
    /// The node is ending.
    #[error("consensus has stopped on this node")]
    Stopped,
}

/// Why nobody knows whether an entry is or will be committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Uncertain {
    #[error("no majority confirmed it within {0:?}")]
    Deadline(Duration),
    #[error("the leader changed meanwhile")]
    LeaderChanged,
}

fn leader_text(leader: Option<&(NodeId, Peer)>) -> String {
    leader.map_or_else(
        || ", and no node is known to lead".to_owned(),
        |(node, peer)| format!("; node {node} at {} does", peer.address),
    )
}

/// Why a cluster could not be founded here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InitializeError {
    #[error("this node already belongs to a cluster")]
    AlreadyInitialized,
    #[error("the founding members do not include this node, {node}")]
    NotAMember { node: NodeId },
    #[error("consensus has stopped on this node")]
    Stopped,
}

/// Why this node's consensus is dead. The process must end with a failure.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FatalError {
    #[error("the log has failed")]
    Storage(#[source] StorageError),
    #[error("the Raft core has failed: {reason}")]
    Core { reason: String },
    #[error(
        "the disk has not finished a sync for {for_ms} ms (the limit is {limit_ms}): check the \
         disk that holds the data directory"
    )]
    Stalled { for_ms: u128, limit_ms: u128 },
}

impl From<RaftError<TypeConfig, ClientWriteError<TypeConfig>>> for ProposeError {
    fn from(error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> Self {
        match error {
            RaftError::Fatal(_) => Self::Stopped,
            RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => {
                Self::NotLeader { leader: forward.leader_id.map(NodeId).zip(forward.leader_node) }
            }
            RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)) => {
                Self::Unavailable { reason: Uncertain::LeaderChanged }
            }
            RaftError::APIError(
                refused @ (ClientWriteError::ChangeMembershipError(_)
                | ClientWriteError::PreconditionFailed(_)),
            ) => Self::Refused { reason: refused.to_string() },
        }
    }
}
