//! A founded cluster and the commands that tests give it; also used by the desk's and the
//! steward's tests.

use crate::entitlement::{Date, Entitlement, FORMAT, FeatureLine, LicenseSet, SetKind, SigningKey};
use crate::id::{AllotmentId, CheckoutId, ClusterId, Epoch, NodeId, NodeName, PoolId, ProcessId};
use crate::ledger::command::{Action, Beat, Command, Founding, LoanLine, Outcome};
use crate::ledger::{AllotmentState, Ledger};
use crate::time::Timings;
use crate::units::Units;

pub(crate) const CLUSTER: ClusterId = ClusterId([0x11; 16]);

/// Pools get their numbers in the order in which an entitlement first names them.
pub(crate) const FIRST: PoolId = PoolId(0);
pub(crate) const SECOND: PoolId = PoolId(1);

pub(crate) fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

pub(crate) fn date(text: &str) -> Date {
    text.parse().unwrap()
}

pub(crate) fn process(number: u8) -> ProcessId {
    ProcessId([number; 16])
}

pub(crate) fn checkout(counter: u64) -> CheckoutId {
    CheckoutId::of(Epoch(1), counter)
}

pub(crate) fn founding() -> Founding {
    Founding {
        cluster: CLUSTER,
        timings: Timings::default(),
        receipt_key: [3; 32],
        trusted_keys: vec![key().verifying_key().to_bytes()],
    }
}

/// A floating production set.
pub(crate) fn set(name: &str, features: &[(&str, u64)]) -> LicenseSet {
    let line = |(feature, units): &(&str, u64)| FeatureLine {
        feature: feature.parse().unwrap(),
        units: *units,
    };
    LicenseSet {
        name: name.parse().unwrap(),
        kind: SetKind::Production,
        home: None,
        covers: vec![],
        starts: date("2026-01-01"),
        contract_end: date("2027-12-31"),
        maintenance_until: date("2027-06-30"),
        autonomy_s: None,
        features: features.iter().map(line).collect(),
    }
}

pub(crate) fn homed(site: &str, set: LicenseSet) -> LicenseSet {
    LicenseSet { home: Some(site.parse().unwrap()), ..set }
}

pub(crate) fn backup(covers: &str, set: LicenseSet) -> LicenseSet {
    LicenseSet { kind: SetKind::Backup, covers: vec![covers.parse().unwrap()], ..set }
}

pub(crate) fn entitlement(serial: u64, sets: Vec<LicenseSet>) -> Entitlement {
    Entitlement {
        format: FORMAT,
        cluster: CLUSTER,
        serial,
        issued: date("2026-11-25"),
        customer: "Example Bank".into(),
        contact_days: 60,
        sets,
    }
}

pub(crate) fn install(serial: u64, sets: Vec<LicenseSet>) -> Command {
    Command::InstallEntitlement { envelope: entitlement(serial, sets).seal(&key()) }
}

pub(crate) fn admit(node: u64, site: &str) -> Command {
    let (node, name) = (NodeId(node), node_name(node));
    Command::Admit { node, site: site.parse().unwrap(), name }
}

fn node_name(node: u64) -> NodeName {
    format!("node-{node}").parse().unwrap()
}

/// A number of units that there may be.
pub(crate) fn some(units: u64) -> Units {
    Units::new(units).unwrap()
}

pub(crate) fn open(node: u64, by: u8, after: Epoch) -> Command {
    Command::Open { node: NodeId(node), process: process(by), after, gone: None }
}

pub(crate) fn beat(node: u64, epoch: Epoch, seq: u64) -> Command {
    Command::Beat {
        beats: vec![Beat { node: NodeId(node), epoch, seq, applied: None }],
        wall_ms: 1_000,
    }
}

pub(crate) fn operate(node: u64, epoch: Epoch, operation: u64, actions: &[Action]) -> Command {
    Command::Operate { node: NodeId(node), epoch, operation, actions: actions.to_vec() }
}

pub(crate) fn draw(pool: PoolId, units: u64) -> Action {
    Action::Draw { pool, units: some(units) }
}

pub(crate) fn give_back(allotment: AllotmentId, units: u64) -> Action {
    Action::Return { allotment, units: some(units) }
}

pub(crate) fn reclaim(counter: u64, lines: &[(AllotmentId, u64)]) -> Action {
    Action::Reclaim { checkout: checkout(counter), lines: loan_lines(lines) }
}

pub(crate) fn hand_over(counter: u64, to: u64, lines: &[(AllotmentId, u64)]) -> Action {
    Action::HandOver { checkout: checkout(counter), to: NodeId(to), lines: loan_lines(lines) }
}

fn loan_lines(lines: &[(AllotmentId, u64)]) -> Vec<LoanLine> {
    lines
        .iter()
        .map(|(allotment, units)| LoanLine { allotment: *allotment, units: some(*units) })
        .collect()
}

/// A founded cluster with these nodes, as (number, site), and these sets.
pub(crate) fn cluster(nodes: &[(u64, &str)], sets: Vec<LicenseSet>) -> Ledger {
    let mut ledger = Ledger::default();
    done(&mut ledger, &Command::Found(founding()));
    for (node, site) in nodes {
        done(&mut ledger, &admit(*node, site));
    }
    if !sets.is_empty() {
        assert_eq!(ledger.apply(&install(1, sets)), Outcome::Installed { serial: 1 });
    }
    done(&mut ledger, &Command::Day { day: date("2026-11-25") });
    ledger
}

pub(crate) fn done(ledger: &mut Ledger, command: &Command) {
    assert_eq!(ledger.apply(command), Outcome::Done, "{command:?}");
}

/// Opens the node's next epoch by process number `by`.
pub(crate) fn opened(ledger: &mut Ledger, node: u64, by: u8) -> Epoch {
    let after = newest_epoch(ledger, node);
    let outcome = ledger.apply(&open(node, by, after));
    let Outcome::Opened { epoch } = outcome else { panic!("node {node}: {outcome:?}") };
    epoch
}

pub(crate) fn newest_epoch(ledger: &Ledger, node: u64) -> Epoch {
    ledger.view(NodeId(node)).newest_epoch
}

/// Applies the node's next operation.
pub(crate) fn operated(ledger: &mut Ledger, node: u64, actions: &[Action]) -> Outcome {
    let view = ledger.view(NodeId(node));
    ledger.apply(&operate(node, view.newest_epoch, view.operation + 1, actions))
}

/// Draws units for the node and returns its allotment of that pool.
pub(crate) fn drawn(ledger: &mut Ledger, node: u64, pool: PoolId, units: u64) -> AllotmentId {
    operated(ledger, node, &[draw(pool, units)]);
    let view = ledger.view(NodeId(node));
    let held = view.held.iter().find(|held| held.pool == pool && held.bound.is_none());
    held.expect("units were drawn").allotment
}

/// Ends the node's lease as the leader does when the node is silent.
pub(crate) fn freeze(ledger: &mut Ledger, node: u64) {
    let lease = ledger.node(NodeId(node)).unwrap().lease.clone().expect("a lease to end");
    done(ledger, &Command::Freeze { node: NodeId(node), epoch: lease.epoch, seq: lease.seq });
}

/// Thaws all that is frozen.
pub(crate) fn thaw(ledger: &mut Ledger) {
    let is_frozen = |state| state != AllotmentState::Live;
    let frozen = ledger.allotments().filter(|(_, it)| is_frozen(it.state)).map(|(id, _)| *id);
    let allotments = frozen.collect();
    done(ledger, &Command::Thaw { allotments });
}

/// Units of an allotment, `None` if there is no such allotment.
pub(crate) fn units(ledger: &Ledger, allotment: AllotmentId) -> Option<u64> {
    ledger.allotment(allotment).map(|allotment| allotment.units.get())
}
