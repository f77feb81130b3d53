//! Calls, renewals, check-ins, and what happens when nodes fail.

use crate::support::{FakeNode, client, config};
use leasehold_client::{CheckoutError, CheckoutOptions, Connection, GuardState, Reason, Use};
use leasehold_proto::v1::{CheckinItem, CheckoutItem, CheckoutLine, RenewItem};

const CALL: &[(&str, u64)] = &[("asr.tier1", 1), ("tts.chris", 1)];

#[tokio::test]
async fn a_call_is_licensed_and_its_usage_reported_at_check_in() {
    let node = FakeNode::start("a", 30_000).await;
    let (client, recorder) = client(&[&node]);
    let options = CheckoutOptions { wait_ms: 0, build_date: Some("2026-11-25".to_owned()) };
    let guard = client.checkout_with(CALL, options).await.unwrap();
    assert!(matches!(guard.state(), GuardState::Active { .. }));
    assert_eq!(client.status().await.active, 1);
    guard.usage("asr.tier1", 2, 0);
    guard.usage("tts.chris", 0, 1);
    guard.usage("asr.tier1", 1, 0);
    guard.checkin().await.unwrap();

    let script = node.script();
    let asked = &script.checkouts[0];
    let lines: Vec<_> = asked.lines.iter().map(|l| (l.feature.as_str(), l.units)).collect();
    assert_eq!(lines, CALL);
    assert_eq!((asked.request_id.len(), asked.engine_build_date.as_str()), (16, "2026-11-25"));
    let usage: Vec<_> = script.checkins[0]
        .usage
        .iter()
        .map(|usage| (usage.feature.as_str(), usage.recognitions, usage.syntheses))
        .collect();
    assert_eq!(usage, [("asr.tier1", 3, 0), ("tts.chris", 0, 1)]);
    assert_eq!(&script.checkins[0].receipt[..], b"a-0");
    let events = recorder.events();
    assert!(matches!(events[..], [Use::Began { .. }, Use::Ended { .. }]), "{events:?}");
}

#[tokio::test]
async fn a_dropped_guard_and_a_checkout_that_nobody_awaits_are_checked_in() {
    let node = FakeNode::start("a", 30_000).await;
    let (client, _) = client(&[&node]);
    drop(client.checkout(CALL).await.unwrap());
    client.flush().await;
    assert_eq!(node.script().checkins.len(), 1);

    let asking = client.clone();
    let abandoned = tokio::spawn(async move { asking.checkout(CALL).await.map(drop) });
    node.until(|script| script.checkouts.len() == 2).await;
    abandoned.abort();
    node.until(|script| script.checkins.len() == 2).await;
}

#[tokio::test]
async fn the_last_guard_is_checked_in_even_when_the_client_is_gone() {
    let node = FakeNode::start("a", 30_000).await;
    let (client, _) = client(&[&node]);
    let guard = client.checkout(CALL).await.unwrap();
    drop(client);
    drop(guard);
    node.until(|script| script.checkins.len() == 1).await;
}

#[tokio::test]
async fn renewals_keep_licenses_alive_for_many_lifetimes() {
    let node = FakeNode::start("a", 2_000).await;
    let (client, recorder) = client(&[&node]);
    let first = client.checkout(CALL).await.unwrap();
    let second = client.checkout(CALL).await.unwrap();
    let script = node.until(|script| script.renewals.len() >= 6).await;
    for guard in [&first, &second] {
        assert!(matches!(guard.state(), GuardState::Active { .. }), "{:?}", guard.state());
    }
    assert!(script.renewals.iter().any(|items| items.len() == 2), "they share messages");
    assert!(script.renewals.iter().flatten().all(|item| item.age_ms < 2_000));
    assert!(!recorder.events().iter().any(|event| matches!(event, Use::Lapsed { .. })));
}

#[tokio::test]
async fn a_license_whose_node_fails_is_reclaimed_at_another() {
    let near = FakeNode::start("near", 3_000).await;
    let far = FakeNode::start("far", 3_000).await;
    let (client, recorder) = client(&[&near, &far]);
    let guard = client.checkout(CALL).await.unwrap();
    assert_eq!(near.script().checkouts.len(), 1, "the own site comes first");
    near.set(|script| script.is_down = true);
    let script = far.until(|script| !script.renewals.is_empty()).await;
    assert_eq!(&script.renewals[0][0].receipt[..], b"near-0");
    far.until(|script| script.renewals.len() == 2).await;
    assert!(matches!(guard.state(), GuardState::Active { .. }));
    assert!(!recorder.events().iter().any(|event| matches!(event, Use::Lapsed { .. })));
    guard.checkin().await.unwrap();
    assert!(far.script().checkins[0].receipt.starts_with(b"far-"), "the new receipt counts");
}

#[tokio::test]
async fn a_license_that_cannot_be_renewed_lapses_and_becomes_active_again() {
    let node = FakeNode::start("a", 600).await;
    node.set(|script| script.hangs_on_renew = true);
    let (client, recorder) = client(&[&node]);
    let guard = client.checkout(CALL).await.unwrap();
    node.set(|script| script.denies = Some(Reason::Exhausted));
    let since_ms = guard.lapsed().await;
    node.until(|script| script.checkouts.len() >= 2).await;
    node.set(|script| {
        script.denies = None;
        script.hangs_on_renew = false;
    });
    let valid_until_ms = guard.active().await;
    assert!(valid_until_ms > since_ms);
    let script = node.until(|script| script.renewals.len() >= 2).await;
    let overrun_ms = script.renewals.last().unwrap()[0].overrun_ms;
    let events = recorder.events();
    let [Use::Began { .. }, Use::Lapsed { at_ms, .. }, Use::Began { at_ms: again_ms, .. }, ..] =
        events[..]
    else {
        panic!("{events:?}");
    };
    assert_eq!(at_ms, since_ms);
    assert!(overrun_ms > 0 && overrun_ms.abs_diff(again_ms - since_ms) < 100, "{overrun_ms}");
}

#[tokio::test]
async fn a_denial_says_which_feature_and_how_many_units() {
    let node = FakeNode::start("a", 30_000).await;
    node.set(|script| script.denies = Some(Reason::Exhausted));
    let (client, _) = client(&[&node]);
    let error = client.checkout(CALL).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "checkout denied: every unit is in use: feature `asr.tier1`, 10 of 10 units in use; \
         try again in 250 ms"
    );
    assert!(matches!(error, CheckoutError::Denied(denial) if denial.reason == Reason::Exhausted));
}

#[tokio::test]
async fn a_cut_off_node_is_left_for_another() {
    let near = FakeNode::start("near", 30_000).await;
    let far = FakeNode::start("far", 30_000).await;
    near.set(|script| script.denies = Some(Reason::CutOff));
    let (client, _) = client(&[&near, &far]);
    let _guard = client.checkout(CALL).await.unwrap();
    assert_eq!((near.script().checkouts.len(), far.script().checkouts.len()), (1, 1));
}

#[tokio::test]
async fn without_any_node_a_checkout_ends_at_its_deadline_with_the_reason() {
    let mut node = FakeNode::start("a", 30_000).await;
    // Nothing listens on port 1.
    "127.0.0.1:1".clone_into(&mut node.address);
    let (client, _) = client(&[&node]);
    let error = client.checkout(CALL).await.unwrap_err().to_string();
    assert!(error.contains("127.0.0.1:1: Unavailable"), "{error}");
    assert!(error.to_lowercase().contains("refused"), "{error}");
}

#[tokio::test]
async fn the_three_calls_can_be_made_by_hand() {
    let node = FakeNode::start("a", 30_000).await;
    let connection = Connection::to_all(&config(&[&node])).unwrap().remove(0);
    let request_id = leasehold_client::new_request_id().unwrap();
    let item = CheckoutItem {
        request_id: request_id.to_vec().into(),
        lines: vec![CheckoutLine { feature: "cpa".to_owned(), units: 1 }],
        ..CheckoutItem::default()
    };
    assert_eq!(connection.checkout(vec![item]).await.unwrap().len(), 1);
    let item = RenewItem { receipt: "a-0".into(), age_ms: 5, overrun_ms: 0 };
    assert_eq!(connection.renew(vec![item]).await.unwrap().len(), 1);
    let item = CheckinItem { receipt: "a-0".into(), ..CheckinItem::default() };
    assert_eq!(connection.checkin(vec![item]).await.unwrap().len(), 1);

    node.set(|script| script.is_down = true);
    let error = connection.renew(Vec::new()).await.unwrap_err();
    assert_eq!(error.code, tonic::Code::Unavailable);
    assert!(!error.was_not_sent, "the node itself said so");
}
