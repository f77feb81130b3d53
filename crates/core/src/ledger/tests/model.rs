//! Random commands, late duplicates among them, against a naive model of who holds what.
//!
//! The model is plain maps and knows no reserve: what is not lent is free, so that an equal
//! reserve proves conservation. It takes from the ledger only whether a command was accepted.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::fixture::*;
use crate::id::{AllotmentId, CheckoutId, Digest, Epoch, NodeId, PoolId, ProcessId};
use crate::ledger::command::{Action, ActionOutcome, ActionRefusal, Command, LoanLine, Outcome};
use crate::ledger::{AllotmentState, FrozenLease, Ledger, check_transition};

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_commands_breaks_the_ledger(steps in prop::collection::vec(step(), 1..80)) {
        let mut run = Run::new();
        for step in steps {
            run.take(&step);
        }
    }
}

const NODES: u64 = 4;
const POOLS: u32 = 3;

/// What to do next; the numbers choose among what there is.
#[derive(Clone, Debug)]
enum Step {
    Open {
        node: u64,
        process: u8,
        is_stale: bool,
        gone: Option<u8>,
    },
    Beat {
        node: u64,
        ahead: u64,
    },
    Operate {
        node: u64,
        actions: Vec<ActionStep>,
        is_stale: bool,
    },
    Freeze {
        node: u64,
        behind: u64,
    },
    Close {
        node: u64,
        used: Vec<(usize, u64)>,
    },
    Fence {
        node: u64,
        powered_off: bool,
    },
    Unfence {
        node: u64,
    },
    Thaw {
        from: usize,
        most: usize,
    },
    Lapse {
        from: usize,
        most: usize,
    },
    Remove {
        node: u64,
    },
    Entitle {
        units: [u64; POOLS as usize],
    },
    Day {
        year: u16,
    },
    /// Something said before is said again.
    Repeat {
        index: usize,
    },
}

#[derive(Clone, Debug)]
enum ActionStep {
    Draw { pool: u32, units: u64 },
    Return { allotment: usize, units: u64 },
    Reclaim { checkout: u64, lines: Vec<(usize, u64)> },
    HandOver { checkout: u64, to: u64, lines: Vec<(usize, u64)> },
    Forget { checkout: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let node = 1..=NODES;
    prop_oneof![
        4 => (node.clone(), 1..=2_u8, prop::bool::weighted(0.2), prop::option::of(1..=2_u8))
            .prop_map(|(node, process, is_stale, gone)| Step::Open { node, process, is_stale, gone }),
        2 => (node.clone(), 0..3_u64).prop_map(|(node, ahead)| Step::Beat { node, ahead }),
        12 => (node.clone(), prop::collection::vec(action(), 1..4), prop::bool::weighted(0.1))
            .prop_map(|(node, actions, is_stale)| Step::Operate { node, actions, is_stale }),
        2 => (node.clone(), 0..2_u64).prop_map(|(node, behind)| Step::Freeze { node, behind }),
        1 => (node.clone(), prop::collection::vec((0..4_usize, 0..4_u64), 0..3))
            .prop_map(|(node, used)| Step::Close { node, used }),
        1 => (node.clone(), any::<bool>())
            .prop_map(|(node, powered_off)| Step::Fence { node, powered_off }),
        2 => node.clone().prop_map(|node| Step::Unfence { node }),
        2 => (0..8_usize, 1..4_usize).prop_map(|(from, most)| Step::Thaw { from, most }),
        2 => (0..8_usize, 1..4_usize).prop_map(|(from, most)| Step::Lapse { from, most }),
        1 => node.prop_map(|node| Step::Remove { node: node.max(NODES - 1) }),
        1 => prop::array::uniform3(1..30_u64).prop_map(|units| Step::Entitle { units }),
        1 => (2026..=2028_u16).prop_map(|year| Step::Day { year }),
        4 => any::<prop::sample::Index>().prop_map(|index| Step::Repeat { index: index.index(80) }),
    ]
}

fn action() -> impl Strategy<Value = ActionStep> {
    let lines = || prop::collection::vec((0..12_usize, 0..6_u64), 1..3);
    prop_oneof![
        5 => (0..=POOLS, 0..12_u64).prop_map(|(pool, units)| ActionStep::Draw { pool, units }),
        3 => (0..12_usize, 0..8_u64)
            .prop_map(|(allotment, units)| ActionStep::Return { allotment, units }),
        3 => (1..4_u64, lines())
            .prop_map(|(checkout, lines)| ActionStep::Reclaim { checkout, lines }),
        3 => (1..4_u64, 1..=NODES, lines())
            .prop_map(|(checkout, to, lines)| ActionStep::HandOver { checkout, to, lines }),
        1 => (1..4_u64).prop_map(|checkout| ActionStep::Forget { checkout }),
    ]
}

struct Run {
    ledger: Ledger,
    model: Model,
    serial: u64,
    /// Commands that were accepted.
    said: Vec<Command>,
}

impl Run {
    fn new() -> Self {
        let sets = || sets([20, 10, 10]);
        let nodes: Vec<_> = (1..=NODES).map(|node| (node, site(node))).collect();
        let ledger = cluster(&nodes, sets());
        Self { ledger, model: Model::default(), serial: 1, said: Vec::new() }
    }

    fn take(&mut self, step: &Step) {
        if let Step::Repeat { index } = step {
            if let Some(late) = self.said.get(index % self.said.len().max(1)).cloned() {
                self.assert_says_nothing_new(&late);
            }
            return;
        }
        let command = self.command(step);
        let before = self.ledger.clone();
        let outcome = self.ledger.apply(&command);
        assert_eq!(check_transition(&before, &self.ledger), Ok(()), "{command:?}");
        self.model.follow(&before, &command, &outcome);
        self.model.compare(&self.ledger, &command);
        if matches!(outcome, Outcome::Refused(_)) {
            assert_eq!(versionless(&self.ledger), versionless(&before), "refused: {command:?}");
            return;
        }
        // A day that is told late is the day, until the leader tells it anew.
        if !matches!(command, Command::Day { .. }) {
            self.assert_says_nothing_new(&command);
            if let Command::Open { .. } | Command::Operate { .. } = command {
                assert_eq!(self.ledger.apply(&command), outcome, "a repeat is answered the same");
            }
            if self.is_settled(&command) {
                self.said.push(command);
            }
        }
    }

    /// A thaw of what could not thaw yet is not said in life, and may do it when said again.
    fn is_settled(&self, command: &Command) -> bool {
        // The operator's last word counts.
        if matches!(command, Command::Fence { .. } | Command::Unfence { .. }) {
            return false;
        }
        let Command::Thaw { allotments } = command else { return true };
        allotments.iter().all(|id| self.ledger.allotment(*id).is_none())
    }

    fn assert_says_nothing_new(&mut self, repeated: &Command) {
        let before = versionless(&self.ledger);
        self.ledger.apply(repeated);
        assert_eq!(versionless(&self.ledger), before, "repeated: {repeated:?}");
    }

    fn command(&mut self, step: &Step) -> Command {
        match step.clone() {
            Step::Open { node, process: by, is_stale, gone } => {
                let newest = newest_epoch(&self.ledger, node);
                let after = if is_stale { Epoch(newest.0.saturating_sub(1)) } else { newest };
                let (process, gone) = (process(by), gone.map(process));
                Command::Open { node: NodeId(node), process, after, gone }
            }
            Step::Beat { node, ahead } => {
                let (epoch, seq) = self.lease(node);
                beat(node, epoch, seq + ahead)
            }
            Step::Operate { node, actions, is_stale } => {
                let view = self.ledger.view(NodeId(node));
                let number = if is_stale { view.operation + 2 } else { view.operation + 1 };
                let actions: Vec<_> = actions.iter().map(|it| self.action(it)).collect();
                operate(node, view.newest_epoch, number, &actions)
            }
            Step::Freeze { node, behind } => {
                let (epoch, seq) = self.lease(node);
                let seq = seq.saturating_sub(behind);
                Command::Freeze { node: NodeId(node), epoch, seq }
            }
            Step::Close { node, used } => {
                let line = |(index, units): &(usize, u64)| LoanLine {
                    allotment: self.allotment(*index),
                    units: some(*units),
                };
                let epoch = newest_epoch(&self.ledger, node);
                Command::Close { node: NodeId(node), epoch, used: used.iter().map(line).collect() }
            }
            Step::Fence { node, powered_off } => {
                let epoch = newest_epoch(&self.ledger, node);
                Command::Fence { node: NodeId(node), epoch, powered_off }
            }
            Step::Unfence { node } => Command::Unfence { node: NodeId(node) },
            Step::Thaw { from, most } => Command::Thaw { allotments: self.frozen(from, most) },
            Step::Lapse { from, most } => Command::Lapse { allotments: self.frozen(from, most) },
            Step::Remove { node } => Command::Remove { node: NodeId(node) },
            Step::Entitle { units } => {
                self.serial += 1;
                install(self.serial, sets(units))
            }
            Step::Day { year } => Command::Day { day: date(&format!("{year}-06-01")) },
            Step::Repeat { .. } => unreachable!("taken before"),
        }
    }

    fn frozen(&self, from: usize, most: usize) -> Vec<AllotmentId> {
        let frozen = self.ledger.allotments().filter(|(_, it)| is_frozen(it.state));
        frozen.map(|(id, _)| *id).skip(from).take(most).collect()
    }

    fn action(&self, step: &ActionStep) -> Action {
        let lines = |lines: &[(usize, u64)]| -> Vec<(AllotmentId, u64)> {
            lines.iter().map(|(index, units)| (self.allotment(*index), *units)).collect()
        };
        match step {
            ActionStep::Draw { pool, units } => draw(PoolId(*pool), *units),
            ActionStep::Return { allotment, units } => {
                give_back(self.allotment(*allotment), *units)
            }
            ActionStep::Reclaim { checkout, lines: of } => reclaim(*checkout, &lines(of)),
            ActionStep::HandOver { checkout, to, lines: of } => {
                hand_over(*checkout, *to, &lines(of))
            }
            ActionStep::Forget { checkout: counter } => {
                Action::Forget { checkouts: vec![checkout(*counter)] }
            }
        }
    }

    /// One of those that were ever made.
    fn allotment(&self, index: usize) -> AllotmentId {
        let known = &self.model.ever;
        known.get(index % known.len().max(1)).copied().unwrap_or(AllotmentId(999_999))
    }

    fn lease(&self, node: u64) -> (Epoch, u64) {
        let lease = self.ledger.node(NodeId(node)).and_then(|node| node.lease.as_ref());
        lease.map_or((Epoch(0), 0), |lease| (lease.epoch, lease.seq))
    }
}

/// Units of one allotment.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Loan {
    node: NodeId,
    epoch: Epoch,
    pool: PoolId,
    units: u64,
    state: AllotmentState,
    /// The checkout that they belong to, and where they were first taken from.
    bound: Option<(CheckoutId, AllotmentId)>,
}

#[derive(Default)]
struct Model {
    number: u64,
    loans: BTreeMap<AllotmentId, Loan>,
    ever: Vec<AllotmentId>,
    went: BTreeMap<(AllotmentId, CheckoutId), AllotmentId>,
    leases: BTreeMap<NodeId, (Epoch, ProcessId)>,
    fenced: BTreeSet<NodeId>,
}

type Acted = Result<ActionOutcome, ActionRefusal>;

impl Model {
    fn follow(&mut self, before: &Ledger, command: &Command, outcome: &Outcome) {
        match (command, outcome) {
            (Command::Open { node, process, gone, .. }, Outcome::Opened { epoch })
                if self.leases.get(node) != Some(&(*epoch, *process)) =>
            {
                assert!(!self.fenced.contains(node), "a fenced node opened a lease");
                let holder = self.leases.get(node).map(|(_, holder)| *holder);
                let is_over = holder == Some(*process) || holder == *gone;
                let lease = if is_over { FrozenLease::Ended } else { FrozenLease::MayRun };
                self.end(*node, lease);
                self.number += 1;
                assert_eq!(epoch.0, self.number, "the next number");
                self.leases.insert(*node, (*epoch, *process));
            }
            (Command::Freeze { node, .. }, Outcome::Done) => self.end(*node, FrozenLease::Ended),
            (Command::Remove { node }, Outcome::Done) => self.end(*node, FrozenLease::MayRun),
            (Command::Close { node, used, .. }, Outcome::Done) => {
                let drawn = |(_, it): &(&AllotmentId, &mut Loan)| {
                    it.node == *node && !is_frozen(it.state) && it.bound.is_none()
                };
                for (id, loan) in self.loans.iter_mut().filter(drawn) {
                    let in_use = used.iter().filter(|line| line.allotment == *id);
                    loan.units = loan.units.min(in_use.map(|line| line.units.get()).sum());
                }
                self.end(*node, FrozenLease::Ended);
            }
            (Command::Fence { node, powered_off, .. }, Outcome::Done) => {
                self.fence(*node, *powered_off);
            }
            (Command::Unfence { node }, Outcome::Done) => {
                self.fenced.remove(node);
            }
            (Command::Lapse { allotments }, Outcome::Done) => {
                for id in allotments {
                    if let Some(loan) = self.loans.get_mut(id).filter(|it| is_frozen(it.state)) {
                        loan.state = AllotmentState::Frozen(FrozenLease::Ended);
                    }
                }
            }
            (Command::Thaw { allotments }, Outcome::Done) => {
                for id in allotments {
                    let ended = AllotmentState::Frozen(FrozenLease::Ended);
                    if self.loans.get(id).is_none_or(|it| it.state != ended) {
                        continue;
                    }
                    self.loans.remove(id);
                    self.went.retain(|(from, _), _| from != id);
                }
            }
            (Command::Operate { node, epoch, actions, .. }, Outcome::Operated(outcomes)) => {
                assert_eq!(self.leases.get(node).map(|(epoch, _)| epoch), Some(epoch));
                for (action, outcome) in actions.iter().zip(outcomes) {
                    let expected = self
                        .act(before, *node, *epoch, action)
                        .unwrap_or_else(ActionOutcome::Refused);
                    assert_eq!(*outcome, expected, "{action:?}");
                }
            }
            _ => {}
        }
    }

    fn fence(&mut self, node: NodeId, powered_off: bool) {
        self.fenced.insert(node);
        self.end(node, FrozenLease::MayRun);
        if powered_off {
            let off = |it: &&mut Loan| it.node == node && is_frozen(it.state);
            let ended = AllotmentState::Frozen(FrozenLease::Ended);
            self.loans.values_mut().filter(off).for_each(|it| it.state = ended);
        }
    }

    fn end(&mut self, node: NodeId, lease: FrozenLease) {
        self.leases.remove(&node);
        let live = |it: &&mut Loan| it.node == node && !is_frozen(it.state);
        let frozen = AllotmentState::Frozen(lease);
        self.loans.values_mut().filter(live).for_each(|it| it.state = frozen);
    }

    fn act(&mut self, before: &Ledger, node: NodeId, epoch: Epoch, action: &Action) -> Acted {
        match action {
            Action::Draw { pool, units } => self.draw(before, node, epoch, *pool, units.get()),
            Action::Return { allotment, units } => self.give_back(node, *allotment, units.get()),
            Action::Reclaim { checkout, lines } => self.reclaim(node, epoch, *checkout, lines),
            Action::HandOver { checkout, to, lines } => self.hand_over(node, *to, *checkout, lines),
            Action::Forget { checkouts } => {
                self.forget(node, checkouts);
                Ok(ActionOutcome::Done)
            }
        }
    }

    fn draw(
        &mut self,
        before: &Ledger,
        node: NodeId,
        epoch: Epoch,
        pool: PoolId,
        units: u64,
    ) -> Acted {
        let terms = &before.pools().get(&pool).ok_or(ActionRefusal::UnknownPool)?.terms;
        if !terms.is_served_at(before.site_of(node).unwrap()) {
            return Err(ActionRefusal::NotServedHere);
        }
        let units = units.min(terms.entitled.get().saturating_sub(self.lent(pool)));
        let own = self.loans.values_mut().find(|it| {
            it.node == node && it.pool == pool && !is_frozen(it.state) && it.bound.is_none()
        });
        match own {
            Some(loan) => loan.units += units,
            None if units > 0 => {
                self.lend(Loan {
                    node,
                    epoch,
                    pool,
                    units,
                    state: AllotmentState::Live,
                    bound: None,
                });
            }
            None => {}
        }
        Ok(ActionOutcome::Drawn { units: some(units) })
    }

    fn give_back(&mut self, node: NodeId, id: AllotmentId, units: u64) -> Acted {
        let loan = self.own(node, id)?;
        if units == 0 {
            return Err(ActionRefusal::Malformed);
        }
        loan.units = loan.units.checked_sub(units).ok_or(ActionRefusal::TooFewUnits)?;
        let (left, bound) = (loan.units, loan.bound);
        if let Some((_, origin)) = bound {
            if let Some(origin) = self.loans.get_mut(&origin).filter(|it| is_frozen(it.state)) {
                origin.units += units;
            }
            if left == 0 {
                self.loans.remove(&id);
            }
        }
        Ok(ActionOutcome::Done)
    }

    fn reclaim(
        &mut self,
        node: NodeId,
        epoch: Epoch,
        checkout: CheckoutId,
        lines: &[LoanLine],
    ) -> Acted {
        require_distinct(lines)?;
        let mut found = Vec::new();
        for line in lines {
            let mut at = line.allotment;
            while let Some(next) = self.went.get(&(at, checkout)) {
                at = *next;
                if !self.loans.contains_key(&at) {
                    return Err(ActionRefusal::CheckoutEnded);
                }
            }
            let loan = self.loans.get(&at).ok_or(ActionRefusal::UnknownAllotment)?;
            if !is_frozen(loan.state) {
                return Ok(ActionOutcome::LiveAt { node: loan.node });
            }
            if loan.state == AllotmentState::Frozen(FrozenLease::MayRun) {
                return Err(ActionRefusal::LeaseMayRun);
            }
            if loan.bound.is_some_and(|(owner, _)| owner != checkout) {
                return Err(ActionRefusal::NotYours);
            }
            if loan.units < line.units.get() {
                return Err(ActionRefusal::TooFewUnits);
            }
            if found.iter().any(|(known, _)| *known == at) {
                return Err(ActionRefusal::Malformed);
            }
            found.push((at, line.units));
        }
        for (at, units) in found {
            self.move_units(at, units.get(), checkout, node, epoch);
        }
        Ok(ActionOutcome::Done)
    }

    fn hand_over(
        &mut self,
        node: NodeId,
        to: NodeId,
        checkout: CheckoutId,
        lines: &[LoanLine],
    ) -> Acted {
        require_distinct(lines)?;
        let (epoch, _) = *self.leases.get(&to).ok_or(ActionRefusal::NoLease)?;
        for line in lines {
            if self.own(node, line.allotment)?.units < line.units.get() {
                return Err(ActionRefusal::TooFewUnits);
            }
        }
        for line in lines {
            self.move_units(line.allotment, line.units.get(), checkout, to, epoch);
        }
        Ok(ActionOutcome::Done)
    }

    fn move_units(
        &mut self,
        from: AllotmentId,
        units: u64,
        checkout: CheckoutId,
        node: NodeId,
        epoch: Epoch,
    ) {
        let loan = self.loans.get_mut(&from).unwrap();
        loan.units -= units;
        let origin = loan.bound.map_or(from, |(_, origin)| origin);
        let pool = loan.pool;
        let bound = Some((checkout, origin));
        let id = self.lend(Loan { node, epoch, pool, units, state: AllotmentState::Live, bound });
        self.went.insert((from, checkout), id);
    }

    fn forget(&mut self, node: NodeId, checkouts: &[CheckoutId]) {
        let loans = &self.loans;
        let is_own = |id: &AllotmentId| {
            loans.get(id).is_some_and(|it| it.node == node && !is_frozen(it.state))
        };
        let gone: Vec<_> = self
            .went
            .keys()
            .filter(|(id, it)| checkouts.contains(it) && is_own(id))
            .copied()
            .collect();
        for key in gone {
            self.went.remove(&key);
            if self.loans.get(&key.0).is_some_and(|it| it.bound.is_some() && it.units == 0) {
                self.loans.remove(&key.0);
            }
        }
    }

    fn own(&mut self, node: NodeId, id: AllotmentId) -> Result<&mut Loan, ActionRefusal> {
        let loan = self.loans.get_mut(&id).ok_or(ActionRefusal::UnknownAllotment)?;
        if loan.node != node || is_frozen(loan.state) {
            return Err(ActionRefusal::NotYours);
        }
        Ok(loan)
    }

    fn lend(&mut self, loan: Loan) -> AllotmentId {
        self.number += 1;
        let id = AllotmentId(self.number);
        self.ever.push(id);
        self.loans.insert(id, loan);
        id
    }

    fn lent(&self, pool: PoolId) -> u64 {
        self.loans.values().filter(|it| it.pool == pool).map(|it| it.units).sum()
    }

    fn compare(&self, ledger: &Ledger, command: &Command) {
        let loans: BTreeMap<AllotmentId, Loan> = ledger
            .allotments()
            .map(|(id, it)| {
                let bound = it.bound.map(|bound| (bound.checkout, bound.origin));
                let (node, epoch, pool, units) = (it.node, it.epoch, it.pool, it.units.get());
                (*id, Loan { node, epoch, pool, units, state: it.state, bound })
            })
            .collect();
        assert_eq!(loans, self.loans, "after {command:?}");
        for (id, pool) in ledger.pools() {
            let free = i128::from(pool.terms.entitled.get()) - i128::from(self.lent(*id));
            assert_eq!(i128::from(pool.reserve), free, "reserve of pool {id} after {command:?}");
        }
    }
}

fn require_distinct(lines: &[LoanLine]) -> Result<(), ActionRefusal> {
    let is_good = lines.iter().enumerate().all(|(index, line)| {
        !line.units.is_zero() && lines[..index].iter().all(|it| it.allotment != line.allotment)
    });
    if is_good { Ok(()) } else { Err(ActionRefusal::Malformed) }
}

fn is_frozen(state: AllotmentState) -> bool {
    state != AllotmentState::Live
}

fn site(node: u64) -> &'static str {
    if node % 2 == 1 { "east" } else { "west" }
}

/// A floating pool of one feature, and two pools of another: floating, and homed in east.
fn sets(units: [u64; POOLS as usize]) -> Vec<crate::entitlement::LicenseSet> {
    let [cpa, asr, east] = units;
    vec![
        set("all", &[("cpa", cpa), ("asr.tier1", asr)]),
        homed("east", set("east", &[("asr.tier1", east)])),
    ]
}

fn versionless(ledger: &Ledger) -> Ledger {
    // A late beat brings an old wall-clock time, which stamps events and decides nothing.
    Ledger { version: 0, digest: Digest::default(), wall_ms: 0, ..ledger.clone() }
}
