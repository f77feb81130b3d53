//! What can be done to a cluster.

use std::fmt;

use super::Plan;
use crate::shape::Wires;

/// One kind of fault. Which node it hits, how hard and how long is drawn, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    NodeKilled,
    LeaderKilled,
    AllNodesKilled,
    NodePaused,
    LeaderPaused,
    NodeCutOff,
    NodeNotHeard,
    NodeHearsNobody,
    LeaderCutOff,
    EnginesCutOff,
    EnginesCutOffOneWay,
    ConnectionsReset,
    SlowNetwork,
    DiskFull,
    DiskStalled,
    DiskSlow,
    DiskFailing,
    LogTruncated,
    LogFlipped,
    SnapshotFlipped,
    DiskEmptied,
    RollingRestart,
    NodeAdded,
    NodeRemoved,
    LeaderRemoved,
}

impl Fault {
    pub const ALL: [Self; 25] = [
        Self::NodeKilled,
        Self::LeaderKilled,
        Self::AllNodesKilled,
        Self::NodePaused,
        Self::LeaderPaused,
        Self::NodeCutOff,
        Self::NodeNotHeard,
        Self::NodeHearsNobody,
        Self::LeaderCutOff,
        Self::EnginesCutOff,
        Self::EnginesCutOffOneWay,
        Self::ConnectionsReset,
        Self::SlowNetwork,
        Self::DiskFull,
        Self::DiskStalled,
        Self::DiskSlow,
        Self::DiskFailing,
        Self::LogTruncated,
        Self::LogFlipped,
        Self::SnapshotFlipped,
        Self::DiskEmptied,
        Self::RollingRestart,
        Self::NodeAdded,
        Self::NodeRemoved,
        Self::LeaderRemoved,
    ];

    /// Whether a run of `plan` can make it while the cluster has `members`.
    #[must_use]
    pub fn is_possible(self, plan: &Plan, members: usize) -> bool {
        match self {
            Self::NodeCutOff
            | Self::NodeNotHeard
            | Self::NodeHearsNobody
            | Self::LeaderCutOff
            | Self::EnginesCutOff
            | Self::EnginesCutOffOneWay => plan.wires != Wires::Direct,
            Self::ConnectionsReset | Self::SlowNetwork => plan.wires == Wires::Mesh,
            Self::DiskFull | Self::DiskStalled | Self::DiskSlow | Self::DiskFailing => {
                plan.has_disks
            }
            Self::NodeAdded => members < MEMBERS_MOST,
            Self::NodeRemoved | Self::LeaderRemoved => members > MEMBERS_LEAST,
            Self::NodeKilled
            | Self::LeaderKilled
            | Self::AllNodesKilled
            | Self::NodePaused
            | Self::LeaderPaused
            | Self::LogTruncated
            | Self::LogFlipped
            | Self::SnapshotFlipped
            | Self::DiskEmptied
            | Self::RollingRestart => true,
        }
    }

    /// Whether it may leave no majority for so long that the design loses calls.
    #[must_use]
    pub(super) fn may_last_too_long(self) -> bool {
        self == Self::AllNodesKilled
    }

    /// Whether a node is added by it, or has to take the place of one that was lost.
    #[must_use]
    pub(super) fn may_need_a_new_node(self) -> bool {
        match self {
            Self::DiskFull
            | Self::DiskStalled
            | Self::DiskSlow
            | Self::DiskFailing
            | Self::LogTruncated
            | Self::LogFlipped
            | Self::SnapshotFlipped
            | Self::DiskEmptied
            | Self::NodeAdded => true,
            Self::NodeKilled
            | Self::LeaderKilled
            | Self::AllNodesKilled
            | Self::NodePaused
            | Self::LeaderPaused
            | Self::NodeCutOff
            | Self::NodeNotHeard
            | Self::NodeHearsNobody
            | Self::LeaderCutOff
            | Self::EnginesCutOff
            | Self::EnginesCutOffOneWay
            | Self::ConnectionsReset
            | Self::SlowNetwork
            | Self::RollingRestart
            | Self::NodeRemoved
            | Self::LeaderRemoved => false,
        }
    }
}

/// One may be down.
const MEMBERS_LEAST: usize = 3;
/// Two may be down.
const MEMBERS_MOST: usize = 5;

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NodeKilled => "node killed",
            Self::LeaderKilled => "leader killed",
            Self::AllNodesKilled => "all nodes killed at once",
            Self::NodePaused => "node paused",
            Self::LeaderPaused => "leader paused",
            Self::NodeCutOff => "partition, both ways",
            Self::NodeNotHeard => "partition, one way: a node is not heard",
            Self::NodeHearsNobody => "partition, one way: a node hears nobody",
            Self::LeaderCutOff => "leader cut off",
            Self::EnginesCutOff => "engines cut off from a node",
            Self::EnginesCutOffOneWay => "engines cut off from a node, one way",
            Self::ConnectionsReset => "all connections reset",
            Self::SlowNetwork => "slow network",
            Self::DiskFull => "disk full",
            Self::DiskStalled => "disk stalled",
            Self::DiskSlow => "disk slow",
            Self::DiskFailing => "disk failing",
            Self::LogTruncated => "log truncated while the node was down",
            Self::LogFlipped => "log damaged while the node was down",
            Self::SnapshotFlipped => "snapshot damaged while the node was down",
            Self::DiskEmptied => "node back with an empty disk",
            Self::RollingRestart => "rolling restart",
            Self::NodeAdded => "node added",
            Self::NodeRemoved => "node removed",
            Self::LeaderRemoved => "leader removed",
        })
    }
}
