//! Faults of the network: ways that are cut, slow or reset.

use std::time::Duration;

use super::Chaos;
use super::load::party_at;

/// Round trips between sites: from a metropolitan area to two continents.
const ROUND_TRIP_MS: (u64, u64) = (10, 80);

/// Which ways between a node and the others are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    Both,
    /// It is not heard.
    From,
    /// It hears nobody.
    To,
}

impl Chaos {
    /// Parts `node` from all others for a while.
    pub(super) async fn part(&mut self, node: u64, cut: Cut) {
        for other in self.members.iter().filter(|id| **id != node) {
            match cut {
                Cut::Both => self.cluster.part(node, *other),
                Cut::From => self.cluster.cut(node, *other),
                Cut::To => self.cluster.cut(*other, node),
            }
        }
        self.last_a_while().await;
    }

    /// Parts a node from the engines of its site.
    pub(super) async fn part_from_engines(&mut self, cut: Cut) {
        let followers = self.followers().await;
        let node = self.pick(&followers);
        match cut {
            Cut::Both => self.cluster.part(party_at(node), node),
            Cut::From => self.cluster.cut(node, party_at(node)),
            Cut::To => self.cluster.cut(party_at(node), node),
        }
        self.last_a_while().await;
    }

    /// Ends all connections, and goes on.
    pub(super) async fn reset_all(&mut self) {
        for node in &self.members {
            self.reset(*node);
        }
        self.last_a_while().await;
    }

    pub(super) async fn slow_network_down(&mut self) {
        let (least, most) = ROUND_TRIP_MS;
        let round_trip = Duration::from_millis(least + self.dice.below(most - least + 1));
        self.set_round_trips(round_trip);
        self.last_a_while().await;
        self.set_round_trips(Duration::ZERO);
    }

    /// From a disturbance that nobody need notice to one that outlasts leases.
    async fn last_a_while(&mut self) {
        let lease_ms = self.cluster.shape.timings.lease_ms;
        self.pass(500, lease_ms * 3).await;
        self.cluster.heal();
    }

    fn reset(&self, node: u64) {
        for other in self.members.iter().filter(|id| **id != node) {
            self.cluster.mesh().way(node, *other).reset();
        }
        for site in &self.members {
            self.cluster.mesh().way(party_at(*site), node).reset();
        }
    }

    fn set_round_trips(&self, round_trip: Duration) {
        for one in &self.members {
            for other in self.members.range(one + 1..) {
                self.cluster.mesh().set_round_trip(*one, *other, round_trip);
            }
        }
    }
}
