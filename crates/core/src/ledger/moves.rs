//! Running checkouts that change nodes: reclaimed from a dead one, or handed over by a live one.
//!
//! A move takes the checkout's units out of their allotment into a new one that is bound to the
//! checkout, and leaves a trace, so that the same receipt shown again finds the same units and
//! never others.

use std::collections::BTreeSet;

use super::command::{ActionOutcome, ActionRefusal, LoanLine};
use super::operate::Holder;
use super::{AllotmentState, Bound, FrozenLease, Ledger};
use crate::id::{AllotmentId, CheckoutId, NodeId};
use crate::limits::LINES_PER_RECEIPT_MAX;

impl Ledger {
    pub(super) fn reclaim(
        &mut self,
        holder: Holder,
        checkout: CheckoutId,
        lines: &[LoanLine],
    ) -> Result<ActionOutcome, ActionRefusal> {
        require_distinct(lines)?;
        let mut frozen = Vec::with_capacity(lines.len());
        for line in lines {
            let at = self.follow(line.allotment, checkout)?;
            let allotment = self.allotments.get(&at).ok_or(ActionRefusal::UnknownAllotment)?;
            match allotment.state {
                // One live line is enough: its node knows the whole checkout.
                AllotmentState::Live => return Ok(ActionOutcome::LiveAt { node: allotment.node }),
                AllotmentState::Frozen(FrozenLease::MayRun) => {
                    return Err(ActionRefusal::LeaseMayRun);
                }
                AllotmentState::Frozen(FrozenLease::Ended) => {}
            }
            if allotment.bound.is_some_and(|bound| bound.checkout != checkout) {
                return Err(ActionRefusal::NotYours);
            }
            if allotment.units < line.units {
                return Err(ActionRefusal::TooFewUnits);
            }
            // Lines that once were apart may have moved into one allotment.
            if frozen.iter().any(|found: &LoanLine| found.allotment == at) {
                return Err(ActionRefusal::Malformed);
            }
            frozen.push(LoanLine { allotment: at, units: line.units });
        }
        for line in frozen {
            self.move_line(holder, checkout, line);
        }
        Ok(ActionOutcome::Done)
    }

    pub(super) fn hand_over(
        &mut self,
        holder: Holder,
        checkout: CheckoutId,
        to: NodeId,
        lines: &[LoanLine],
    ) -> Result<ActionOutcome, ActionRefusal> {
        require_distinct(lines)?;
        let lease = self.nodes.get(&to).filter(|node| !node.removed);
        let lease = lease.and_then(|node| node.lease.as_ref()).filter(|lease| lease.live);
        let receiver = Holder { node: to, epoch: lease.ok_or(ActionRefusal::NoLease)?.epoch };
        for line in lines {
            let allotment = self.own_live(holder, line.allotment)?;
            if allotment.units < line.units {
                return Err(ActionRefusal::TooFewUnits);
            }
        }
        for line in lines {
            self.move_line(receiver, checkout, *line);
        }
        Ok(ActionOutcome::Done)
    }

    /// Forgets moves away from the holder's own live allotments.
    pub(super) fn forget(&mut self, holder: Holder, checkouts: &[CheckoutId]) {
        let checkouts: BTreeSet<CheckoutId> = checkouts.iter().copied().collect();
        let own: Vec<(AllotmentId, CheckoutId)> = self
            .moved
            .keys()
            .filter(|(_, checkout)| checkouts.contains(checkout))
            .copied()
            .filter(|(id, _)| {
                self.allotments.get(id).is_some_and(|allotment| {
                    allotment.node == holder.node
                        && allotment.epoch == holder.epoch
                        && allotment.state == AllotmentState::Live
                })
            })
            .collect();
        for (id, checkout) in own {
            self.moved.remove(&(id, checkout));
            // A bound allotment that was emptied by the move was only kept for its trace.
            let spent = self
                .allotments
                .get(&id)
                .is_some_and(|allotment| allotment.bound.is_some() && allotment.units.is_zero());
            if spent {
                self.allotments.remove(&id);
            }
        }
    }

    pub(super) fn forget_moves_from(&mut self, id: AllotmentId) {
        let first = (id, CheckoutId([0; 16]));
        let last = (id, CheckoutId([0xff; 16]));
        let gone: Vec<_> = self.moved.range(first..=last).map(|(key, _)| *key).collect();
        for key in gone {
            self.moved.remove(&key);
        }
    }

    /// The allotment that a checkout's line is under now.
    fn follow(
        &self,
        allotment: AllotmentId,
        checkout: CheckoutId,
    ) -> Result<AllotmentId, ActionRefusal> {
        let mut at = allotment;
        // Each move makes a newer allotment, so the chain ends.
        while let Some(next) = self.moved.get(&(at, checkout)) {
            at = *next;
            if !self.allotments.contains_key(&at) {
                return Err(ActionRefusal::CheckoutEnded);
            }
        }
        Ok(at)
    }

    fn move_line(&mut self, to: Holder, checkout: CheckoutId, line: LoanLine) {
        let Some(from) = self.allotments.get_mut(&line.allotment) else { return };
        let Some(left) = from.units.checked_sub(line.units) else { return };
        from.units = left;
        let origin = from.bound.map_or(line.allotment, |bound| bound.origin);
        let pool = from.pool;
        let bound = Some(Bound { checkout, origin });
        let id = self.allot(to, pool, line.units, bound);
        self.moved.insert((line.allotment, checkout), id);
    }
}

fn require_distinct(lines: &[LoanLine]) -> Result<(), ActionRefusal> {
    if lines.len() > LINES_PER_RECEIPT_MAX {
        return Err(ActionRefusal::TooManyLines);
    }
    let mut seen = BTreeSet::new();
    let distinct = lines.iter().all(|line| !line.units.is_zero() && seen.insert(line.allotment));
    if lines.is_empty() || !distinct {
        return Err(ActionRefusal::Malformed);
    }
    Ok(())
}
