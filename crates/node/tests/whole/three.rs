//! Three nodes in three sites: they form a cluster, share one pool, and outlive one of them.

use std::time::{Duration, Instant};

use leasehold_proto::v1;

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_share_one_pool_and_a_running_call_outlives_its_node() {
    let (_homes, [first, second, third]) = cluster().await;

    // All units of the pool can be had at the node that drew none before.
    let mut at_second = second.engine().await;
    let all_but_one = checkout_once_ready(&mut at_second, UNITS - 1).await;
    let mut at_third = third.engine().await;
    checkout_once_ready(&mut at_third, 1).await;
    let denied = checkout(&mut at_third, item(250, 1)).await.unwrap_err();
    assert_eq!(denied.reason(), v1::Reason::Exhausted, "a definite answer, not CUT_OFF");
    assert_eq!((denied.units_in_use, denied.units_entitled), (UNITS, UNITS));

    for node in [&first, &second, &third] {
        wait_for_whole_status(node).await;
    }

    // Its node is gone for good: the call goes on at another one with the very same units.
    second.stop().await;
    let renewed = renew_once_ready(&mut at_third, &all_but_one.receipt).await;
    let kinds = event_kinds(&third).await;
    assert!(kinds.contains(&"lease.closed".to_owned()), "it stopped in order: {kinds:?}");
    assert!(!kinds.contains(&"lease.ended".to_owned()), "nobody waited for its end: {kinds:?}");
    assert!(!renewed.receipt.is_empty());
    let denied = checkout(&mut at_third, item(251, 1)).await.unwrap_err();
    assert_eq!(denied.reason(), v1::Reason::Exhausted, "its units are not lent twice");

    first.stop().await;
    third.stop().await;
}

/// They froze with those in use, and after each rolling restart calls waited for them up to the TTL.
#[tokio::test(flavor = "multi_thread")]
async fn idle_units_of_a_node_that_stops_are_lent_elsewhere_before_any_thaw() {
    let (_homes, [first, second, third]) = cluster().await;
    let mut at_second = second.engine().await;
    checkout_once_ready(&mut at_second, 1).await;
    second.stop().await;

    let mut at_third = third.engine().await;
    checkout_once_ready(&mut at_third, UNITS - 1).await;
    let kinds = event_kinds(&third).await;
    assert!(!kinds.contains(&"units.thawed".to_owned()), "it did not take the TTL: {kinds:?}");
    first.stop().await;
    third.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_leader_hands_over_without_an_election_timeout() {
    let (_homes, [first, second, third]) = cluster().await;
    first.stop().await;
    wait_for_leader(&second).await;
    second.stop().await;
    third.stop().await;
}

/// Any node, whoever leads, shows what the desks of all nodes use.
async fn wait_for_whole_status(node: &Running) {
    let mut admin = node.admin().await;
    let began = Instant::now();
    loop {
        let status = admin.status(v1::StatusRequest {}).await.unwrap().into_inner();
        let pool = &status.pools[0];
        let checkouts: Vec<Option<u64>> = status.nodes.iter().map(|it| it.checkouts).collect();
        if status.cluster_wide
            && (pool.in_use, pool.free_at_nodes) == (UNITS, 0)
            && pool.denied > 0
            && checkouts == [Some(0), Some(1), Some(1)]
        {
            let sites: Vec<(u32, u32)> =
                status.sites.iter().map(|site| (site.nodes, site.live_nodes)).collect();
            assert_eq!(sites, [(1, 1); 3]);
            assert!(status.figures_age_ms.unwrap() < 5_000, "each second anew");
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(15), "never whole: {status:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
