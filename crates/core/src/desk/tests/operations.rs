//! What a desk asks of the steward, what becomes of the answers, and who waits how long.

use super::bench::*;
use crate::desk::message::{Answer, Effect, Operated, Operation, Reason, Want};
use crate::id::NodeId;
use crate::ledger::command::Action;
use crate::ledger::tests::fixture::*;

#[test]
fn an_operation_without_an_answer_is_sent_again_unchanged_and_applied_once() {
    let mut bench = Bench::open(sets(10));
    bench.is_connected = false;
    let ticket = bench.ask(waiting(5_000, item(1, &[("cpa", 3)])));
    let asked = bench.unanswered_operation();
    // It is applied, but the answer is lost; meanwhile somebody else comes to wait.
    let applied = apply(&mut bench, &asked);
    bench.ask(waiting(5_000, item(2, &[("cpa", 1)])));
    bench.desk.on_operated(bench.now(), asked.epoch, asked.number, None);
    bench.unanswered.clear();
    bench.pass(200);
    assert_eq!(bench.unanswered, [Effect::Operate(asked.clone())], "sent again as it was");
    let before = bench.replica.ledger.totals()[&FIRST];
    bench.is_connected = true;
    bench.operation_answered(&asked);
    assert!(matches!(bench.answer(ticket), Some(Answer::Granted { .. })));
    let after = bench.replica.ledger.totals()[&FIRST];
    assert!(
        before.live.get() >= 3 && after.live >= before.live,
        "{applied:?}: {before:?} {after:?}"
    );
    assert_eq!(bench.replica.ledger.view(NodeId(1)).operation, bench_operation(&bench));
}

/// The pause before an operation is sent again doubles. A new leader answered beats for seconds
/// while the desk waited to ask again, and a running call that was to move could not.
#[test]
fn an_operation_is_sent_again_as_soon_as_a_leader_answers() {
    let mut bench = Bench::open(sets(10));
    bench.is_connected = false;
    let ticket = bench.ask(waiting(20_000, item(1, &[("cpa", 3)])));
    bench.pass(4_000);
    bench.is_connected = true;
    bench.pass(bench.timings().heartbeat_ms + 150);
    let answer = bench.answer(ticket);
    assert!(matches!(answer, Some(Answer::Granted { .. })), "{answer:?}");
}

#[test]
fn only_one_operation_is_under_way() {
    let mut bench = Bench::open(sets(10));
    bench.is_connected = false;
    for request in 1..=5 {
        bench.ask(waiting(5_000, item(request, &[("cpa", 1)])));
    }
    let operations = bench.unanswered.iter().filter(|it| matches!(it, Effect::Operate(_))).count();
    assert_eq!(operations, 1);
    let asked = bench.unanswered_operation();
    bench.is_connected = true;
    bench.operation_answered(&asked);
    assert_eq!(bench.desk.status().running, 5, "the others were asked for with the next one");
}

#[test]
fn a_view_that_shows_an_operation_before_its_answer_is_not_acted_upon() {
    let mut bench = Bench::open(sets(10));
    bench.is_connected = false;
    let ticket = bench.ask(waiting(5_000, item(1, &[("cpa", 3)])));
    let asked = bench.unanswered_operation();
    apply(&mut bench, &asked);
    let view = bench.replica.ledger.view(NodeId(1));
    bench.desk.on_view(bench.now(), &view);
    bench.pump();
    assert_eq!(bench.answer(ticket), None);
    assert!(bench.desk.status().report.pools.is_empty());
}

#[test]
fn an_older_view_than_the_newest_is_ignored() {
    let mut bench = Bench::open(sets(10));
    let old = bench.replica.ledger.view(NodeId(1));
    bench.granted(1, &[("cpa", 3)]);
    let before = bench.desk.status();
    bench.desk.on_view(bench.now(), &old);
    assert_eq!(bench.desk.status(), before);
}

#[test]
fn a_refused_operation_ends_the_lease_and_a_new_one_is_opened() {
    let mut bench = Bench::open(sets(10));
    let first = bench.desk.status().epoch.unwrap();
    bench.granted(1, &[("cpa", 3)]);
    bench.freeze(1);
    let ticket = bench.ask(waiting(5_000, item(2, &[("cpa", 4)])));
    bench.pass(500);
    assert!(bench.desk.status().epoch.unwrap() > first);
    assert!(matches!(bench.answer(ticket), Some(Answer::Granted { .. })), "it waited for it");
}

#[test]
fn a_refused_operation_gives_up_nothing_that_another_epoch_holds() {
    let mut bench = Bench::open(sets(10));
    let receipt = bench.granted(1, &[("cpa", 3)]);
    let view = bench.replica.ledger.view(NodeId(1));
    let wrong = (view.newest_epoch, view.operation + 7);
    let refused = Operated::Refused { view };
    bench.desk.on_operated(bench.now(), wrong.0, wrong.1, Some(refused));
    bench.renewed(&receipt);
}

/// A request for many units once waited for the last of them while its desk gave the others back
/// with each beat and drew them again: each time two more round trips to the leader.
#[test]
fn units_that_a_waiting_request_needs_are_not_given_back() {
    let mut bench = Bench::open(sets(10));
    bench.granted(9, &[("cpa", 2)]);
    let ticket = bench.ask(waiting(20_000, item(1, &[("cpa", 9)])));
    bench.pass(1_000);
    for _ in 0..1_300 {
        bench.pass(10);
        assert_eq!(bench.replica.ledger.totals()[&FIRST].live.get(), 10);
    }
    assert_eq!(bench.answer(ticket), None, "two of ten are in use");
}

#[test]
fn those_who_wait_are_answered_at_their_deadline() {
    let mut bench = Bench::open(sets(2));
    bench.granted(9, &[("cpa", 2)]);
    bench.pass(1_100);
    let asked_at = bench.now().steady;
    let ticket = bench.ask(waiting(3_000, item(1, &[("cpa", 1)])));
    bench.pass(2_999);
    assert_eq!(bench.answer(ticket), None);
    bench.pass(1);
    assert_eq!(bench.now().steady, asked_at + 3_000);
    assert_eq!(bench.denial(ticket), about(Reason::Exhausted, "cpa", 2, 2));
}

#[test]
fn one_who_does_not_wait_is_answered_within_half_a_second_though_nobody_can_be_asked() {
    let mut bench = Bench::open(sets(2));
    bench.is_connected = false;
    let ticket = bench.checkout(1, &[("cpa", 1)]);
    bench.pass(449);
    assert_eq!(bench.answer(ticket), None);
    bench.pass(1);
    assert_eq!(bench.denial(ticket), plain(Reason::CutOff));
}

#[test]
fn one_who_waits_joins_by_request_id_and_both_are_answered() {
    let mut bench = Bench::open(sets(2));
    let receipt = bench.granted(9, &[("cpa", 2)]);
    let first = bench.ask(waiting(3_000, item(1, &[("cpa", 1)])));
    let second = bench.ask(waiting(3_000, item(1, &[("cpa", 1)])));
    let other = bench.ask(waiting(3_000, item(1, &[("cpa", 2)])));
    assert_eq!(bench.denial(other), plain(Reason::RequestReused));
    bench.checkin(&receipt);
    assert!(matches!(bench.answer(first), Some(Answer::Granted { .. })));
    assert_eq!(bench.answer(first), bench.answer(second));
    assert_eq!(bench.desk.status().running, 1);
}

#[test]
fn a_new_request_passes_nobody_by_who_waits_for_one_of_its_features() {
    let mut bench = Bench::open(vec![set("all", &[("cpa", 2), ("asr.tier1", 2)])]);
    let receipt = bench.granted(9, &[("asr.tier1", 2)]);
    let both = bench.ask(waiting(9_000, item(1, &[("cpa", 1), ("asr.tier1", 1)])));
    let late = bench.ask(waiting(9_000, item(2, &[("cpa", 1)])));
    assert_eq!((bench.answer(both), bench.answer(late)), (None, None));
    bench.checkin(&receipt);
    for ticket in [both, late] {
        assert!(matches!(bench.answer(ticket), Some(Answer::Granted { .. })));
    }
}

#[test]
fn who_heads_one_line_does_not_pass_by_who_waits_longer_in_another() {
    let mut bench = Bench::open(vec![set("all", &[("cpa", 2), ("asr.tier1", 2)])]);
    let held = [8, 9].map(|request| bench.granted(request, &[("cpa", 1)]));
    let large = bench.ask(waiting(9_000, item(1, &[("cpa", 2)])));
    let both = bench.ask(waiting(9_000, item(2, &[("cpa", 1), ("asr.tier1", 1)])));
    bench.checkin(&held[0]);
    bench.pass(500);
    assert_eq!((bench.answer(large), bench.answer(both)), (None, None));
    bench.checkin(&held[1]);
    assert!(matches!(bench.answer(large), Some(Answer::Granted { .. })));
    assert_eq!(bench.answer(both), None);
}

#[test]
fn recalled_units_go_back_with_the_next_operation_and_are_not_lent_meanwhile() {
    let mut bench = Bench::open(sets(10));
    bench.granted(1, &[("cpa", 1)]);
    let free = bench.desk.status().report.pools[&FIRST].free;
    assert!(free > 0);
    bench.is_connected = false;
    let returning = bench.desk.handle_recall(bench.now(), &[(FIRST, 99), (SECOND, 1)]);
    bench.pump();
    assert_eq!(returning, [(FIRST, free)]);
    let asked = bench.unanswered_operation();
    let allotment = bench.replica.ledger.view(NodeId(1)).held[0].allotment;
    assert_eq!(asked.actions, [Action::Return { allotment, units: some(free) }]);
    assert_eq!(bench.desk.status().report.pools[&FIRST].free, 0);
    let ticket = bench.ask(waiting(5_000, item(2, &[("cpa", 1)])));
    assert_eq!(bench.answer(ticket), None, "they are on their way");
}

#[test]
fn units_beyond_twice_the_headroom_go_back_with_a_beat() {
    let mut bench = Bench::open(sets(40));
    let receipt = bench.granted(1, &[("cpa", 20)]);
    bench.checkin(&receipt);
    // Until the burst is forgotten its size is the headroom.
    bench.pass(9_000);
    let held = bench.replica.ledger.totals()[&FIRST].live;
    assert!(held.get() <= 4, "{held} units are held for two calls that may come");
}

#[test]
fn a_cut_pool_lends_nothing_and_gives_back_what_is_free() {
    let mut bench = Bench::open(sets(10));
    let receipt = bench.granted(1, &[("cpa", 4)]);
    bench.replica.ledger.apply(&install(2, sets(3)));
    bench.give_catalog();
    bench.pass(1_100);
    assert_eq!(bench.desk.status().report.pools[&FIRST].free, 0);
    assert_eq!(bench.replica.ledger.totals()[&FIRST].reserve, -1);
    let ticket = bench.checkout(2, &[("cpa", 1)]);
    assert_eq!(bench.denial(ticket), about(Reason::Exhausted, "cpa", 4, 3));
    bench.renewed(&receipt);
}

#[test]
fn a_catalog_that_closes_a_set_sends_those_who_wait_for_it_away() {
    let mut bench = Bench::open(sets(1));
    bench.granted(1, &[("cpa", 1)]);
    let ticket = bench.ask(waiting(20_000, item(2, &[("cpa", 1)])));
    done(
        &mut bench.replica.ledger,
        &crate::ledger::command::Command::Day { day: date("2030-01-01") },
    );
    bench.give_catalog();
    assert_eq!(bench.denial(ticket), about(Reason::ContractEnded, "cpa", 0, 1));
}

#[test]
fn a_desk_wants_what_is_needed_and_headroom_beside() {
    let mut bench = Bench::open(sets(10));
    bench.is_connected = false;
    bench.ask(waiting(5_000, item(1, &[("cpa", 3)])));
    let Operation { number, actions, wants, .. } = bench.unanswered_operation();
    assert_eq!((number, actions), (1, vec![]));
    assert_eq!(wants, [Want { pools: vec![FIRST], need: 3, spare: 0 }]);
}

fn apply(bench: &mut Bench, asked: &Operation) -> crate::ledger::command::Outcome {
    let mut actions = asked.actions.clone();
    for want in &asked.wants {
        actions.push(draw(FIRST, want.need));
    }
    bench.replica.ledger.apply(&operate(1, asked.epoch, asked.number, &actions))
}

fn bench_operation(bench: &Bench) -> u64 {
    bench.replica.ledger.view(NodeId(1)).operation
}

fn sets(cpa: u64) -> Vec<crate::entitlement::LicenseSet> {
    vec![set("all", &[("cpa", cpa), ("asr.tier1", 5)])]
}
