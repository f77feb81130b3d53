//! Time passes, nodes die and are cut off, leaders change, operators fence; and what is forgotten
//! because it can make no difference any more, so that the checker sees as few states as possible.

use leasehold_core::id::Epoch;
use leasehold_core::ledger::command::{Command, Outcome};

use crate::clocks::{AGE_MAX, Age, is_over_at_desk, is_valid_at_engine};
use crate::mutation::{Mutation, may_lend};
use crate::protocol::{LeaseModel, Step};
use crate::state::{Desk, Engine, Message, NODES, Node, State, node_id};
use crate::transition::Transition;

impl LeaseModel {
    pub(crate) fn faults(&self, state: &State, steps: &mut Vec<Step>) {
        let budget = &state.rest.budget;
        for node in 0..NODES {
            let is_steady = self.bounds.is_second_steady && node == 1;
            let is_up = state.rest.desks[node].is_some();
            let is_cut = state.rest.is_cut[node];
            if is_cut {
                steps.push(Step::Heal(node));
            }
            if budget.elections > 0 && is_up && !is_cut && state.rest.leader != Some(node) {
                steps.push(Step::Elect(node));
            }
            if budget.crashes > 0 && is_up && !is_steady {
                steps.push(Step::Crash(node));
            }
            if budget.cuts > 0 && is_up && !is_cut && !is_steady {
                steps.push(Step::Cut(node));
            }
            if state.rest.leader.is_none() {
                continue;
            }
            if !is_up && !is_cut && budget.opens > 0 {
                steps.extend([true, false].map(|is_proven| Step::Restart { node, is_proven }));
            }
            if let Some(desk) = &state.rest.desks[node] {
                let is_leased = state.is_leased(node, desk.epoch);
                if is_leased && budget.fences > 0 && !is_steady {
                    steps.push(Step::Fence(node));
                }
                if !is_leased && budget.opens > 0 && !is_cut {
                    steps.push(Step::Reopen(node));
                }
            }
        }
    }

    pub(crate) fn elect(&self, state: &mut State, node: Node) {
        state.rest.budget.elections -= 1;
        let changed = match state.rest.leader {
            Some(leader) => {
                state.rest.deposed = Some(leader);
                Transition::LeaderChanged
            }
            None => Transition::LeaderElected,
        };
        self.seen.count(changed);
        state.rest.leader = Some(node);
    }

    pub(crate) fn crash(&self, state: &mut State, node: Node) {
        state.rest.budget.crashes -= 1;
        state.rest.desks[node] = None;
        state.replicas[node] = None;
        // The operator of a dead machine mends its network as well.
        state.rest.is_cut[node] = false;
        if state.rest.leader == Some(node) {
            state.rest.leader = None;
        }
        if state.rest.deposed == Some(node) {
            state.rest.deposed = None;
        }
        self.seen.count(Transition::Crashed);
    }

    pub(crate) fn restart(&self, state: &mut State, node: Node, is_proven: bool) {
        self.install(state, node);
        self.open(state, node, is_proven, true);
        self.seen.count(if is_proven {
            Transition::Restarted
        } else {
            Transition::RestartedUnproven
        });
    }

    pub(crate) fn reopen(&self, state: &mut State, node: Node) {
        self.open(state, node, false, false);
        self.seen.count(Transition::LeaseOpened);
    }

    fn open(&self, state: &mut State, node: Node, is_proven: bool, is_new_process: bool) {
        state.rest.budget.opens -= 1;
        let lease = state.ledger().node(node_id(node)).and_then(|node| node.lease.clone());
        let Some(lease) = lease else { return };
        let process =
            if is_new_process { self.process_after(lease.process) } else { lease.process };
        let command = Command::Open {
            node: node_id(node),
            process,
            after: lease.epoch,
            gone: is_proven.then_some(lease.process),
        };
        if let Outcome::Opened { epoch } = self.commit(state, &command) {
            state.rest.desks[node] = Some(Desk::open(epoch));
        }
    }

    pub(crate) fn cut(&self, state: &mut State, node: Node) {
        state.rest.budget.cuts -= 1;
        state.rest.is_cut[node] = true;
        state.replicas[node] = None;
        if state.rest.leader == Some(node) {
            state.rest.leader = None;
            state.rest.deposed = Some(node);
        }
        self.seen.count(Transition::CutOff);
    }

    pub(crate) fn heal(&self, state: &mut State, node: Node) {
        state.rest.is_cut[node] = false;
        self.install(state, node);
        self.seen.count(Transition::Healed);
    }

    pub(crate) fn fence(&self, state: &mut State, node: Node) {
        state.rest.budget.fences -= 1;
        let Some(epoch) = state.rest.desks[node].as_ref().map(|desk| desk.epoch) else { return };
        self.commit(state, &Command::Fence { node: node_id(node), epoch, powered_off: false });
        self.seen.count(Transition::Fenced);
    }

    pub(crate) fn tick(&self, state: &mut State) {
        state.tick += 1;
        let older = |age: &mut Age| *age = (*age + 1).min(AGE_MAX);
        for engine in &mut state.rest.engines {
            match engine {
                Engine::Asking { age } => older(age),
                Engine::Held { age, asked, .. } => {
                    older(age);
                    asked.iter_mut().for_each(older);
                }
                Engine::Idle | Engine::Done => {}
            }
        }
        for (node, desk) in state.rest.desks.iter_mut().enumerate() {
            let Some(desk) = desk else { continue };
            if !(self.bounds.is_second_steady && node == 1) {
                older(&mut desk.right);
            }
            desk.beats.iter_mut().for_each(|(_, age)| older(age));
            desk.superseded.iter_mut().for_each(|(_, age)| older(age));
            desk.book.iter_mut().for_each(|entry| older(&mut entry.age));
            let before = desk.book.len();
            let till = desk.till.map(|(till, _)| till);
            desk.book.retain(|entry| {
                let is_free = Some(entry.allotment) == till && is_over_at_desk(entry.age);
                !is_free || entry.is_departing
            });
            for _ in desk.book.len()..before {
                self.seen.count(Transition::Expired);
            }
        }
    }

    pub(crate) fn is_valid(&self, age: Age) -> bool {
        is_valid_at_engine(age)
    }

    pub(crate) fn forget_what_is_over(&self, state: &mut State) {
        for node in 0..NODES {
            self.forget_of_desk(state, node);
        }
        self.forget_of_engines(state);
        let wire = std::mem::take(&mut state.rest.wire);
        state.rest.wire = wire.into_iter().filter(|it| self.can_matter(state, it)).collect();
        if self.mutation != Some(Mutation::AcknowledgeFromMemory) {
            state.rest.deposed = None;
        }
    }

    fn forget_of_desk(&self, state: &mut State, node: Node) {
        let Some(desk) = &state.rest.desks[node] else { return };
        let is_leased = state.is_leased(node, desk.epoch);
        let engines = state.rest.engines;
        let counts_from_answer = self.mutation == Some(Mutation::HolderCountsFromAnswer);
        let can_count = |age: Age| counts_from_answer || may_lend(age, self.mutation);
        let Some(desk) = &mut state.rest.desks[node] else { return };
        desk.beats.retain(|(_, age)| can_count(*age));
        if !may_lend(desk.right, self.mutation) {
            desk.right = AGE_MAX;
        }
        let may_ever_lend = is_leased || desk.right < AGE_MAX || !desk.beats.is_empty();
        if !may_ever_lend {
            *desk = Desk::open(desk.epoch);
            return;
        }
        desk.claims.retain(|claim| match engines[claim.engine] {
            Engine::Held { receipt, age, .. } => {
                receipt.checkout == claim.receipt.checkout && self.is_valid(age)
            }
            Engine::Idle | Engine::Asking { .. } | Engine::Done => false,
        });
    }

    fn forget_of_engines(&self, state: &mut State) {
        let can_revive = self.mutation == Some(Mutation::EngineCountsFromAnswer);
        let is_answered: Vec<bool> = (0..state.rest.engines.len())
            .map(|index| {
                state.rest.wire.iter().any(|message| match message {
                    Message::Granted { engine, .. } | Message::Renewed { engine, .. } => {
                        *engine == index
                    }
                    Message::Beat { .. }
                    | Message::Acknowledged { .. }
                    | Message::Freeze { .. }
                    | Message::Reclaim { .. }
                    | Message::HandOver { .. } => false,
                })
            })
            .collect();
        for (index, engine) in state.rest.engines.iter_mut().enumerate() {
            let age = match engine {
                Engine::Asking { age } | Engine::Held { age, .. } => *age,
                Engine::Idle | Engine::Done => continue,
            };
            let may_hear = can_revive && is_answered[index];
            if !self.is_valid(age) && !may_hear {
                *engine = Engine::Done;
            }
        }
    }

    fn can_matter(&self, state: &State, message: &Message) -> bool {
        let holds = |node: Node, epoch: Epoch| {
            state.rest.desks[node].as_ref().is_some_and(|desk| desk.epoch == epoch)
        };
        match *message {
            Message::Beat { node, epoch, .. } => {
                state.is_leased(node, epoch)
                    || (holds(node, epoch)
                        && self.mutation == Some(Mutation::AcknowledgeFromMemory))
            }
            Message::Freeze { node, epoch, .. }
            | Message::Reclaim { node, epoch, .. }
            | Message::HandOver { node, epoch, .. } => state.is_leased(node, epoch),
            Message::Acknowledged { node, epoch, seq } => {
                state.rest.desks[node].as_ref().is_some_and(|it| {
                    it.epoch == epoch && it.beats.iter().any(|(sent, _)| *sent == seq)
                })
            }
            Message::Granted { engine, .. } => {
                matches!(state.rest.engines[engine], Engine::Asking { .. })
            }
            Message::Renewed { engine, .. } => {
                matches!(state.rest.engines[engine], Engine::Held { asked: Some(_), .. })
            }
        }
    }
}
