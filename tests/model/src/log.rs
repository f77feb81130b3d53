//! The replicated log and its leader: the real ledger, notes and steward of `core`.
//!
//! Consensus itself is taken for granted: what is committed is applied by all nodes that are up and
//! not cut off. A proposal is committed at any time after it was made, by whoever leads then.

use std::sync::Arc;

use leasehold_core::id::{Epoch, ProcessId};
use leasehold_core::ledger::command::{Action, ActionOutcome, Beat, Command, LoanLine, Outcome};
use leasehold_core::ledger::{AllotmentState, FrozenLease, Replica, check_transition};
use leasehold_core::steward::Steward;
use leasehold_core::steward::message::Effect;
use leasehold_core::time::Now;
use leasehold_core::units::Units;

use crate::clocks::{judged_at, noted_at};
use crate::mutation::Mutation;
use crate::protocol::{LeaseModel, Step, WALL_MS};
use crate::state::{Engine, EngineIndex, Message, Node, Phase, Receipt, State, node_id, place_of};
use crate::transition::Transition;

impl LeaseModel {
    pub(crate) fn steps_of_the_log(&self, state: &State, steps: &mut Vec<Step>) {
        for message in &state.rest.wire {
            let is_for_engine =
                matches!(message, Message::Granted { .. } | Message::Renewed { .. });
            let is_answer = matches!(message, Message::Acknowledged { .. });
            if is_for_engine || is_answer || state.rest.leader.is_some() {
                steps.push(Step::Arrive(*message));
            }
            let is_beat = matches!(message, Message::Beat { .. });
            let forgets = self.mutation == Some(Mutation::AcknowledgeFromMemory);
            if forgets && is_beat && state.rest.deposed.is_some() {
                steps.push(Step::AcknowledgeFromMemory(*message));
            }
        }
        steps.extend(self.wishes(state).into_iter().map(Step::Propose));
    }

    /// What the steward of the present leader wants done: its real decisions.
    fn wishes(&self, state: &State) -> Vec<Command> {
        let Some(leader) = state.rest.leader else { return Vec::new() };
        let Some(replica) = &state.replicas[leader] else { return Vec::new() };
        let now = Now { steady: judged_at(state.tick), wall_ms: WALL_MS };
        let mut steward = Steward::new(now);
        steward.on_tick(now, replica);
        let proposed = steward.take_effects().into_iter().flat_map(|effect| match effect {
            Effect::Propose { commands, .. } => commands,
            Effect::Answer { .. } | Effect::Recall { .. } => Vec::new(),
        });
        let mut wishes: Vec<Command> =
            proposed.filter(|command| !self.is_proposed(state, command)).collect();
        wishes.extend(self.hasty_wish(replica));
        wishes
    }

    /// Whether it is under way, or about a node that never fails.
    fn is_proposed(&self, state: &State, command: &Command) -> bool {
        let Command::Freeze { node, epoch, seq } = command else { return false };
        let node = place_of(*node);
        let message = Message::Freeze { node, epoch: *epoch, seq: *seq };
        (self.bounds.is_second_steady && node == 1) || state.rest.wire.contains(&message)
    }

    fn hasty_wish(&self, replica: &Replica) -> Option<Command> {
        let of = |lease: FrozenLease| {
            let state = AllotmentState::Frozen(lease);
            let frozen = replica.ledger.allotments().filter(move |(_, it)| it.state == state);
            frozen.map(|(id, _)| *id).collect::<Vec<_>>()
        };
        let command = match self.mutation {
            Some(Mutation::ThawWithoutWait) => Command::Thaw { allotments: of(FrozenLease::Ended) },
            Some(Mutation::LapseAtOnce) => Command::Lapse { allotments: of(FrozenLease::MayRun) },
            Some(_) | None => return None,
        };
        let (Command::Thaw { allotments } | Command::Lapse { allotments }) = &command else {
            return None;
        };
        (!allotments.is_empty()).then_some(command)
    }

    /// A thaw and a lapse stay true: to commit them later changes nothing. A freeze does not.
    pub(crate) fn propose(&self, state: &mut State, command: &Command) {
        if let Command::Freeze { node, epoch, seq } = *command {
            let node = place_of(node);
            state.rest.wire.insert(Message::Freeze { node, epoch, seq });
            return;
        }
        self.commit(state, command);
        let is_thaw = matches!(command, Command::Thaw { .. });
        self.seen.count(if is_thaw { Transition::Thawed } else { Transition::Lapsed });
    }

    /// Applied by everybody who is up and not cut off.
    pub(crate) fn commit(&self, state: &mut State, command: &Command) -> Outcome {
        let at = noted_at(state.tick);
        let before = Arc::clone(&state.truth);
        let mut truth = Replica::clone(&before);
        let outcome = truth.apply(at, std::slice::from_ref(command)).remove(0);
        state.truth = Arc::new(truth);
        for replica in state.replicas.iter_mut().flatten() {
            if Arc::ptr_eq(replica, &before) {
                *replica = Arc::clone(&state.truth);
            } else {
                Arc::make_mut(replica).apply(at, std::slice::from_ref(command));
            }
        }
        state.rest.went_back |= check_transition(&before.ledger, state.ledger()).is_err();
        let mut repeated = state.clone();
        let mut truth = Replica::clone(&state.truth);
        truth.apply(at, std::slice::from_ref(command));
        repeated.truth = Arc::new(truth);
        state.rest.is_repeat_applied |= !state.has_same_truth(&repeated);
        outcome
    }

    /// One operation of a node that hears the answer at once.
    pub(crate) fn operate(&self, state: &mut State, node: Node, action: Action) {
        let Some(desk) = &mut state.rest.desks[node] else { return };
        desk.operation += 1;
        let (epoch, operation) = (desk.epoch, desk.operation);
        let command =
            Command::Operate { node: node_id(node), epoch, operation, actions: vec![action] };
        let outcome = self.commit(state, &command);
        assert!(
            matches!(&outcome, Outcome::Operated(outcomes) if !matches!(outcomes[0], ActionOutcome::Refused(_))),
            "{command:?}: {outcome:?}"
        );
    }

    pub(crate) fn arrive(&self, state: &mut State, message: Message) {
        state.rest.wire.remove(&message);
        match message {
            Message::Beat { node, epoch, seq } => self.apply_beat(state, node, epoch, seq),
            Message::Acknowledged { node, seq, .. } => self.hear_beat(state, node, seq),
            Message::Freeze { node, epoch, seq } => self.apply_freeze(state, node, epoch, seq),
            Message::Reclaim { node, epoch, operation, receipt } => {
                self.apply_reclaim(state, node, epoch, operation, receipt);
            }
            Message::HandOver { node, epoch, operation, receipt, to } => {
                self.apply_move(state, node, epoch, operation, receipt, to);
            }
            Message::Granted { engine, receipt } => self.hear_grant(state, engine, receipt),
            Message::Renewed { engine, receipt } => self.hear_renewal(state, engine, receipt),
        }
    }

    fn apply_beat(&self, state: &mut State, node: Node, epoch: Epoch, seq: u64) {
        let beats = vec![Beat { node: node_id(node), epoch, seq, applied: None }];
        let outcome = self.commit(state, &Command::Beat { beats, wall_ms: WALL_MS });
        self.seen.count(Transition::BeatApplied);
        if outcome == Outcome::Beaten(vec![true]) {
            state.rest.wire.insert(Message::Acknowledged { node, epoch, seq });
        }
    }

    pub(crate) fn acknowledge_from_memory(&self, state: &mut State, message: Message) {
        let Message::Beat { node, epoch, seq } = message else { return };
        state.rest.wire.remove(&message);
        state.rest.wire.insert(Message::Acknowledged { node, epoch, seq });
    }

    fn hear_beat(&self, state: &mut State, node: Node, seq: u64) {
        let Some(desk) = &mut state.rest.desks[node] else { return };
        let Some((_, age)) = desk.beats.iter().find(|(sent, _)| *sent == seq).copied() else {
            return;
        };
        let counts_from_answer = self.mutation == Some(Mutation::HolderCountsFromAnswer);
        desk.beats.retain(|(sent, _)| *sent > seq);
        desk.right = desk.right.min(if counts_from_answer { 0 } else { age });
        self.seen.count(Transition::BeatAcknowledged);
    }

    fn apply_freeze(&self, state: &mut State, node: Node, epoch: Epoch, mut seq: u64) {
        if self.mutation == Some(Mutation::FreezeWithoutCompare) {
            let lease = state.ledger().node(node_id(node)).and_then(|node| node.lease.as_ref());
            seq = lease.map_or(seq, |lease| lease.seq);
        }
        let freeze = Command::Freeze { node: node_id(node), epoch, seq };
        if self.commit(state, &freeze) != Outcome::Done {
            self.seen.count(Transition::FreezeRefused);
            return;
        }
        self.seen.count(Transition::LeaseEnded);
        if state.rest.budget.elections < self.bounds.budget.elections {
            self.seen.count(Transition::LeaseEndedByNewLeader);
        }
    }

    fn apply_reclaim(
        &self,
        state: &mut State,
        node: Node,
        epoch: Epoch,
        operation: u64,
        receipt: Receipt,
    ) {
        let lines = vec![LoanLine { allotment: receipt.allotment, units: Units::ONE }];
        let mut checkout = receipt.checkout;
        if self.mutation == Some(Mutation::ReclaimTwice) {
            // A name that the ledger has not seen, for the same checkout.
            checkout.0[0] = u8::try_from(epoch.0 * 16 + operation).unwrap_or(u8::MAX);
        }
        let moved_before = state.ledger().moves().any(|((_, it), _)| *it == checkout);
        let actions = vec![Action::Reclaim { checkout, lines }];
        let command = Command::Operate { node: node_id(node), epoch, operation, actions };
        let outcome = self.commit(state, &command);
        let answer = match &outcome {
            Outcome::Operated(outcomes) => outcomes.first(),
            Outcome::Done
            | Outcome::Opened { .. }
            | Outcome::Beaten(_)
            | Outcome::Installed { .. }
            | Outcome::Refused(_) => None,
        };
        let (seen, phase) = match answer {
            Some(ActionOutcome::Done) if moved_before => {
                (Transition::ReclaimedAgain, Some(Phase::Arriving))
            }
            Some(ActionOutcome::Done) => (Transition::Reclaimed, Some(Phase::Arriving)),
            Some(ActionOutcome::LiveAt { node: at }) if *at == node_id(node) => {
                (Transition::LiveElsewhere, Some(Phase::Arriving))
            }
            Some(ActionOutcome::LiveAt { .. }) => {
                (Transition::LiveElsewhere, Some(Phase::HandingOver))
            }
            Some(ActionOutcome::Drawn { .. } | ActionOutcome::Refused(_)) | None => {
                (Transition::ReclaimRefused, None)
            }
        };
        self.seen.count(seen);
        let Some(desk) = state.desk_of(node, epoch) else { return };
        desk.operation = operation;
        desk.is_operating = false;
        match phase {
            Some(phase) => {
                if let Some(claim) = desk.claim(receipt.checkout) {
                    claim.phase = phase;
                }
            }
            None => desk.claims.retain(|claim| claim.receipt.checkout != receipt.checkout),
        }
    }

    fn apply_move(
        &self,
        state: &mut State,
        node: Node,
        epoch: Epoch,
        operation: u64,
        receipt: Receipt,
        to: Node,
    ) {
        let lines = vec![LoanLine { allotment: receipt.allotment, units: Units::ONE }];
        let checkout = receipt.checkout;
        let actions = vec![Action::HandOver { checkout, to: node_id(to), lines }];
        let command = Command::Operate { node: node_id(node), epoch, operation, actions };
        let is_done = self.commit(state, &command) == Outcome::Operated(vec![ActionOutcome::Done]);
        self.seen.count(if is_done { Transition::HandedOver } else { Transition::HandOverRefused });
        let Some(desk) = state.desk_of(node, epoch) else { return };
        desk.operation = operation;
        desk.is_operating = false;
        if let Some(entry) = desk.entry(checkout) {
            entry.is_departing = false;
        }
        if is_done {
            desk.book.retain(|entry| entry.checkout != checkout);
            if let Some((till, units)) = &mut desk.till
                && *till == receipt.allotment
            {
                *units -= 1;
            }
        }
    }

    fn hear_grant(&self, state: &mut State, engine: EngineIndex, receipt: Receipt) {
        let Engine::Asking { age } = state.rest.engines[engine] else { return };
        let counts_from_answer = self.mutation == Some(Mutation::EngineCountsFromAnswer);
        let age = if counts_from_answer { 0 } else { age };
        state.rest.engines[engine] = Engine::Held { receipt, age, asked: None };
        self.seen.count(Transition::GrantHeard);
    }

    fn hear_renewal(&self, state: &mut State, engine: EngineIndex, receipt: Receipt) {
        let Engine::Held { age, asked: Some(asked), .. } = state.rest.engines[engine] else {
            return;
        };
        let counts_from_answer = self.mutation == Some(Mutation::EngineCountsFromAnswer);
        if !self.is_valid(age) {
            return;
        }
        let age = if counts_from_answer { 0 } else { age.min(asked) };
        state.rest.engines[engine] = Engine::Held { receipt, age, asked: None };
        self.seen.count(Transition::RenewalHeard);
    }

    pub(crate) fn process_after(&self, process: ProcessId) -> ProcessId {
        ProcessId([process.0[0] + 10; 16])
    }

    pub(crate) fn install(&self, state: &mut State, node: Node) {
        let mut replica = Replica::default();
        replica.install(state.ledger().clone(), noted_at(state.tick));
        state.replicas[node] = Some(Arc::new(replica));
    }
}
