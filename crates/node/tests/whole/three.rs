//! Three nodes in three sites: they form a cluster, share one pool, and outlive one of them.

use std::time::{Duration, Instant};

use leasehold_proto::v1;

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_share_one_pool_and_a_running_call_outlives_its_node() {
    let homes = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let first = start(1, homes[0].path()).await;
    found(&first).await;
    let second = start(2, homes[1].path()).await;
    let third = start(3, homes[2].path()).await;
    for node in [&second, &third] {
        let via = first.peers.to_string();
        node.admin().await.join_cluster(v1::JoinClusterRequest { via }).await.unwrap();
    }
    wait_for_voters(&first, 3).await;

    // All units of the pool can be had at the node that drew none before.
    let mut at_second = second.engine().await;
    let all_but_one = checkout_once_ready(&mut at_second, UNITS - 1).await;
    let mut at_third = third.engine().await;
    checkout_once_ready(&mut at_third, 1).await;
    let denied = checkout(&mut at_third, item(250, 1)).await.unwrap_err();
    assert_eq!(denied.reason(), v1::Reason::Exhausted, "a definite answer, not CUT_OFF");
    assert_eq!((denied.units_in_use, denied.units_entitled), (UNITS, UNITS));

    // Its node is gone for good: the call goes on at another one with the very same units.
    second.stop().await;
    let renewed = renew_once_ready(&mut at_third, &all_but_one.receipt).await;
    assert!(!renewed.receipt.is_empty());
    let denied = checkout(&mut at_third, item(251, 1)).await.unwrap_err();
    assert_eq!(denied.reason(), v1::Reason::Exhausted, "its units are not lent twice");

    // The leader is gone too; one of three can change nothing, but knows it.
    first.stop().await;
    third.stop().await;
}

async fn wait_for_voters(node: &Running, count: usize) {
    let began = Instant::now();
    loop {
        let status = node.admin().await.status(v1::StatusRequest {}).await.unwrap().into_inner();
        let is_voter = |node: &&v1::NodeStatus| {
            matches!(node.role(), v1::NodeRole::Leader | v1::NodeRole::Voter)
        };
        if status.nodes.iter().filter(is_voter).count() == count {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "no {count} voters: {status:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
