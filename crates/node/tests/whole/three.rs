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
    join_all(&first, &[&second, &third]).await;

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

    first.stop().await;
    third.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_node_ends_by_itself_and_its_id_is_never_used_again() {
    let homes = [(); 4].map(|()| tempfile::tempdir().unwrap());
    let first = start(1, homes[0].path()).await;
    found(&first).await;
    let second = start(2, homes[1].path()).await;
    let third = start(3, homes[2].path()).await;
    join_all(&first, &[&second, &third]).await;

    let impostor = start(3, homes[3].path()).await;
    let via = first.peers.to_string();
    let refused = impostor.admin().await.join_cluster(v1::JoinClusterRequest { via }).await;
    let message = refused.unwrap_err().message().to_owned();
    assert!(message.contains("joins under a new id"), "{message}");
    impostor.stop().await;

    // Asked of a follower: it passes the change on to the leader.
    second.admin().await.remove_node(v1::RemoveNodeRequest { node_id: 3 }).await.unwrap();
    let message = third.ended().await.unwrap_err();
    assert!(message.contains("removed"), "{message}");
    second.stop().await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_leader_hands_over_without_an_election_timeout() {
    let homes = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let first = start(1, homes[0].path()).await;
    found(&first).await;
    let second = start(2, homes[1].path()).await;
    let third = start(3, homes[2].path()).await;
    join_all(&first, &[&second, &third]).await;
    first.stop().await;
    wait_for_leader(&second).await;
    second.stop().await;
    third.stop().await;
}

async fn join_all(first: &Running, others: &[&Running]) {
    for node in others {
        let via = first.peers.to_string();
        node.admin().await.join_cluster(v1::JoinClusterRequest { via }).await.unwrap();
    }
    wait_for_voters(first, others.len() + 1).await;
}

async fn wait_for_leader(node: &Running) -> u64 {
    let began = Instant::now();
    loop {
        let status = node.admin().await.status(v1::StatusRequest {}).await.unwrap().into_inner();
        if let Some(leader) = status.leader.filter(|leader| *leader != 1) {
            return leader;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "no new leader: {status:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
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
