//! What desks and engines do. A request and what the desk does with it are one step: one that
//! arrives late is one that was sent early, and leaves its engine with less.

use leasehold_core::id::{AllotmentId, CheckoutId, Epoch};
use leasehold_core::ledger::command::Action;
use leasehold_core::units::Units;

use crate::clocks::is_over_at_desk;
use crate::mutation::{Mutation, may_lend};
use crate::protocol::{LeaseModel, Step};
use crate::state::{
    Claim, Desk, ENGINES, Engine, EngineIndex, Entry, Message, NODES, Node, POOL, Phase, Receipt,
    State, node_id,
};
use crate::transition::Transition;

impl LeaseModel {
    pub(crate) fn steps_of_desks(&self, state: &State, steps: &mut Vec<Step>) {
        for node in 0..NODES {
            let Some(desk) = &state.rest.desks[node] else { continue };
            self.steps_with_ledger(state, node, desk, steps);
            for engine in 0..ENGINES {
                self.steps_with_engine(state, node, desk, engine, steps);
            }
        }
    }

    /// Whether this node's operations reach the ledger now.
    fn is_heard(&self, state: &State, node: Node) -> bool {
        state.rest.leader.is_some() && !state.rest.is_cut[node]
    }

    fn steps_with_ledger(&self, state: &State, node: Node, desk: &Desk, steps: &mut Vec<Step>) {
        let budget = &state.rest.budget;
        let is_steady = self.bounds.is_second_steady && node == 1;
        if budget.beats[node] > 0 && !is_steady && !state.rest.is_cut[node] {
            steps.push(Step::SendBeat(node));
        }
        if !self.is_heard(state, node) {
            return;
        }
        let may_operate = state.is_leased(node, desk.epoch) && !desk.is_operating;
        if may_operate && budget.draws > 0 {
            if !state.ledger().reserve(POOL).is_zero() {
                steps.push(Step::Draw(node));
            }
            if desk.free() > 0 {
                steps.push(Step::GiveBack(node));
            }
        }
        for held in &state.ledger().view(node_id(node)).held {
            let is_known = desk.book.iter().any(|it| it.allotment == held.allotment)
                || desk.superseded.iter().any(|(allotment, _)| *allotment == held.allotment);
            if held.bound.is_some() && !held.units.is_zero() && !is_known {
                steps.push(Step::TakeIn(node, held.allotment));
            }
        }
        let is_bound = |it: &AllotmentId| desk.till.is_none_or(|(till, _)| till != *it);
        let ended = desk.book.iter().filter(|it| !it.is_departing && is_bound(&it.allotment));
        let ended = ended.map(|it| (it.allotment, it.age)).chain(desk.superseded.iter().copied());
        if may_operate {
            for (allotment, _) in ended.filter(|(_, age)| is_over_at_desk(*age)) {
                steps.push(Step::GiveBackBound(node, allotment));
            }
        }
        self.steps_of_claims(state, node, desk, steps);
    }

    fn steps_of_claims(&self, state: &State, node: Node, desk: &Desk, steps: &mut Vec<Step>) {
        for claim in &desk.claims {
            let checkout = claim.receipt.checkout;
            match claim.phase {
                Phase::ToAsk if !desk.is_operating && state.is_leased(node, desk.epoch) => {
                    steps.push(Step::AskFor(node, checkout));
                }
                Phase::HandingOver => {
                    for from in (0..NODES).filter(|from| *from != node) {
                        if self.can_hand_over(state, from, checkout) {
                            steps.push(Step::HandOver { from, to: node, checkout });
                        }
                    }
                    if self.may_cover(state, node, desk, checkout) {
                        steps.push(Step::Cover(node, checkout));
                    }
                }
                Phase::ToAsk | Phase::Asked | Phase::Arriving => {}
            }
        }
    }

    fn may_cover(&self, state: &State, node: Node, desk: &Desk, checkout: CheckoutId) -> bool {
        let must_forget = self.must_forget(state, desk, checkout);
        let may_forget = state.is_leased(node, desk.epoch) && !desk.is_operating;
        desk.free() > 0 && may_lend(desk.right, self.mutation) && (!must_forget || may_forget)
    }

    /// A checkout that left the open allotment would be sought where it went, not where it is.
    fn must_forget(&self, state: &State, desk: &Desk, checkout: CheckoutId) -> bool {
        let has_left = desk.till.is_some_and(|(till, _)| {
            state.ledger().moves().any(|(key, _)| *key == (till, checkout))
        });
        has_left && self.mutation != Some(Mutation::CoverWhereItLeft)
    }

    fn can_hand_over(&self, state: &State, from: Node, checkout: CheckoutId) -> bool {
        let Some(desk) = &state.rest.desks[from] else { return false };
        let runs = desk.book.iter().any(|it| it.checkout == checkout && !it.is_departing);
        runs && !desk.is_operating && self.is_heard(state, from)
    }

    fn steps_with_engine(
        &self,
        state: &State,
        node: Node,
        desk: &Desk,
        engine: EngineIndex,
        steps: &mut Vec<Step>,
    ) {
        let budget = &state.rest.budget;
        let lends = may_lend(desk.right, self.mutation);
        match state.rest.engines[engine] {
            Engine::Idle => {
                // Engines are alike: the first is the first to ask.
                let is_turn = engine == 0 || state.rest.engines[engine - 1] != Engine::Idle;
                if is_turn && lends && desk.free() > 0 && budget.grants > 0 {
                    steps.push(Step::Grant(node, engine));
                }
            }
            Engine::Held { receipt, age, .. } if self.is_valid(age) => {
                let entry = desk.book.iter().find(|entry| entry.checkout == receipt.checkout);
                let runs = entry.is_some_and(|it| !it.is_departing && !is_over_at_desk(it.age));
                if runs && budget.checkins > 0 {
                    steps.push(Step::CheckIn(node, engine));
                }
                if runs && lends && budget.renewals > 0 {
                    steps.push(Step::Renew(node, engine));
                }
                let is_own = receipt.node == node && receipt.epoch == desk.epoch;
                // A question that was asked is given up in time, and the engine asks again.
                let is_claimed = desk
                    .claims
                    .iter()
                    .any(|claim| claim.engine == engine && claim.phase == Phase::ToAsk);
                let may_show = budget.shows > 0 && lends && !is_own && !is_claimed;
                if may_show && entry.is_none() {
                    steps.push(Step::Show(node, engine));
                }
            }
            Engine::Held { .. } | Engine::Asking { .. } | Engine::Done => {}
        }
    }

    pub(crate) fn send_beat(&self, state: &mut State, node: Node) {
        state.rest.budget.beats[node] -= 1;
        let Some(desk) = &mut state.rest.desks[node] else { return };
        desk.last_seq += 1;
        let (epoch, seq) = (desk.epoch, desk.last_seq);
        desk.beats.push((seq, 0));
        state.rest.wire.insert(Message::Beat { node, epoch, seq });
        self.seen.count(Transition::BeatSent);
    }

    pub(crate) fn draw(&self, state: &mut State, node: Node) {
        state.rest.budget.draws -= 1;
        let units = state.ledger().reserve(POOL);
        self.operate(state, node, Action::Draw { pool: POOL, units });
        let view = state.ledger().view(node_id(node));
        if let Some(desk) = &mut state.rest.desks[node] {
            let open = view.held.iter().find(|held| held.bound.is_none());
            desk.till = open.map(|held| (held.allotment, held.units.get()));
        }
        self.seen.count(Transition::Drawn);
    }

    pub(crate) fn give_back(&self, state: &mut State, node: Node) {
        state.rest.budget.draws -= 1;
        let Some(desk) = &mut state.rest.desks[node] else { return };
        let free = desk.free();
        let Some((allotment, units)) = &mut desk.till else { return };
        *units -= free;
        let allotment = *allotment;
        self.operate(
            state,
            node,
            Action::Return { allotment, units: Units::new(free).unwrap_or_default() },
        );
        self.seen.count(Transition::Returned);
    }

    pub(crate) fn give_back_bound(&self, state: &mut State, node: Node, allotment: AllotmentId) {
        if let Some(desk) = &mut state.rest.desks[node] {
            desk.book.retain(|entry| entry.allotment != allotment);
            desk.superseded.retain(|(it, _)| *it != allotment);
        }
        self.operate(state, node, Action::Return { allotment, units: Units::ONE });
        self.seen.count(Transition::Returned);
    }

    pub(crate) fn grant(&self, state: &mut State, node: Node, engine: EngineIndex) {
        let budget = &mut state.rest.budget;
        budget.grants -= 1;
        // Unique, as long as no more engines than fit a byte are granted anything.
        let checkout = CheckoutId::of(Epoch(1), u64::from(100 - budget.grants));
        let Some(desk) = &mut state.rest.desks[node] else { return };
        let Some((allotment, _)) = desk.till else { return };
        desk.book.push(Entry { checkout, allotment, age: 0, is_departing: false });
        let receipt = Receipt { checkout, node, epoch: desk.epoch, allotment };
        state.rest.engines[engine] = Engine::Asking { age: 0 };
        state.rest.wire.insert(Message::Granted { engine, receipt });
        self.seen.count(Transition::Granted);
    }

    pub(crate) fn renew(&self, state: &mut State, node: Node, engine: EngineIndex) {
        state.rest.budget.renewals -= 1;
        let Some(shown) = state.rest.engines[engine].held() else { return };
        let Some(desk) = &mut state.rest.desks[node] else { return };
        let epoch = desk.epoch;
        let Some(entry) = desk.entry(shown.checkout) else { return };
        entry.age = 0;
        let receipt = Receipt { node, epoch, allotment: entry.allotment, ..shown };
        self.ask(state, engine);
        state.rest.wire.insert(Message::Renewed { engine, receipt });
        self.seen.count(Transition::Renewed);
    }

    /// The engine waits for an answer to this and no longer for one to what it asked before.
    fn ask(&self, state: &mut State, engine: EngineIndex) {
        let is_older = |message: &Message| matches!(message, Message::Renewed { engine: it, .. } if *it == engine);
        state.rest.wire.retain(|message| !is_older(message));
        for desk in state.rest.desks.iter_mut().flatten() {
            desk.claims.retain(|claim| claim.engine != engine);
        }
        if let Engine::Held { asked, .. } = &mut state.rest.engines[engine] {
            *asked = Some(0);
        }
    }

    pub(crate) fn check_in(&self, state: &mut State, node: Node, engine: EngineIndex) {
        state.rest.budget.checkins -= 1;
        let Some(receipt) = state.rest.engines[engine].held() else { return };
        state.rest.engines[engine] = Engine::Done;
        if let Some(desk) = &mut state.rest.desks[node] {
            desk.end(receipt.checkout);
        }
        self.seen.count(Transition::CheckedIn);
    }

    pub(crate) fn show(&self, state: &mut State, node: Node, engine: EngineIndex) {
        state.rest.budget.shows -= 1;
        let Some(receipt) = state.rest.engines[engine].held() else { return };
        self.ask(state, engine);
        if let Some(desk) = &mut state.rest.desks[node] {
            desk.claims.push(Claim { engine, receipt, phase: Phase::ToAsk });
        }
        self.seen.count(Transition::Shown);
    }

    pub(crate) fn ask_for(&self, state: &mut State, node: Node, checkout: CheckoutId) {
        let Some(desk) = &mut state.rest.desks[node] else { return };
        desk.is_operating = true;
        let (epoch, operation) = (desk.epoch, desk.operation + 1);
        let Some(claim) = desk.claim(checkout) else { return };
        claim.phase = Phase::Asked;
        let receipt = claim.receipt;
        state.rest.wire.insert(Message::Reclaim { node, epoch, operation, receipt });
    }

    pub(crate) fn start_move(&self, state: &mut State, from: Node, to: Node, checkout: CheckoutId) {
        let Some(desk) = &mut state.rest.desks[from] else { return };
        desk.is_operating = true;
        let (epoch, operation) = (desk.epoch, desk.operation + 1);
        let Some(entry) = desk.entry(checkout) else { return };
        entry.is_departing = true;
        let receipt = Receipt { checkout, node: from, epoch, allotment: entry.allotment };
        state.rest.wire.insert(Message::HandOver { node: from, epoch, operation, receipt, to });
    }

    pub(crate) fn cover(&self, state: &mut State, node: Node, checkout: CheckoutId) {
        let Some(desk) = &state.rest.desks[node] else { return };
        let is_left = self.must_forget(state, desk, checkout);
        let Some((allotment, _)) = desk.till else { return };
        self.seen.count(Transition::Covered);
        if is_left {
            state.rest.is_covered_where_it_left = true;
            self.operate(state, node, Action::Forget { checkouts: vec![checkout] });
            self.seen.count(Transition::Forgotten);
        }
        self.enter(state, node, checkout, allotment);
    }

    /// The ledger's view shows units that moved here.
    pub(crate) fn take_in(&self, state: &mut State, node: Node, allotment: AllotmentId) {
        let bound = state.ledger().allotment(allotment).and_then(|it| it.bound);
        let (Some(bound), Some(desk)) = (bound, &mut state.rest.desks[node]) else { return };
        let mut checkout = bound.checkout;
        checkout.0[0] = 0;
        if desk.knows(checkout) {
            // The engine may not know yet that it is covered.
            desk.superseded.push((allotment, 0));
            self.seen.count(Transition::Superseded);
            return;
        }
        self.seen.count(Transition::TakenIn);
        self.enter(state, node, checkout, allotment);
    }

    /// A checkout that another node granted runs here now; its engine is told, if it still asks.
    fn enter(&self, state: &mut State, node: Node, checkout: CheckoutId, allotment: AllotmentId) {
        let Some(desk) = &mut state.rest.desks[node] else { return };
        desk.book.push(Entry { checkout, allotment, age: 0, is_departing: false });
        let epoch = desk.epoch;
        let lends = may_lend(desk.right, self.mutation);
        let claim = desk.claims.iter().position(|claim| claim.receipt.checkout == checkout);
        let Some(claim) = claim.map(|at| desk.claims.remove(at)) else { return };
        if lends {
            let receipt = Receipt { checkout, node, epoch, allotment };
            state.rest.wire.insert(Message::Renewed { engine: claim.engine, receipt });
        }
    }
}

impl Desk {
    pub(crate) fn claim(&mut self, checkout: CheckoutId) -> Option<&mut Claim> {
        self.claims.iter_mut().find(|claim| claim.receipt.checkout == checkout)
    }

    /// Units of the open allotment are free at once; others are given back by an operation.
    pub(crate) fn end(&mut self, checkout: CheckoutId) {
        let till = self.till.map(|(till, _)| till);
        if let Some(entry) = self.entry(checkout) {
            entry.age = crate::clocks::AGE_MAX;
        }
        self.book.retain(|entry| {
            let is_free = Some(entry.allotment) == till && is_over_at_desk(entry.age);
            !is_free || entry.is_departing
        });
    }
}
