//! Opening, renewing and ending node leases, and what that does to their allotments.

use std::collections::BTreeMap;

use super::command::{Beat, LoanLine, Outcome, Refusal};
use super::event::{self, EventKind};
use super::operate::Holder;
use super::{AllotmentState, FrozenLease, Lease, Ledger};
use crate::id::{AllotmentId, Epoch, NodeId, ProcessId};

impl Ledger {
    pub(super) fn open(
        &mut self,
        node: NodeId,
        process: ProcessId,
        after: Epoch,
        gone: Option<ProcessId>,
    ) -> Result<Outcome, Refusal> {
        let member = self.member_mut(node)?;
        if member.fenced {
            return Err(Refusal::Fenced { node });
        }
        if let Some(lease) = &member.lease {
            if lease.live && lease.process == process && lease.epoch != after {
                // The same process asks again: its first answer was lost.
                return Ok(Outcome::Opened { epoch: lease.epoch });
            }
            if lease.epoch != after {
                return Err(Refusal::EpochIs { epoch: lease.epoch, process: lease.process });
            }
        } else if after != Epoch::default() {
            return Err(Refusal::EpochIs {
                epoch: Epoch::default(),
                process: ProcessId::default(),
            });
        }
        // A process that asks anew has dropped what it held: it lends nothing of the old epoch.
        let lends_no_more = member
            .lease
            .as_ref()
            .is_none_or(|lease| lease.process == process || Some(lease.process) == gone);
        let contested = !lends_no_more && member.lease.as_ref().is_some_and(|lease| lease.live);
        if contested {
            self.record(EventKind::NodeIdContested { node, process });
        }
        self.end_lease(node, if lends_no_more { FrozenLease::Ended } else { FrozenLease::MayRun });
        let epoch = Epoch(self.next_number());
        let opened = Lease { epoch, process, seq: 0, live: true, operation: 0, answer: Vec::new() };
        self.member_mut(node)?.lease = Some(opened);
        self.record(EventKind::LeaseOpened { node, epoch });
        Ok(Outcome::Opened { epoch })
    }

    pub(super) fn beat(&mut self, beats: &[Beat], wall_ms: i64) -> Outcome {
        if self.wall_ms == 0 {
            // The cluster was founded a moment ago, before anybody told the time.
            event::tell_time(&mut self.events, wall_ms);
        }
        self.wall_ms = wall_ms;
        let beaten = beats.iter().map(|beat| self.renew(*beat)).collect();
        Outcome::Beaten(beaten)
    }

    fn renew(&mut self, beat: Beat) -> bool {
        let Ok(lease) = self.lease_mut(beat.node, beat.epoch) else {
            return false;
        };
        lease.seq = lease.seq.max(beat.seq);
        true
    }

    pub(super) fn freeze(
        &mut self,
        node: NodeId,
        epoch: Epoch,
        seq: u64,
    ) -> Result<Outcome, Refusal> {
        let lease = self.lease_mut(node, epoch)?;
        if lease.seq != seq {
            return Err(Refusal::Renewed { seq });
        }
        let units = self.end_lease(node, FrozenLease::Ended);
        self.record(EventKind::LeaseLapsed { node, epoch, units });
        Ok(Outcome::Done)
    }

    pub(super) fn close(
        &mut self,
        node: NodeId,
        epoch: Epoch,
        used: &[LoanLine],
    ) -> Result<Outcome, Refusal> {
        self.lease_mut(node, epoch)?;
        self.give_back_idle(Holder { node, epoch }, used);
        let units = self.end_lease(node, FrozenLease::Ended);
        self.record(EventKind::LeaseClosed { node, epoch, units });
        Ok(Outcome::Done)
    }

    pub(super) fn fence(
        &mut self,
        node: NodeId,
        epoch: Epoch,
        powered_off: bool,
    ) -> Result<Outcome, Refusal> {
        let member = self.member_mut(node)?;
        let (newest, process) = member
            .lease
            .as_ref()
            .map_or_else(Default::default, |lease| (lease.epoch, lease.process));
        if newest != epoch {
            return Err(Refusal::EpochIs { epoch: newest, process });
        }
        let is_new = !std::mem::replace(&mut member.fenced, true);
        let state = if powered_off { FrozenLease::Ended } else { FrozenLease::MayRun };
        let units = self.end_lease(node, state);
        let may_move = powered_off && self.lapse_all_of(node);
        if is_new || may_move {
            self.record(EventKind::Fenced { node, epoch, units, powered_off });
        }
        Ok(Outcome::Done)
    }

    pub(super) fn unfence(&mut self, node: NodeId) -> Result<Outcome, Refusal> {
        let member = self.member_mut(node)?;
        if std::mem::take(&mut member.fenced) {
            self.record(EventKind::Unfenced { node });
        }
        Ok(Outcome::Done)
    }

    /// Ends the node's lease, if it lives, and freezes what it holds. Returns the units frozen.
    pub(super) fn end_lease(&mut self, node: NodeId, lease_state: FrozenLease) -> u64 {
        let Some(lease) = self.nodes.get_mut(&node).and_then(|member| member.lease.as_mut()) else {
            return 0;
        };
        if !lease.live {
            return 0;
        }
        lease.live = false;
        lease.answer.clear();
        let of_node = self.allotments.values_mut().filter(|it| it.node == node);
        let live = of_node.filter(|it| it.state == AllotmentState::Live);
        // Over all pools, for the event log: POOLS_MAX × UNITS_PER_POOL_MAX fit.
        live.map(|allotment| {
            allotment.state = AllotmentState::Frozen(lease_state);
            allotment.units.get()
        })
        .sum()
    }

    /// The leader has waited for the end of the leases that these were frozen with.
    pub(super) fn lapse(&mut self, allotments: &[AllotmentId]) {
        for id in allotments {
            if let Some(allotment) = self.allotments.get_mut(id)
                && allotment.state == AllotmentState::Frozen(FrozenLease::MayRun)
            {
                allotment.state = AllotmentState::Frozen(FrozenLease::Ended);
            }
        }
    }

    /// The machine is off: none of its processes lends any more. Tells whether that was news.
    fn lapse_all_of(&mut self, node: NodeId) -> bool {
        let mut is_news = false;
        for allotment in self.allotments.values_mut().filter(|it| it.node == node) {
            if allotment.state == AllotmentState::Frozen(FrozenLease::MayRun) {
                allotment.state = AllotmentState::Frozen(FrozenLease::Ended);
                is_news = true;
            }
        }
        is_news
    }

    pub(super) fn thaw(&mut self, allotments: &[AllotmentId]) {
        let mut thawed: BTreeMap<NodeId, u64> = BTreeMap::new();
        for id in allotments {
            let frozen = self
                .allotments
                .get(id)
                .is_some_and(|it| it.state == AllotmentState::Frozen(FrozenLease::Ended));
            if !frozen {
                continue;
            }
            let Some(allotment) = self.allotments.remove(id) else { continue };
            self.forget_moves_from(*id);
            self.add_to_reserve(allotment.pool, allotment.units);
            *thawed.entry(allotment.node).or_default() += allotment.units.get();
        }
        // One line for an operator, however many pools it was.
        for (node, units) in thawed.into_iter().filter(|(_, units)| *units > 0) {
            self.record(EventKind::Thawed { node, units });
        }
    }
}
