//! What engines see of one node, and what is left after a restart. The same over TLS and with
//! kill -9 is tested on real processes.

use leasehold_proto::v1;

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_running_call_survives_the_restart_of_its_node() {
    let data = tempfile::tempdir().unwrap();
    let first = start(1, data.path()).await;
    found(&first).await;
    let mut engine = first.engine().await;
    let granted = checkout_once_ready(&mut engine, 2).await;
    assert!(granted.valid_for_ms > 29_000 && granted.receipt.len() <= 256);

    let too_many = checkout(&mut engine, item(200, UNITS)).await.unwrap_err();
    assert_eq!(too_many.reason(), v1::Reason::Exhausted);
    assert_eq!(too_many.units_entitled, UNITS);
    let unknown = v1::CheckoutItem {
        lines: vec![v1::CheckoutLine { feature: "asr.none".to_owned(), units: 1 }],
        ..item(201, 1)
    };
    assert_eq!(checkout(&mut engine, unknown).await.unwrap_err().reason(), v1::Reason::NotEntitled);
    first.stop().await;

    let second = start(1, data.path()).await;
    let mut engine = second.engine().await;
    let renewed = renew_once_ready(&mut engine, &granted.receipt).await;
    assert!(!renewed.receipt.is_empty(), "the checkout lives on under a new receipt");
    let receipts = vec![v1::CheckinItem { receipt: renewed.receipt, ..v1::CheckinItem::default() }];
    let request = v1::CheckinRequest { items: receipts, ..v1::CheckinRequest::default() };
    let answers = engine.checkin(request).await.unwrap().into_inner().answers;
    assert!(matches!(answers[0].answer, Some(v1::checkin_answer::Answer::Accepted(_))));
    second.stop().await;
}

/// A call whose every item is malformed leaves nothing to ask the desk: it once ended the node.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_nothing_but_malformed_items_is_denied_and_the_node_goes_on() {
    let data = tempfile::tempdir().unwrap();
    let node = start(1, data.path()).await;
    found(&node).await;
    let mut engine = node.engine().await;
    let malformed = v1::CheckoutItem { engine_build_date: "2030-13-01".to_owned(), ..item(1, 1) };
    let denied = checkout(&mut engine, malformed).await.unwrap_err();
    assert_eq!(denied.reason(), v1::Reason::BadRequest);
    checkout_once_ready(&mut engine, 1).await;
    node.stop().await;
}

/// Whoever follows events would otherwise hold up a stop until its deadline.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_follows_events_does_not_hold_up_a_stop() {
    let data = tempfile::tempdir().unwrap();
    let node = start(1, data.path()).await;
    found(&node).await;
    let mut admin = node.admin().await;
    let request = v1::EventsRequest { since: 0, follow: true };
    let mut events = admin.events(request).await.unwrap().into_inner();
    let first = events.message().await.unwrap().unwrap().event.unwrap();
    assert_eq!(first.kind, "cluster.founded");
    let began = std::time::Instant::now();
    node.stop().await;
    assert!(began.elapsed() < std::time::Duration::from_secs(4), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn overrun_is_shown_by_pool() {
    let data = tempfile::tempdir().unwrap();
    let node = start(1, data.path()).await;
    found(&node).await;
    let mut engine = node.engine().await;
    let receipt = checkout_once_ready(&mut engine, 1).await.receipt;
    let item = v1::RenewItem { receipt, age_ms: 1_000, overrun_ms: 2_500 };
    let request = v1::RenewRequest { items: vec![item], ..v1::RenewRequest::default() };
    engine.renew(request).await.unwrap();
    let began = std::time::Instant::now();
    loop {
        let status = node.admin().await.status(v1::StatusRequest {}).await.unwrap().into_inner();
        if status.pools.iter().all(|pool| pool.overrun_ms == 2_500) {
            break;
        }
        assert!(began.elapsed() < std::time::Duration::from_secs(5), "{:?}", status.pools);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    node.stop().await;
}
