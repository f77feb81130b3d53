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

/// Headroom is filled up no more often than this.
pub(super) const SPARE_ASK_MS: u64 = 250;
/// Each question costs a commit: while it brings no unit it is asked ever more rarely, down to
/// this, until the desk lends again.
pub(super) const SPARE_ASK_MS_MAX: u64 = 8_000;

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
            let stock = self.directory.open_feature_of(pool).and_then(|it| stocks.get_mut(it));
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
            let units = idle.max(asked).max(cut);
            if units > 0 {
                till.returning = units;
                actions.push(Action::Return { allotment: till.allotment, units });
            }
        }
        actions
    }

    /// Fills up headroom before it is needed: a call then never waits for the leader.
    pub(super) fn spare_wants(&self, now: Now) -> Vec<Want> {
        let stocks = self.stocks(now.steady).into_iter();
        let low = stocks.filter(|(feature, stock)| {
            let is_scarce = matches!(
                self.supplies.get(&self.choice(feature, None)),
                Some(Supply::Exhausted { .. } | Supply::NotServed | Supply::Recalling { .. })
            );
            stock.used > 0 && stock.free < stock.headroom.div_ceil(2) && !is_scarce
        });
        let want = |(feature, stock): (FeatureId, Stock)| Want {
            pools: self.choice(&feature, None),
            need: 0,
            spare: stock.headroom - stock.free,
        };
        low.map(want).take(WANTS_MAX).collect()
    }
}
