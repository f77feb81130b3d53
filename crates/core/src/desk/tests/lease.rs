//! The desk's lease and the lifetimes of what it lends.

use super::bench::*;
use crate::desk::message::{Answer, Effect, HandOver, Reason};
use crate::id::{Epoch, NodeId};
use crate::ledger::tests::fixture::*;
use crate::time::{Moment, Now};
use crate::units::Units;

#[test]
fn a_desk_lends_until_its_lease_runs_out_and_not_a_moment_longer() {
    let mut bench = Bench::open(sets());
    let receipt = bench.granted(1, &[("cpa", 1)]);
    bench.is_connected = false;
    let until = bench.desk.status().lend_until.unwrap();
    bench.jump(until.since(bench.now().steady) - 1);
    bench.renewed(&receipt);
    bench.granted(2, &[("cpa", 1)]);
    bench.jump(1);
    let (checkout, renewal) = (bench.checkout(3, &[("cpa", 1)]), bench.renew(&receipt, 0));
    assert_eq!(bench.denial(checkout), plain(Reason::CutOff));
    assert_eq!(bench.denial(renewal), plain(Reason::CutOff));
}

#[test]
fn a_lease_counts_from_the_sending_of_its_beat() {
    let mut bench = Bench::unopened(sets());
    bench.give_catalog();
    let sent = bench.now().steady;
    bench.pass(20);
    let until = bench.desk.status().lend_until.unwrap();
    assert_eq!(until, sent + bench.timings().lend_for_ms());
}

#[test]
fn a_repeated_request_is_answered_the_same_after_the_lease_ran_out() {
    let mut bench = Bench::open(sets());
    let receipt = bench.granted(1, &[("cpa", 1)]);
    bench.is_connected = false;
    bench.pass(11_000);
    assert_eq!(bench.granted(1, &[("cpa", 1)]), receipt);
}

#[test]
fn a_wall_clock_that_jumps_stops_lending_until_a_later_beat_is_acknowledged() {
    let mut bench = Bench::open(sets());
    let receipt = bench.granted(1, &[("cpa", 1)]);
    bench.jump_wall(300);
    let denied = [bench.checkout(2, &[("cpa", 1)]), bench.renew(&receipt, 0)];
    for ticket in denied {
        assert_eq!(bench.denial(ticket), plain(Reason::CutOff));
    }
    bench.pass(1_000);
    bench.granted(3, &[("cpa", 1)]);
    bench.renewed(&receipt);
}

#[test]
fn a_wall_clock_that_is_set_back_or_is_slewed_stops_nothing() {
    let mut bench = Bench::open(sets());
    bench.jump_wall(-3_600_000);
    bench.granted(1, &[("cpa", 1)]);
    for request in 2..5 {
        bench.jump_wall(200);
        bench.granted(request, &[("cpa", 1)]);
        bench.pass(bench.timings().heartbeat_ms);
    }
}

#[test]
fn a_pause_is_noticed_though_no_engine_asks_for_anything() {
    let mut bench = Bench::open(sets());
    bench.is_connected = false;
    bench.jump_wall(60_000);
    bench.pass(1_100);
    let Now { steady, .. } = bench.now();
    assert!(bench.desk.status().lend_until.unwrap() > steady, "its lease has not run out");
    let ticket = bench.checkout(1, &[("cpa", 1)]);
    assert_eq!(bench.denial(ticket), plain(Reason::CutOff));
}

#[test]
fn a_renewal_never_shortens_what_is_held() {
    let mut bench = Bench::open(sets());
    let receipt = bench.granted(1, &[("cpa", 1)]);
    bench.pass(5_000);
    let later = bench.renewed(&receipt);
    assert_eq!(later.from, bench.now().steady);
    // The clock reading of an earlier message is taken in after that of a later one.
    let early = Now { steady: bench.now().steady - 2_000, ..bench.now() };
    let ticket = bench.ticket();
    bench.desk.handle_renew(early, &receipt, 0, ticket);
    bench.pump();
    let Some(Answer::Renewed { life, .. }) = bench.answer(ticket) else { panic!("not renewed") };
    assert_eq!(life.from, later.from);
}

#[test]
fn what_is_left_is_rounded_down_for_the_engine_and_up_for_the_desk() {
    let mut bench = Bench::open(sets());
    let ticket = bench.checkout(1, &[("cpa", 1)]);
    let Some(Answer::Granted { receipt, life }) = bench.answer(ticket).cloned() else {
        panic!("not granted");
    };
    let from = bench.now().steady;
    assert_eq!(life.left_ms(from), 30_000);
    assert_eq!(life.left_ms(from + 1_000), 28_990);
    assert_eq!(life.left_ms(from + 29_703), 0);
    // On a clock that may be fast the desk holds it for TTL(1+ρ).
    bench.pass(30_299);
    assert_eq!(bench.desk.status().running, 1);
    bench.pass(1 + 64);
    assert_eq!(bench.desk.status().running, 0, "expired");
    let ticket = bench.renew(&receipt, 0);
    assert_eq!(bench.denial(ticket), plain(Reason::ReceiptExpired));
}

#[test]
fn a_receipts_age_may_be_the_ttl_and_not_more() {
    let mut bench = Bench::open(sets());
    let receipt = bench.granted(1, &[("cpa", 1)]);
    for (age_ms, is_renewed) in [(0, true), (30_000, true), (30_001, false)] {
        let ticket = bench.renew(&receipt, age_ms);
        let renewed = matches!(bench.answer(ticket), Some(Answer::Renewed { receipt: None, .. }));
        assert_eq!(renewed, is_renewed, "age {age_ms}");
    }
}

#[test]
fn a_new_epoch_starts_with_an_empty_desk_and_brings_its_own_calls_back_by_receipt() {
    let mut bench = Bench::open(sets());
    let first = bench.desk.status().epoch.unwrap();
    let receipt = bench.granted(1, &[("cpa", 1)]);
    bench.freeze(1);
    bench.pass(1_100);
    let status = bench.desk.status();
    let second = status.epoch.unwrap();
    assert!(second > first);
    assert_eq!((status.running, status.report.pools.len()), (0, 0));
    let ticket = bench.renew(&receipt, 0);
    let Some(Answer::Renewed { receipt: Some(anew), .. }) = bench.answer(ticket) else {
        panic!("{:?}", bench.answer(ticket));
    };
    let (old, anew) = (read(&receipt), read(anew));
    assert_eq!((anew.checkout, anew.epoch), (old.checkout, second));
    assert_eq!(anew.lines[0].units, old.lines[0].units);
    assert_ne!(anew.lines[0].allotment, old.lines[0].allotment, "bound units");
    assert_eq!(bench.desk.status().counters.reclaimed, 1);
}

#[test]
fn a_late_answer_of_an_older_epoch_is_ignored() {
    let mut bench = Bench::open(sets());
    let first = bench.desk.status().epoch.unwrap();
    let old_view = bench.replica.ledger.view(NodeId(1));
    bench.freeze(1);
    bench.pass(1_100);
    let before = bench.desk.status();
    assert_ne!(before.epoch, Some(first));
    let answer = crate::desk::message::BeatAnswer { live: true, view: old_view.clone() };
    bench.desk.on_beat(bench.now(), first, 1, Some(answer));
    bench.desk.on_view(bench.now(), &old_view);
    bench.desk.on_operated(bench.now(), first, 1, None);
    assert_eq!(bench.desk.status(), before);
}

#[test]
fn opening_is_tried_again_however_often_the_desk_is_woken() {
    let mut bench = Bench::unopened(sets());
    bench.is_connected = false;
    bench.give_catalog();
    assert_eq!(bench.unanswered, [Effect::Open { after: Epoch(0) }]);
    bench.desk.on_opened(bench.now(), None, None);
    for _ in 0..10 {
        bench.jump(20);
        bench.desk.on_tick(bench.now());
    }
    bench.pump();
    assert_eq!(bench.unanswered.len(), 2, "asked again within 200 ms");
}

/// The ledger had opened an epoch, its answer was late, and the desk, which saw the epoch in its own
/// replica, asked to replace it. Then the answer came: the desk lent under that epoch, and the
/// second request ended it as one that nobody lends under any more.
#[test]
fn an_epoch_that_a_desk_has_asked_to_replace_is_never_lent_under() {
    let mut bench = Bench::unopened(sets());
    bench.is_connected = false;
    bench.give_catalog();
    let first = opened(&mut bench.replica.ledger, 1, 1);
    let view = bench.replica.ledger.view(NodeId(1));
    bench.desk.on_view(bench.now(), &view);
    bench.pass(600);
    let asked = bench.unanswered.pop();
    assert_eq!(asked, Some(Effect::Open { after: first }));

    bench.is_connected = true;
    bench.desk.on_opened(bench.now(), Some(first), Some(view));
    bench.pump();
    assert_eq!(bench.desk.status().lend_until, None);
    bench.reach_steward(&Effect::Open { after: first });
    assert!(bench.desk.status().epoch > Some(first));
    bench.granted(1, &[("cpa", 1)]);
}

#[test]
fn a_desk_without_a_lease_asks_for_no_wake_up_in_the_past() {
    let mut bench = Bench::open(sets());
    bench.is_connected = false;
    let ticket = bench.ask(waiting(20_000, item(1, &[("cpa", 5)])));
    bench.freeze(1);
    let view = bench.replica.ledger.view(NodeId(1));
    bench.desk.on_view(bench.now(), &view);
    bench.pump();
    for _ in 0..50 {
        bench.jump(20);
        bench.desk.on_tick(bench.now());
        bench.pump();
        assert!(bench.desk.next_wake() > bench.now().steady, "it would spin");
    }
    assert_eq!(bench.answer(ticket), None, "it still waits");
}

#[test]
fn a_draining_desk_sends_those_who_wait_away_and_keeps_running_calls() {
    let mut bench = Bench::open(sets());
    let receipt = bench.granted(1, &[("cpa", 5)]);
    let waiting = bench.ask(waiting(20_000, item(2, &[("cpa", 1)])));
    assert_eq!(bench.answer(waiting), None);
    bench.desk.drain(bench.now());
    bench.pump();
    assert_eq!(bench.denial(waiting), plain(Reason::Draining));
    bench.renewed(&receipt);
    bench.checkin(&receipt);
    let ticket = bench.checkout(3, &[("cpa", 1)]);
    assert_eq!(bench.denial(ticket), plain(Reason::Draining));
}

#[test]
fn a_checkout_that_leaves_ends_here_when_the_ledger_has_moved_it() {
    let mut bench = Bench::open(sets());
    let receipt = bench.granted(1, &[("cpa", 2)]);
    bench.draw_at(2, SECOND, 1);
    let ticket = bench.hand_over(&receipt, 2);
    assert_eq!(bench.answer(ticket), Some(&Answer::HandOver(HandOver::Coming)));
    let status = bench.desk.status();
    assert_eq!((status.running, status.counters.handed_over), (0, 1));
}

#[test]
fn a_checkout_that_was_checked_in_has_ended_for_other_nodes_too() {
    let mut bench = Bench::open(sets());
    let receipt = bench.granted(1, &[("cpa", 2)]);
    bench.draw_at(2, SECOND, 1);
    bench.checkin(&receipt);
    let ticket = bench.hand_over(&receipt, 2);
    assert_eq!(bench.answer(ticket), Some(&Answer::HandOver(HandOver::Ended)));
}

#[test]
fn a_checkout_that_can_not_leave_stays() {
    let mut bench = Bench::open(sets());
    let receipt = bench.granted(1, &[("cpa", 2)]);
    let ticket = bench.hand_over(&receipt, 3);
    assert_eq!(bench.answer(ticket), Some(&Answer::HandOver(HandOver::NotNow)), "no lease there");
    bench.renewed(&receipt);
    assert_eq!(bench.desk.status().running, 1);
}

#[test]
fn one_that_is_held_by_a_live_node_is_asked_for_and_covered_if_it_does_not_come() {
    for answer in [Some(HandOver::NotNow), None] {
        let mut bench = Bench::open(sets());
        let allotment = bench.draw_at(2, FIRST, 2);
        let epoch = newest_epoch(&bench.replica.ledger, 2);
        let line = crate::receipt::ReceiptLine { pool: FIRST, allotment, units: Units::from(2) };
        let receipt = receipt_of(2, epoch, 1, &[line]);
        let ticket = bench.renew(&receipt, 10_000);
        let checkout = read(&receipt).checkout;
        let asked = Effect::HandOver { from: NodeId(2), checkout, receipt };
        assert_eq!(bench.unanswered, [asked]);
        bench.answer_hand_over(checkout, answer);
        let Some(Answer::Renewed { receipt: Some(anew), life }) = bench.answer(ticket) else {
            panic!("{:?}", bench.answer(ticket));
        };
        let anew = read(anew);
        assert_eq!((anew.checkout, anew.node), (checkout, NodeId(1)));
        assert_eq!(life.from, bench.now().steady);
        assert_eq!(bench.desk.status().counters.covered, 1);
    }
}

#[test]
fn a_checkout_that_has_ended_at_its_node_is_expired() {
    let mut bench = Bench::open(sets());
    let allotment = bench.draw_at(2, FIRST, 2);
    let epoch = newest_epoch(&bench.replica.ledger, 2);
    let line = crate::receipt::ReceiptLine { pool: FIRST, allotment, units: Units::from(2) };
    let receipt = receipt_of(2, epoch, 1, &[line]);
    let ticket = bench.renew(&receipt, 0);
    bench.answer_hand_over(read(&receipt).checkout, Some(HandOver::Ended));
    assert_eq!(bench.denial(ticket), plain(Reason::ReceiptExpired));
}

#[test]
fn a_claim_that_nobody_answers_is_told_to_ask_again_in_time() {
    let mut bench = Bench::open(sets());
    let allotment = bench.draw_at(2, FIRST, 2);
    let epoch = newest_epoch(&bench.replica.ledger, 2);
    let line = crate::receipt::ReceiptLine { pool: FIRST, allotment, units: Units::from(2) };
    let ticket = bench.renew(&receipt_of(2, epoch, 1, &[line]), 0);
    let asked_at = bench.now().steady;
    bench.pass(999);
    assert_eq!(bench.answer(ticket), None);
    bench.pass(1);
    assert_eq!(bench.denial(ticket), plain(Reason::NotReady));
    assert_eq!(bench.now().steady, asked_at + 1_000);
    assert_eq!(bench.desk.status().claims, 0);
}

#[test]
fn a_check_in_during_a_claim_ends_the_checkout_when_it_arrives() {
    let mut bench = Bench::open(sets());
    let receipt = bench.granted(1, &[("cpa", 2)]);
    bench.freeze(1);
    bench.pass(1_100);
    bench.is_connected = false;
    let renewal = bench.renew(&receipt, 0);
    let asked = bench.unanswered_operation();
    let checkin = bench.checkin(&receipt);
    assert_eq!(bench.answer(checkin), Some(&Answer::Accepted));
    bench.is_connected = true;
    bench.operation_answered(&asked);
    assert_eq!(bench.denial(renewal), plain(Reason::ReceiptExpired));
    bench.pass(1_100);
    assert_eq!(bench.desk.status().running, 0);
    let total = bench.replica.ledger.totals()[&FIRST];
    assert_eq!(total.live, Units::ZERO, "it returned to where it was taken from: {total:?}");
}

#[test]
fn a_desk_whose_ledger_is_not_the_others_lends_and_renews_nothing_and_hands_over_what_runs() {
    let mut bench = Bench::open(sets());
    let receipt = bench.granted(1, &[("cpa", 2)]);
    bench.draw_at(2, FIRST, 1);
    let waits = bench.ask(waiting(5_000, item(2, &[("cpa", 9)])));
    bench.desk.on_diverged(bench.now());
    bench.pump();
    assert_eq!(bench.denial(waits).reason, Reason::NotReady);
    let (new, renewal) = (bench.checkout(3, &[("cpa", 1)]), bench.renew(&receipt, 0));
    assert_eq!(bench.denial(new), plain(Reason::NotReady));
    assert_eq!(bench.denial(renewal), plain(Reason::NotReady));
    assert!(bench.desk.status().is_diverged && !bench.desk.would_lend(bench.now()));
    let asked = bench.hand_over(&receipt, 2);
    assert_eq!(bench.answer(asked), Some(&Answer::HandOver(HandOver::Coming)));
    bench.pass(3_000);
    let held = bench.replica.ledger.view(NodeId(1)).held;
    assert!(held.iter().all(|it| it.units.is_zero()), "what is free goes back: {held:?}");
    let later = bench.checkout(4, &[("cpa", 1)]);
    assert_eq!(bench.denial(later), plain(Reason::NotReady), "for good");
}

#[test]
fn a_check_in_of_another_nodes_checkout_is_passed_on_once() {
    let mut bench = Bench::open(sets());
    let line = crate::receipt::ReceiptLine {
        pool: FIRST,
        allotment: crate::id::AllotmentId(77),
        units: Units::ONE,
    };
    let receipt = receipt_of(2, Epoch(50), 1, &[line]);
    let ticket = bench.checkin(&receipt);
    assert_eq!(bench.answer(ticket), Some(&Answer::Accepted));
    let to = NodeId(2);
    assert_eq!(bench.unanswered, [Effect::PassCheckin { to, receipt: receipt.clone() }]);
    let ticket = bench.ticket();
    bench.desk.handle_checkin(bench.now(), &receipt, true, ticket);
    bench.pump();
    assert_eq!(bench.unanswered.len(), 1, "what was passed on is not passed on again");
}

#[test]
fn a_check_in_that_is_repeated_is_counted_once() {
    let mut bench = Bench::open(sets());
    let receipt = bench.granted(1, &[("cpa", 1)]);
    for _ in 0..3 {
        bench.checkin(&receipt);
    }
    assert_eq!(bench.desk.status().counters.checked_in, 1);
    assert_eq!(bench.desk.status().report.pools[&FIRST].in_use, 0);
}

#[test]
fn the_first_moment_is_no_special_moment() {
    let mut bench = Bench::unopened(sets());
    assert!(bench.desk.next_wake() <= Moment(0));
    bench.desk.on_tick(bench.now());
    assert!(bench.desk.next_wake() > bench.now().steady);
}

fn sets() -> Vec<crate::entitlement::LicenseSet> {
    vec![set("all", &[("cpa", 5), ("asr.tier1", 5)])]
}
