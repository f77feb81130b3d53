//! Fabricated times and answers: what the book asks, and what it makes of the answers.

use leasehold_proto::v1::{
    Accepted, CheckinAnswer, CheckoutAnswer, CheckoutLine, Denied, FeatureUsage, Granted, Reason,
    RenewAnswer, Renewed, checkin_answer, checkout_answer, renew_answer,
};

use super::*;
use crate::router::Router;

const TTL_MS: u64 = 30_000;
/// What an engine may count of it.
const COUNTED_MS: u64 = 29_700;
const THIRD_MS: u64 = 9_900;

fn book_of(nodes: usize) -> Book {
    let patience = Patience { call_ms: 2_000, checkout_ms: 5_000 };
    // The first node is the near one; the order of the others is drawn.
    let is_near: Vec<bool> = (0..nodes).map(|node| node == 0).collect();
    Book::new(patience, Router::new(&is_near, 2_000, 1), 1)
}

fn terms() -> Terms {
    let line = CheckoutLine { feature: "asr.tier1".to_owned(), units: 1 };
    Terms { lines: vec![line], wait_ms: 0, build_date: String::new() }
}

fn granted(receipt: &str) -> Answers {
    let granted = Granted { receipt: receipt.to_owned().into(), valid_for_ms: TTL_MS };
    let answer = Some(checkout_answer::Answer::Granted(granted));
    Answers::Checkout(vec![CheckoutAnswer { answer }])
}

fn refused(reason: Reason) -> Answers {
    let answer = Some(checkout_answer::Answer::Denied(denied(reason)));
    Answers::Checkout(vec![CheckoutAnswer { answer }])
}

fn denied(reason: Reason) -> Denied {
    Denied { reason: reason.into(), retry_after_ms: 250, ..Denied::default() }
}

fn renewed(receipt: &str) -> RenewAnswer {
    let renewed = Renewed { receipt: receipt.to_owned().into(), valid_for_ms: TTL_MS };
    RenewAnswer { answer: Some(renew_answer::Answer::Renewed(renewed)) }
}

fn not_renewed(reason: Reason) -> Answers {
    let answer = Some(renew_answer::Answer::Denied(denied(reason)));
    Answers::Renew(vec![RenewAnswer { answer }])
}

fn accepted() -> Answers {
    let answer = Some(checkin_answer::Answer::Accepted(Accepted {}));
    Answers::Checkin(vec![CheckinAnswer { answer }])
}

fn lost() -> Result<Answers, Failure> {
    Err(Failure { was_not_sent: false, detail: "no answer in 2000 ms".to_owned() })
}

fn not_sent() -> Result<Answers, Failure> {
    Err(Failure { was_not_sent: true, detail: "connection refused".to_owned() })
}

fn only_call(book: &mut Book) -> Call {
    let mut calls = book.take_calls();
    assert_eq!(calls.len(), 1, "{calls:?}");
    calls.remove(0)
}

/// Wakes the book as its task would until it sends something; tells when.
fn next_call(book: &mut Book) -> (u64, Call) {
    loop {
        let now_ms = book.next_wake().expect("the book has something to do");
        book.tick(now_ms);
        let mut calls = book.take_calls();
        if !calls.is_empty() {
            assert_eq!(calls.len(), 1, "{calls:?}");
            return (now_ms, calls.remove(0));
        }
    }
}

fn request_id(call: &Call) -> Vec<u8> {
    match &call.items {
        Items::Checkout(items) => items[0].request_id.to_vec(),
        Items::Renew(_) | Items::Checkin(_) => panic!("not a checkout: {call:?}"),
    }
}

fn renewals(call: &Call) -> &[v1::RenewItem] {
    match &call.items {
        Items::Renew(items) => items,
        Items::Checkout(_) | Items::Checkin(_) => panic!("not a renewal: {call:?}"),
    }
}

fn checkins(call: &Call) -> &[v1::CheckinItem] {
    match &call.items {
        Items::Checkin(items) => items,
        Items::Checkout(_) | Items::Renew(_) => panic!("not a check-in: {call:?}"),
    }
}

/// A book with one checkout, sent and granted at 1000.
fn held(nodes: usize) -> (Book, Key) {
    let mut book = book_of(nodes);
    let key = book.checkout(1_000, terms()).unwrap();
    let call = only_call(&mut book);
    book.on_call_ended(1_000, call.id, Ok(granted("first")));
    let valid_until_ms = 1_000 + COUNTED_MS;
    let expected = Notice::Granted { key, sent_ms: 1_000, valid_until_ms };
    assert_eq!(book.take_notices(), [expected]);
    (book, key)
}

#[test]
fn a_license_counts_from_the_send_of_the_attempt_that_was_answered() {
    let mut book = book_of(1);
    let key = book.checkout(1_000, terms()).unwrap();
    let first = only_call(&mut book);
    book.on_call_ended(3_000, first.id, lost());
    let (sent_ms, second) = next_call(&mut book);
    assert_eq!(request_id(&first), request_id(&second), "a retry keeps its name");
    book.on_call_ended(sent_ms + 400, second.id, Ok(granted("first")));
    let valid_until_ms = sent_ms + COUNTED_MS;
    assert_eq!(book.take_notices(), [Notice::Granted { key, sent_ms, valid_until_ms }]);
    assert_eq!(book.next_wake(), Some(sent_ms + THIRD_MS));
}

#[test]
fn a_grant_that_comes_after_its_own_deadline_is_given_back_and_asked_for_anew() {
    let mut book = book_of(1);
    book.checkout(1_000, terms()).unwrap();
    let first = only_call(&mut book);
    let granted = Granted { receipt: "late".into(), valid_for_ms: 1_000 };
    let answer = Some(checkout_answer::Answer::Granted(granted));
    let answers = Answers::Checkout(vec![CheckoutAnswer { answer }]);
    book.on_call_ended(1_990, first.id, Ok(answers));
    assert_eq!(book.take_notices(), []);
    assert_eq!(&checkins(&only_call(&mut book))[0].receipt[..], b"late");
    let (_, second) = next_call(&mut book);
    assert_ne!(request_id(&first), request_id(&second), "the old name leads to the late grant");
}

#[test]
fn renewals_that_are_due_within_a_second_share_a_message_with_their_ages() {
    let (mut book, _) = held(1);
    book.checkout(1_700, terms()).unwrap();
    let call = only_call(&mut book);
    book.on_call_ended(1_800, call.id, Ok(granted("second")));
    book.checkout(4_000, terms()).unwrap();
    let call = only_call(&mut book);
    book.on_call_ended(4_000, call.id, Ok(granted("third")));

    let (now_ms, call) = next_call(&mut book);
    assert_eq!(now_ms, 1_000 + THIRD_MS);
    let ages: Vec<_> =
        renewals(&call).iter().map(|item| (&item.receipt[..], item.age_ms)).collect();
    assert_eq!(ages, [(&b"first"[..], THIRD_MS), (&b"second"[..], THIRD_MS - 700)]);
}

#[test]
fn a_renewal_extends_from_its_send_and_changes_the_receipt_only_when_told() {
    let (mut book, key) = held(1);
    for (receipt, shown) in [("", "first"), ("second", "first"), ("", "second")] {
        let (sent_ms, call) = next_call(&mut book);
        assert_eq!(&renewals(&call)[0].receipt[..], shown.as_bytes());
        book.on_call_ended(sent_ms + 50, call.id, Ok(Answers::Renew(vec![renewed(receipt)])));
        let valid_until_ms = sent_ms + COUNTED_MS;
        assert_eq!(book.take_notices(), [Notice::Extended { key, valid_until_ms }]);
    }
}

#[test]
fn a_late_renewal_extends_nothing_and_what_it_took_is_given_back() {
    let (mut book, key) = held(1);
    let (_, renewal) = next_call(&mut book);
    let deadline_ms = 1_000 + COUNTED_MS;
    // The process was paused: the answer is handled before the timer.
    book.on_call_ended(deadline_ms, renewal.id, Ok(Answers::Renew(vec![renewed("second")])));
    let since_ms = deadline_ms;
    assert_eq!(book.take_notices(), [Notice::Lapsed { key, since_ms, denied: None }]);
    let calls = book.take_calls();
    assert!(calls.iter().any(|call| matches!(call.items, Items::Checkout(_))), "{calls:?}");
    let back = calls.iter().find(|call| matches!(call.items, Items::Checkin(_))).unwrap();
    assert_eq!(&checkins(back)[0].receipt[..], b"second");
}

#[test]
fn a_renewal_that_answers_after_the_lapse_does_not_resurrect() {
    let (mut book, key) = held(1);
    let (_, renewal) = next_call(&mut book);
    let deadline_ms = 1_000 + COUNTED_MS;
    book.tick(deadline_ms);
    let since_ms = deadline_ms;
    assert_eq!(book.take_notices(), [Notice::Lapsed { key, since_ms, denied: None }]);
    let anew = only_call(&mut book);

    book.on_call_ended(deadline_ms + 1, renewal.id, Ok(Answers::Renew(vec![renewed("")])));
    assert_eq!(book.take_notices(), []);
    let back = only_call(&mut book);
    assert_eq!(&checkins(&back)[0].receipt[..], b"first", "the node holds it again: free it");

    book.on_call_ended(deadline_ms + 500, anew.id, Ok(granted("anew")));
    let valid_until_ms = deadline_ms + COUNTED_MS;
    let sent_ms = deadline_ms;
    assert_eq!(book.take_notices(), [Notice::Granted { key, sent_ms, valid_until_ms }]);
}

#[test]
fn overrun_is_what_passed_between_lapse_and_new_grant_and_is_reported_once() {
    let (mut book, _) = held(1);
    let (_, renewal) = next_call(&mut book);
    book.tick(1_000 + COUNTED_MS);
    let anew = only_call(&mut book);
    assert!(book.outstanding.contains_key(&renewal.id));
    book.on_call_ended(1_000 + COUNTED_MS + 700, anew.id, Ok(granted("anew")));

    let (sent_ms, call) = next_call(&mut book);
    assert_eq!(
        (&renewals(&call)[0].receipt[..], renewals(&call)[0].overrun_ms),
        (&b"anew"[..], 700)
    );
    book.on_call_ended(sent_ms, call.id, lost());
    let (_, call) = next_call(&mut book);
    assert_eq!(renewals(&call)[0].overrun_ms, 0, "a report that may have arrived is not repeated");
}

#[test]
fn a_call_that_ends_while_lapsed_reports_its_overrun_with_the_dead_receipt() {
    let (mut book, key) = held(1);
    book.tick(1_000 + COUNTED_MS);
    let anew = only_call(&mut book);
    book.on_call_ended(1_000 + COUNTED_MS + 10, anew.id, Ok(refused(Reason::Exhausted)));
    let usage = FeatureUsage { feature: "asr.tier1".to_owned(), recognitions: 3, syntheses: 0 };
    book.depart(1_000 + COUNTED_MS + 90, key, vec![usage.clone()]);
    let call = only_call(&mut book);
    let item = &checkins(&call)[0];
    assert_eq!((&item.receipt[..], item.overrun_ms), (&b"first"[..], 90));
    assert_eq!(item.usage, [usage]);
}

#[test]
fn while_lapsed_each_attempt_after_a_denial_has_a_new_name_and_the_reason_is_told() {
    let (mut book, key) = held(1);
    book.tick(1_000 + COUNTED_MS);
    let first = only_call(&mut book);
    book.take_notices();
    book.on_call_ended(1_000 + COUNTED_MS + 10, first.id, Ok(refused(Reason::Exhausted)));
    let notices = book.take_notices();
    let [Notice::Lapsed { denied: Some(denial), since_ms, .. }] = &notices[..] else {
        panic!("{notices:?}");
    };
    assert_eq!((denial.reason, *since_ms), (Reason::Exhausted, 1_000 + COUNTED_MS));
    let (now_ms, second) = next_call(&mut book);
    assert_ne!(request_id(&first), request_id(&second));
    assert!((125..=260).contains(&(now_ms - 1_000 - COUNTED_MS)), "{now_ms}");
    book.on_call_ended(now_ms, second.id, Ok(granted("anew")));
    assert!(matches!(book.take_notices()[..], [Notice::Granted { key: k, .. }] if k == key));
}

#[test]
fn when_a_node_fails_its_renewals_move_together_to_another_and_stay_there() {
    let (mut book, _) = held(2);
    book.checkout(1_000, terms()).unwrap();
    let call = only_call(&mut book);
    book.on_call_ended(1_000, call.id, Ok(granted("second")));

    let (now_ms, call) = next_call(&mut book);
    assert_eq!((call.node, renewals(&call).len()), (0, 2));
    book.on_call_ended(now_ms + 5, call.id, not_sent());
    let reclaim = only_call(&mut book);
    assert_eq!((reclaim.node, renewals(&reclaim).len()), (1, 2), "at once, in one message");
    let answers = vec![renewed("first at 1"), renewed("second at 1")];
    book.on_call_ended(now_ms + 6, reclaim.id, Ok(Answers::Renew(answers)));
    let (_, next) = next_call(&mut book);
    assert_eq!((next.node, &renewals(&next)[0].receipt[..]), (1, &b"first at 1"[..]));
}

#[test]
fn a_lone_node_that_restarts_is_tried_until_it_renews() {
    let (mut book, key) = held(1);
    let (mut now_ms, mut call) = next_call(&mut book);
    let back_at_ms = now_ms + 3_000;
    let mut attempts = 0;
    while now_ms < back_at_ms {
        book.on_call_ended(now_ms, call.id, not_sent());
        attempts += 1;
        (now_ms, call) = next_call(&mut book);
    }
    assert!((3..40).contains(&attempts), "{attempts}");
    book.on_call_ended(now_ms, call.id, Ok(not_renewed(Reason::NotReady)));
    let (later_ms, call) = next_call(&mut book);
    assert_eq!(later_ms, now_ms + 250, "a node that is not ready is asked again when it said");
    book.on_call_ended(later_ms, call.id, Ok(Answers::Renew(vec![renewed("first at new epoch")])));
    let valid_until_ms = later_ms + COUNTED_MS;
    assert_eq!(book.take_notices(), [Notice::Extended { key, valid_until_ms }]);
}

#[test]
fn a_renewal_that_a_node_cannot_decide_is_shown_to_the_others_and_then_to_it_again() {
    for reason in [Reason::CutOff, Reason::NotReady, Reason::Draining, Reason::Exhausted] {
        let (mut book, _) = held(2);
        let (now_ms, call) = next_call(&mut book);
        book.on_call_ended(now_ms, call.id, Ok(not_renewed(reason)));
        let elsewhere = only_call(&mut book);
        assert_eq!(elsewhere.node, 1, "{reason:?}");
        book.on_call_ended(now_ms + 10, elsewhere.id, Ok(not_renewed(reason)));
        let (again_ms, again) = next_call(&mut book);
        assert_eq!((again_ms, again.node), (now_ms + 250, 0), "{reason:?}");
        assert_eq!(book.take_notices(), [], "a denial never shortens a license");
    }
}

#[test]
fn a_foreign_nodes_word_does_not_end_a_license_but_an_ended_checkout_does() {
    let (mut book, _) = held(2);
    let (now_ms, call) = next_call(&mut book);
    book.on_call_ended(now_ms, call.id, Ok(not_renewed(Reason::ReceiptInvalid)));
    assert_eq!(book.take_notices(), []);
    assert_eq!(only_call(&mut book).node, 1);

    let (mut book, key) = held(1);
    let (now_ms, call) = next_call(&mut book);
    book.on_call_ended(now_ms, call.id, Ok(not_renewed(Reason::ReceiptExpired)));
    let lapsed = Notice::Lapsed { key, since_ms: now_ms, denied: None };
    assert_eq!(book.take_notices(), [lapsed]);
    request_id(&only_call(&mut book));
}

#[test]
fn a_definite_denial_is_the_answer_and_is_not_retried() {
    for reason in [
        Reason::Unspecified,
        Reason::Exhausted,
        Reason::NoEntitlement,
        Reason::NotEntitled,
        Reason::Quota,
        Reason::ContractEnded,
        Reason::MaintenanceEnded,
        Reason::ContactLapsed,
        Reason::BadRequest,
        Reason::RequestReused,
    ] {
        let mut book = book_of(2);
        let key = book.checkout(1_000, terms()).unwrap();
        let call = only_call(&mut book);
        book.on_call_ended(1_020, call.id, Ok(refused(reason)));
        let notices = book.take_notices();
        let [Notice::Refused { key: refused, error: CheckoutError::Denied(denial) }] = &notices[..]
        else {
            panic!("{notices:?}");
        };
        assert_eq!((*refused, denial.reason), (key, reason));
        assert!(book.is_empty() && book.take_calls().is_empty() && book.next_wake().is_none());
    }
}

#[test]
fn a_node_that_cannot_serve_is_left_for_another() {
    for reason in [Reason::CutOff, Reason::Draining, Reason::Quarantined, Reason::NotReady] {
        let mut book = book_of(2);
        book.checkout(1_000, terms()).unwrap();
        let call = only_call(&mut book);
        assert_eq!(call.node, 0);
        book.on_call_ended(1_010, call.id, Ok(refused(reason)));
        assert_eq!(only_call(&mut book).node, 1, "{reason:?}");
        book.checkout(1_020, terms()).unwrap();
        assert_eq!(only_call(&mut book).node, 1, "others leave it too: {reason:?}");
    }
}

#[test]
fn a_checkout_that_no_node_can_serve_ends_at_its_deadline_with_the_last_denial() {
    let mut book = book_of(1);
    let key = book.checkout(1_000, terms()).unwrap();
    let mut call = only_call(&mut book);
    let mut now_ms = 1_000;
    let notices = loop {
        book.on_call_ended(now_ms, call.id, Ok(refused(Reason::CutOff)));
        now_ms = book.next_wake().unwrap();
        book.tick(now_ms);
        match book.take_calls().pop() {
            Some(next) => call = next,
            None => break book.take_notices(),
        }
    };
    assert_eq!(now_ms, 6_000);
    let [Notice::Refused { key: refused, error: CheckoutError::Denied(denial) }] = &notices[..]
    else {
        panic!("{notices:?}");
    };
    assert_eq!((*refused, denial.reason), (key, Reason::CutOff));
}

#[test]
fn a_checkout_that_no_node_answers_ends_at_its_deadline_and_names_the_last_error() {
    let mut book = book_of(1);
    book.checkout(1_000, terms()).unwrap();
    let mut call = only_call(&mut book);
    let mut now_ms = 1_000;
    let notices = loop {
        book.on_call_ended(now_ms, call.id, not_sent());
        let notices = loop {
            now_ms = book.next_wake().unwrap_or(now_ms);
            book.tick(now_ms);
            match book.take_calls().pop() {
                Some(next) => {
                    call = next;
                    break Vec::new();
                }
                None if book.is_empty() => break book.take_notices(),
                None => {}
            }
        };
        if !notices.is_empty() {
            break notices;
        }
    };
    assert_eq!(now_ms, 6_000);
    let [Notice::Refused { error, .. }] = &notices[..] else { panic!("{notices:?}") };
    assert_eq!(
        error.to_string(),
        "no license server gave an answer in 5000 ms; the last error: connection refused"
    );
}

#[test]
fn a_waiting_checkout_has_its_wait_on_top_of_every_deadline() {
    let mut book = book_of(1);
    book.checkout(1_000, Terms { wait_ms: 60_000, ..terms() }).unwrap();
    assert_eq!(only_call(&mut book).deadline_ms, 62_000);
}

#[test]
fn a_dropped_guard_checks_in_at_its_node_until_that_is_acknowledged() {
    let (mut book, key) = held(1);
    book.depart(2_000, key, Vec::new());
    assert_eq!(book.take_notices(), [Notice::Ended { key }]);
    assert!(book.has_endings());
    let call = only_call(&mut book);
    assert_eq!(&checkins(&call)[0].receipt[..], b"first");
    book.on_call_ended(2_010, call.id, not_sent());
    let (now_ms, call) = next_call(&mut book);
    book.on_call_ended(now_ms, call.id, Ok(accepted()));
    assert_eq!(book.take_notices(), [Notice::CheckedIn { key, result: Ok(()) }]);
    assert!(book.is_empty() && !book.has_endings());
}

#[test]
fn usage_goes_to_another_node_only_if_it_certainly_never_left() {
    let usage = FeatureUsage { feature: "asr.tier1".to_owned(), recognitions: 1, syntheses: 0 };
    for (failure, is_repeated) in [(lost(), false), (not_sent(), true)] {
        let (mut book, key) = held(2);
        book.depart(2_000, key, vec![usage.clone()]);
        let first = only_call(&mut book);
        assert_eq!(checkins(&first)[0].usage, std::slice::from_ref(&usage));
        book.on_call_ended(2_100, first.id, failure);
        let second = only_call(&mut book);
        assert_eq!(second.node, 1);
        assert_eq!(!checkins(&second)[0].usage.is_empty(), is_repeated);
    }
}

#[test]
fn a_guard_dropped_during_a_renewal_checks_in_what_the_renewal_brought() {
    let (mut book, key) = held(1);
    let (now_ms, renewal) = next_call(&mut book);
    book.depart(now_ms + 1, key, Vec::new());
    assert!(book.take_calls().is_empty(), "the receipt may be about to change");
    book.on_call_ended(now_ms + 2, renewal.id, Ok(Answers::Renew(vec![renewed("second")])));
    assert_eq!(&checkins(&only_call(&mut book))[0].receipt[..], b"second");
    assert_eq!(book.take_notices(), [Notice::Ended { key }], "no use after the end");
}

#[test]
fn a_check_in_that_nobody_acknowledges_is_given_up_when_the_units_are_free_anyway() {
    let (mut book, key) = held(1);
    book.depart(2_000, key, Vec::new());
    let mut call = only_call(&mut book);
    book.take_notices();
    let mut now_ms = 2_000;
    loop {
        book.on_call_ended(now_ms, call.id, not_sent());
        while let Some(wake_ms) = book.next_wake() {
            now_ms = wake_ms;
            book.tick(now_ms);
            if let Some(next) = book.take_calls().pop() {
                call = next;
                break;
            }
        }
        if book.is_empty() {
            break;
        }
    }
    assert_eq!(now_ms, 2_000 + CHECKIN_FOR_MS);
    let last = "connection refused".to_owned();
    let result = Err(CheckinError::Unavailable { last });
    assert_eq!(book.take_notices(), [Notice::CheckedIn { key, result }]);
}

#[test]
fn when_a_lone_node_is_back_all_that_waited_for_it_go_on_at_once() {
    let (mut book, _) = held(1);
    let (now_ms, renewal) = next_call(&mut book);
    book.on_call_ended(now_ms, renewal.id, not_sent());
    for _ in 0..3 {
        book.checkout(now_ms, terms()).unwrap();
    }
    assert!(book.take_calls().is_empty());
    let (probe_ms, probe) = next_call(&mut book);
    book.tick(probe_ms + 10);
    assert!(book.take_calls().is_empty(), "one probe, not four");
    let answer = match probe.items {
        Items::Renew(_) => Answers::Renew(vec![renewed("")]),
        Items::Checkout(_) => granted("second"),
        Items::Checkin(_) => panic!("nothing to check in"),
    };
    book.on_call_ended(probe_ms + 20, probe.id, Ok(answer));
    assert_eq!(book.take_calls().len(), 3);
}

#[test]
fn an_answer_that_lacks_items_counts_as_a_failure_for_those() {
    let (mut book, first) = held(1);
    book.checkout(1_000, terms()).unwrap();
    let call = only_call(&mut book);
    book.on_call_ended(1_000, call.id, Ok(granted("second")));
    book.take_notices();
    let (now_ms, call) = next_call(&mut book);
    book.on_call_ended(now_ms, call.id, Ok(Answers::Renew(vec![renewed("")])));
    let valid_until_ms = now_ms + COUNTED_MS;
    assert_eq!(book.take_notices(), [Notice::Extended { key: first, valid_until_ms }]);
    assert_eq!(&renewals(&only_call(&mut book))[0].receipt[..], b"second");
}

#[test]
fn more_than_a_thousand_renewals_go_out_in_messages_that_a_node_accepts() {
    let mut book = book_of(1);
    for _ in 0..ITEMS_IN_TEST {
        book.checkout(1_000, terms()).unwrap();
    }
    for call in book.take_calls() {
        book.on_call_ended(1_000, call.id, Ok(granted("any")));
    }
    book.tick(1_000 + THIRD_MS);
    let sizes: Vec<usize> = book.take_calls().iter().map(|call| renewals(call).len()).collect();
    assert_eq!(sizes, [1024, 76]);
}

const ITEMS_IN_TEST: usize = 1_100;
