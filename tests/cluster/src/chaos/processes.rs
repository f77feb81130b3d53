//! Faults of processes: killed, paused, restarted.

use std::time::{Duration, Instant};

use super::network::Cut;
use super::{Chaos, Fault};

/// A service manager's, or an operator's, time to start a node again: at most.
const AWAY_MS: u64 = 6_000;

impl Chaos {
    /// Whether the design promises that no call is lost by it.
    pub(super) async fn inflict(&mut self, fault: Fault) -> bool {
        match fault {
            Fault::NodeKilled => {
                let followers = self.followers().await;
                let id = self.pick(&followers);
                self.kill(id).await;
            }
            Fault::LeaderKilled => {
                let id = self.leader().await;
                self.kill(id).await;
            }
            Fault::AllNodesKilled => return self.kill_all().await,
            Fault::NodePaused => {
                let followers = self.followers().await;
                let id = self.pick(&followers);
                self.pause(id).await;
            }
            Fault::LeaderPaused => {
                let id = self.leader().await;
                self.pause(id).await;
            }
            Fault::NodeCutOff => {
                let followers = self.followers().await;
                let id = self.pick(&followers);
                self.part(id, Cut::Both).await;
            }
            Fault::LeaderCutOff => {
                let id = self.leader().await;
                self.part(id, Cut::Both).await;
            }
            // One way, a leader is as good as any other.
            Fault::NodeNotHeard => {
                let id = self.pick_any();
                self.part(id, Cut::From).await;
            }
            Fault::NodeHearsNobody => {
                let id = self.pick_any();
                self.part(id, Cut::To).await;
            }
            Fault::EnginesCutOff => self.part_from_engines(Cut::Both).await,
            Fault::EnginesCutOffOneWay => self.part_from_engines(Cut::From).await,
            Fault::ConnectionsReset => self.reset_all().await,
            Fault::SlowNetwork => self.slow_network_down().await,
            Fault::DiskFull => self.fill_disk().await,
            Fault::DiskStalled => self.stall_disk().await,
            Fault::DiskSlow => self.slow_disk_down().await,
            Fault::DiskFailing => self.break_disk().await,
            Fault::LogTruncated => self.truncate_log().await,
            Fault::LogFlipped => self.flip_bit("log", "log").await,
            Fault::SnapshotFlipped => self.flip_bit("snapshots", "snapshot").await,
            Fault::DiskEmptied => self.empty_disk().await,
            Fault::RollingRestart => self.restart_all().await,
            Fault::NodeAdded => self.add_node().await,
            Fault::NodeRemoved => {
                let followers = self.followers().await;
                let id = self.pick(&followers);
                self.remove_node(id).await;
            }
            Fault::LeaderRemoved => {
                let id = self.leader().await;
                self.remove_node(id).await;
            }
        }
        true
    }

    async fn kill(&mut self, id: u64) {
        self.cluster.kill_9(id);
        self.pass(0, AWAY_MS).await;
        self.cluster.start_node(id);
    }

    /// Without a majority a call lives as long as its checkout: what was renewed last has a third
    /// of its lifetime behind it.
    async fn kill_all(&mut self) -> bool {
        let began = Instant::now();
        let members = self.members.clone();
        for id in &members {
            self.cluster.kill_9(*id);
        }
        for id in &members {
            self.cluster.start_node(*id);
        }
        for id in &members {
            self.cluster.wait_until_ready(*id).await;
        }
        let timings = self.cluster.shape.timings;
        let kept = Duration::from_millis(timings.checkout_ttl_ms * 2 / 3) - RECLAIM;
        began.elapsed() <= kept
    }

    /// For longer than its lease.
    async fn pause(&mut self, id: u64) {
        let lease_ms = self.cluster.shape.timings.lease_ms;
        self.cluster.process(id).pause();
        self.pass(lease_ms * 3 / 2, lease_ms * 4).await;
        self.cluster.process(id).resume();
    }

    async fn restart_all(&mut self) {
        for id in self.members.clone() {
            self.cluster.stop(id).await;
            self.cluster.start_node(id);
            self.cluster.wait_until_ready(id).await;
        }
    }
}

/// Until an engine has found a node that is back, and has reclaimed there.
const RECLAIM: Duration = Duration::from_secs(2);
