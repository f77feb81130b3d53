//! What must hold, looked at after every event that could break it.

use std::collections::BTreeMap;

use leasehold_core::id::PoolId;
use leasehold_core::ledger::command::{Action, ActionOutcome, Command, Outcome};
use leasehold_core::ledger::{AllotmentState, Ledger};
use leasehold_core::receipt::Receipt;

use crate::clock::MS;
use crate::engine::Stage;
use crate::event::ProcessIndex;
use crate::world::World;

impl World {
    /// Units in valid checkouts, in true time and as their engines see it.
    pub(crate) fn units_in_use(&self) -> BTreeMap<PoolId, u64> {
        let mut in_use: BTreeMap<PoolId, u64> = BTreeMap::new();
        for engine in &self.engines {
            let Stage::Held(held) = &engine.stage else { continue };
            if held.valid_until_true > self.now {
                for (pool, units) in &held.units {
                    *in_use.entry(*pool).or_default() += units;
                }
            }
        }
        in_use
    }

    /// Safety: engines never use more units of a pool than the ledger has lent out. What it has
    /// lent is what is entitled, less the reserve; more than that only after a cut.
    pub(crate) fn check_units(&mut self) {
        let totals = self.raft.reference.totals();
        for (pool, in_use) in self.units_in_use() {
            let total = totals.get(&pool).copied().unwrap_or_default();
            let lent = total.live.get() + total.frozen.get();
            if in_use > lent {
                let entitled = total.entitled;
                self.over_issued = self.over_issued.max(in_use - lent);
                self.violate(format!(
                    "over-issue: engines use {in_use} units of pool {pool}, {lent} of {entitled} \
                     are lent out"
                ));
            }
        }
    }

    /// Only a new entitlement may make a reserve negative.
    pub(crate) fn check_reserves(&mut self, before: &Ledger, command: &Command) {
        if matches!(command, Command::InstallEntitlement { .. }) {
            return;
        }
        for (id, pool) in self.raft.reference.pools() {
            let was = before.pools().get(id).map_or(0, |pool| pool.reserve);
            if pool.reserve < was.min(0) {
                let reserve = pool.reserve;
                self.violate(format!("{command:?} took the reserve of pool {id} to {reserve}"));
                return;
            }
        }
    }

    /// What engines may still use of a desk's units, the desk counts as lent: it ends no checkout
    /// before its engine must have stopped.
    pub(crate) fn check_book(&mut self, process: ProcessIndex) {
        let status = self.processes[process].desk.status();
        let node = self.processes[process].node;
        // A receipt from before a move may be shown anywhere; one that lives for longer is newer.
        let timings = self.plan.timings;
        let old = timings.stretch(timings.stretch(timings.checkout_ttl_ms)) * MS;
        let mut in_use: BTreeMap<PoolId, u64> = BTreeMap::new();
        for engine in &self.engines {
            let Stage::Held(held) = &engine.stage else { continue };
            if held.valid_until_true <= self.now {
                continue;
            }
            let Ok(receipt) = Receipt::open(&held.receipt, &self.receipt_key) else { continue };
            let is_here = receipt.node == node && Some(receipt.epoch) == status.epoch;
            let moved_at = self.moved_at.get(&receipt.checkout);
            if is_here && moved_at.is_none_or(|at| at + old < self.now) {
                for line in receipt.lines.iter() {
                    *in_use.entry(line.pool).or_default() += line.units.get();
                }
            }
        }
        for (pool, units) in in_use {
            let lent = status.report.pools.get(&pool).map_or(0, |it| it.in_use);
            if lent < units {
                self.violate(format!(
                    "engines may use {units} units of pool {pool} lent by node {node}, which \
                     counts {lent} as lent"
                ));
                return;
            }
        }
    }

    /// A desk has lent no more than what the ledger has allotted to it.
    pub(crate) fn check_desk(&mut self, process: ProcessIndex) {
        let checked = &self.processes[process];
        let is_settled = checked.in_flight.is_none() && checked.applied == self.raft.committed;
        // A look at everything a desk has costs more than most events.
        if !is_settled || !self.dice.chance(100) {
            return;
        }
        let status = checked.desk.status();
        let view = self.raft.reference.view(checked.node);
        if !view.live || status.epoch != Some(view.newest_epoch) {
            return;
        }
        for (pool, pool_use) in &status.report.pools {
            let held = view.held.iter().filter(|held| held.pool == *pool);
            let units: u64 = held.map(|held| held.units.get()).sum();
            if pool_use.in_use > units {
                let lent = pool_use.in_use;
                self.violate(format!(
                    "process {process} has lent {lent} units of pool {pool} and holds {units}"
                ));
                return;
            }
        }
    }

    /// Liveness: nothing is frozen.
    pub(crate) fn check_thawed(&mut self) {
        let frozen: u64 =
            self.raft.reference.totals().values().map(|total| total.frozen.get()).sum();
        if frozen > 0 {
            self.violate(format!("{frozen} units are still frozen long after the last fault"));
        }
    }

    /// Liveness: what desks count as lent is what engines use, and what they hold is theirs.
    pub(crate) fn check_accounts(&mut self) {
        let in_use = self.units_in_use();
        let mut lent: BTreeMap<PoolId, u64> = BTreeMap::new();
        let mut allotted: BTreeMap<PoolId, u64> = BTreeMap::new();
        for machine in self.members() {
            let Some(process) = self.machines[machine].process else { continue };
            let status = self.processes[process].desk.status();
            for (pool, pool_use) in &status.report.pools {
                *lent.entry(*pool).or_default() += pool_use.in_use;
                *allotted.entry(*pool).or_default() += pool_use.in_use + pool_use.free;
            }
        }
        for (pool, total) in self.raft.reference.totals() {
            let of = |units: &BTreeMap<PoolId, u64>| units.get(&pool).copied().unwrap_or(0);
            if of(&lent) != of(&in_use) {
                let (lent, in_use) = (of(&lent), of(&in_use));
                self.violate(format!(
                    "leak: desks count {lent} units of pool {pool} as lent, engines use {in_use}"
                ));
                return;
            }
            if of(&allotted) != total.live.get() && total.reserve >= 0 {
                let (allotted, live) = (of(&allotted), total.live);
                self.violate(format!(
                    "leak: desks know of {allotted} units of pool {pool}, {live} are lent to them"
                ));
                return;
            }
        }
    }

    pub(crate) fn count_command(&mut self, command: &Command, outcome: &Outcome) {
        match (command, outcome) {
            (Command::Freeze { .. }, Outcome::Done) => self.tally.count("lease ended"),
            (Command::Freeze { .. }, _) => self.tally.count("freeze refused, a beat came first"),
            (Command::Open { after, .. }, Outcome::Opened { .. }) => {
                let is_first = after.0 == 0;
                self.tally.count(if is_first { "epoch opened" } else { "epoch opened anew" });
            }
            (Command::Open { .. }, _) => self.tally.count("opening refused"),
            (Command::Lapse { .. }, _) => self.tally.count("allotments lapsed"),
            (Command::Thaw { .. }, _) => self.tally.count("allotments thawed"),
            (Command::Beat { .. }, Outcome::Beaten(live)) => {
                let dead = live.iter().filter(|live| !**live).count();
                self.tally.add("beat of an ended lease", dead as u64);
            }
            (Command::Operate { actions, .. }, Outcome::Operated(outcomes)) => {
                for (action, outcome) in actions.iter().zip(outcomes) {
                    self.count_action(action, outcome);
                }
            }
            (Command::Operate { .. }, _) => self.tally.count("operation refused"),
            (
                Command::Found(_)
                | Command::Admit { .. }
                | Command::InstallEntitlement { .. }
                | Command::Beat { .. }
                | Command::Remove { .. }
                | Command::Fence { .. }
                | Command::Unfence { .. }
                | Command::Close { .. }
                | Command::Day { .. },
                _,
            ) => {}
        }
    }

    fn count_action(&mut self, action: &Action, outcome: &ActionOutcome) {
        let what = match (action, outcome) {
            (Action::Draw { .. }, ActionOutcome::Drawn { units }) if !units.is_zero() => {
                "units drawn"
            }
            (Action::Draw { .. }, _) => "nothing to draw",
            (Action::Return { .. }, ActionOutcome::Done) => "units returned",
            (Action::Return { .. }, _) => {
                self.violate(format!("a desk gave back what it did not hold: {action:?}"));
                return;
            }
            (Action::Reclaim { .. }, ActionOutcome::Done) => "checkout reclaimed",
            (Action::Reclaim { .. }, ActionOutcome::LiveAt { .. }) => "reclaim while it lives",
            (Action::Reclaim { .. }, ActionOutcome::Refused(refusal)) => {
                self.tally.count(&format!("reclaim refused: {refusal}"));
                return;
            }
            (Action::Reclaim { .. }, ActionOutcome::Drawn { .. }) => {
                self.violate(format!("{action:?} was answered as a draw"));
                return;
            }
            (Action::HandOver { .. }, ActionOutcome::Done) => "checkout handed over",
            (Action::HandOver { .. }, _) => "hand-over refused",
            (Action::Forget { .. }, _) => "moves forgotten",
        };
        self.tally.count(what);
    }

    /// Adds up what a desk did, when its process ends.
    pub(crate) fn count_desk(&mut self, process: ProcessIndex) {
        let counters = self.processes[process].desk.status().counters;
        for (reason, times) in &counters.denied {
            self.tally.add(&format!("denied {}", reason.as_str()), *times);
        }
        self.tally.add("desk granted", counters.granted);
        self.tally.add("desk renewed", counters.renewed);
        self.tally.add("desk let expire", counters.expired);
        self.tally.add("desk took in a moved checkout", counters.reclaimed);
        self.tally.add("desk covered", counters.covered);
        self.tally.add("desk handed over", counters.handed_over);
    }

    /// Units of a pool that a node could lend if it asked for them.
    pub(crate) fn free_units(&self, pool: PoolId) -> u64 {
        let reference = &self.raft.reference;
        let Some(total) = reference.totals().get(&pool).copied() else { return 0 };
        let Ok(reserve) = u64::try_from(total.reserve) else { return 0 };
        let in_use = self.units_in_use().get(&pool).copied().unwrap_or(0);
        debug_assert!(
            reference.allotments().all(|(_, it)| it.state == AllotmentState::Live),
            "asked for after the accounts were found right"
        );
        (reserve + total.live.get()).saturating_sub(in_use)
    }
}
