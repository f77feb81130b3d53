//! Settings of consensus, and what openraft is told.

use std::time::Duration;

use leasehold_core::id::NodeId;
use openraft::SnapshotPolicy;

/// Settings of one node's consensus.
#[derive(Clone, Debug)]
pub struct Config {
    pub node: NodeId,
    /// How often a leader shows itself, and how long a peer's answer to that may take: more than
    /// 4/3 of a round trip. The answer to entries waits for the peer's disk, and may take as long
    /// as `election_max_ms`.
    pub heartbeat_ms: u64,
    /// Shortest randomized wait before a node asks for votes.
    pub election_min_ms: u64,
    /// Longest randomized wait; also how long a node trusts a leader it no longer hears.
    pub election_max_ms: u64,
    /// Log entries between two snapshots.
    pub snapshot_after_entries: u64,
    /// Log entries kept behind a snapshot, so that a peer that was away needs no snapshot.
    pub entries_kept: u64,
    /// How long one disk sync may take. A leader that can't write but still shows itself keeps
    /// the others from electing one that can.
    pub disk_stall_max: Duration,
}

impl Config {
    /// The settings of a production node.
    #[must_use]
    pub fn new(node: NodeId) -> Self {
        Self {
            node,
            heartbeat_ms: 200,
            election_min_ms: 750,
            election_max_ms: 1_000,
            snapshot_after_entries: 20_000,
            entries_kept: ENTRIES_KEPT,
            disk_stall_max: Duration::from_secs(10),
        }
    }

    pub(crate) fn to_openraft(&self) -> Result<openraft::Config, InvalidConfig> {
        if self.heartbeat_ms == 0 || 2 * self.heartbeat_ms > self.election_min_ms {
            return Err(InvalidConfig::Heartbeat {
                heartbeat_ms: self.heartbeat_ms,
                most_ms: self.election_min_ms / 2,
            });
        }
        if self.election_min_ms >= self.election_max_ms {
            return Err(InvalidConfig::Election {
                min_ms: self.election_min_ms,
                max_ms: self.election_max_ms,
            });
        }
        if self.snapshot_after_entries == 0 {
            return Err(InvalidConfig::Snapshot);
        }
        let config = openraft::Config {
            cluster_name: "leasehold".to_owned(),
            heartbeat_interval: self.heartbeat_ms,
            election_timeout_min: self.election_min_ms,
            election_timeout_max: self.election_max_ms,
            // A node that comes back must not depose a leader that the others hear.
            enable_pre_vote: Some(true),
            // A restarted leader is elected anew, so that it has applied all that was committed.
            enable_leader_restore: Some(false),
            // A leader without a majority falls silent, or a half-partition would hold on to it.
            // At least the leader's lease and one election.
            quorum_loss_probe_interval: Some(2 * self.election_max_ms),
            // A follower that lost what it had, for its disk was set back, gets it again. A leader
            // that ends itself instead leaves fewer copies of it at the worst moment.
            allow_log_reversion: Some(true),
            install_snapshot_timeout: SNAPSHOT_TIMEOUT_MS,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(self.snapshot_after_entries),
            max_in_snapshot_log_to_keep: self.entries_kept,
            // Only who is behind the kept log gets a snapshot: installing one into a running
            // node is openraft's least tested path (its issue 2116).
            replication_lag_threshold: 2 * self.entries_kept + self.snapshot_after_entries,
            purge_batch_size: PURGE_BATCH,
            ..openraft::Config::default()
        };
        config.validate().map_err(|error| InvalidConfig::Other(error.to_string()))
    }
}

/// At one heartbeat entry a second: more than a day.
const ENTRIES_KEPT: u64 = 100_000;
/// A snapshot is a few megabytes; over the slowest line that is still a cluster, a minute.
const SNAPSHOT_TIMEOUT_MS: u64 = 60_000;
/// Entries deleted at once: keeps one batch small.
const PURGE_BATCH: u64 = 256;

/// Settings that can't work together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidConfig {
    #[error(
        "heartbeat_ms = {heartbeat_ms} is out of range: expected 1 to {most_ms}, half of \
         election_min_ms, or one lost heartbeat would start an election"
    )]
    Heartbeat { heartbeat_ms: u64, most_ms: u64 },
    #[error(
        "election_min_ms = {min_ms} must be below election_max_ms = {max_ms}: nodes that wait \
         equally long split the vote"
    )]
    Election { min_ms: u64, max_ms: u64 },
    #[error("snapshot_after_entries = 0 is out of range: expected 1 or more")]
    Snapshot,
    #[error("consensus settings refused: {0}")]
    Other(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_avoid_openrafts_traps() {
        let config = Config::new(NodeId(1)).to_openraft().unwrap();
        assert!(config.max_in_snapshot_log_to_keep >= 100_000);
        assert!(config.replication_lag_threshold > config.max_in_snapshot_log_to_keep);
        assert_eq!(config.enable_pre_vote, Some(true));
        assert_eq!(config.enable_leader_restore, Some(false));
    }

    #[test]
    fn settings_that_can_not_work_are_refused() {
        let good = Config::new(NodeId(1));
        let bad = [
            Config { heartbeat_ms: 0, ..good.clone() },
            Config { heartbeat_ms: 400, ..good.clone() },
            Config { election_min_ms: 1_000, ..good.clone() },
            Config { snapshot_after_entries: 0, ..good },
        ];
        for config in bad {
            assert!(config.to_openraft().is_err(), "{config:?}");
        }
    }
}
