//! Whom to lend how much, and what to say when it is not enough.

use std::collections::BTreeMap;

use super::message::Effect;
use super::{NodeReport, Steward};
use crate::desk::message::{Supply, Want};
use crate::id::{NodeId, PoolId};
use crate::ledger::Ledger;
use crate::ledger::command::{Action, ActionOutcome};
use crate::time::{Moment, Now};
use crate::units::Units;

/// A node is asked for idle units of a pool no more often than this, so that the last unit is not
/// passed to and fro all the time.
const RECALL_AGAIN_MS: u64 = 250;

/// Recalls under way or just answered.
pub(super) type Recalls = BTreeMap<(NodeId, PoolId), Recall>;

#[derive(Clone, Copy, Debug)]
pub(super) struct Recall {
    asked_at: Moment,
    is_answered: bool,
}

/// Those of the wanted pools that `node` may draw from now, in the order of its preference.
fn open_pools<'a>(
    ledger: &'a Ledger,
    node: NodeId,
    want: &'a Want,
) -> impl Iterator<Item = PoolId> + use<'a> {
    let site = ledger.site_of(node);
    let is_served = move |pool: &&PoolId| {
        let pool = ledger.pools().get(pool);
        pool.zip(site).is_some_and(|(pool, site)| pool.terms.is_served_at(site))
    };
    want.pools.iter().filter(is_served).copied()
}

/// The draws that meet a want as far as the reserve goes. What is spare is shared: nobody takes
/// more than an equal part of the reserve for calls that have not come.
pub(super) fn plan(ledger: &Ledger, node: NodeId, want: &Want) -> Vec<Action> {
    let live = ledger.leases().filter(|(_, lease)| lease.live).count() as u64;
    let mut need = want.need;
    let mut spare = want.spare;
    let mut draws = Vec::new();
    for pool in open_pools(ledger, node, want) {
        let reserve = ledger.reserve(pool).get();
        let for_need = need.min(reserve);
        let for_spare = spare.min((reserve - for_need) / live.max(1));
        need -= for_need;
        spare -= for_spare;
        // Both together are no more than the reserve.
        let units = Units::new(for_need + for_spare).unwrap_or_default();
        if !units.is_zero() {
            draws.push(Action::Draw { pool, units });
        }
    }
    draws
}

/// Units drawn for each want, by its index; `None` if these are the answers of an earlier attempt.
pub(super) fn drawn(outcomes: &[ActionOutcome], draws: &[usize]) -> Option<BTreeMap<usize, u64>> {
    if outcomes.len() != draws.len() {
        return None;
    }
    let mut drawn: BTreeMap<usize, u64> = BTreeMap::new();
    for (outcome, want) in outcomes.iter().zip(draws) {
        if let ActionOutcome::Drawn { units } = outcome {
            let sum = drawn.entry(*want).or_default();
            *sum = sum.saturating_add(units.get());
        }
    }
    Some(drawn)
}

impl Steward {
    /// Says how each want was met, and asks other nodes for idle units where it was not.
    pub(super) fn supplies(
        &mut self,
        now: Now,
        ledger: &Ledger,
        node: NodeId,
        wants: &[Want],
        drawn: Option<&BTreeMap<usize, u64>>,
    ) -> Vec<Supply> {
        let mut supplies = Vec::with_capacity(wants.len());
        for (index, want) in wants.iter().enumerate() {
            let got = drawn.map(|drawn| drawn.get(&index).copied().unwrap_or(0));
            supplies.push(match got {
                _ if want.need == 0 => Supply::Met,
                Some(got) if got >= want.need => Supply::Met,
                // The answers of an earlier attempt: the next question gets a clear answer.
                None => {
                    let pools: Vec<PoolId> = open_pools(ledger, node, want).collect();
                    let (in_use, entitled) = self.figures(ledger, node, &pools);
                    Supply::Recalling { in_use, entitled }
                }
                Some(got) => self.shortage(now, ledger, node, want, want.need - got),
            });
        }
        supplies
    }

    fn shortage(
        &mut self,
        now: Now,
        ledger: &Ledger,
        node: NodeId,
        want: &Want,
        missing: u64,
    ) -> Supply {
        let pools: Vec<PoolId> = open_pools(ledger, node, want).collect();
        if pools.is_empty() {
            return Supply::NotServed;
        }
        let mut is_coming = pools.iter().any(|pool| !ledger.reserve(*pool).is_zero());
        for pool in &pools {
            is_coming |= self.recall(now, ledger, node, *pool, missing);
        }
        let (in_use, entitled) = self.figures(ledger, node, &pools);
        if is_coming {
            Supply::Recalling { in_use, entitled }
        } else {
            Supply::Exhausted { in_use, entitled }
        }
    }

    /// Units lent, less those that other nodes are known to have idle, and units entitled. What is
    /// free at the asker the asker knows best.
    fn figures(&self, ledger: &Ledger, asker: NodeId, pools: &[PoolId]) -> (u64, u64) {
        let totals = ledger.totals();
        let mut in_use = 0;
        let mut entitled = 0;
        // What nodes say of themselves, and how often one names a pool, has no limit; nothing comes
        // of it but what engines are told of a denial.
        for pool in pools {
            let Some(total) = totals.get(pool) else { continue };
            let others = self.others(ledger, asker);
            let idle = others
                .filter_map(|(_, known)| Some(known?.free(*pool)))
                .fold(0, u64::saturating_add);
            let lent = total.live.get() + total.frozen.get();
            entitled = u64::saturating_add(entitled, total.entitled.get());
            in_use = u64::saturating_add(in_use, lent.saturating_sub(idle));
        }
        (in_use, entitled)
    }

    /// The other nodes that hold a live lease, with what they last reported under it. A node that
    /// has not reported since this leader took over may have idle units; one whose lease has ended
    /// has none, whatever it said before.
    fn others<'a>(
        &'a self,
        ledger: &'a Ledger,
        asker: NodeId,
    ) -> impl Iterator<Item = (NodeId, Option<&'a NodeReport>)> {
        let live = ledger.leases().filter(move |(node, lease)| lease.live && *node != asker);
        live.map(|(node, lease)| {
            (node, self.nodes.get(&node).filter(|known| known.epoch == lease.epoch))
        })
    }

    /// Asks the other nodes for idle units of a pool. Returns whether some may come.
    fn recall(
        &mut self,
        now: Now,
        ledger: &Ledger,
        asker: NodeId,
        pool: PoolId,
        missing: u64,
    ) -> bool {
        let mut is_coming = false;
        let may_have_idle =
            |(_, known): &(_, Option<&NodeReport>)| known.is_none_or(|known| known.free(pool) > 0);
        let nodes: Vec<NodeId> =
            self.others(ledger, asker).filter(may_have_idle).map(|(node, _)| node).collect();
        for node in nodes {
            let recent = self
                .recalls
                .get(&(node, pool))
                .filter(|recall| now.steady.since(recall.asked_at) < RECALL_AGAIN_MS);
            match recent {
                Some(recall) => is_coming |= !recall.is_answered,
                None => {
                    is_coming = true;
                    let recall = Recall { asked_at: now.steady, is_answered: false };
                    self.recalls.insert((node, pool), recall);
                    self.effects.push_back(Effect::Recall { node, pools: vec![(pool, missing)] });
                }
            }
        }
        is_coming
    }

    /// A node answered a recall of `pools`: what it returns with its next operation. `None`: it
    /// could not be reached, so nothing of it is free to be had.
    pub fn on_recalled(
        &mut self,
        node: NodeId,
        pools: &[PoolId],
        returning: Option<&[(PoolId, u64)]>,
    ) {
        for pool in pools {
            let units = returning
                .and_then(|returning| returning.iter().find(|(id, _)| id == pool))
                .map_or(0, |(_, units)| *units);
            if let Some(recall) = self.recalls.get_mut(&(node, *pool)) {
                // Units on their way are waited for until the next recall may be sent.
                recall.is_answered = units == 0;
            }
            let known = self.nodes.get_mut(&node);
            if let Some(pool_use) = known.and_then(|known| known.report.pools.get_mut(pool)) {
                pool_use.free = pool_use.free.min(units);
            }
        }
    }
}
