//! Three nodes in three sites: they form a cluster, share one pool, and outlive one of them.

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

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_leader_hands_over_without_an_election_timeout() {
    let (_homes, [first, second, third]) = cluster().await;
    first.stop().await;
    wait_for_leader(&second).await;
    second.stop().await;
    third.stop().await;
}
