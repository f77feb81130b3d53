//! The model as the checker sees it: where it begins, what may happen, what follows.

use std::collections::BTreeSet;
use std::sync::Arc;

use leasehold_core::entitlement::{
    Date, Entitlement, FORMAT, FeatureLine, LicenseSet, SetKind, SigningKey,
};
use leasehold_core::id::{AllotmentId, CheckoutId, ClusterId, Epoch, ProcessId};
use leasehold_core::ledger::Replica;
use leasehold_core::ledger::command::{Action as LedgerAction, Beat, Command, Founding};
use leasehold_core::units::Units;
use stateright::{Model, Property};

use crate::bounds::Bounds;
use crate::clocks::{TIMINGS, noted_at};
use crate::mutation::Mutation;
use crate::properties;
use crate::state::{
    Desk, ENGINES, Engine, EngineIndex, Message, NODES, Node, POOL, Rest, State, node_id,
};
use crate::transition::Seen;

#[derive(Clone, Debug)]
pub struct LeaseModel {
    pub bounds: Bounds,
    pub mutation: Option<Mutation>,
    pub(crate) seen: Arc<Seen>,
}

/// One step. Whatever can happen may also happen later, or never.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Tick,
    SendBeat(Node),
    Draw(Node),
    GiveBack(Node),
    Grant(Node, EngineIndex),
    Renew(Node, EngineIndex),
    CheckIn(Node, EngineIndex),
    Show(Node, EngineIndex),
    /// The desk asks the ledger for a checkout that it was shown.
    AskFor(Node, CheckoutId),
    HandOver {
        from: Node,
        to: Node,
        checkout: CheckoutId,
    },
    Cover(Node, CheckoutId),
    TakeIn(Node, AllotmentId),
    GiveBackBound(Node, AllotmentId),
    /// Arrives; or, of what is meant for the ledger, is committed and applied.
    Arrive(Message),
    /// What the leader's steward wants done.
    Propose(Command),
    /// A beat is acknowledged by one who believes to lead: only under a mutation.
    AcknowledgeFromMemory(Message),
    Elect(Node),
    Crash(Node),
    Restart {
        node: Node,
        is_proven: bool,
    },
    Cut(Node),
    Heal(Node),
    Fence(Node),
    Reopen(Node),
}

impl LeaseModel {
    #[must_use]
    pub fn new(bounds: Bounds, mutation: Option<Mutation>) -> Self {
        Self { bounds, mutation, seen: Arc::default() }
    }

    /// A founded cluster: both nodes hold a lease, and units as the bounds say.
    fn first_state(&self) -> State {
        let mut replica = Replica::default();
        let at = noted_at(0);
        let mut commands = founding(self.bounds.drawn.iter().sum());
        for node in 0..NODES {
            commands.push(Command::Open {
                node: node_id(node),
                process: ProcessId([process_of(node); 16]),
                after: Epoch::default(),
                gone: None,
            });
        }
        replica.apply(at, &commands);
        let mut desks = [None, None];
        for (node, desk) in desks.iter_mut().enumerate() {
            *desk = Some(self.first_desk(&mut replica, node));
        }
        let truth = Arc::new(replica);
        State {
            tick: 0,
            replicas: [Some(Arc::clone(&truth)), Some(Arc::clone(&truth))],
            truth,
            rest: Rest {
                leader: Some(self.bounds.first_leader),
                deposed: None,
                is_cut: [false; NODES],
                desks,
                engines: [Engine::Idle; ENGINES],
                wire: BTreeSet::new(),
                budget: self.bounds.budget,
                is_covered_where_it_left: false,
                is_repeat_applied: false,
                went_back: false,
            },
        }
    }

    /// Its first beat is sent, committed and acknowledged in the moment in which the model begins.
    fn first_desk(&self, replica: &mut Replica, node: Node) -> Desk {
        let id = node_id(node);
        let epoch = replica.ledger.view(id).newest_epoch;
        let beats = vec![Beat { node: id, epoch, seq: 1, applied: None }];
        let units = self.bounds.drawn[node];
        let actions =
            vec![LedgerAction::Draw { pool: POOL, units: Units::new(units).unwrap_or_default() }];
        let mut commands = vec![Command::Beat { beats, wall_ms: WALL_MS }];
        let mut desk = Desk { last_seq: 1, right: 0, ..Desk::open(epoch) };
        if units > 0 {
            desk.operation = 1;
            commands.push(Command::Operate { node: id, epoch, operation: 1, actions });
        }
        replica.apply(noted_at(0), &commands);
        let view = replica.ledger.view(id);
        desk.till = view.held.first().map(|held| (held.allotment, held.units.get()));
        desk
    }
}

/// The calendar stands still: dates are no part of this model.
pub(crate) const WALL_MS: i64 = 1_795_564_800_000;

/// The process that runs a node first; its successor is ten more.
pub(crate) fn process_of(node: Node) -> u8 {
    if node == 0 { 1 } else { 2 }
}

fn founding(units: u64) -> Vec<Command> {
    let key = SigningKey::from_bytes(&[7; 32]);
    let cluster = ClusterId([1; 16]);
    let set = LicenseSet {
        name: parsed("floating"),
        kind: SetKind::Production,
        home: None,
        covers: Vec::new(),
        starts: parsed("2026-01-01"),
        contract_end: parsed("2028-12-31"),
        maintenance_until: parsed("2028-12-31"),
        autonomy_s: None,
        features: vec![FeatureLine { feature: parsed("asr.tier1"), units }],
    };
    let entitlement = Entitlement {
        format: FORMAT,
        cluster,
        serial: 1,
        issued: parsed("2026-11-25"),
        customer: "Modelled Bank".to_owned(),
        contact_days: 60,
        sets: vec![set],
    };
    let founding = Founding {
        cluster,
        timings: TIMINGS,
        receipt_key: [3; 32],
        trusted_keys: vec![key.verifying_key().to_bytes()],
    };
    let mut commands = vec![Command::Found(founding)];
    commands.extend((0..NODES).map(|node| Command::Admit {
        node: node_id(node),
        site: parsed("east"),
        name: parsed(&format!("node-{node}")),
    }));
    commands.push(Command::InstallEntitlement { envelope: entitlement.seal(&key) });
    if let Some(day) = Date::of_unix_ms(WALL_MS) {
        commands.push(Command::Day { day });
    }
    commands
}

/// Text of this file, which is right.
fn parsed<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("a constant of the model is well-formed")
}

impl Model for LeaseModel {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![self.first_state()]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        steps.push(Step::Tick);
        self.steps_of_desks(state, steps);
        self.steps_of_the_log(state, steps);
        self.faults(state, steps);
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        let mut next = state.clone();
        self.perform(&mut next, step);
        self.forget_what_is_over(&mut next);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}

impl LeaseModel {
    fn perform(&self, state: &mut State, step: Step) {
        match step {
            Step::Tick => self.tick(state),
            Step::SendBeat(node) => self.send_beat(state, node),
            Step::Draw(node) => self.draw(state, node),
            Step::GiveBack(node) => self.give_back(state, node),
            Step::Grant(node, engine) => self.grant(state, node, engine),
            Step::Renew(node, engine) => self.renew(state, node, engine),
            Step::CheckIn(node, engine) => self.check_in(state, node, engine),
            Step::Show(node, engine) => self.show(state, node, engine),
            Step::AskFor(node, checkout) => self.ask_for(state, node, checkout),
            Step::HandOver { from, to, checkout } => self.start_move(state, from, to, checkout),
            Step::Cover(node, checkout) => self.cover(state, node, checkout),
            Step::TakeIn(node, allotment) => self.take_in(state, node, allotment),
            Step::GiveBackBound(node, allotment) => self.give_back_bound(state, node, allotment),
            Step::Arrive(message) => self.arrive(state, message),
            Step::Propose(command) => self.propose(state, &command),
            Step::AcknowledgeFromMemory(message) => self.acknowledge_from_memory(state, message),
            Step::Elect(node) => self.elect(state, node),
            Step::Crash(node) => self.crash(state, node),
            Step::Restart { node, is_proven } => self.restart(state, node, is_proven),
            Step::Cut(node) => self.cut(state, node),
            Step::Heal(node) => self.heal(state, node),
            Step::Fence(node) => self.fence(state, node),
            Step::Reopen(node) => self.reopen(state, node),
        }
    }
}
