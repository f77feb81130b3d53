//! What each command does when it is not refused, and what its repetition does.

use super::fixture::*;
use crate::id::{AllotmentId, Epoch, NodeId};
use crate::ledger::command::{
    Action, ActionOutcome, ActionRefusal, Beat, Command, LoanLine, Outcome, Refusal,
};
use crate::ledger::event::EventKind;
use crate::ledger::{Allotment, AllotmentState, Closed, FrozenLease, Ledger, PoolTotals};
use crate::limits::EVENTS_MAX;
use crate::units::Units;

#[test]
fn a_draw_takes_what_the_reserve_has_and_no_more() {
    let mut ledger = pair();
    let rows = [(1, 6, 6), (2, 6, 4), (1, 1, 0), (2, 0, 0)];
    for (node, asked, got) in rows {
        let outcome = operated(&mut ledger, node, &[draw(FIRST, asked)]);
        let drawn = ActionOutcome::Drawn { units: Units::from(got) };
        assert_eq!(outcome, Outcome::Operated(vec![drawn]), "node {node} asked for {asked}");
    }
    assert_eq!(totals(&ledger), pool_totals(10, 0, 10, 0));
    assert_eq!(ledger.view(NodeId(1)).held.len(), 1, "one open allotment per pool and lease");
}

#[test]
fn a_repeated_operation_gets_the_same_answer_and_is_applied_once() {
    let mut ledger = pair();
    let epoch = newest_epoch(&ledger, 1);
    let first = operate(1, epoch, 1, &[draw(FIRST, 3)]);
    let answer = ledger.apply(&first);
    let before = ledger.totals();
    assert_eq!(ledger.apply(&first), answer);
    // The number decides, not the content: a leader may plan other draws for a repeat.
    assert_eq!(ledger.apply(&operate(1, epoch, 1, &[draw(FIRST, 5)])), answer);
    assert_eq!(ledger.totals(), before);
}

#[test]
fn an_open_that_is_repeated_opens_once_and_a_late_duplicate_ends_nothing() {
    let mut ledger = cluster(&[(1, "east")], vec![set("all", &[("cpa", 10)])]);
    let (first, second) = (open(1, 1, Epoch(0)), open(1, 1, Epoch(1)));
    assert_eq!(ledger.apply(&first), Outcome::Opened { epoch: Epoch(1) });
    assert_eq!(ledger.apply(&first), Outcome::Opened { epoch: Epoch(1) }, "repeated");
    assert_eq!(ledger.apply(&second), Outcome::Opened { epoch: Epoch(2) });
    drawn(&mut ledger, 1, FIRST, 5);
    for late in [first, second] {
        assert_eq!(ledger.apply(&late), Outcome::Opened { epoch: Epoch(2) }, "late duplicate");
    }
    assert_eq!(totals(&ledger), pool_totals(10, 5, 5, 0));
}

#[test]
fn a_new_epoch_freezes_the_old_one_from_when_its_process_lends_no_more() {
    // Who opens, whether the old process is proven gone, whether the old lease lives; then
    // what the thaw counts from (`None`: the lease had ended by a freeze), and the alarm.
    let rows = [
        ("the same process", 1, None, true, FrozenLease::Ended, false),
        ("another, the old one proven gone", 2, Some(1), true, FrozenLease::Ended, false),
        ("another", 2, None, true, FrozenLease::MayRun, true),
        ("another, a third one proven gone", 2, Some(3), true, FrozenLease::MayRun, true),
        ("another, after a freeze", 2, None, false, FrozenLease::Ended, false),
    ];
    for (what, by, gone, is_live, thaw_from, is_contested) in rows {
        let mut ledger = cluster(&[(1, "east")], vec![set("all", &[("cpa", 10)])]);
        let after = opened(&mut ledger, 1, 1);
        let allotment = drawn(&mut ledger, 1, FIRST, 5);
        if !is_live {
            freeze(&mut ledger, 1);
        }
        let (process, gone) = (process(by), gone.map(process));
        let outcome = ledger.apply(&Command::Open { node: NodeId(1), process, after, gone });
        assert!(matches!(outcome, Outcome::Opened { .. }), "{what}: {outcome:?}");
        let state = ledger.allotment(allotment).unwrap().state;
        assert_eq!(state, AllotmentState::Frozen(thaw_from), "{what}");
        let contested = EventKind::NodeIdContested { node: NodeId(1), process };
        assert_eq!(happened(&ledger, &contested), is_contested, "{what}");
    }
}

#[test]
fn a_freeze_is_a_compare_and_set_on_the_newest_beat() {
    let mut ledger = pair();
    let epoch = newest_epoch(&ledger, 1);
    drawn(&mut ledger, 1, FIRST, 4);
    ledger.apply(&beat(1, epoch, 7));
    let freeze = |seq| Command::Freeze { node: NodeId(1), epoch, seq };
    assert!(matches!(ledger.apply(&freeze(6)), Outcome::Refused(_)));
    ledger.apply(&beat(1, epoch, 5));
    assert_eq!(ledger.apply(&freeze(7)), Outcome::Done, "a late beat moves nothing back");
    assert_eq!(totals(&ledger), pool_totals(10, 6, 0, 4));
    assert!(happened(&ledger, &EventKind::LeaseLapsed { node: NodeId(1), epoch, units: 4 }));
    let beats = vec![Beat { node: NodeId(1), epoch, seq: 8, applied: None }];
    assert_eq!(ledger.apply(&Command::Beat { beats, wall_ms: 0 }), Outcome::Beaten(vec![false]));
}

#[test]
fn a_thaw_frees_frozen_units_once_and_live_ones_never() {
    let mut ledger = pair();
    let dead = drawn(&mut ledger, 1, FIRST, 4);
    let also_dead = drawn(&mut ledger, 1, SECOND, 2);
    let live = drawn(&mut ledger, 2, FIRST, 3);
    freeze(&mut ledger, 1);
    let thaw = Command::Thaw { allotments: vec![dead, live, dead, also_dead, AllotmentId(999)] };
    for _ in 0..2 {
        assert_eq!(ledger.apply(&thaw), Outcome::Done);
        assert_eq!(totals(&ledger), pool_totals(10, 7, 3, 0));
    }
    let thawed = ledger.events().filter(|it| matches!(it.kind, EventKind::Thawed { .. })).count();
    assert_eq!(thawed, 1, "what thaws is reported once, however many pools it was");
    assert!(happened(&ledger, &EventKind::Thawed { node: NodeId(1), units: 6 }));
}

#[test]
fn a_removed_node_freezes_like_a_dead_one_whose_process_may_still_lend() {
    let mut ledger = pair();
    let allotment = drawn(&mut ledger, 1, FIRST, 4);
    done(&mut ledger, &Command::Remove { node: NodeId(1) });
    let state = ledger.allotment(allotment).unwrap().state;
    assert_eq!(state, AllotmentState::Frozen(FrozenLease::MayRun));
    assert_eq!(totals(&ledger).reserve, 6, "nothing is free at once");
    assert!(happened(&ledger, &EventKind::Removed { node: NodeId(1) }));
}

#[test]
fn a_fence_freezes_a_live_lease_and_believes_the_operator_about_the_machine() {
    for (powered_off, state) in [(true, FrozenLease::Ended), (false, FrozenLease::MayRun)] {
        let mut ledger = pair();
        let allotment = drawn(&mut ledger, 1, FIRST, 4);
        let (node, epoch) = (NodeId(1), newest_epoch(&ledger, 1));
        let fence = Command::Fence { node, epoch, powered_off };
        done(&mut ledger, &fence);
        assert_eq!(ledger.allotment(allotment).unwrap().state, AllotmentState::Frozen(state));
        let event = EventKind::Fenced { node, epoch, units: 4, powered_off };
        assert!(happened(&ledger, &event));
        let again = Command::Open { node, process: process(9), after: epoch, gone: None };
        assert_eq!(ledger.apply(&again), Outcome::Refused(Refusal::Fenced { node }));
        assert!(ledger.view(node).fenced);
        done(&mut ledger, &Command::Unfence { node });
        assert!(matches!(ledger.apply(&again), Outcome::Opened { .. }));
    }
}

/// The operator fenced a node that might run, went there, and pulled its plug.
#[test]
fn his_later_word_that_the_machine_is_off_lets_its_calls_move() {
    let mut ledger = pair();
    let allotment = drawn(&mut ledger, 1, FIRST, 4);
    let (node, epoch) = (NodeId(1), newest_epoch(&ledger, 1));
    done(&mut ledger, &Command::Fence { node, epoch, powered_off: false });
    let refused = ActionOutcome::Refused(ActionRefusal::LeaseMayRun);
    assert_eq!(acted(&mut ledger, 2, reclaim(1, &[(allotment, 3)])), refused);
    done(&mut ledger, &Command::Fence { node, epoch, powered_off: true });
    assert_eq!(acted(&mut ledger, 2, reclaim(1, &[(allotment, 3)])), ActionOutcome::Done);
}

#[test]
fn a_node_that_stops_closes_its_lease_and_its_calls_move_at_once() {
    let mut ledger = pair();
    let allotment = drawn(&mut ledger, 1, FIRST, 4);
    let (node, epoch) = (NodeId(1), newest_epoch(&ledger, 1));
    let close =
        Command::Close { node, epoch, used: vec![LoanLine { allotment, units: Units::from(3) }] };
    done(&mut ledger, &close);
    assert!(happened(&ledger, &EventKind::LeaseClosed { node, epoch, units: 3 }));
    let totals = ledger.totals()[&FIRST];
    assert_eq!(
        (totals.live, totals.frozen),
        (some(0), some(3)),
        "what was idle can be lent at once"
    );
    assert_eq!(ledger.apply(&beat(1, epoch, 99)), Outcome::Beaten(vec![false]));
    assert_eq!(acted(&mut ledger, 2, reclaim(1, &[(allotment, 3)])), ActionOutcome::Done);
    assert_eq!(ledger.apply(&close), Outcome::Refused(Refusal::LeaseEnded { epoch }));
}

/// A forged command named more units than there are numbers: their sum overflowed in every node,
/// and after each restart again, out of its own log.
#[test]
fn a_close_that_says_it_uses_more_than_anything_keeps_all_of_its_allotment_and_no_more() {
    let mut ledger = pair();
    let (epoch, allotment) = (newest_epoch(&ledger, 1), drawn(&mut ledger, 1, FIRST, 7));
    let line = LoanLine { allotment, units: Units::MAX };
    let close = Command::Close { node: NodeId(1), epoch, used: vec![line; 3] };
    let text = serde_json::to_string(&close).unwrap();
    let forged = text.replace(&Units::MAX.to_string(), &u64::MAX.to_string());
    assert!(serde_json::from_str::<Command>(&forged).is_err(), "{forged}");
    assert_eq!(ledger.apply(&close), Outcome::Done);
    assert_eq!(totals(&ledger), pool_totals(10, 3, 0, 7));
}

/// What another node sends as a ledger may be anything.
#[test]
fn a_ledger_that_no_commands_could_have_made_is_told_from_one_that_they_could() {
    type Change<'a> = &'a dyn Fn(&mut Ledger);
    let mut ledger = pair();
    let allotment = drawn(&mut ledger, 1, FIRST, 7);
    assert_eq!(ledger.check_foreign(), Ok(()));
    let broken = |change: Change<'_>| {
        let mut ledger = ledger.clone();
        change(&mut ledger);
        ledger.check_foreign().unwrap_err().to_string()
    };
    let most = u64::MAX;
    let rows: [(&str, Change<'_>); 8] = [
        ("version is 1844", &|it| it.version = most),
        ("last_number is 1844", &|it| it.last_number = most),
        ("catalog_version is 1844", &|it| it.catalog_version = most),
        ("event number is 1844", &|it| it.events.back_mut().unwrap().number = most),
        ("operation is 1844", &|it| {
            it.nodes.get_mut(&NodeId(1)).unwrap().lease.as_mut().unwrap().operation = most;
        }),
        ("the number 900 was given twice", &|it| {
            it.nodes.get_mut(&NodeId(1)).unwrap().lease.as_mut().unwrap().epoch = Epoch(900);
            it.allotments.clear();
            it.pools.get_mut(&FIRST).unwrap().reserve = 10;
        }),
        ("said to be in an older one", &|it| {
            it.moved.insert((allotment, checkout(1)), allotment);
        }),
        ("more units of pool 0 are lent", &|it| {
            let other = Allotment { units: Units::MAX, ..it.allotments[&allotment].clone() };
            it.allotments.insert(AllotmentId(allotment.0 - 1), other);
        }),
    ];
    for (expected, change) in rows {
        let violation = broken(change);
        assert!(violation.contains(expected), "{expected}: {violation}");
    }
}

/// The holder may lend a unit anew once a checkout expires at its desk; had the checkout moved with
/// the same unit meanwhile, two engines would use it.
#[test]
fn nothing_moves_or_thaws_before_the_lease_it_was_frozen_with_has_ended() {
    let mut ledger = pair();
    let contested = drawn(&mut ledger, 1, FIRST, 4);
    done(&mut ledger, &Command::Remove { node: NodeId(1) });
    let refused = ActionOutcome::Refused(ActionRefusal::LeaseMayRun);
    assert_eq!(acted(&mut ledger, 2, reclaim(1, &[(contested, 3)])), refused);
    done(&mut ledger, &Command::Thaw { allotments: vec![contested] });
    assert_eq!(totals(&ledger), pool_totals(10, 6, 0, 4));
    for _ in 0..2 {
        done(&mut ledger, &Command::Lapse { allotments: vec![contested] });
    }
    assert_eq!(acted(&mut ledger, 2, reclaim(1, &[(contested, 3)])), ActionOutcome::Done);
    done(&mut ledger, &Command::Thaw { allotments: vec![contested] });
    assert_eq!(totals(&ledger), pool_totals(10, 7, 3, 0));
}

#[test]
fn a_reclaimed_checkout_is_bound_and_returns_to_its_frozen_allotment_until_the_thaw() {
    let mut ledger = pair();
    let dead = drawn(&mut ledger, 1, FIRST, 4);
    freeze(&mut ledger, 1);
    assert_eq!(acted(&mut ledger, 2, reclaim(1, &[(dead, 3)])), ActionOutcome::Done);
    let bound = bound_to(&ledger, 2, 1);
    assert_eq!((units(&ledger, dead), units(&ledger, bound)), (Some(1), Some(3)));

    // Shown again, here or elsewhere, the receipt finds the same units and moves none.
    let live_here = ActionOutcome::LiveAt { node: NodeId(2) };
    assert_eq!(acted(&mut ledger, 2, reclaim(1, &[(dead, 3)])), live_here);
    assert_eq!(units(&ledger, dead), Some(1));

    assert_eq!(acted(&mut ledger, 2, give_back(bound, 3)), ActionOutcome::Done);
    assert_eq!((units(&ledger, dead), units(&ledger, bound)), (Some(4), None));
    assert_eq!(ledger.reserve(FIRST), some(6), "nobody else may have them before the thaw");
    thaw(&mut ledger);
    assert_eq!(ledger.reserve(FIRST), some(10));
}

#[test]
fn a_bound_checkout_that_ends_after_the_thaw_returns_to_the_reserve() {
    let mut ledger = pair();
    let dead = drawn(&mut ledger, 1, FIRST, 4);
    freeze(&mut ledger, 1);
    acted(&mut ledger, 2, reclaim(1, &[(dead, 3)]));
    thaw(&mut ledger);
    assert_eq!(totals(&ledger), pool_totals(10, 7, 3, 0));
    let bound = bound_to(&ledger, 2, 1);
    acted(&mut ledger, 2, give_back(bound, 3));
    assert_eq!(ledger.reserve(FIRST), some(10));
}

#[test]
fn a_reclaimed_checkout_can_be_followed_through_a_second_death() {
    let mut ledger = pair();
    let first = drawn(&mut ledger, 1, FIRST, 4);
    freeze(&mut ledger, 1);
    acted(&mut ledger, 2, reclaim(1, &[(first, 3)]));
    freeze(&mut ledger, 2);
    opened(&mut ledger, 1, 1);
    // The engine never heard of node 2: it shows the oldest receipt.
    assert_eq!(acted(&mut ledger, 1, reclaim(1, &[(first, 3)])), ActionOutcome::Done);
    let bound = bound_to(&ledger, 1, 1);
    assert_eq!(ledger.allotment(bound).unwrap().bound.unwrap().origin, first);
    acted(&mut ledger, 1, give_back(bound, 3));
    assert_eq!(units(&ledger, first), Some(4), "they return to where they were first taken from");
}

/// A receipt never says so, but `apply` must stand whatever is committed: both lines lead to the
/// same three units, and taking them twice ended in a subtraction with overflow.
#[test]
fn a_reclaim_whose_lines_have_moved_into_one_allotment_is_malformed() {
    let mut ledger = pair();
    let first = drawn(&mut ledger, 1, FIRST, 4);
    freeze(&mut ledger, 1);
    acted(&mut ledger, 2, reclaim(1, &[(first, 3)]));
    let bound = bound_to(&ledger, 2, 1);
    freeze(&mut ledger, 2);
    opened(&mut ledger, 1, 1);
    let refused = ActionOutcome::Refused(ActionRefusal::Malformed);
    assert_eq!(acted(&mut ledger, 1, reclaim(1, &[(first, 3), (bound, 3)])), refused);
}

#[test]
fn a_checkout_of_several_pools_moves_with_all_its_lines() {
    let mut ledger = pair();
    let (cpa, asr) = (drawn(&mut ledger, 1, FIRST, 4), drawn(&mut ledger, 1, SECOND, 4));
    freeze(&mut ledger, 1);
    assert_eq!(acted(&mut ledger, 2, reclaim(1, &[(cpa, 1), (asr, 2)])), ActionOutcome::Done);
    let view = ledger.view(NodeId(2));
    let held: Vec<_> = view.held.iter().map(|it| (it.pool, it.units, it.bound)).collect();
    let bound = Some(checkout(1));
    assert_eq!(held, [(FIRST, some(1), bound), (SECOND, some(2), bound)]);
}

#[test]
fn a_live_checkout_is_handed_over_and_its_trace_lives_until_forgotten() {
    let mut ledger = pair();
    let from = drawn(&mut ledger, 1, FIRST, 4);
    let asked = acted(&mut ledger, 2, reclaim(1, &[(from, 1)]));
    assert_eq!(asked, ActionOutcome::LiveAt { node: NodeId(1) });
    assert_eq!(acted(&mut ledger, 1, hand_over(1, 2, &[(from, 1)])), ActionOutcome::Done);
    let bound = bound_to(&ledger, 2, 1);
    assert_eq!((units(&ledger, from), units(&ledger, bound)), (Some(3), Some(1)));
    let asked = acted(&mut ledger, 1, reclaim(1, &[(from, 1)]));
    assert_eq!(asked, ActionOutcome::LiveAt { node: NodeId(2) }, "the old receipt leads on");

    // Back to node 1: the emptied allotment of node 2 stays for its trace.
    assert_eq!(acted(&mut ledger, 2, hand_over(1, 1, &[(bound, 1)])), ActionOutcome::Done);
    assert_eq!(units(&ledger, bound), Some(0));
    let forget = || Action::Forget { checkouts: vec![checkout(1)] };
    assert_eq!(acted(&mut ledger, 2, forget()), ActionOutcome::Done);
    assert_eq!(units(&ledger, bound), None);
    assert_eq!(acted(&mut ledger, 1, forget()), ActionOutcome::Done);
    assert!(ledger.moved.is_empty(), "{:?}", ledger.moved);
    assert_eq!(totals(&ledger), pool_totals(10, 6, 4, 0));
}

#[test]
fn a_handed_over_checkout_that_ends_under_a_live_origin_frees_its_units() {
    let mut ledger = pair();
    let from = drawn(&mut ledger, 1, FIRST, 4);
    acted(&mut ledger, 1, hand_over(1, 2, &[(from, 1)]));
    let bound = bound_to(&ledger, 2, 1);
    acted(&mut ledger, 2, give_back(bound, 1));
    assert_eq!(totals(&ledger), pool_totals(10, 7, 3, 0));
}

#[test]
fn traces_are_forgotten_with_the_allotment_that_they_start_from() {
    let mut ledger = pair();
    let dead = drawn(&mut ledger, 1, FIRST, 4);
    freeze(&mut ledger, 1);
    acted(&mut ledger, 2, reclaim(1, &[(dead, 3)]));
    assert_eq!(ledger.moved.len(), 1);
    thaw(&mut ledger);
    assert!(ledger.moved.is_empty());
}

#[test]
fn a_cut_makes_the_reserve_negative_until_units_come_back() {
    let mut ledger = pair();
    let held = drawn(&mut ledger, 1, FIRST, 8);
    let cut = install(2, vec![set("all", &[("cpa", 5), ("asr.tier1", 10)])]);
    assert_eq!(ledger.apply(&cut), Outcome::Installed { serial: 2 });
    assert_eq!(ledger.apply(&cut), Outcome::Installed { serial: 2 }, "the same again");
    assert_eq!(totals(&ledger), pool_totals(5, -3, 8, 0));
    assert_eq!(ledger.view(NodeId(1)).overdrawn, [FIRST]);
    let drawn = ActionOutcome::Drawn { units: Units::from(0) };
    assert_eq!(acted(&mut ledger, 2, draw(FIRST, 1)), drawn);
    acted(&mut ledger, 1, give_back(held, 4));
    assert_eq!(ledger.view(NodeId(1)).overdrawn, []);
    assert_eq!(
        acted(&mut ledger, 2, draw(FIRST, 9)),
        ActionOutcome::Drawn { units: Units::from(1) }
    );
}

#[test]
fn a_set_that_is_no_longer_named_keeps_its_pool_closed_and_opens_again_under_its_number() {
    let mut ledger = pair();
    drawn(&mut ledger, 1, FIRST, 2);
    ledger.apply(&install(2, vec![set("other", &[("cpa", 7)])]));
    assert_eq!(ledger.pools()[&FIRST].terms.closed, Some(Closed::NotEntitled));
    assert_eq!(totals(&ledger), pool_totals(0, -2, 2, 0));
    assert_eq!(ledger.pools().len(), 3, "a new set has new pools");
    ledger.apply(&install(3, vec![set("all", &[("cpa", 4)])]));
    assert_eq!(ledger.pools()[&FIRST].terms.closed, None);
    assert_eq!(totals(&ledger), pool_totals(4, 2, 2, 0));
}

#[test]
fn the_calendar_opens_and_closes_sets_both_ways() {
    let mut ledger = pair();
    let rows = [
        ("2025-12-31", Some(Closed::NotStarted)),
        ("2026-01-01", None),
        ("2027-12-31", None),
        ("2028-01-01", Some(Closed::ContractEnded)),
        ("2026-11-25", None),
    ];
    for (day, closed) in rows {
        let version = ledger.catalog().version;
        done(&mut ledger, &Command::Day { day: date(day) });
        assert_eq!(ledger.pools()[&FIRST].terms.closed, closed, "{day}");
        assert!(ledger.catalog().version >= version);
    }
    let set_name = "all".parse().unwrap();
    let ended = EventKind::SetChanged { set: set_name, closed: Some(Closed::ContractEnded) };
    assert!(happened(&ledger, &ended));
    let (version, events) = (ledger.catalog().version, ledger.events().count());
    done(&mut ledger, &Command::Day { day: date("2026-11-26") });
    assert_eq!((ledger.catalog().version, ledger.events().count()), (version, events), "no news");
}

#[test]
fn the_event_log_keeps_the_newest_and_its_numbers_show_what_is_missing() {
    let mut ledger = cluster(&[(1, "east")], vec![]);
    for _ in 0..EVENTS_MAX {
        opened(&mut ledger, 1, 1);
    }
    assert_eq!(ledger.events().count(), EVENTS_MAX);
    let numbers: Vec<u64> = ledger.events().map(|event| event.number).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
    assert!(numbers[0] > 1);
}

#[test]
fn the_first_events_of_a_cluster_get_the_time_of_its_first_beat() {
    let mut ledger = cluster(&[(1, "east")], vec![]);
    assert!(ledger.events().all(|event| event.wall_ms == 0), "nobody has told the time yet");
    ledger.apply(&Command::Beat { beats: Vec::new(), wall_ms: 5_000 });
    assert!(ledger.events().all(|event| event.wall_ms == 5_000));
    ledger.apply(&Command::Beat { beats: Vec::new(), wall_ms: 9_000 });
    opened(&mut ledger, 1, 1);
    let times: Vec<i64> = ledger.events().map(|event| event.wall_ms).collect();
    assert!(times[..times.len() - 1].iter().all(|at| *at == 5_000), "they keep it: {times:?}");
    assert_eq!(times.last(), Some(&9_000));
}

/// Nodes 1 and 2 in east with live leases, 10 units of two features.
fn pair() -> Ledger {
    let sets = vec![set("all", &[("cpa", 10), ("asr.tier1", 10)])];
    let mut ledger = cluster(&[(1, "east"), (2, "east")], sets);
    opened(&mut ledger, 1, 1);
    opened(&mut ledger, 2, 2);
    ledger
}

fn pool_totals(entitled: u64, reserve: i64, live: u64, frozen: u64) -> PoolTotals {
    let [entitled, live, frozen] = [entitled, live, frozen].map(some);
    PoolTotals { entitled, reserve, live, frozen }
}

fn totals(ledger: &Ledger) -> PoolTotals {
    ledger.totals()[&FIRST]
}

fn acted(ledger: &mut Ledger, node: u64, action: Action) -> ActionOutcome {
    let outcome = operated(ledger, node, &[action]);
    let Outcome::Operated(outcomes) = outcome else { panic!("node {node}: {outcome:?}") };
    outcomes[0].clone()
}

fn bound_to(ledger: &Ledger, node: u64, counter: u64) -> AllotmentId {
    let view = ledger.view(NodeId(node));
    let held = view
        .held
        .iter()
        .find(|held| held.bound == Some(checkout(counter)) && !held.units.is_zero());
    held.expect("the checkout's units are here").allotment
}

fn happened(ledger: &Ledger, kind: &EventKind) -> bool {
    ledger.events().any(|event| event.kind == *kind)
}
