//! The engines of a chaos run.

use std::sync::Arc;

use leasehold::demo::Record;
use leasehold_clock::Clock;

use super::Chaos;
use crate::engines::{Engines, Habits};

/// Engines at work, and the ones that take over from them when the members change.
#[derive(Debug, Default)]
pub(super) struct Load {
    engines: Engines,
}

/// Numbers of the engines' parties begin above all nodes.
const PARTIES: u64 = 1_000;
const PLENTY: &[(&str, u64)] = &[("asr.tier1", 1), ("tts.chris", 1)];
const SCARCE: &[(&str, u64)] = &[("asr.tier4", 1)];
/// Of ten engines, one makes calls that outlive every fault, two want what is scarce.
const OF_TEN: usize = 10;

impl Load {
    pub(super) fn record(&self) -> &Arc<Record> {
        self.engines.record()
    }

    pub(super) fn running(&self) -> usize {
        self.record().running(Clock::Steady.now())
    }

    pub(super) async fn stop(&mut self) {
        self.engines.stop().await;
    }
}

/// The engines of a site are one party.
pub(super) fn party_at(site: u64) -> u64 {
    PARTIES + site
}

impl Chaos {
    /// Engines that know the present members, and the next two nodes that may come, take over.
    pub(super) async fn renew_load(&mut self) {
        let mut known: Vec<u64> = self.members.iter().copied().collect();
        known.extend((self.next_id..self.next_id + 2).filter(|id| *id <= self.cluster.shape.ids));
        let mut engines = self.load.engines.successors();
        let sites: Vec<u64> = self.members.iter().copied().collect();
        for number in 0..self.plan.engines {
            let site = sites[number % sites.len()];
            let name = format!("site-{site}");
            let config = self.cluster.engine_config_of(party_at(site), &known, &name).await;
            let habits = match number % OF_TEN {
                0 => Habits { features: PLENTY, calls: 1, call_ms: (60_000, 600_000), wait_ms: 0 },
                1 => Habits { features: SCARCE, calls: 1, call_ms: (200, 4_000), wait_ms: 0 },
                2 => Habits { features: SCARCE, calls: 1, call_ms: (200, 4_000), wait_ms: 3_000 },
                _ => Habits { features: PLENTY, calls: 1, call_ms: (500, 20_000), wait_ms: 500 },
            };
            engines.add(1, &config, habits);
        }
        let mut before = std::mem::replace(&mut self.load.engines, engines);
        before.stop().await;
    }
}
