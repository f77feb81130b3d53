//! What a node does with its allotments: draw, return, reclaim, hand over.

use super::command::{Action, ActionOutcome, ActionRefusal, LoanLine, Outcome, Refusal};
use std::collections::BTreeMap;

use super::{Allotment, AllotmentState, Ledger};
use crate::id::{AllotmentId, Epoch, NodeId, PoolId};
use crate::limits::ACTIONS_PER_OPERATION_MAX;
use crate::units::Units;

/// The lease in whose name an operation acts.
#[derive(Clone, Copy)]
pub(super) struct Holder {
    pub node: NodeId,
    pub epoch: Epoch,
}

impl Ledger {
    pub(super) fn operate(
        &mut self,
        node: NodeId,
        epoch: Epoch,
        operation: u64,
        actions: &[Action],
    ) -> Result<Outcome, Refusal> {
        let lease = self.lease_mut(node, epoch)?;
        if operation == lease.operation && operation > 0 {
            return Ok(Outcome::Operated(lease.answer.clone()));
        }
        if operation != lease.operation + 1 {
            return Err(Refusal::OutOfOrder { expected: lease.operation + 1 });
        }
        if actions.len() > ACTIONS_PER_OPERATION_MAX {
            return Err(Refusal::TooManyActions { most: ACTIONS_PER_OPERATION_MAX });
        }
        let holder = Holder { node, epoch };
        let answer: Vec<ActionOutcome> = actions
            .iter()
            .map(|action| self.act(holder, action).unwrap_or_else(ActionOutcome::Refused))
            .collect();
        let lease = self.lease_mut(node, epoch)?;
        lease.operation = operation;
        lease.answer.clone_from(&answer);
        Ok(Outcome::Operated(answer))
    }

    fn act(&mut self, holder: Holder, action: &Action) -> Result<ActionOutcome, ActionRefusal> {
        match action {
            Action::Draw { pool, units } => self.draw(holder, *pool, *units),
            Action::Return { allotment, units } => self.give_back(holder, *allotment, *units),
            Action::Reclaim { checkout, lines } => self.reclaim(holder, *checkout, lines),
            Action::HandOver { checkout, to, lines } => {
                self.hand_over(holder, *checkout, *to, lines)
            }
            Action::Forget { checkouts } => {
                self.forget(holder, checkouts);
                Ok(ActionOutcome::Done)
            }
        }
    }

    fn draw(
        &mut self,
        holder: Holder,
        pool: PoolId,
        units: Units,
    ) -> Result<ActionOutcome, ActionRefusal> {
        if !self.may_draw(holder.node, pool)? {
            return Err(ActionRefusal::NotServedHere);
        }
        let mut drawn = units.min(self.reserve(pool));
        if drawn.is_zero() {
            return Ok(ActionOutcome::Drawn { units: drawn });
        }
        if let Some(allotment) = self.open_allotment(holder, pool) {
            drawn = drawn.min(allotment.units.room());
            let sum = allotment.units.checked_add(drawn).ok_or(ActionRefusal::Malformed)?;
            allotment.units = sum;
        } else {
            self.allot(holder, pool, drawn, None);
        }
        self.take_from_reserve(pool, drawn);
        Ok(ActionOutcome::Drawn { units: drawn })
    }

    /// The one live, unbound allotment of this lease in this pool.
    fn open_allotment(&mut self, holder: Holder, pool: PoolId) -> Option<&mut Allotment> {
        self.allotments.values_mut().find(|allotment| {
            allotment.node == holder.node
                && allotment.epoch == holder.epoch
                && allotment.pool == pool
                && allotment.state == AllotmentState::Live
                && allotment.bound.is_none()
        })
    }

    pub(super) fn allot(
        &mut self,
        holder: Holder,
        pool: PoolId,
        units: Units,
        bound: Option<super::Bound>,
    ) -> AllotmentId {
        let id = AllotmentId(self.next_number());
        let Holder { node, epoch } = holder;
        let state = AllotmentState::Live;
        self.allotments.insert(id, Allotment { node, epoch, pool, units, state, bound });
        id
    }

    fn give_back(
        &mut self,
        holder: Holder,
        id: AllotmentId,
        units: Units,
    ) -> Result<ActionOutcome, ActionRefusal> {
        let allotment = self.own_live(holder, id)?;
        if units.is_zero() {
            return Err(ActionRefusal::Malformed);
        }
        let left = allotment.units.checked_sub(units).ok_or(ActionRefusal::TooFewUnits)?;
        allotment.units = left;
        let (pool, bound) = (allotment.pool, allotment.bound);
        let Some(bound) = bound else {
            self.add_to_reserve(pool, units);
            return Ok(ActionOutcome::Done);
        };
        // Until the thaw, a receipt under the frozen origin may be shown again: what was taken
        // from it goes back to it, so that it never holds less than the receipts under it.
        let origin = self.allotments.get_mut(&bound.origin);
        let origin = origin.filter(|it| it.state != AllotmentState::Live && it.pool == pool);
        match origin.and_then(|origin| Some((origin.units.checked_add(units)?, origin))) {
            Some((sum, origin)) => origin.units = sum,
            None => self.add_to_reserve(pool, units),
        }
        if left.is_zero() {
            self.allotments.remove(&id);
        }
        Ok(ActionOutcome::Done)
    }

    /// Gives back what the holder drew and does not use. Units that came with a checkout are its.
    pub(super) fn give_back_idle(&mut self, holder: Holder, used: &[LoanLine]) {
        // A sum that is none is more than any allotment holds: all of it is kept.
        let mut kept: BTreeMap<AllotmentId, Option<Units>> = BTreeMap::new();
        for line in used {
            let sum = kept.entry(line.allotment).or_insert(Some(Units::ZERO));
            *sum = sum.and_then(|sum| sum.checked_add(line.units));
        }
        let mut idle: Vec<(PoolId, Units)> = Vec::new();
        for (id, allotment) in &mut self.allotments {
            let is_drawn = allotment.node == holder.node
                && allotment.epoch == holder.epoch
                && allotment.state == AllotmentState::Live
                && allotment.bound.is_none();
            if !is_drawn {
                continue;
            }
            let kept = kept.get(id).copied().unwrap_or(Some(Units::ZERO));
            if let Some(kept) = kept
                && let Some(left) = allotment.units.checked_sub(kept)
            {
                idle.push((allotment.pool, left));
                allotment.units = kept;
            }
        }
        for (pool, units) in idle {
            self.add_to_reserve(pool, units);
        }
    }

    pub(super) fn own_live(
        &mut self,
        holder: Holder,
        id: AllotmentId,
    ) -> Result<&mut Allotment, ActionRefusal> {
        let allotment = self.allotments.get_mut(&id).ok_or(ActionRefusal::UnknownAllotment)?;
        let own = allotment.node == holder.node
            && allotment.epoch == holder.epoch
            && allotment.state == AllotmentState::Live;
        if !own {
            return Err(ActionRefusal::NotYours);
        }
        Ok(allotment)
    }
}
