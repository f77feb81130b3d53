//! Leases in true time: nobody lends under one that the ledger knows to be over, and nothing thaws
//! under a running checkout. Sharper than adding up units, which idle ones may hide.

use std::collections::BTreeMap;

use leasehold_core::desk::message::{Answer, Effect};
use leasehold_core::id::{AllotmentId, PoolId};
use leasehold_core::ledger::command::{Action, ActionOutcome, Command, LoanLine, Outcome};
use leasehold_core::ledger::{AllotmentState, Closed, FrozenLease, Ledger};
use leasehold_core::receipt::Receipt;

use crate::clock::{MS, SECOND, Time};
use crate::engine::Stage;
use crate::event::ProcessIndex;
use crate::world::World;

/// A cut must be known at a healthy node after this: a beat brings it.
const CUT_KNOWN: Time = 3 * SECOND;

impl World {
    /// Takes note of what a command did.
    pub(crate) fn note_command(&mut self, command: &Command, outcome: &Outcome, before: &Ledger) {
        self.note_moves(command, outcome, before);
        let reserve = |id| before.pools().get(id).map_or(0, |pool| pool.reserve);
        if self.raft.reference.pools().iter().any(|(id, pool)| pool.reserve > reserve(id)) {
            self.freed_at = self.now;
        }
        match command {
            Command::Beat { .. } | Command::Operate { .. } => {}
            Command::Thaw { allotments } => self.check_thaw(allotments, before),
            Command::Found(_)
            | Command::Admit { .. }
            | Command::InstallEntitlement { .. }
            | Command::Open { .. }
            | Command::Freeze { .. }
            | Command::Fence { .. }
            | Command::Unfence { .. }
            | Command::Lapse { .. }
            | Command::Remove { .. }
            | Command::Day { .. }
            | Command::Close { .. } => self.note_ended_leases(),
        }
        self.note_terms(before);
        let pools = self.raft.reference.pools().iter();
        let cut = pools.filter(|(_, it)| it.reserve < 0 || it.terms.closed.is_some());
        let cut: Vec<PoolId> = cut.map(|(id, _)| *id).collect();
        self.cut_since.retain(|pool, _| cut.contains(pool));
        for pool in cut {
            self.cut_since.entry(pool).or_insert(self.now);
        }
    }

    /// What became of the units that are entitled.
    fn note_terms(&mut self, before: &Ledger) {
        let mut seen = Vec::new();
        for (id, now) in self.raft.reference.pools() {
            let Some(was) = before.pools().get(id) else { continue };
            match (was.terms.entitled, now.terms.entitled) {
                (more, less) if more > less => seen.push("fault entitled units became fewer"),
                (less, more) if more > less => seen.push("fault entitled units became more"),
                _ => {}
            }
            if now.reserve < 0 && was.reserve >= 0 {
                seen.push("fault entitled units became fewer than were lent");
            }
            let is_lent = i128::from(was.reserve) < i128::from(was.terms.entitled.get());
            match now.terms.closed.filter(|_| was.terms.closed.is_none()) {
                Some(Closed::ContractEnded) if is_lent => {
                    seen.push("fault contract ended while units were lent");
                }
                Some(Closed::NotEntitled) => seen.push("fault set no longer entitled"),
                Some(Closed::ContractEnded | Closed::NotStarted | Closed::Standby) | None => {}
            }
        }
        seen.into_iter().for_each(|what| self.tally.count(what));
    }

    fn note_ended_leases(&mut self) {
        let known = self.over.len();
        for (_, allotment) in self.raft.reference.allotments() {
            if allotment.state == AllotmentState::Frozen(FrozenLease::Ended) {
                self.over.insert(allotment.epoch);
            }
        }
        if self.over.len() > known {
            self.settled_at = self.now;
            self.check_holders();
        }
    }

    /// Nobody whose lease is over would lend, if an engine asked just now.
    fn check_holders(&mut self) {
        for process in 0..self.processes.len() {
            let now = self.clock_of(process);
            let it = &self.processes[process];
            if !it.is_running || it.paused_until > self.now || !it.desk.would_lend(now) {
                continue;
            }
            let epoch = it.desk.status().epoch;
            if let Some(epoch) = epoch.filter(|epoch| self.over.contains(epoch)) {
                let node = it.node;
                self.violate(format!(
                    "node {node} would lend though its lease, epoch {epoch}, is over"
                ));
                return;
            }
        }
    }

    fn note_moves(&mut self, command: &Command, outcome: &Outcome, before: &Ledger) {
        let Command::Operate { actions, .. } = command else { return };
        let Outcome::Operated(outcomes) = outcome else { return };
        let mut due: BTreeMap<AllotmentId, u64> = BTreeMap::new();
        for (action, outcome) in actions.iter().zip(outcomes) {
            if let Action::Reclaim { checkout, .. } | Action::HandOver { checkout, .. } = action
                && *outcome == ActionOutcome::Done
            {
                let checkout = self.aliases.get(checkout).copied().unwrap_or(*checkout);
                self.moved_at.insert(checkout, self.now);
            }
            if let Action::Reclaim { checkout, lines } = action
                && *outcome == ActionOutcome::Done
            {
                let checkout = self.aliases.get(checkout).copied().unwrap_or(*checkout);
                for LoanLine { allotment, units } in lines {
                    let is_first = self.reclaimed.insert((checkout, *allotment));
                    let units = if is_first { units.get() } else { 0 };
                    *due.entry(*allotment).or_default() += units;
                }
            }
        }
        self.check_reclaims(&due, before);
    }

    /// A checkout takes its units out of an allotment once.
    fn check_reclaims(&mut self, due: &BTreeMap<AllotmentId, u64>, before: &Ledger) {
        for (allotment, due) in due {
            let units =
                |ledger: &Ledger| ledger.allotment(*allotment).map_or(0, |it| it.units.get());
            let taken = units(before).saturating_sub(units(&self.raft.reference));
            if taken > *due {
                self.violate(format!(
                    "double use: {taken} units were reclaimed from allotment {allotment}, {due} \
                     of them for the first time"
                ));
            }
        }
    }

    /// Every checkout under what thaws must have ended.
    fn check_thaw(&mut self, thawed: &[AllotmentId], before: &Ledger) {
        let is_thawed = |id: &AllotmentId| {
            thawed.contains(id)
                && before.allotment(*id).is_some()
                && self.raft.reference.allotment(*id).is_none()
        };
        for (engine, it) in self.engines.iter().enumerate() {
            let Stage::Held(held) = &it.stage else { continue };
            if held.valid_until_true <= self.now {
                continue;
            }
            let Ok(receipt) = Receipt::open(&held.receipt, &self.receipt_key) else { continue };
            if let Some(line) = receipt.lines.iter().find(|line| is_thawed(&line.allotment)) {
                let left_ms = (held.valid_until_true - self.now) / MS;
                let pool = line.pool;
                self.violate(format!(
                    "units of pool {pool} thawed that engine {engine} may use for {left_ms} ms"
                ));
                return;
            }
        }
    }

    /// A desk has lent or renewed: its lease must not be over, nor its pool have been cut.
    pub(crate) fn check_answer(&mut self, process: ProcessIndex, effect: &Effect) {
        let Effect::Answer { answer, .. } = effect else { return };
        let life = match answer {
            Answer::Granted { life, .. } | Answer::Renewed { life, .. } => life,
            Answer::Accepted | Answer::Denied(_) | Answer::HandOver(_) => return,
        };
        // The answer to a repeated request lends nothing.
        if life.from < self.clock_of(process).steady {
            return;
        }
        let epoch = self.processes[process].desk.status().epoch;
        if let Some(epoch) = epoch.filter(|epoch| self.over.contains(epoch)) {
            let node = self.processes[process].node;
            self.violate(format!("node {node} lends though its lease, epoch {epoch}, is over"));
        }
        if let Answer::Granted { receipt, .. } = answer {
            self.check_cut(process, receipt);
        }
    }

    fn check_cut(&mut self, process: ProcessIndex, receipt: &[u8]) {
        let Ok(receipt) = Receipt::open(receipt, &self.receipt_key) else { return };
        let machine = self.processes[process].machine;
        let Ok((fit, _)) = self.fit_since(machine) else { return };
        for line in receipt.lines.iter() {
            let Some(since) = self.cut_since.get(&line.pool).copied() else { continue };
            if fit <= since && since + CUT_KNOWN < self.now {
                let (node, pool) = (self.processes[process].node, line.pool);
                let ago_ms = (self.now - since) / MS;
                self.violate(format!(
                    "node {node} lent units of pool {pool} anew, which ended or was cut below what \
                     is lent {ago_ms} ms ago"
                ));
                return;
            }
        }
    }
}
