//! What a desk asks for on behalf of those who wait, and what it tells them in the end.

use super::bench::*;
use crate::desk::message::{Answer, Effect, Reason};
use crate::entitlement::LicenseSet;
use crate::id::NodeId;
use crate::ledger::tests::fixture::*;

/// Two sets have one feature and different maintenance dates. An engine newer than the first set's
/// was denied EXHAUSTED though the second had units: the desk asked for the feature, and was given
/// units of the first.
#[test]
fn a_new_engine_gets_the_units_of_the_set_that_covers_it() {
    let old = LicenseSet {
        maintenance_until: "2026-12-31".parse().unwrap(),
        ..set("old", &[("cpa", 9)])
    };
    let mut bench = Bench::open(vec![old, set("new", &[("cpa", 9)])]);
    let ticket = bench.ask(built("2027-01-31", item(1, &[("cpa", 3)])));
    let Some(Answer::Granted { receipt, .. }) = bench.answer(ticket) else {
        panic!("{:?}", bench.answer(ticket));
    };
    let lines = read(receipt).lines;
    assert_eq!(lines.iter().map(|line| line.pool).collect::<Vec<_>>(), [SECOND]);
}

/// The same when the covering set is used up: the denial speaks of that set.
#[test]
fn a_new_engine_is_told_the_figures_of_the_sets_that_cover_it() {
    let old = LicenseSet {
        maintenance_until: "2026-12-31".parse().unwrap(),
        ..set("old", &[("cpa", 9)])
    };
    let mut bench = Bench::open(vec![old, set("new", &[("cpa", 2)])]);
    let built_late = |request, units| built("2027-01-31", item(request, &[("cpa", units)]));
    let first = bench.ask(built_late(1, 2));
    assert!(matches!(bench.answer(first), Some(Answer::Granted { .. })));
    let second = bench.ask(built_late(2, 1));
    assert_eq!(bench.denial(second), about(Reason::Exhausted, "cpa", 2, 2));
}

/// A wait that is longer than a checkout's lifetime ended in a grant that was dead for the engine,
/// which counts from its sending.
#[test]
fn a_grant_after_the_longest_wait_is_good_for_half_its_lifetime() {
    let mut bench = Bench::open(vec![set("all", &[("cpa", 1)])]);
    let receipt = bench.granted(1, &[("cpa", 1)]);
    let asked_at = bench.now().steady;
    let ticket = bench.ask(waiting(60_000, item(2, &[("cpa", 1)])));
    bench.pass(14_900);
    bench.checkin(&receipt);
    let Some(Answer::Granted { life, .. }) = bench.answer(ticket) else {
        panic!("{:?}", bench.answer(ticket));
    };
    let timings = bench.timings();
    let valid_until = asked_at + timings.shrink(life.left_ms(bench.now().steady));
    assert!(valid_until.since(bench.now().steady) >= 14_500);

    let mut bench = Bench::open(vec![set("all", &[("cpa", 1)])]);
    let receipt = bench.granted(1, &[("cpa", 1)]);
    let ticket = bench.ask(waiting(60_000, item(2, &[("cpa", 1)])));
    for _ in 0..3 {
        assert_eq!(bench.answer(ticket), None);
        bench.pass(5_000);
        bench.renewed(&receipt);
    }
    assert_eq!(bench.denial(ticket), about(Reason::Exhausted, "cpa", 1, 1));
}

/// Units were on their way from another node when a request's wait was over: it was told
/// EXHAUSTED, with no figure that an operator could make sense of.
#[test]
fn who_waited_for_units_on_their_way_is_told_how_many_are_in_use() {
    let mut bench = Bench::open(vec![set("all", &[("cpa", 6)])]);
    bench.draw_at(2, FIRST, 6);
    let ticket = bench.ask(waiting(1_000, item(1, &[("cpa", 1)])));
    assert_eq!(bench.answer(ticket), None, "node 2 has not said that it has none idle");
    bench.pass(1_000);
    assert_eq!(bench.denial(ticket), about(Reason::Exhausted, "cpa", 6, 6));
}

/// An operation takes so many wants and no more. Those that it did not take counted as asked for,
/// and were denied by the answer to a question that nobody had put.
#[test]
fn whoever_was_not_asked_for_in_one_operation_is_in_the_next() {
    let names: Vec<String> = (0..40).map(|number| format!("voice.v{number}")).collect();
    let features: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 1)).collect();
    let mut bench = Bench::open(vec![set("all", &features)]);
    let pools: Vec<_> = bench.replica.ledger.pools().keys().copied().collect();
    for pool in pools {
        bench.draw_at(2, pool, 1);
    }
    bench.is_connected = false;
    let tickets: Vec<_> = (0..)
        .zip(&names)
        .map(|(request, name)| bench.ask(waiting(5_000, item(request + 1, &[(name, 1)]))))
        .collect();
    let asked = bench.unanswered_operation();
    assert_eq!(asked.wants.len(), 1, "the first who came");
    bench.unanswered.clear();
    bench.operation_answered(&asked);
    let asked = bench.unanswered_operation();
    assert_eq!((asked.number, asked.wants.len()), (2, 32));
    bench.unanswered.clear();
    bench.operation_answered(&asked);
    let asked = bench.unanswered_operation();
    let first = asked.wants.iter().filter(|want| want.need == 1).count();
    assert_eq!((asked.number, first), (3, 32), "seven who were not asked for, and others again");
    let sent = bench.unanswered.iter().filter(|it| matches!(it, Effect::Operate(_))).count();
    assert_eq!(sent, 1);
    for ticket in &tickets {
        assert_eq!(bench.answer(*ticket), None, "units may come from {}", NodeId(2));
    }
}

/// Somebody waited for a unit in use. With each question the desk drew headroom of another feature
/// that it had enough of, and gave that back with its next beat: several commits a second.
#[test]
fn who_waits_for_one_feature_draws_no_headroom_of_another_that_is_at_hand() {
    let mut bench = Bench::open(vec![set("all", &[("cpa", 20), ("asr.tier1", 1)])]);
    bench.granted(1, &[("cpa", 1)]);
    bench.granted(2, &[("asr.tier1", 1)]);
    bench.ask(waiting(10_000, item(3, &[("cpa", 1), ("asr.tier1", 1)])));
    bench.pass(2_000);
    let lent = |bench: &Bench| bench.replica.ledger.totals()[&FIRST].live;
    let settled = lent(&bench);
    for _ in 0..30 {
        bench.pass(100);
        assert_eq!(lent(&bench), settled, "nothing is drawn and given back");
    }
}

/// A desk that went on lending went on asking, four times a second, for headroom that the reserve
/// did not have. Between distant sites that kept its one operation busy most of the time, and a call
/// that needed units waited for it.
#[test]
fn headroom_that_the_reserve_does_not_have_is_seldom_asked_for() {
    let mut bench = Bench::open(vec![set("all", &[("cpa", 2), ("asr.tier1", 20)])]);
    bench.granted(1, &[("cpa", 2)]);
    let lend = |bench: &mut Bench, request| {
        let receipt = bench.granted(request, &[("asr.tier1", 1)]);
        bench.checkin(&receipt);
        bench.pass(100);
    };
    (2..12).for_each(|request| lend(&mut bench, request));
    let before = bench.replica.ledger.view(NodeId(1)).operation;
    (12..92).for_each(|request| lend(&mut bench, request));
    let asked = bench.replica.ledger.view(NodeId(1)).operation - before;
    assert!(asked <= 4, "{asked} operations within 8 s");
}
