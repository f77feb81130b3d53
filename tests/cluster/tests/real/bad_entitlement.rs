//! Entitlements that a node refuses: it names the field and the value, and what was in force stays.

use leasehold_cluster_tests::{Cluster, Shape, vendor};
use leasehold_core::entitlement::{Entitlement, SigningKey};
use leasehold_core::id::ClusterId;
use leasehold_proto::v1;
use leasehold_proto::v1::admin_client::AdminClient;
use tonic::transport::Channel;

const ENTITLED: [(&str, u64); 2] = [("asr.tier1", 10), ("tts.chris", 5)];

#[tokio::test]
async fn an_entitlement_that_is_wrong_in_any_way_is_refused_and_changes_nothing() {
    let mut cluster = Cluster::start(Shape::standard(), 1, &ENTITLED).await;
    let good = Entitlement { serial: 2, ..cluster.entitlement(&ENTITLED) };
    let mut admin = cluster.admin(1).await;
    let before = in_force(&mut admin).await;
    for (case, envelope, names) in cases(&good) {
        let request = v1::InstallEntitlementRequest { entitlement: envelope.into() };
        let status = admin.install_entitlement(request).await.expect_err(case);
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "{case}: {status}");
        for name in names {
            assert!(status.message().contains(name), "{case}: no `{name}` in: {status}");
        }
        assert_eq!(in_force(&mut admin).await, before, "{case}");
    }
    let request = v1::InstallEntitlementRequest { entitlement: good.seal(&vendor()).into() };
    let installed = admin.install_entitlement(request).await.unwrap().into_inner();
    assert_eq!(installed.serial, 2, "the good one is taken afterwards");
}

type Case = (&'static str, Vec<u8>, &'static [&'static str]);

fn cases(good: &Entitlement) -> Vec<Case> {
    let sealed = good.seal(&vendor());
    let changed = |change: &dyn Fn(&mut Entitlement)| {
        let mut entitlement = good.clone();
        change(&mut entitlement);
        entitlement.seal(&vendor())
    };
    let more = changed(&|it| it.sets[0].features[0].units = 1_000);
    vec![
        ("wrong signature", with_payload_of(&sealed, &more), &["wrong signature"]),
        ("unknown key", good.seal(&SigningKey::from_bytes(&[8; 32])), &["unknown key", "trusted"]),
        (
            "the serial in force with other content",
            changed(&|it| (it.serial, it.contact_days) = (1, 90)),
            &["serial 1 is not above 1"],
        ),
        ("other cluster", changed(&|it| it.cluster = ClusterId([9; 16])), &["cluster is 0909"]),
        ("truncated", sealed[..sealed.len() / 2].to_vec(), &["cut off"]),
        ("garbage", b"garbage".to_vec(), &["not an entitlement"]),
        ("empty", Vec::new(), &["0 bytes"]),
        (
            "overflow of units",
            changed(&|it| it.sets[0].features[0].units = u64::MAX),
            &["asr.tier1", "18446744073709551615", "expected 1 to"],
        ),
        (
            "duplicate set",
            changed(&|it| it.sets.push(it.sets[0].clone())),
            &["set `production` is listed twice"],
        ),
        (
            "duplicate feature",
            changed(&|it| {
                let line = it.sets[0].features[0].clone();
                it.sets[0].features.push(line);
            }),
            &["feature `asr.tier1` is listed twice"],
        ),
        (
            "end before start",
            changed(&|it| it.sets[0].contract_end = "2025-01-01".parse().unwrap()),
            &["contract_end = 2025-01-01", "starts = 2026-01-01"],
        ),
    ]
}

/// The envelope `signed` around the payload of another one.
fn with_payload_of(signed: &[u8], other: &[u8]) -> Vec<u8> {
    let mut envelope: serde_json::Value = serde_json::from_slice(signed).unwrap();
    let other: serde_json::Value = serde_json::from_slice(other).unwrap();
    envelope["payload"] = other["payload"].clone();
    serde_json::to_vec(&envelope).unwrap()
}

/// Everything that an entitlement decides, and the event log.
async fn in_force(
    admin: &mut AdminClient<Channel>,
) -> (v1::ShowEntitlementResponse, Vec<(String, u64)>, u64) {
    let shown = admin.show_entitlement(v1::ShowEntitlementRequest {}).await.unwrap().into_inner();
    let status = admin.status(v1::StatusRequest {}).await.unwrap().into_inner();
    let pools = status.pools.into_iter().map(|pool| (pool.feature, pool.entitled)).collect();
    let request = v1::EventsRequest { since: 0, follow: false };
    let mut events = admin.events(request).await.unwrap().into_inner();
    let mut last = 0;
    while let Some(answer) = events.message().await.unwrap() {
        last = answer.event.map_or(last, |event| event.number);
    }
    (shown, pools, last)
}
