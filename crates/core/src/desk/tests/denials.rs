//! Every reason for which a desk denies, with the exact denial.

use std::collections::BTreeSet;

use super::bench::*;
use crate::desk::message::{Answer, CheckoutItem, Denial, Reason};
use crate::id::{AllotmentId, Epoch, RequestId};
use crate::ledger::command::Command;
use crate::ledger::tests::fixture::*;
use crate::limits::{FEATURES_PER_CHECKOUT_MAX, UNITS_PER_LINE_MAX, WAIT_MS_MAX};
use crate::receipt::ReceiptLine;
use crate::units::Units;

#[test]
fn each_denial_of_a_checkout_says_what_is_wrong() {
    for (what, mut bench, item, denial) in checkout_rows() {
        let before = bench.desk.status().report;
        let ticket = bench.ask(item);
        bench.pass(500);
        assert_eq!(bench.denial(ticket), denial, "{what}");
        assert_eq!(bench.desk.status().waiting, 0, "{what}");
        if denial.reason != Reason::Exhausted {
            assert_eq!(bench.desk.status().report.waiting, before.waiting, "{what}");
        }
        assert_eq!(bench.desk.status().counters.denied[&denial.reason], 1, "{what}");
    }
}

#[test]
fn each_denial_of_a_renewal_says_what_is_wrong() {
    for (what, mut bench, receipt, age_ms, denial) in renewal_rows() {
        let ticket = bench.renew(&receipt, age_ms);
        assert_eq!(bench.denial(ticket), denial, "{what}");
    }
}

#[test]
fn each_reason_has_its_row() {
    let checkouts = checkout_rows().into_iter().map(|(_, _, _, denial)| denial.reason);
    let renewals = renewal_rows().into_iter().map(|(_, _, _, _, denial)| denial.reason);
    let seen: BTreeSet<Reason> = checkouts.chain(renewals).collect();
    let all = [
        Reason::Exhausted,
        Reason::NoEntitlement,
        Reason::NotEntitled,
        Reason::ContractEnded,
        Reason::MaintenanceEnded,
        Reason::CutOff,
        Reason::Draining,
        Reason::NotReady,
        Reason::ReceiptInvalid,
        Reason::ReceiptExpired,
        Reason::RequestReused,
        Reason::BadRequest,
    ];
    assert_eq!(seen, BTreeSet::from(all));
}

#[test]
fn a_check_in_is_refused_only_for_what_is_no_receipt_here() {
    let mut bench = Bench::open(sets());
    let receipt = bench.granted(1, &[("cpa", 1)]);
    let foreign = receipt_of(2, Epoch(77), 1, &[line(4)]);
    for (what, receipt) in [("its own", &receipt), ("again", &receipt), ("foreign", &foreign)] {
        let ticket = bench.checkin(receipt);
        assert_eq!(bench.answer(ticket), Some(&Answer::Accepted), "{what}");
    }
    let ticket = bench.checkin(&forged(&receipt));
    assert_eq!(bench.denial(ticket), plain(Reason::ReceiptInvalid));
    assert_eq!(bench.desk.status().running, 0);

    let mut ignorant = Bench::unopened(sets());
    let ticket = ignorant.checkin(&receipt);
    assert_eq!(ignorant.denial(ticket), plain(Reason::NotReady), "no key to check it with");
}

type CheckoutRow = (&'static str, Bench, CheckoutItem, Denial);

fn checkout_rows() -> Vec<CheckoutRow> {
    let one = || item(1, &[("cpa", 1)]);
    let open = || Bench::open(sets());
    let many: Vec<String> = (0..=FEATURES_PER_CHECKOUT_MAX).map(|it| format!("f{it}")).collect();
    let many: Vec<(&str, u64)> = many.iter().map(|it| (it.as_str(), 1)).collect();
    let bad = || plain(Reason::BadRequest);
    let bad_line = || Denial { feature: Some("cpa".parse().unwrap()), ..bad() };
    let nobody = CheckoutItem { request: RequestId::default(), ..one() };
    let mut rows = vec![
        ("no line", open(), item(1, &[]), bad()),
        ("too many features", open(), item(1, &many), bad()),
        ("no request id", open(), nobody, bad()),
        ("too long a wait", open(), waiting(WAIT_MS_MAX + 1, one()), bad()),
        ("no units", open(), item(1, &[("cpa", 0)]), bad_line()),
        ("too many units", open(), item(1, &[("cpa", UNITS_PER_LINE_MAX + 1)]), bad_line()),
        ("a feature twice", open(), item(1, &[("cpa", 1), ("cpa", 1)]), bad_line()),
        ("no catalog", Bench::unopened(sets()), one(), plain(Reason::NotReady)),
        ("no lease yet", without_lease(), one(), plain(Reason::NotReady)),
        ("no entitlement", Bench::open(vec![]), one(), plain(Reason::NoEntitlement)),
        ("lease ran out", after_its_lease(), one(), plain(Reason::CutOff)),
    ];
    let entitled = |feature, units| about(Reason::NotEntitled, feature, 0, units);
    let ended = about(Reason::ContractEnded, "old", 0, 3);
    let maintenance = about(Reason::MaintenanceEnded, "cpa", 0, 5);
    rows.extend([
        ("no such feature", open(), item(1, &[("tts.chris", 1)]), entitled("tts.chris", 0)),
        ("homed elsewhere", open(), item(1, &[("asr.tier1", 1)]), entitled("asr.tier1", 0)),
        ("a backup on standby", open(), item(1, &[("spare", 1)]), entitled("spare", 3)),
        ("not started", open(), item(1, &[("soon", 1)]), entitled("soon", 3)),
        ("contract ended", open(), item(1, &[("old", 1)]), ended),
        ("one of two", open(), item(1, &[("cpa", 1), ("soon", 1)]), entitled("soon", 3)),
        ("too new an engine", open(), built("2027-07-01", one()), maintenance),
        (
            "more than there is",
            open(),
            item(1, &[("cpa", 6)]),
            about(Reason::Exhausted, "cpa", 0, 5),
        ),
    ]);
    rows.extend(rows_with_a_past());
    rows
}

fn rows_with_a_past() -> Vec<CheckoutRow> {
    let mut used = Bench::open(sets());
    used.granted(9, &[("cpa", 4)]);
    let mut elsewhere = Bench::open(sets());
    elsewhere.draw_at(2, FIRST, 5);
    let mut draining = Bench::open(sets());
    draining.desk.drain(draining.now());
    let mut reused = Bench::open(sets());
    reused.granted(1, &[("cpa", 1)]);
    let mut unreachable = Bench::open(sets());
    unreachable.is_connected = false;
    let mut closed_meanwhile = Bench::open(sets());
    done(&mut closed_meanwhile.replica.ledger, &Command::Day { day: date("2030-01-01") });
    let two = || item(1, &[("cpa", 2)]);
    vec![
        ("all in use here", used, two(), about(Reason::Exhausted, "cpa", 4, 5)),
        ("all in use elsewhere", elsewhere, two(), about(Reason::Exhausted, "cpa", 5, 5)),
        ("draining", draining, two(), plain(Reason::Draining)),
        ("other content", reused, two(), plain(Reason::RequestReused)),
        ("nobody to ask", unreachable, two(), plain(Reason::CutOff)),
        (
            "the leader knows better",
            closed_meanwhile,
            two(),
            about(Reason::NotEntitled, "cpa", 0, 0),
        ),
    ]
}

type RenewalRow = (&'static str, Bench, Vec<u8>, u64, Denial);

fn renewal_rows() -> Vec<RenewalRow> {
    let with_one = || {
        let mut bench = Bench::open(sets());
        let receipt = bench.granted(1, &[("cpa", 1)]);
        (bench, receipt)
    };
    let (_, known) = with_one();
    let ttl_ms = Bench::unopened(vec![]).timings().checkout_ttl_ms;
    let (forged_at, receipt) = with_one();
    let forged_row = ("forged", forged_at, forged(&receipt), 0, plain(Reason::ReceiptInvalid));
    let (aged, receipt) = with_one();
    let aged_row = ("too old", aged, receipt, ttl_ms + 1, plain(Reason::ReceiptExpired));
    let (mut ended, receipt) = with_one();
    ended.checkin(&receipt);
    let ended_row = ("checked in", ended, receipt, 0, plain(Reason::ReceiptExpired));
    let (mut expired, receipt) = with_one();
    expired.pass(ttl_ms + 1_000);
    let expired_row = ("expired", expired, receipt, 0, plain(Reason::ReceiptExpired));
    let (mut cut_off, receipt) = with_one();
    cut_off.is_connected = false;
    cut_off.pass(11_000);
    let cut_off_row = ("lease ran out", cut_off, receipt, 0, plain(Reason::CutOff));
    let (mut departing, receipt) = with_one();
    departing.draw_at(2, SECOND, 1);
    departing.is_connected = false;
    departing.hand_over(&receipt, 2);
    let departing_row =
        ("leaving for another node", departing, receipt, 0, plain(Reason::NotReady));
    let never = receipt_of(1, Bench::open(sets()).desk.status().epoch.unwrap(), 99, &[line(2)]);
    let thawed = receipt_of(2, Epoch(77), 1, &[line(999)]);
    vec![
        forged_row,
        aged_row,
        ended_row,
        expired_row,
        cut_off_row,
        departing_row,
        ("no catalog", Bench::unopened(sets()), known.clone(), 0, plain(Reason::NotReady)),
        ("no lease yet", without_lease(), known, 0, plain(Reason::NotReady)),
        (
            "of this lease, but unknown",
            Bench::open(sets()),
            never,
            0,
            plain(Reason::ReceiptExpired),
        ),
        ("thawed long ago", Bench::open(sets()), thawed, 0, plain(Reason::ReceiptExpired)),
    ]
}

/// Five units of `cpa` for all; the other sets serve nobody in east now.
fn sets() -> Vec<crate::entitlement::LicenseSet> {
    let mut old = set("old", &[("old", 3)]);
    old.contract_end = date("2026-06-30");
    let mut soon = set("soon", &[("soon", 3)]);
    soon.starts = date("2027-01-01");
    vec![
        set("all", &[("cpa", 5)]),
        homed("west", set("west", &[("asr.tier1", 5)])),
        backup("west", set("backup", &[("spare", 3)])),
        old,
        soon,
    ]
}

fn without_lease() -> Bench {
    let mut bench = Bench::unopened(sets());
    bench.is_connected = false;
    bench.give_catalog();
    bench
}

fn after_its_lease() -> Bench {
    let mut bench = Bench::open(sets());
    bench.is_connected = false;
    bench.pass(11_000);
    bench
}

fn line(allotment: u64) -> ReceiptLine {
    ReceiptLine { pool: FIRST, allotment: AllotmentId(allotment), units: Units::ONE }
}

fn forged(receipt: &[u8]) -> Vec<u8> {
    let mut forged = receipt.to_vec();
    *forged.last_mut().unwrap() ^= 1;
    forged
}
