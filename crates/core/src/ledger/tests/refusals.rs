//! A row for every refusal: the exact value, and that nothing but the version changed.

use std::collections::BTreeSet;

use super::fixture::*;
use crate::entitlement::{Entitlement, SigningKey};
use crate::id::{AllotmentId, ClusterId, Epoch, NodeId, PoolId, ProcessId};
use crate::ledger::command::{
    Action, ActionOutcome, ActionRefusal, Beat, Command, Outcome, Refusal,
};
use crate::ledger::{Ledger, Pool};
use crate::limits::{
    ACTIONS_PER_OPERATION_MAX, LINES_PER_RECEIPT_MAX, POOLS_MAX, TRUSTED_KEYS_MAX,
};
use crate::time::Timings;
use crate::units::Units;

#[test]
fn a_cluster_that_is_not_founded_refuses_everything_else() {
    let commands = [
        admit(1, "east"),
        install(1, vec![set("all", &[("cpa", 1)])]),
        open(1, 1, Epoch(0)),
        beat(1, Epoch(1), 1),
        operate(1, Epoch(1), 1, &[]),
        Command::Freeze { node: NodeId(1), epoch: Epoch(1), seq: 0 },
        Command::Thaw { allotments: vec![AllotmentId(1)] },
        Command::Remove { node: NodeId(1) },
        Command::Day { day: date("2026-11-25") },
    ];
    for command in commands {
        refuses(&Ledger::default(), &command, &Refusal::NotFounded);
    }
}

#[test]
fn each_refusal_of_a_command_changes_nothing() {
    let rows = command_rows();
    let ledger = members();
    // The rows of these two are the tests above and below.
    let mut seen: BTreeSet<&str> = BTreeSet::from(["NotFounded", "TooManyPools"]);
    for (command, refusal) in &rows {
        refuses(&ledger, command, refusal);
        seen.insert(name_of(refusal));
    }
    assert_eq!(seen.len(), REFUSALS, "each refusal has its row, but there are only {seen:?}");
}

/// Pools are never forgotten: entitlements that name others each time would fill the memory.
#[test]
fn an_entitlement_that_would_make_too_many_pools_is_refused() {
    let mut ledger = members();
    let first = ledger.pools[&FIRST].clone();
    for number in 1..POOLS_MAX {
        let mut pool = Pool { reserve: 0, ..first.clone() };
        pool.terms.entitled = Units::ZERO;
        pool.terms.set = format!("old-{number}").parse().unwrap();
        ledger.pools.insert(PoolId(u32::try_from(number).unwrap()), pool);
    }
    let known = set("all", &[("cpa", 9)]);
    let more = install(5, vec![known.clone(), set("new", &[("cpa", 1)])]);
    refuses(&ledger, &more, &Refusal::TooManyPools { most: POOLS_MAX });
    assert_eq!(ledger.apply(&install(5, vec![known])), Outcome::Installed { serial: 5 });
}

#[test]
fn each_wrong_entitlement_is_refused_by_its_reason() {
    let ledger = members();
    let stranger = SigningKey::from_bytes(&[8; 32]);
    let good = || entitlement(5, vec![set("all", &[("cpa", 1)])]);
    let elsewhere = Entitlement { cluster: ClusterId([0x22; 16]), ..good() };
    let old = entitlement(3, vec![set("all", &[("cpa", 1)])]);
    let other_of_same_serial = entitlement(4, vec![set("all", &[("cpa", 1)])]);
    let nonsense = entitlement(5, vec![set("all", &[])]);
    let rows = [
        (b"garbage".to_vec(), "not an entitlement"),
        (good().seal(&stranger), "signed with unknown key"),
        (elsewhere.seal(&key()), "cluster is 2222"),
        (old.seal(&key()), "serial 3 is not above 4"),
        (other_of_same_serial.seal(&key()), "serial 4 is not above 4"),
        (nonsense.seal(&key()), "features is empty"),
    ];
    for (envelope, expected) in rows {
        let mut after = ledger.clone();
        let outcome = after.apply(&Command::InstallEntitlement { envelope });
        let Outcome::Refused(Refusal::Entitlement { reason }) = outcome else {
            panic!("{expected}: {outcome:?}");
        };
        assert!(reason.contains(expected), "{expected}: {reason}");
        assert_unchanged(&ledger, after, expected);
    }
}

#[test]
fn a_beat_of_an_ended_or_unknown_lease_is_answered_dead_and_renews_nothing() {
    let mut ledger = members();
    let dead = Epoch(1);
    let live = newest_epoch(&ledger, 1);
    let beats = [(1, live, 9), (1, dead, 9), (2, live, 9), (3, live, 9), (77, live, 9)]
        .map(|(node, epoch, seq)| Beat { node: NodeId(node), epoch, seq, applied: None });
    let outcome = ledger.apply(&Command::Beat { beats: beats.to_vec(), wall_ms: 5 });
    assert_eq!(outcome, Outcome::Beaten(vec![true, false, false, false, false]));
    assert_eq!(ledger.node(NodeId(2)).unwrap().lease.as_ref().unwrap().seq, 1);
}

#[test]
fn each_refusal_of_an_action_changes_nothing() {
    let ledger = stage();
    let mut seen = BTreeSet::new();
    for (what, action, refusal) in action_rows() {
        let mut after = ledger.clone();
        let outcome = operated(&mut after, 1, &[action]);
        let expected = Outcome::Operated(vec![ActionOutcome::Refused(refusal)]);
        assert_eq!(outcome, expected, "{what}");
        // An operation is answered and counted, though its only action was refused.
        let lease = after.nodes.get_mut(&NodeId(1)).unwrap().lease.as_mut().unwrap();
        let before = ledger.node(NodeId(1)).unwrap().lease.as_ref().unwrap();
        assert_eq!(lease.operation, before.operation + 1);
        lease.operation = before.operation;
        lease.answer.clone_from(&before.answer);
        assert_unchanged(&ledger, after, what);
        seen.insert(action_name_of(refusal));
    }
    assert_eq!(seen.len(), ACTION_REFUSALS, "each refusal has its row, but only {seen:?} do");
}

#[test]
fn a_refused_action_does_not_stop_those_after_it() {
    let mut ledger = stage();
    let outcome = operated(&mut ledger, 1, &[draw(PoolId(99), 1), draw(FIRST, 1)]);
    let refused = ActionOutcome::Refused(ActionRefusal::UnknownPool);
    assert_eq!(
        outcome,
        Outcome::Operated(vec![refused, ActionOutcome::Drawn { units: Units::from(1) }])
    );
}

#[test]
fn a_reclaim_or_hand_over_with_one_bad_line_moves_no_line() {
    let ledger = stage();
    let (own, frozen) = (own_first(), frozen_first());
    for action in [
        reclaim(1, &[(frozen, 2), (AllotmentId(999), 1)]),
        reclaim(1, &[(frozen, 2), (frozen_second(), 99)]),
        hand_over(1, 2, &[(own, 1), (frozen, 1)]),
        hand_over(1, 2, &[(own, 1), (own_second(), 99)]),
    ] {
        let mut after = ledger.clone();
        operated(&mut after, 1, std::slice::from_ref(&action));
        assert_eq!(after.totals(), ledger.totals(), "{action:?}");
        let allotments = |ledger: &Ledger| ledger.allotments.clone();
        assert_eq!(allotments(&after), allotments(&ledger), "{action:?}");
    }
}

const REFUSALS: usize = 15;
/// All but `LeaseMayRun`, whose story is told in `outcomes`.
const ACTION_REFUSALS: usize = 9;

/// Exhaustive, so that a new refusal asks for its row here.
fn name_of(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::NotFounded => "NotFounded",
        Refusal::AlreadyFounded { .. } => "AlreadyFounded",
        Refusal::InvalidTimings { .. } => "InvalidTimings",
        Refusal::UnknownNode { .. } => "UnknownNode",
        Refusal::RemovedNode { .. } => "RemovedNode",
        Refusal::NodeExists { .. } => "NodeExists",
        Refusal::Entitlement { .. } => "Entitlement",
        Refusal::EpochIs { .. } => "EpochIs",
        Refusal::LeaseEnded { .. } => "LeaseEnded",
        Refusal::Fenced { .. } => "Fenced",
        Refusal::Renewed { .. } => "Renewed",
        Refusal::OutOfOrder { .. } => "OutOfOrder",
        Refusal::TooManyActions { .. } => "TooManyActions",
        Refusal::TooManyKeys { .. } => "TooManyKeys",
        Refusal::TooManyPools { .. } => "TooManyPools",
    }
}

fn action_name_of(refusal: ActionRefusal) -> &'static str {
    match refusal {
        ActionRefusal::UnknownPool => "UnknownPool",
        ActionRefusal::NotServedHere => "NotServedHere",
        ActionRefusal::UnknownAllotment => "UnknownAllotment",
        ActionRefusal::NotYours => "NotYours",
        ActionRefusal::TooFewUnits => "TooFewUnits",
        ActionRefusal::CheckoutEnded => "CheckoutEnded",
        ActionRefusal::LeaseMayRun => "LeaseMayRun",
        ActionRefusal::NoLease => "NoLease",
        ActionRefusal::Malformed => "Malformed",
        ActionRefusal::TooManyLines => "TooManyLines",
    }
}

/// Node 1 in its second epoch with operation 2 applied, node 2 with an ended lease, node 3 without
/// one, node 4 removed, node 5 fenced; entitlement 4.
fn members() -> Ledger {
    let nodes = [(1, "east"), (2, "east"), (3, "east"), (4, "east"), (5, "east")];
    let mut ledger = cluster(&nodes, vec![]);
    assert_eq!(
        ledger.apply(&install(4, vec![set("all", &[("cpa", 10)])])),
        Outcome::Installed { serial: 4 }
    );
    assert_eq!(opened(&mut ledger, 1, 1), Epoch(1));
    assert_eq!(opened(&mut ledger, 1, 1), Epoch(2));
    ledger.apply(&beat(1, Epoch(2), 5));
    drawn(&mut ledger, 1, FIRST, 3);
    drawn(&mut ledger, 1, FIRST, 1);
    let second = opened(&mut ledger, 2, 2);
    ledger.apply(&beat(2, second, 1));
    freeze(&mut ledger, 2);
    done(&mut ledger, &Command::Remove { node: NodeId(4) });
    done(&mut ledger, &fence(5, Epoch(0), true));
    ledger
}

fn fence(node: u64, epoch: Epoch, powered_off: bool) -> Command {
    Command::Fence { node: NodeId(node), epoch, powered_off }
}

fn command_rows() -> Vec<(Command, Refusal)> {
    let ended = newest_epoch(&members(), 2);
    let epoch_is = |epoch, process| Refusal::EpochIs { epoch: Epoch(epoch), process };
    let (unknown, removed) =
        (Refusal::UnknownNode { node: NodeId(77) }, Refusal::RemovedNode { node: NodeId(4) });
    let ended_is = |epoch| Refusal::LeaseEnded { epoch: Epoch(epoch) };
    let freeze = |node, epoch, seq| Command::Freeze { node: NodeId(node), epoch, seq };
    let too_many = vec![draw(FIRST, 1); ACTIONS_PER_OPERATION_MAX + 1];
    vec![
        (Command::Found(founding()), Refusal::AlreadyFounded { cluster: CLUSTER }),
        (admit(1, "west"), Refusal::NodeExists { node: NodeId(1), site: "east".parse().unwrap() }),
        (admit(4, "east"), removed.clone()),
        (Command::Remove { node: NodeId(77) }, unknown.clone()),
        (Command::Remove { node: NodeId(4) }, removed.clone()),
        (open(77, 1, Epoch(0)), unknown.clone()),
        (open(4, 1, Epoch(0)), removed.clone()),
        (open(1, 9, Epoch(1)), epoch_is(2, process(1))),
        (open(1, 9, Epoch(0)), epoch_is(2, process(1))),
        (open(1, 9, Epoch(3)), epoch_is(2, process(1))),
        (open(2, 2, Epoch(0)), epoch_is(ended.0, process(2))),
        (open(3, 1, Epoch(1)), epoch_is(0, ProcessId::default())),
        (open(5, 1, Epoch(0)), Refusal::Fenced { node: NodeId(5) }),
        (fence(77, Epoch(0), false), unknown.clone()),
        (fence(4, Epoch(0), true), removed.clone()),
        (fence(1, Epoch(1), true), epoch_is(2, process(1))),
        (fence(3, Epoch(1), false), epoch_is(0, ProcessId::default())),
        (Command::Unfence { node: NodeId(77) }, unknown.clone()),
        (Command::Close { node: NodeId(1), epoch: Epoch(1), used: vec![] }, ended_is(1)),
        (Command::Close { node: NodeId(2), epoch: ended, used: vec![] }, ended_is(ended.0)),
        (operate(77, Epoch(1), 1, &[]), unknown.clone()),
        (operate(4, Epoch(1), 1, &[]), removed.clone()),
        (operate(1, Epoch(1), 3, &[draw(FIRST, 1)]), Refusal::LeaseEnded { epoch: Epoch(1) }),
        (operate(2, ended, 1, &[draw(FIRST, 1)]), Refusal::LeaseEnded { epoch: ended }),
        (operate(3, Epoch(0), 1, &[draw(FIRST, 1)]), Refusal::LeaseEnded { epoch: Epoch(0) }),
        (operate(1, Epoch(2), 4, &[draw(FIRST, 1)]), Refusal::OutOfOrder { expected: 3 }),
        (operate(1, Epoch(2), 1, &[draw(FIRST, 1)]), Refusal::OutOfOrder { expected: 3 }),
        (operate(1, Epoch(2), 0, &[draw(FIRST, 1)]), Refusal::OutOfOrder { expected: 3 }),
        (
            operate(1, Epoch(2), 3, &too_many),
            Refusal::TooManyActions { most: ACTIONS_PER_OPERATION_MAX },
        ),
        (freeze(77, Epoch(1), 0), unknown),
        (freeze(4, Epoch(1), 0), removed),
        (freeze(1, Epoch(1), 0), Refusal::LeaseEnded { epoch: Epoch(1) }),
        (freeze(2, ended, 1), Refusal::LeaseEnded { epoch: ended }),
        (freeze(1, Epoch(2), 4), Refusal::Renewed { seq: 4 }),
        (freeze(1, Epoch(2), 6), Refusal::Renewed { seq: 6 }),
        (
            install(4, vec![set("all", &[("cpa", 9)])]),
            Refusal::Entitlement {
                reason: "serial 4 is not above 4, the one in force: ask the vendor for the newest \
                         entitlement"
                    .into(),
            },
        ),
        invalid_timings(),
        too_many_keys(),
    ]
}

/// Refused when a cluster is founded: a founded one does not look at them any more.
fn invalid_timings() -> (Command, Refusal) {
    let timings = Timings { lease_ms: 1_000, ..Timings::default() };
    let reason = timings.validate().unwrap_err().to_string();
    let founding = crate::ledger::command::Founding { timings, ..founding() };
    (Command::Found(founding), Refusal::InvalidTimings { reason })
}

fn too_many_keys() -> (Command, Refusal) {
    let trusted_keys = vec![[1; 32]; TRUSTED_KEYS_MAX + 1];
    let founding = crate::ledger::command::Founding { trusted_keys, ..founding() };
    (Command::Found(founding), Refusal::TooManyKeys { most: TRUSTED_KEYS_MAX })
}

fn refuses(before: &Ledger, command: &Command, refusal: &Refusal) {
    // Only a cluster that is not founded yet looks at timings and keys.
    let unfounded = Ledger::default();
    let is_of_founding =
        matches!(refusal, Refusal::InvalidTimings { .. } | Refusal::TooManyKeys { .. });
    let before = if is_of_founding { &unfounded } else { before };
    let mut after = before.clone();
    assert_eq!(after.apply(command), Outcome::Refused(refusal.clone()), "{command:?}");
    assert_unchanged(before, after, &format!("{command:?}"));
}

fn assert_unchanged(before: &Ledger, mut after: Ledger, what: &str) {
    assert_eq!(after.version, before.version + 1, "{what}: each command counts");
    (after.version, after.digest) = (before.version, before.digest);
    assert_eq!(after, *before, "{what}");
}

/// Node 1 (east) live with units of two pools; node 2 (east) live; node 3's lease has ended, with
/// frozen units of both pools and checkout 7 reclaimed from it by node 2 and ended; node 5 removed;
/// pool 2 is homed in west, pool 3 a backup on standby, pool 4's contract has ended.
fn stage() -> Ledger {
    let mut expired = set("expired", &[("cpa", 5)]);
    expired.contract_end = date("2026-06-30");
    let sets = vec![
        set("all", &[("cpa", 40), ("asr.tier1", 40)]),
        homed("west", set("west", &[("cpa", 5)])),
        backup("west", set("backup", &[("cpa", 5)])),
        expired,
    ];
    let nodes = [(1, "east"), (2, "east"), (3, "east"), (4, "east"), (5, "east")];
    let mut ledger = cluster(&nodes, sets);
    for node in [1, 2, 3, 5] {
        opened(&mut ledger, node, 1);
    }
    assert_eq!(drawn(&mut ledger, 1, FIRST, 5), own_first());
    assert_eq!(drawn(&mut ledger, 1, SECOND, 5), own_second());
    assert_eq!(drawn(&mut ledger, 3, FIRST, 6), frozen_first());
    assert_eq!(drawn(&mut ledger, 3, SECOND, 6), frozen_second());
    assert_eq!(drawn(&mut ledger, 2, FIRST, 5), others());
    // Checkout 8 was handed to node 3 before it died: bound, then frozen.
    operated(&mut ledger, 2, &[hand_over(8, 3, &[(others(), 1)])]);
    freeze(&mut ledger, 3);
    operated(&mut ledger, 2, &[reclaim(7, &[(frozen_first(), 1)])]);
    let ended =
        ledger.view(NodeId(2)).held.iter().find(|held| held.bound.is_some()).unwrap().allotment;
    operated(&mut ledger, 2, &[give_back(ended, 1)]);
    done(&mut ledger, &Command::Remove { node: NodeId(5) });
    ledger
}

fn own_first() -> AllotmentId {
    AllotmentId(5)
}
fn own_second() -> AllotmentId {
    AllotmentId(6)
}
fn frozen_first() -> AllotmentId {
    AllotmentId(7)
}
fn frozen_second() -> AllotmentId {
    AllotmentId(8)
}
fn others() -> AllotmentId {
    AllotmentId(9)
}
fn frozen_bound_to_8() -> AllotmentId {
    AllotmentId(10)
}

fn action_rows() -> Vec<(&'static str, Action, ActionRefusal)> {
    use ActionRefusal::*;
    let nowhere = AllotmentId(999);
    let (own, frozen) = (own_first(), frozen_first());
    let too_many = [(own, 1); LINES_PER_RECEIPT_MAX + 1];
    vec![
        ("draw from no pool", draw(PoolId(99), 1), UnknownPool),
        ("draw from a pool homed elsewhere", draw(PoolId(2), 1), NotServedHere),
        ("draw from a backup on standby", draw(PoolId(3), 1), NotServedHere),
        ("draw after the contract's end", draw(PoolId(4), 1), NotServedHere),
        ("return to no allotment", give_back(nowhere, 1), UnknownAllotment),
        ("return another node's units", give_back(others(), 1), NotYours),
        ("return frozen units", give_back(frozen, 1), NotYours),
        ("return more than there is", give_back(own, 6), TooFewUnits),
        ("return nothing", give_back(own, 0), Malformed),
        ("reclaim from no allotment", reclaim(1, &[(nowhere, 1)]), UnknownAllotment),
        ("reclaim more than there is", reclaim(1, &[(frozen, 7)]), TooFewUnits),
        ("reclaim another's bound units", reclaim(1, &[(frozen_bound_to_8(), 1)]), NotYours),
        ("reclaim what has ended", reclaim(7, &[(frozen, 1)]), CheckoutEnded),
        ("reclaim no line", reclaim(1, &[]), Malformed),
        ("reclaim no units", reclaim(1, &[(frozen, 0)]), Malformed),
        ("reclaim a line twice", reclaim(1, &[(frozen, 1), (frozen, 1)]), Malformed),
        ("hand over from nowhere", hand_over(1, 2, &[(nowhere, 1)]), UnknownAllotment),
        ("hand over another's units", hand_over(1, 2, &[(others(), 1)]), NotYours),
        ("hand over frozen units", hand_over(1, 2, &[(frozen, 1)]), NotYours),
        ("hand over more than there is", hand_over(1, 2, &[(own, 6)]), TooFewUnits),
        ("hand over to a stranger", hand_over(1, 77, &[(own, 1)]), NoLease),
        ("hand over to a node without a lease", hand_over(1, 4, &[(own, 1)]), NoLease),
        ("hand over to a dead node", hand_over(1, 3, &[(own, 1)]), NoLease),
        ("hand over to a removed node", hand_over(1, 5, &[(own, 1)]), NoLease),
        ("hand over no line", hand_over(1, 2, &[]), Malformed),
        ("hand over no units", hand_over(1, 2, &[(own, 0)]), Malformed),
        ("hand over a line twice", hand_over(1, 2, &[(own, 1), (own, 1)]), Malformed),
        ("reclaim more lines than a receipt has", reclaim(1, &too_many), TooManyLines),
        ("hand over more lines than a receipt has", hand_over(1, 2, &too_many), TooManyLines),
    ]
}
