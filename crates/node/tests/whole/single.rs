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
