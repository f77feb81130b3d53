//! Stories of running calls that a desk once said had ended, though they had not.

use super::bench::*;
use crate::desk::book::BUCKET_MS;
use crate::desk::message::{Answer, HandOver, Reason};
use crate::id::{AllotmentId, Epoch, NodeId, PoolId};
use crate::ledger::command::{Action, ActionOutcome, LoanLine, Outcome};
use crate::ledger::tests::fixture::*;
use crate::limits::LINES_PER_RECEIPT_MAX;
use crate::receipt::ReceiptLine;
use crate::units::Units;

/// A node was paused for longer than its lease and its checkouts lasted. Other nodes had taken over
/// its calls meanwhile. An engine showed its new receipt to it right after the pause, when it did
/// not know yet, and was told that the call had ended: it had, in this desk's book.
#[test]
fn a_desk_whose_lease_ran_out_says_of_no_call_that_it_has_ended() {
    let mut bench = Bench::open(sets());
    let receipt = bench.granted(1, &[("cpa", 1)]);
    bench.is_connected = false;
    bench.pass(40_000);
    assert_eq!(bench.desk.status().running, 0, "expired in the book");
    let (renewal, hand_over) = (bench.renew(&receipt, 9_000), bench.hand_over(&receipt, 2));
    assert_eq!(bench.denial(renewal), plain(Reason::CutOff));
    assert_eq!(bench.answer(hand_over), Some(&Answer::HandOver(HandOver::NotNow)));
}

/// The same before the desk has looked at its book: the checkout is overdue there.
#[test]
fn a_desk_that_wakes_from_a_pause_says_of_no_call_that_it_has_ended() {
    let mut bench = Bench::open(sets());
    let receipt = bench.granted(1, &[("cpa", 1)]);
    bench.jump(40_000);
    let renewal = bench.renew(&receipt, 9_000);
    assert_eq!(bench.denial(renewal), plain(Reason::CutOff));
}

/// A call was covered at another node, so its checkout expired at the first. When the second node
/// died the engine came back with the second's receipt, and was told that it had ended.
#[test]
fn a_call_that_was_covered_elsewhere_comes_back_though_it_expired_here() {
    let mut bench = Bench::open(sets());
    let first = read(&bench.granted(1, &[("cpa", 2)]));
    bench.pass(30_400);
    assert_eq!(bench.desk.status().running, 0, "expired here");
    let allotment = bench.draw_at(2, FIRST, 2);
    let epoch = newest_epoch(&bench.replica.ledger, 2);
    bench.freeze(2);
    let lines = [ReceiptLine { pool: FIRST, allotment, units: Units::from(2) }];
    let receipt = remade(&first, NodeId(2), epoch, &lines);
    let ticket = bench.renew(&receipt, 10_000);
    let Some(Answer::Renewed { receipt: Some(anew), .. }) = bench.answer(ticket) else {
        panic!("{:?}", bench.answer(ticket));
    };
    assert_eq!(read(anew).checkout, first.checkout);
    let status = bench.desk.status();
    assert_eq!((status.running, status.counters.reclaimed), (1, 1));
    let anew = anew.clone();
    bench.renewed(&anew);
    bench.checkin(&anew);
    assert_eq!(bench.desk.status().running, 0);
}

/// A clock that shows whole milliseconds hides up to one of what has passed: a desk ended a checkout
/// a quarter of a millisecond before its engine.
#[test]
fn a_checkout_is_held_for_the_millisecond_that_the_clock_may_hide() {
    let mut bench = Bench::open(sets());
    let ttl_ms = bench.timings().stretch(bench.timings().checkout_ttl_ms);
    // Ended checkouts are looked for at whole buckets: so this one's time is up at such a moment.
    bench.pass(BUCKET_MS - (bench.now().steady.0 + ttl_ms) % BUCKET_MS);
    bench.granted(1, &[("cpa", 2)]);
    bench.pass(ttl_ms);
    assert_eq!(bench.desk.status().running, 1);
    bench.pass(BUCKET_MS);
    assert_eq!(bench.desk.status().running, 0);
}

/// The engine was answered "not ready" before its units arrived, and went on elsewhere with the
/// same receipt. They went back at once, and were lent twice.
#[test]
fn units_that_arrive_late_for_a_call_that_expired_here_before_stay_its_own() {
    let mut bench = Bench::open(sets());
    let first = read(&bench.granted(1, &[("cpa", 2)]));
    bench.pass(30_400);
    let allotment = bench.draw_at(2, FIRST, 2);
    let epoch = newest_epoch(&bench.replica.ledger, 2);
    bench.freeze(2);
    let lines = [ReceiptLine { pool: FIRST, allotment, units: Units::from(2) }];
    let receipt = remade(&first, NodeId(2), epoch, &lines);
    bench.is_connected = false;
    let ticket = bench.renew(&receipt, 10_000);
    bench.pass(1_000);
    assert_eq!(bench.denial(ticket), plain(Reason::NotReady));
    bench.is_connected = true;
    bench.pass(2_000);
    let status = bench.desk.status();
    assert_eq!((status.running, status.counters.reclaimed), (1, 1), "they arrived");
    bench.pass(25_000);
    assert_eq!(bench.desk.status().running, 1, "the engine may have renewed it 25 s ago");
}

/// A running call that could only be kept by free units stood in line behind a new request. That
/// one waited for a second feature, of which no unit was free; meanwhile units of the first were.
#[test]
fn a_running_call_is_covered_before_new_requests_are_served() {
    let mut bench = Bench::open(vec![set("all", &[("cpa", 3), ("asr.tier1", 1)])]);
    let allotment = bench.draw_at(2, FIRST, 2);
    let epoch = newest_epoch(&bench.replica.ledger, 2);
    bench.draw_at(3, SECOND, 1);
    let new = bench.ask(waiting(5_000, item(1, &[("asr.tier1", 1), ("cpa", 1)])));
    assert_eq!(bench.answer(new), None, "no unit of one feature is free");
    let lines = [ReceiptLine { pool: FIRST, allotment, units: Units::from(1) }];
    let receipt = receipt_of(2, epoch, 1, &lines);
    let renewal = bench.renew(&receipt, 10_000);
    bench.answer_hand_over(read(&receipt).checkout, None);
    let answer = bench.answer(renewal);
    assert!(matches!(answer, Some(Answer::Renewed { .. })), "{answer:?}");
    assert_eq!(bench.answer(new), None);
}

/// A call was covered though its own units were on their way. When these arrived they went back at
/// once; the engine still used them under its old receipt, and they were lent twice.
#[test]
fn a_covered_calls_own_units_go_back_only_when_its_old_receipt_has_died() {
    let mut bench = Bench::open(sets());
    let allotment = bench.draw_at(2, FIRST, 2);
    let epoch = newest_epoch(&bench.replica.ledger, 2);
    let lines = [ReceiptLine { pool: FIRST, allotment, units: Units::from(2) }];
    let receipt = receipt_of(2, epoch, 1, &lines);
    let checkout = read(&receipt).checkout;
    let renewal = bench.renew(&receipt, 0);
    bench.answer_hand_over(checkout, None);
    assert!(matches!(bench.answer(renewal), Some(Answer::Renewed { .. })), "covered");
    // The other node did hand it over.
    let operation = bench.replica.ledger.view(NodeId(2)).operation + 1;
    let moved = Action::HandOver {
        checkout,
        to: NodeId(1),
        lines: vec![LoanLine { allotment, units: Units::from(2) }],
    };
    bench.replica.ledger.apply(&operate(2, epoch, operation, &[moved]));
    let bound = |bench: &Bench| {
        let live = bench.replica.ledger.allotments();
        live.filter(|(_, it)| it.bound.is_some()).map(|(_, it)| it.units.get()).sum::<u64>()
    };
    // The engine never heard of the cover, and renews no more: its old receipt lives for a TTL.
    bench.pass(29_000);
    assert_eq!(bound(&bench), 2, "in use under the old receipt");
    bench.pass(5_000);
    assert_eq!(bound(&bench), 0, "given back");
}

/// A call of eight features ran at one node and was covered at another; both handed it over. The
/// nine lines made a checkout for which no receipt could be written: the desk panicked when the
/// engine renewed it, and took every call of its node along.
#[test]
fn a_checkout_that_comes_with_more_lines_than_a_receipt_holds_is_renewed_with_those_that_fit() {
    let features = ["a", "b", "c", "d", "e", "f", "g", "h"].map(|feature| (feature, 5));
    let mut bench = Bench::open(vec![set("all", &features)]);
    let first: Vec<_> = (0..8).map(|pool| (bench.draw_at(2, PoolId(pool), 1), 1)).collect();
    let covered = [(bench.draw_at(3, FIRST, 1), 1)];
    for (node, lines) in [(2, &first[..]), (3, &covered[..])] {
        let moved = operated(&mut bench.replica.ledger, node, &[hand_over(7, 1, lines)]);
        assert_eq!(moved, Outcome::Operated(vec![ActionOutcome::Done]), "node {node}");
    }
    bench.pass(1_100);
    assert_eq!(bench.desk.status().running, 1, "it has arrived");
    let line = |(allotment, _): &(AllotmentId, u64)| ReceiptLine {
        pool: FIRST,
        allotment: *allotment,
        units: Units::ONE,
    };
    let shown: Vec<_> = first.iter().map(line).collect();
    let renewal = bench.renew(&receipt_of(2, Epoch(1), 7, &shown), 0);
    let Some(Answer::Renewed { receipt: Some(anew), .. }) = bench.answer(renewal).cloned() else {
        panic!("{:?}", bench.answer(renewal));
    };
    assert_eq!(read(&anew).lines.len(), LINES_PER_RECEIPT_MAX);
    let held = |bench: &Bench| {
        let held = bench.replica.ledger.view(NodeId(1)).held;
        held.iter().filter(|it| it.bound == Some(checkout(7)) && !it.units.is_zero()).count()
    };
    bench.pass(20_000);
    assert_eq!(held(&bench), 9, "the engine may use the ninth under an older receipt");
    bench.renewed(&anew);
    bench.pass(12_000);
    assert_eq!(held(&bench), 8, "the ninth goes back once that has died");
    bench.renewed(&anew);
}

fn sets() -> Vec<crate::entitlement::LicenseSet> {
    vec![set("all", &[("cpa", 10)])]
}
