//! Faults of the network: ways that are cut, slow or reset.

#![expect(clippy::wildcard_enum_match_arm, reason = "a family of faults is told apart, of all")]

use std::time::Duration;

use super::load::party_at;
use super::{Chaos, Fault};

/// Round trips between sites: from a metropolitan area to two continents.
const ROUND_TRIP_MS: (u64, u64) = (10, 80);

impl Chaos {
    pub(super) async fn disturb(&mut self, fault: Fault) {
        let followers = self.followers().await;
        let leader = self.leader().await;
        let node = match fault {
            Fault::LeaderCutOff => leader,
            // One way, a leader is as good as any other.
            Fault::NodeNotHeard | Fault::NodeHearsNobody => {
                let all: Vec<u64> = self.members.iter().copied().collect();
                self.pick(&all)
            }
            _ => self.pick(&followers),
        };
        let others: Vec<u64> = self.members.iter().copied().filter(|id| *id != node).collect();
        for other in &others {
            match fault {
                Fault::NodeCutOff | Fault::LeaderCutOff => self.cluster.part(node, *other),
                Fault::NodeNotHeard => self.cluster.cut(node, *other),
                Fault::NodeHearsNobody => self.cluster.cut(*other, node),
                Fault::ConnectionsReset => self.reset(*other),
                _ => {}
            }
        }
        match fault {
            Fault::EnginesCutOff => self.cluster.part(party_at(node), node),
            Fault::EnginesCutOffOneWay => self.cluster.cut(node, party_at(node)),
            Fault::SlowNetwork => self.slow_down(),
            Fault::ConnectionsReset => self.reset(node),
            _ => {}
        }
        // From a disturbance that nobody need notice to one that outlasts leases.
        let lease_ms = self.cluster.shape.timings.lease_ms;
        self.pass(500, lease_ms * 3).await;
        self.cluster.heal();
        if fault == Fault::SlowNetwork {
            self.set_round_trips(Duration::ZERO);
        }
    }

    fn reset(&self, node: u64) {
        for other in self.members.iter().filter(|id| **id != node) {
            self.cluster.mesh().way(node, *other).reset();
        }
        for site in &self.members {
            self.cluster.mesh().way(party_at(*site), node).reset();
        }
    }

    fn slow_down(&mut self) {
        let (least, most) = ROUND_TRIP_MS;
        let round_trip = Duration::from_millis(least + self.dice.below(most - least + 1));
        self.set_round_trips(round_trip);
    }

    fn set_round_trips(&self, round_trip: Duration) {
        for one in &self.members {
            for other in self.members.range(one + 1..) {
                self.cluster.mesh().set_round_trip(*one, *other, round_trip);
            }
        }
    }
}
