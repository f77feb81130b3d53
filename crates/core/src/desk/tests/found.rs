//! Stories that the simulator told first.

use super::bench::*;
use crate::desk::message::{Answer, Effect, HandOver};
use crate::id::{Epoch, NodeId};
use crate::ledger::tests::fixture::*;
use crate::receipt::ReceiptLine;
use crate::units::Units;

/// The ledger still counted the old epoch of a restarted node as live. Another node asked it for a
/// call of that epoch; its book was empty, and it said that the call had ended.
#[test]
fn a_node_that_started_anew_says_of_no_call_that_it_has_ended() {
    let mut bench = Bench::open(vec![set("all", &[("cpa", 10)])]);
    let allotment = bench.draw_at(2, FIRST, 1);
    let before = Epoch(newest_epoch(&bench.replica.ledger, 1).0 - 1);
    let lines = [ReceiptLine { pool: FIRST, allotment, units: Units::from(1) }];
    let ticket = bench.hand_over(&receipt_of(1, before, 1, &lines), 2);
    assert_eq!(bench.answer(ticket), Some(&Answer::HandOver(HandOver::NotNow)));
}

/// A claim waited for an answer of the node that had the call, while that node's lease ended and
/// its units could be had from the ledger. The engine's time was up before the wait was.
#[test]
fn a_claim_does_not_wait_for_a_node_whose_lease_has_ended() {
    let mut bench = Bench::open(vec![set("all", &[("cpa", 10)])]);
    let allotment = bench.draw_at(2, FIRST, 2);
    let epoch = newest_epoch(&bench.replica.ledger, 2);
    let lines = [ReceiptLine { pool: FIRST, allotment, units: Units::from(2) }];
    let ticket = bench.renew(&receipt_of(2, epoch, 1, &lines), 10_000);
    let is_asked = |it: &Effect| matches!(it, Effect::HandOver { from, .. } if *from == NodeId(2));
    assert!(bench.unanswered.iter().any(is_asked), "{:?}", bench.unanswered);
    bench.freeze(2);
    bench.pass(990);
    let answer = bench.answer(ticket);
    assert!(matches!(answer, Some(Answer::Renewed { .. })), "{answer:?}");
    assert_eq!(bench.desk.status().counters.reclaimed, 1, "its own units, no others");
}

/// Headroom was counted by pool: that of a pool without free units was filled up out of another
/// pool of the feature, and given back from there with the next beat, for ever.
#[test]
fn headroom_is_not_drawn_from_one_pool_and_given_back_from_another() {
    let sets = vec![set("one", &[("cpa", 4)]), set("two", &[("cpa", 40)])];
    let mut bench = Bench::open(sets);
    bench.granted(1, &[("cpa", 4)]);
    bench.pass(20_000);
    let operations = |bench: &Bench| bench.replica.ledger.view(NodeId(1)).operation;
    let settled = operations(&bench);
    for _ in 0..50 {
        bench.pass(100);
        assert_eq!(operations(&bench), settled, "nothing is drawn and nothing given back");
    }
}
