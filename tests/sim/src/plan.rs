//! What a seed stands for: how large a cluster, which clocks, which network, which faults.

use leasehold_core::time::Timings;

use crate::clock::{MS, SECOND, Time};
use crate::dice::Dice;
use crate::fault::{self, Fault};

/// How hard a run is, and so what may be demanded of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// One machine at a time fails or is cut off, and a leader is back soon: no running call may
    /// be lost.
    Single,
    /// Anything may happen at once: nothing may ever be lent twice, and all must heal.
    Wild,
    /// Sites are cut off together with their engines, for longer than a lease and a checkout last,
    /// units are few, answers slow: whoever counts time wrongly is found out.
    Hostile,
}

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) class: Class,
    pub(crate) timings: Timings,
    /// The rate of every clock is off by the most that is allowed, one way or the other.
    pub(crate) has_extreme_clocks: bool,
    pub(crate) machines: usize,
    pub(crate) sites: usize,
    pub(crate) engines: usize,
    /// Until then faults may happen and engines ask for more.
    pub(crate) heal_at: Time,
    pub(crate) network: NetworkPlan,
    pub(crate) faults: Vec<(Time, Fault)>,
    /// Units per feature line, at most: few make contention.
    pub(crate) units_most: u64,
    /// When a new day begins and a contract ends, if one does.
    pub(crate) midnight_at: Option<Time>,
}

#[derive(Clone, Debug)]
pub(crate) struct NetworkPlan {
    pub(crate) peer_delay: (Time, Time),
    pub(crate) engine_delay: (Time, Time),
    pub(crate) loss_per_mille: u64,
    pub(crate) duplicate_per_mille: u64,
    /// Messages that take seconds.
    pub(crate) late_per_mille: u64,
    pub(crate) commit_delay: (Time, Time),
}

impl Plan {
    pub(crate) fn new(seed: u64, dice: &mut Dice) -> Self {
        let class = match seed % 4 {
            0 => Class::Single,
            1 | 2 => Class::Wild,
            _ => Class::Hostile,
        };
        // Where messages are lost one at a time, a call must be able to wait for some of them.
        let is_lossy = class == Class::Single && dice.chance(500);
        let network = network(class, is_lossy, dice);
        // Nor does the least lifetime bear slow commits after the 2 s that a dead host costs.
        let is_patient = is_lossy || class == Class::Single && network.has_slow_commits();
        let timings = timings(class, is_patient || dice.chance(300), dice);
        let machines = match (class, dice.below(10)) {
            (Class::Single | Class::Hostile, _) => 3,
            (Class::Wild, 0) => 1,
            (Class::Wild, 1) => 2,
            (Class::Wild, 2 | 3) => 4,
            (Class::Wild, _) => 3,
        };
        let scale = timings.lease_ms * MS;
        let lasts = if class == Class::Hostile { 10 } else { 5 };
        let heal_at = scale * dice.between(lasts, 2 * lasts);
        let mut plan = Self {
            class,
            timings,
            has_extreme_clocks: class == Class::Hostile || dice.chance(600),
            machines,
            sites: if dice.chance(300) { 1 } else { 2 },
            engines: usize::try_from(dice.between(5, 14)).unwrap_or(5),
            heal_at,
            network,
            faults: Vec::new(),
            units_most: if class == Class::Hostile { 4 } else { dice.between(3, 9) },
            midnight_at: None,
        };
        if class == Class::Wild && dice.chance(300) {
            plan.midnight_at = Some(dice.below(heal_at));
        }
        plan.faults = fault::schedule(&plan, dice);
        plan
    }

    /// From the healing on, until every unit that no engine uses can be drawn again: T + TTL + 2 s,
    /// on clocks that are off by ρ either way, and what a heal in the middle of things may cost: an
    /// election (detected after up to three timeouts, held within one second) and a call that
    /// was sent before it and has to run into its deadline first.
    pub(crate) fn healing(&self) -> Time {
        let Timings { lease_ms, checkout_ttl_ms, margin_ms, .. } = self.timings;
        let waits_ms = self.timings.stretch(lease_ms + checkout_ttl_ms) + margin_ms;
        let on_slow_clock_ms = self.timings.stretch(waits_ms) + waits_ms / 50;
        let election_ms = 3 * self.timings.election_max_ms + 1_000;
        (on_slow_clock_ms + 2_000 + election_ms) * MS + CALL_DEADLINE
    }
}

/// How long a caller waits for an answer, engine or peer.
pub(crate) const CALL_DEADLINE: Time = 2 * SECOND;

/// Mostly leases of seconds, so that a run of a minute sees many of them end; ρ up to its limit.
fn timings(class: Class, is_patient: bool, dice: &mut Dice) -> Timings {
    let hostile = class == Class::Hostile;
    if !hostile && dice.chance(100) {
        return Timings::default();
    }
    let clock_drift_ppm = [10_000, if hostile { 100_000 } else { 30_000 }, 60_000][dice.index(3)];
    // The longer a lease, the more its length in true time depends on the clock.
    let lease_ms = if hostile { dice.between(3_000, 8_000) } else { dice.between(2_000, 3_000) };
    let timings = Timings {
        lease_ms,
        heartbeat_ms: dice.between(150, 300),
        checkout_ttl_ms: 0,
        clock_drift_ppm,
        margin_ms: dice.between(20, if hostile { 600 } else { 100 }),
        election_max_ms: dice.between(100, 200),
    };
    // A call must outlive its node: the least that `Timings::validate` takes, and a little more.
    let needed_ms = (timings.stretch(lease_ms) + 2_000) * 3 / 2;
    let patience_ms = if is_patient { PATIENCE_MS } else { 0 };
    let checkout_ttl_ms =
        timings.stretch(needed_ms + needed_ms / 100) + dice.between(100, 1_000) + patience_ms;
    Timings { checkout_ttl_ms, ..timings }
}

/// What a patient run's checkouts last beyond the least: some attempts run into their deadline.
const PATIENCE_MS: u64 = 15_000;

/// A commit that waits for a distant site, or for a busy disk.
const SLOW_COMMITS: (Time, Time) = (5 * MS, 200 * MS);

impl NetworkPlan {
    fn has_slow_commits(&self) -> bool {
        self.commit_delay == SLOW_COMMITS
    }
}

fn network(class: Class, is_lossy: bool, dice: &mut Dice) -> NetworkPlan {
    let most = |wild: u64, lossy: u64| match class {
        Class::Wild => wild,
        Class::Single if is_lossy => lossy,
        Class::Single | Class::Hostile => 0,
    };
    let slow = class == Class::Hostile && dice.chance(500);
    let is_wide = dice.chance(200);
    NetworkPlan {
        peer_delay: match (slow, is_wide) {
            (true, _) => (MS, 700 * MS),
            (false, true) => (10 * MS, 40 * MS),
            (false, false) => (MS / 2, 8 * MS),
        },
        engine_delay: (MS / 2, if slow { 800 * MS } else { 10 * MS }),
        loss_per_mille: dice.below(most(80, 15) + 1),
        duplicate_per_mille: dice.below(most(60, 30) + 1),
        late_per_mille: dice.below(most(30, 5) + 1),
        commit_delay: if dice.chance(300) { SLOW_COMMITS } else { (2 * MS, 25 * MS) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plan_has_timings_that_a_cluster_accepts() {
        for seed in 0..500 {
            let plan = Plan::new(seed, &mut Dice::new(seed));
            assert_eq!(plan.timings.validate(), Ok(()), "seed {seed}");
        }
    }
}
