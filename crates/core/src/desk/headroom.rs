//! What a desk keeps for requests that are likely to come, and what it gives back.
//!
//! Both are counted by feature, over all pools that serve it: counted by pool, a desk would fill up
//! the headroom of one pool out of another and give that back with its next beat, for ever.

use std::collections::BTreeMap;

use super::Desk;
use super::message::{Supply, Want};
use super::operations::WANTS_MAX;
use super::till::headroom;
use crate::id::FeatureId;
use crate::ledger::command::Action;
use crate::time::{Moment, Now};
use crate::units::Units;

/// Headroom is filled up no more often than this.
pub(super) const SPARE_ASK_MS: u64 = 250;
/// A feature of which the reserve had none to spare is asked for again after this. Each question
/// costs a commit, which a call that needs units may have to wait for; and such a call draws
/// headroom, too.
const SPARE_AGAIN_MS: u64 = 8_000;

/// Headroom that was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct SpareAsk {
    at: Moment,
    /// The desk's units of the feature at that time: if there are no more now it was in vain.
    units: u64,
}

/// What a desk has of one feature, in all pools that are open.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stock {
    pub free: u64,
    pub used: u64,
    pub headroom: u64,
    arriving: u64,
}

impl Desk {
    pub(super) fn stocks(&self, now: Moment) -> BTreeMap<FeatureId, Stock> {
        let mut stocks: BTreeMap<FeatureId, Stock> = BTreeMap::new();
        for (pool, till) in self.tills.iter() {
            let Some(feature) = self.directory.open_feature_of(pool) else { continue };
            let stock = stocks.entry(feature.clone()).or_default();
            stock.free += till.free();
            stock.used += till.used;
            stock.arriving += till.arriving(now);
            stock.headroom = headroom(stock.used, stock.arriving);
        }
        stocks
    }

    /// Units that others may need more: recalled ones, those of pools that were cut or closed, and
    /// with each beat what is free, and not waited for, beyond twice the headroom.
    pub(super) fn give_back(&mut self, now: Now) -> Vec<Action> {
        let is_due = std::mem::take(&mut self.give_back_due);
        let recalled = std::mem::take(&mut self.recalled);
        if !is_due && recalled.is_empty() && self.overdrawn.is_empty() {
            return Vec::new();
        }
        let mut stocks = self.stocks(now.steady);
        // Given back, they would be asked for again by the same operation.
        for (feature, units) in self.queue.wanted() {
            if let Some(stock) = stocks.get_mut(&feature) {
                stock.free = stock.free.saturating_sub(units);
            }
        }
        let mut actions = Vec::new();
        for (pool, till) in self.tills.iter_mut() {
            let free = till.free();
            let feature = self.directory.open_feature_of(pool).filter(|_| !self.is_diverged);
            let stock = feature.and_then(|it| stocks.get_mut(it));
            let idle = match stock {
                _ if !is_due => 0,
                None => free,
                Some(stock) if stock.free > 2 * stock.headroom => {
                    let idle = free.min(stock.free - stock.headroom);
                    stock.free -= idle;
                    idle
                }
                Some(_) => 0,
            };
            let asked = recalled.get(&pool).copied().unwrap_or(0).min(free);
            let cut = if self.overdrawn.contains(&pool) { free } else { 0 };
            let returning = idle.max(asked).max(cut);
            // No till has more than it was allotted.
            let units = Units::new(returning).unwrap_or_default();
            if !units.is_zero() {
                till.returning = returning;
                actions.push(Action::Return { allotment: till.allotment, units });
            }
        }
        actions
    }

    /// Fills up headroom before it is needed: a call then never waits for the leader.
    pub(super) fn spare_wants(&mut self, now: Now) -> Vec<Want> {
        let mut wants = Vec::new();
        if self.is_diverged {
            return wants;
        }
        for (feature, stock) in self.stocks(now.steady) {
            let is_low = stock.used > 0 && stock.free < stock.headroom.div_ceil(2);
            if !is_low || wants.len() == WANTS_MAX {
                continue;
            }
            let (pools, units) = (self.choice(&feature, None), stock.free + stock.used);
            let is_scarce = matches!(
                self.supplies.get(&pools),
                Some(Supply::Exhausted { .. } | Supply::NotServed | Supply::Recalling { .. })
            );
            let is_in_vain = self.spare_asks.get(&feature).is_some_and(|asked| {
                units <= asked.units && now.steady < asked.at + SPARE_AGAIN_MS
            });
            if !is_scarce && !is_in_vain {
                wants.push(Want { pools, need: 0, spare: stock.headroom - stock.free });
                self.spare_asks.insert(feature, SpareAsk { at: now.steady, units });
            }
        }
        wants
    }
}
