//! The units a desk may lend: what the ledger allotted it, less what is lent or on its way back.

use std::collections::BTreeMap;

use crate::id::{AllotmentId, CheckoutId, PoolId};
use crate::ledger::command::LoanLine;
use crate::ledger::{Held, NodeView};
use crate::receipt::ReceiptLine;
use crate::time::Moment;
use crate::units::Units;

/// Headroom covers the arrivals of this long, in two windows: a draw takes far less.
const ARRIVAL_WINDOW_MS: u64 = 3_000;
/// Least headroom: the next call and the one after it.
const HEADROOM_UNITS_MIN: u64 = 2;
/// Headroom as a part of what is in use: a tenth.
const HEADROOM_DIVISOR: u64 = 10;

/// The open allotment of one pool.
#[derive(Clone, Debug, Default)]
pub(super) struct Till {
    pub allotment: AllotmentId,
    pub units: u64,
    pub used: u64,
    /// Offered back in the operation that is under way.
    pub returning: u64,
    arrivals: Arrivals,
}

impl Till {
    pub(super) fn free(&self) -> u64 {
        self.units.saturating_sub(self.used).saturating_sub(self.returning)
    }

    /// Units lent lately: as many are likely to be asked for soon.
    pub(super) fn arriving(&self, now: Moment) -> u64 {
        self.arrivals.recent(now)
    }
}

/// Units to keep for requests that are likely to come.
pub(super) fn headroom(used: u64, arriving: u64) -> u64 {
    HEADROOM_UNITS_MIN.max(used / HEADROOM_DIVISOR).max(arriving)
}

/// Units lent in the last two windows.
#[derive(Clone, Debug, Default)]
struct Arrivals {
    window: u64,
    current: u64,
    previous: u64,
}

impl Arrivals {
    fn count(&mut self, now: Moment, units: u64) {
        let window = now.0 / ARRIVAL_WINDOW_MS;
        if window != self.window {
            self.previous = if window == self.window + 1 { self.current } else { 0 };
            self.current = 0;
            self.window = window;
        }
        self.current += units;
    }

    fn recent(&self, now: Moment) -> u64 {
        match (now.0 / ARRIVAL_WINDOW_MS).saturating_sub(self.window) {
            0 => self.current + self.previous,
            1 => self.current,
            _ => 0,
        }
    }
}

/// Units that belong to one checkout that moved here.
#[derive(Clone, Copy, Debug)]
pub(super) struct BoundUnits {
    pub pool: PoolId,
    pub units: Units,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Tills {
    pools: BTreeMap<PoolId, Till>,
    bound: BTreeMap<AllotmentId, BoundUnits>,
}

impl Tills {
    pub(super) fn iter(&self) -> impl Iterator<Item = (PoolId, &Till)> {
        self.pools.iter().map(|(pool, till)| (*pool, till))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (PoolId, &mut Till)> {
        self.pools.iter_mut().map(|(pool, till)| (*pool, till))
    }

    pub(super) fn bound(&self) -> impl Iterator<Item = &BoundUnits> {
        self.bound.values()
    }

    pub(super) fn free(&self, pool: PoolId) -> u64 {
        self.pools.get(&pool).map_or(0, Till::free)
    }

    /// The units in use, by allotment, without those that moved here with their checkouts.
    pub(super) fn used(&self) -> Vec<LoanLine> {
        let used = self.pools.values().filter(|till| till.used > 0);
        used.map(|till| {
            // No till lends more than it was allotted; if one did, all of it would be in use.
            let units = Units::new(till.used).unwrap_or(Units::MAX);
            LoanLine { allotment: till.allotment, units }
        })
        .collect()
    }

    /// Takes `units` out of the pool's free ones; the caller has seen that they are there.
    pub(super) fn lend(&mut self, now: Moment, pool: PoolId, units: u64) -> Option<ReceiptLine> {
        let till = self.pools.get_mut(&pool).filter(|till| till.free() >= units)?;
        let lent = Units::new(units).ok()?;
        till.used += units;
        till.arrivals.count(now, units);
        Some(ReceiptLine { pool, allotment: till.allotment, units: lent })
    }

    /// Takes a line back. Returns the pool whose free units grew, or the bound allotment that has
    /// to be returned to the ledger.
    pub(super) fn take_back(&mut self, line: &ReceiptLine) -> TakenBack {
        if let Some(bound) = self.bound.get(&line.allotment) {
            return TakenBack::Bound { allotment: line.allotment, units: bound.units };
        }
        match self.pools.get_mut(&line.pool) {
            Some(till) if till.allotment == line.allotment => {
                till.used = till.used.saturating_sub(line.units.get());
                TakenBack::Free(line.pool)
            }
            Some(_) | None => TakenBack::Gone,
        }
    }

    /// Forgets a line whose units the ledger has moved to another node.
    pub(super) fn depart(&mut self, line: &ReceiptLine) {
        if self.bound.remove(&line.allotment).is_some() {
            return;
        }
        if let Some(till) = self.pools.get_mut(&line.pool) {
            till.used = till.used.saturating_sub(line.units.get());
        }
    }

    /// Takes over what the ledger says. Returns the checkouts that moved here, with their lines.
    /// Units on their way back stay so until their operation is `settled`.
    pub(super) fn apply(
        &mut self,
        view: &NodeView,
        settled: bool,
    ) -> BTreeMap<CheckoutId, Vec<ReceiptLine>> {
        let is_held = |id: &AllotmentId| view.held.iter().any(|held| held.allotment == *id);
        self.pools.retain(|_, till| is_held(&till.allotment));
        self.bound.retain(|id, _| is_held(id));
        let mut moved_in: BTreeMap<CheckoutId, Vec<ReceiptLine>> = BTreeMap::new();
        for held in &view.held {
            if let Some(checkout) = held.bound {
                self.apply_bound(held, checkout, &mut moved_in);
                continue;
            }
            let till = self.pools.entry(held.pool).or_default();
            till.allotment = held.allotment;
            till.units = held.units.get();
            if settled {
                till.returning = 0;
            }
        }
        moved_in
    }

    fn apply_bound(
        &mut self,
        held: &Held,
        checkout: CheckoutId,
        moved_in: &mut BTreeMap<CheckoutId, Vec<ReceiptLine>>,
    ) {
        // Without units it is only the trace of a checkout that went on to another node.
        if held.units.is_zero() || self.bound.contains_key(&held.allotment) {
            return;
        }
        let Held { allotment, pool, units, .. } = *held;
        self.bound.insert(allotment, BoundUnits { pool, units });
        moved_in.entry(checkout).or_default().push(ReceiptLine { pool, allotment, units });
    }

    pub(super) fn clear(&mut self) {
        self.pools.clear();
        self.bound.clear();
    }
}

/// Where a line's units went when its checkout ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TakenBack {
    Free(PoolId),
    Bound {
        allotment: AllotmentId,
        units: Units,
    },
    /// The allotment is no longer this desk's.
    Gone,
}
