//! Nodes are added, fenced and removed, the leader too.

use std::time::{Duration, Instant};

use leasehold_proto::v1;
use leasehold_proto::v1::licensing_client::LicensingClient;
use tonic::transport::Channel;

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_added_from_the_clusters_side() {
    let homes = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let (first, second) = (start(1, homes[0].path()).await, start(2, homes[1].path()).await);
    let mut admin = first.admin().await;
    let add = |address: String| v1::AddNodeRequest { peer_address: address };
    let unfounded = admin.add_node(add(second.peers.to_string())).await.unwrap_err();
    assert!(unfounded.message().contains("cluster init"), "{unfounded:?}");

    found(&first).await;
    let nobody = admin.add_node(add("127.0.0.1:1".to_owned())).await.unwrap_err();
    assert!(nobody.message().contains("127.0.0.1:1"), "{nobody:?}");
    let added = admin.add_node(add(second.peers.to_string())).await.unwrap().into_inner();
    assert_eq!(added.node_id, 2);
    wait_for_voters(&first, 2).await;
    let again = admin.add_node(add(second.peers.to_string())).await.unwrap().into_inner();
    assert_eq!(again.node_id, 2, "a repeat gets the same answer");
    second.stop().await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_node_ends_by_itself_and_its_id_is_never_used_again() {
    let (_homes, [first, second, third]) = cluster().await;

    let empty = tempfile::tempdir().unwrap();
    let impostor = start(3, empty.path()).await;
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

/// The last step needs the vote of the node that goes: it must not end before that.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_is_removed_by_its_successor_down_to_the_last_node() {
    let (_homes, [first, second, third]) = cluster().await;

    first.admin().await.remove_node(v1::RemoveNodeRequest { node_id: 1 }).await.unwrap();
    let message = first.ended().await.unwrap_err();
    assert!(message.contains("removed"), "{message}");
    let leader = wait_for_leader(&second).await;
    let (leads, follows) = if leader == 2 { (second, third) } else { (third, second) };

    leads.admin().await.remove_node(v1::RemoveNodeRequest { node_id: leader }).await.unwrap();
    let message = leads.ended().await.unwrap_err();
    assert!(message.contains("removed"), "{message}");
    checkout_once_ready(&mut follows.engine().await, 1).await;
    let last = 5 - leader;
    let refused = follows.admin().await.remove_node(v1::RemoveNodeRequest { node_id: last }).await;
    assert!(refused.unwrap_err().message().contains("the last voter"));
    follows.stop().await;
}

/// Nobody talks to it any more, so that it must ask.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_removed_while_it_was_down_is_told_when_it_comes_back() {
    let (homes, [first, second, third]) = cluster().await;
    third.stop().await;
    first.admin().await.remove_node(v1::RemoveNodeRequest { node_id: 3 }).await.unwrap();
    let message = start(3, homes[2].path()).await.ended().await.unwrap_err();
    assert!(message.contains("removed"), "{message}");
    second.stop().await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fenced_node_lends_nothing_until_it_is_let_in_again() {
    let (_homes, [first, second]) = cluster().await;
    let mut engine = second.engine().await;
    checkout_once_ready(&mut engine, 1).await;

    let fence = v1::FenceNodeRequest { node_id: 2, powered_off: false };
    second.admin().await.fence_node(fence).await.unwrap();
    wait_for_lease(&first, 2, v1::LeaseState::Fenced).await;
    // The leader knows it first; until the node has heard of it, it lends what it held.
    assert_eq!(first_denial(&mut engine).await.reason(), v1::Reason::NotReady);
    let unknown = v1::FenceNodeRequest { node_id: 77, powered_off: false };
    let refused = first.admin().await.fence_node(unknown).await.unwrap_err();
    assert!(refused.message().contains("node 77 is not a member"), "{refused:?}");

    first.admin().await.unfence_node(v1::UnfenceNodeRequest { node_id: 2 }).await.unwrap();
    wait_for_lease(&first, 2, v1::LeaseState::Live).await;
    checkout_once_ready(&mut engine, 1).await;
    second.stop().await;
    first.stop().await;
}

async fn first_denial(engine: &mut LicensingClient<Channel>) -> v1::Denied {
    // Below these are the requests of `checkout_once_ready`.
    for request in 100..=250 {
        let receipt = match checkout(engine, item(request, 1)).await {
            Err(denied) => return denied,
            Ok(granted) => granted.receipt,
        };
        let items = vec![v1::CheckinItem { receipt, ..v1::CheckinItem::default() }];
        let request = v1::CheckinRequest { items, ..v1::CheckinRequest::default() };
        engine.checkin(request).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("a fenced node goes on lending");
}

async fn wait_for_lease(asked: &Running, node: u64, lease: v1::LeaseState) {
    let began = Instant::now();
    loop {
        let status = asked.admin().await.status(v1::StatusRequest {}).await.unwrap().into_inner();
        if status.nodes.iter().any(|it| it.node_id == node && it.lease() == lease) {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "not {lease:?}: {status:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
