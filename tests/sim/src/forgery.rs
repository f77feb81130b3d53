//! Mutations that change what the machines say to each other: commands before they are committed,
//! views, answers and snapshots on their way.

use leasehold_core::desk::message::{Operated, Operation};
use leasehold_core::id::CheckoutId;
use leasehold_core::ledger::command::{Action, Command};
use leasehold_core::ledger::{AllotmentState, Ledger, NodeView};
use leasehold_core::steward::message::OpenAnswer;
use leasehold_core::units::Units;

use crate::event::{PeerAnswer, Question};
use crate::mutation::Mutation;
use crate::world::World;

/// A view is not forged before the ledger has done so much: something must be lent first.
const OLD_ENOUGH: u64 = 40;

impl World {
    pub(crate) fn mutate_before_commit(&mut self, command: &mut Command) {
        match self.mutation {
            Some(Mutation::FreezeWithoutCompare) => self.freeze_whatever_came(command),
            Some(Mutation::ReclaimedTwice) => self.reclaim_without_trace(command),
            _ => {}
        }
    }

    /// The ledger finds no trace of a checkout that it knows by another name each time.
    fn reclaim_without_trace(&mut self, command: &mut Command) {
        let Command::Operate { actions, .. } = command else { return };
        for action in actions {
            if let Action::Reclaim { checkout, .. } = action {
                let alias = CheckoutId(self.dice.bytes16());
                self.aliases.insert(alias, *checkout);
                *checkout = alias;
            }
        }
    }

    pub(crate) fn mutated_view(&self, mut view: NodeView) -> NodeView {
        match self.mutation {
            Some(Mutation::ReclaimedTwice) => {
                for held in &mut view.held {
                    let bound = held.bound.map(|it| self.aliases.get(&it).copied().unwrap_or(it));
                    held.bound = bound;
                }
            }
            Some(Mutation::ReclaimedUnitsAreFree) => view.held.iter_mut().for_each(|held| {
                held.bound = None;
            }),
            Some(Mutation::CutIgnored) => view.overdrawn.clear(),
            Some(Mutation::SameEpochAfterRestart) => view.operation = 0,
            Some(Mutation::DrawnBeyondReserve) if view.version > OLD_ENOUGH => {
                view.held.iter_mut().filter(|held| held.bound.is_none()).for_each(|held| {
                    held.units = held.units.checked_add(Units::ONE).unwrap_or(held.units);
                });
            }
            Some(_) | None => {}
        }
        view
    }

    pub(crate) fn mutated_answer(&self, answer: PeerAnswer) -> PeerAnswer {
        if self.mutation.is_none() {
            return answer;
        }
        match answer {
            PeerAnswer::Beat(mut beat) => {
                beat.view = self.mutated_view(beat.view);
                PeerAnswer::Beat(beat)
            }
            PeerAnswer::Open(mut open) => {
                open.view = self.mutated_view(open.view);
                PeerAnswer::Open(open)
            }
            PeerAnswer::Operated(Operated::Applied { outcomes, supplies, view }) => {
                let number = view.operation;
                let view = NodeView { operation: number, ..self.mutated_view(view) };
                PeerAnswer::Operated(Operated::Applied { outcomes, supplies, view })
            }
            PeerAnswer::Operated(_)
            | PeerAnswer::HandOver(_)
            | PeerAnswer::Recalled(_)
            | PeerAnswer::Unknown => answer,
        }
    }

    /// A process that asks for a lease is told that it has that of its predecessor.
    pub(crate) fn same_epoch_again(&self, question: &Question) -> Option<PeerAnswer> {
        if self.mutation != Some(Mutation::SameEpochAfterRestart) {
            return None;
        }
        let Question::Open(asked) = question else { return None };
        let lease = self.raft.reference.node(asked.node)?.lease.as_ref()?;
        if !lease.live || lease.process == asked.process {
            return None;
        }
        let view = self.raft.reference.view(asked.node);
        Some(PeerAnswer::Open(OpenAnswer { epoch: Some(lease.epoch), view }))
    }

    /// What a desk gives back is all it has.
    pub(crate) fn mutated_operation(&self, mut operation: Operation) -> Operation {
        if self.mutation != Some(Mutation::UsedUnitsReturned) {
            return operation;
        }
        for action in &mut operation.actions {
            if let Action::Return { allotment, units } = action
                && let Some(it) = self.raft.reference.allotment(*allotment)
                && it.state == AllotmentState::Live
            {
                *units = it.units.max(Units::ONE);
            }
        }
        operation
    }

    /// A node that stops uses nothing.
    pub(crate) fn mutated_close(&self, mut close: Command) -> Command {
        if let Command::Close { used, .. } = &mut close
            && self.mutation == Some(Mutation::UsedUnitsClosed)
        {
            used.clear();
        }
        close
    }

    /// The state of some time ago in the place of the newest.
    pub(crate) fn mutated_snapshot(&mut self, newest: Ledger) -> Ledger {
        if self.mutation != Some(Mutation::StaleSnapshotRestored) {
            return newest;
        }
        self.old_snapshot.replace(newest.clone()).unwrap_or(newest)
    }
}
