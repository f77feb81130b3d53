//! What engines may not ask: each gets a definite answer, and no unit moves.

use std::time::Duration;

use leasehold_cluster_tests::{Cluster, Shape, until};
use leasehold_proto::v1;
use leasehold_proto::v1::Reason;
use leasehold_proto::v1::licensing_client::LicensingClient;
use tonic::transport::Channel;

const ENTITLED: [(&str, u64); 1] = [("asr.tier1", 10)];
/// Above gRPC's customary limit of a message, 4 MiB.
const OVERSIZED_BYTES: usize = 5 << 20;

#[tokio::test]
async fn a_checkout_that_asks_for_the_impossible_is_denied_with_its_reason() {
    let mut cluster = Cluster::start(Shape::standard(), 1, &ENTITLED).await;
    let mut engine = cluster.licensing(1).await;
    let granted = checkout(&mut engine, item(1, "asr.tier1", 2)).await.unwrap();
    let again = checkout(&mut engine, item(1, "asr.tier1", 2)).await.unwrap();
    assert_eq!(again.receipt, granted.receipt, "a repeat gets the identical answer");

    let no_lines = v1::CheckoutItem { lines: Vec::new(), ..item(3, "asr.tier1", 1) };
    let no_name = v1::CheckoutItem { request_id: vec![1].into(), ..item(3, "asr.tier1", 1) };
    let long_wait = v1::CheckoutItem { wait_ms: 60_001, ..item(3, "asr.tier1", 1) };
    for (case, item, reason) in [
        ("unknown feature", item(2, "asr.tier9", 1), Reason::NotEntitled),
        ("a feature that is no name", item(2, "ASR tier", 1), Reason::BadRequest),
        ("zero units", item(2, "asr.tier1", 0), Reason::BadRequest),
        ("absurd units", item(2, "asr.tier1", u64::MAX), Reason::BadRequest),
        ("more units than there are", item(2, "asr.tier1", 11), Reason::Exhausted),
        ("a request id with other content", item(1, "asr.tier1", 3), Reason::RequestReused),
        ("no features", no_lines, Reason::BadRequest),
        ("a short request id", no_name, Reason::BadRequest),
        ("an absurd wait", long_wait, Reason::BadRequest),
    ] {
        let denied = checkout(&mut engine, item).await.expect_err(case);
        assert_eq!(denied.reason(), reason, "{case}: {denied:?}");
    }
    assert_only_two_units_in_use(&mut cluster).await;
}

#[tokio::test]
async fn a_receipt_that_is_forged_foreign_aged_or_garbage_is_denied() {
    let mut cluster = Cluster::start(Shape::standard(), 1, &ENTITLED).await;
    let mut other = Cluster::start(Shape::standard(), 1, &ENTITLED).await;
    let mut engine = cluster.licensing(1).await;
    let receipt = checkout(&mut engine, item(1, "asr.tier1", 2)).await.unwrap().receipt;
    let mut elsewhere = other.licensing(1).await;
    let foreign = checkout(&mut elsewhere, item(1, "asr.tier1", 2)).await.unwrap().receipt;

    for position in 0..receipt.len() {
        let mut forged = receipt.to_vec();
        forged[position] ^= 1;
        let reason = renew(&mut engine, forged, 0).await.unwrap_err().reason();
        assert_eq!(reason, Reason::ReceiptInvalid, "byte {position} changed");
    }
    let ttl_ms = Shape::standard().timings.checkout_ttl_ms;
    for (case, shown, age_ms, reason) in [
        ("foreign", foreign.to_vec(), 0, Reason::ReceiptInvalid),
        ("garbage", b"garbage".to_vec(), 0, Reason::ReceiptInvalid),
        ("empty", Vec::new(), 0, Reason::ReceiptInvalid),
        ("huge", vec![7; 100_000], 0, Reason::ReceiptInvalid),
        ("aged", receipt.to_vec(), ttl_ms + 1, Reason::ReceiptExpired),
    ] {
        let denied = renew(&mut engine, shown.clone(), age_ms).await.expect_err(case);
        assert_eq!(denied.reason(), reason, "{case}: {denied:?}");
        if reason == Reason::ReceiptInvalid {
            let denied = checkin(&mut engine, shown).await.expect_err(case);
            assert_eq!(denied.reason(), Reason::ReceiptInvalid, "check-in, {case}: {denied:?}");
        }
    }
    assert_only_two_units_in_use(&mut cluster).await;
    renew(&mut engine, receipt.to_vec(), 0).await.expect("the true one is good still");
}

#[tokio::test]
async fn a_message_that_is_too_large_fails_alone_and_the_node_goes_on() {
    let mut cluster = Cluster::start(Shape::standard(), 1, &ENTITLED).await;
    let mut engine = cluster.licensing(1).await;
    let items = vec![item(1, "asr.tier1", 1); 1_025];
    let many = v1::CheckoutRequest { items, ..v1::CheckoutRequest::default() };
    let status = engine.checkout(many).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status}");
    assert!(status.message().contains("1025"), "{status}");

    let feature = "x".repeat(OVERSIZED_BYTES);
    let items = vec![item(1, &feature, 1)];
    let large = v1::CheckoutRequest { items, ..v1::CheckoutRequest::default() };
    let status = engine.checkout(large).await.unwrap_err();
    assert_ne!(status.code(), tonic::Code::Unknown, "{status}");

    checkout(&mut engine, item(1, "asr.tier1", 1)).await.expect("the same connection goes on");
    assert!(cluster.process(1).is_running());
}

/// What the node shows is up to a second old.
async fn assert_only_two_units_in_use(cluster: &mut Cluster) {
    until("the pool's figures are those of now", Duration::from_secs(5), async || {
        let pool = cluster.pool(1, "asr.tier1").await;
        assert!(pool.in_use <= 2, "{pool:?}");
        (pool.in_use == 2).then_some(())
    })
    .await;
}

fn item(request: u8, feature: &str, units: u64) -> v1::CheckoutItem {
    v1::CheckoutItem {
        request_id: vec![request; 16].into(),
        lines: vec![v1::CheckoutLine { feature: feature.to_owned(), units }],
        ..v1::CheckoutItem::default()
    }
}

async fn checkout(
    engine: &mut LicensingClient<Channel>,
    item: v1::CheckoutItem,
) -> Result<v1::Granted, v1::Denied> {
    let request = v1::CheckoutRequest { items: vec![item], ..v1::CheckoutRequest::default() };
    let answers = engine.checkout(request).await.unwrap().into_inner().answers;
    match answers.into_iter().next().unwrap().answer.unwrap() {
        v1::checkout_answer::Answer::Granted(granted) => Ok(granted),
        v1::checkout_answer::Answer::Denied(denied) => Err(denied),
    }
}

async fn renew(
    engine: &mut LicensingClient<Channel>,
    receipt: Vec<u8>,
    age_ms: u64,
) -> Result<v1::Renewed, v1::Denied> {
    let item = v1::RenewItem { receipt: receipt.into(), age_ms, overrun_ms: 0 };
    let request = v1::RenewRequest { items: vec![item], ..v1::RenewRequest::default() };
    let answers = engine.renew(request).await.unwrap().into_inner().answers;
    match answers.into_iter().next().unwrap().answer.unwrap() {
        v1::renew_answer::Answer::Renewed(renewed) => Ok(renewed),
        v1::renew_answer::Answer::Denied(denied) => Err(denied),
    }
}

async fn checkin(
    engine: &mut LicensingClient<Channel>,
    receipt: Vec<u8>,
) -> Result<(), v1::Denied> {
    let item = v1::CheckinItem { receipt: receipt.into(), ..v1::CheckinItem::default() };
    let request = v1::CheckinRequest { items: vec![item], ..v1::CheckinRequest::default() };
    let answers = engine.checkin(request).await.unwrap().into_inner().answers;
    match answers.into_iter().next().unwrap().answer.unwrap() {
        v1::checkin_answer::Answer::Accepted(_) => Ok(()),
        v1::checkin_answer::Answer::Denied(denied) => Err(denied),
    }
}
