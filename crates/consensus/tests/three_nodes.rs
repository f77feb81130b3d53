//! Three nodes over gRPC: they elect, replicate, outlive a leader and catch up.

#![allow(clippy::unwrap_used)] // Helpers of tests; clippy exempts only the tests themselves.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use leasehold_consensus::{Config, Peer, ProposeError};
use leasehold_core::id::NodeId;
use leasehold_core::ledger::command::Outcome;
use tokio::net::TcpListener;

use self::common::{Home, PATIENCE, TestNode, admit, config, found, listener, peer};

mod common;

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_elect_replicate_and_outlive_their_leader() {
    let home = Home::new();
    let (mut nodes, members) = start_three(&home, config).await;
    let first = leader(&nodes).await;
    nodes[&first].propose(found()).await.unwrap();
    for id in 1..=50 {
        assert_eq!(nodes[&first].propose(admit(id)).await, Ok(Outcome::Done));
    }
    assert_all_equal(&nodes, first).await;

    let follower = nodes.keys().copied().find(|node| *node != first).unwrap();
    let error = nodes[&follower].propose(admit(99)).await.unwrap_err();
    let leader_peer = members[&NodeId(first)].clone();
    let expected = ProposeError::NotLeader { leader: Some((NodeId(first), leader_peer.clone())) };
    assert_eq!(error, expected);

    nodes.remove(&first).unwrap().stop().await;
    let second = leader(&nodes).await;
    assert_ne!(second, first);
    for id in 51..=60 {
        assert_eq!(nodes[&second].propose(admit(id)).await, Ok(Outcome::Done));
    }

    let listener = TcpListener::bind(&leader_peer.address).await.unwrap();
    let back = TestNode::start(config(first), &home.of(first), listener).await;
    back.wait_until("follows", |leadership| leadership.leader.is_some()).await;
    nodes.insert(first, back);
    assert_all_equal(&nodes, second).await;
    stop(nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_away_too_long_gets_a_snapshot() {
    let home = Home::new();
    let small = |node| Config { snapshot_after_entries: 100, entries_kept: 10, ..config(node) };
    let (mut nodes, members) = start_three(&home, small).await;
    let first = leader(&nodes).await;
    nodes[&first].propose(found()).await.unwrap();
    let away = nodes.keys().copied().find(|node| *node != first).unwrap();
    nodes.remove(&away).unwrap().stop().await;
    for id in 1..=500 {
        assert_eq!(nodes[&first].propose(admit(id)).await, Ok(Outcome::Done));
    }
    let listener = TcpListener::bind(&members[&NodeId(away)].address).await.unwrap();
    let back = TestNode::start(small(away), &home.of(away), listener).await;
    nodes.insert(away, back);
    let now = leader(&nodes).await;
    assert_all_equal(&nodes, now).await;
    stop(nodes).await;
}

/// The leader once ended itself when it saw that, at the very moment at which what the follower had
/// lost was on two disks of three no more.
#[tokio::test(flavor = "multi_thread")]
async fn a_follower_whose_disk_was_set_back_is_brought_up_to_date_by_a_leader_that_stays() {
    let home = Home::new();
    let (mut nodes, members) = start_three(&home, config).await;
    let first = leader(&nodes).await;
    nodes[&first].propose(found()).await.unwrap();
    let restored = nodes.keys().copied().find(|node| *node != first).unwrap();
    let again = async || {
        let address = &members[&NodeId(restored)].address;
        let listener = TcpListener::bind(address).await.unwrap();
        TestNode::start(config(restored), &home.of(restored), listener).await
    };
    nodes[&restored].wait_until_equal(&nodes[&first]).await;
    nodes.remove(&restored).unwrap().stop().await;
    let backup = Home::new();
    copy(&home.of(restored), &backup.of(restored));
    nodes.insert(restored, again().await);
    for id in 1..=50 {
        assert_eq!(nodes[&first].propose(admit(id)).await, Ok(Outcome::Done));
    }
    nodes[&restored].wait_until_equal(&nodes[&first]).await;
    let term = nodes[&first].consensus.status().term;

    nodes.remove(&restored).unwrap().stop().await;
    std::fs::remove_dir_all(home.of(restored)).unwrap();
    copy(&backup.of(restored), &home.of(restored));
    nodes.insert(restored, again().await);
    let what = "the leader knows what it has again";
    until(what, async || {
        let status = nodes[&first].consensus.status();
        status.matched[&NodeId(restored)] == status.last_log
    })
    .await;
    assert_all_equal(&nodes, first).await;
    assert_eq!(nodes[&first].propose(admit(51)).await, Ok(Outcome::Done));
    let status = nodes[&first].consensus.status();
    assert_eq!((status.leader, status.term), (Some(NodeId(first)), term), "nobody else led");
    stop(nodes).await;
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|it| (it.path(), it.file_name())).unwrap();
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else {
            std::fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_is_handed_over_when_asked() {
    let home = Home::new();
    let (nodes, _) = start_three(&home, config).await;
    let first = leader(&nodes).await;
    let next = nodes.keys().copied().find(|node| *node != first).unwrap();
    nodes[&next].wait_until_equal(&nodes[&first]).await;
    nodes[&first].consensus.transfer_leader(NodeId(next)).await.unwrap();
    nodes[&next].wait_until_ready().await;
    stop(nodes).await;
}

/// `Status::leader` went on naming the dead leader, so that the alert on it never fired.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_a_majority_hears_no_leader() {
    let home = Home::new();
    let (mut nodes, _) = start_three(&home, config).await;
    let first = leader(&nodes).await;
    for node in nodes.values() {
        until("every node hears the leader", async || node.consensus.hears_leader().await).await;
    }
    let alone = nodes.keys().copied().find(|node| *node != first).unwrap();
    let others: Vec<u64> = nodes.keys().copied().filter(|node| *node != alone).collect();
    for other in others {
        nodes.remove(&other).unwrap().stop().await;
    }
    let node = &nodes[&alone];
    until("the last one hears none", async || !node.consensus.hears_leader().await).await;
    stop(nodes).await;
}

/// It went on leading in its own eyes, and said that it was ready.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_without_a_majority_hears_no_leader_either() {
    let home = Home::new();
    let (mut nodes, _) = start_three(&home, config).await;
    let first = leader(&nodes).await;
    until("it hears itself", async || nodes[&first].consensus.hears_leader().await).await;
    let others: Vec<u64> = nodes.keys().copied().filter(|node| *node != first).collect();
    for other in others {
        nodes.remove(&other).unwrap().stop().await;
    }
    let node = &nodes[&first];
    until("it is alone", async || !node.consensus.hears_leader().await).await;
    stop(nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_grows_from_one_to_three_and_shrinks_again() {
    let home = Home::new();
    let one = common::start_single(config(1), &home).await;
    one.propose(found()).await.unwrap();
    let mut nodes = BTreeMap::from([(1, one)]);
    for id in 2..=3 {
        let listener = listener().await;
        let peer = peer(id, listener.local_addr().unwrap());
        let node = TestNode::start(config(id), &home.of(id), listener).await;
        nodes[&1].consensus.add_learner(NodeId(id), peer).await.unwrap();
        node.wait_until_equal(&nodes[&1]).await;
        nodes[&1].consensus.promote(NodeId(id)).await.unwrap();
        nodes.insert(id, node);
    }
    assert_eq!(nodes[&1].consensus.status().voters.len(), 3);
    assert_all_equal(&nodes, 1).await;
    nodes[&1].consensus.remove(NodeId(3)).await.unwrap();
    let status = nodes[&1].consensus.status();
    assert_eq!(status.voters.keys().copied().collect::<Vec<_>>(), [NodeId(1), NodeId(2)]);
    assert!(status.learners.is_empty(), "{status:?}");
    stop(nodes).await;
}

/// The first of a change's two commits is there, and the leader that asked for it is gone: until
/// somebody goes on, both the old and the new voters must agree to everything.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_voters_left_half_done_is_finished_by_another_leader() {
    let home = Home::new();
    let (mut nodes, members) = start_three(&home, config).await;
    let first = leader(&nodes).await;
    nodes[&first].propose(found()).await.unwrap();
    let mut others = nodes.keys().copied().filter(|node| *node != first);
    let (second, third) = (others.next().unwrap(), others.next().unwrap());
    nodes[&second].wait_until_equal(&nodes[&first]).await;

    // Without the second node the first step reaches the log and can't be committed.
    nodes.remove(&second).unwrap().stop().await;
    leave_half_done(&nodes[&first], third).await;
    let listener = TcpListener::bind(&members[&NodeId(second)].address).await.unwrap();
    nodes.insert(second, TestNode::start(config(second), &home.of(second), listener).await);
    until("the second node has the first step", async || {
        nodes[&second].consensus.status().is_joint
    })
    .await;
    until("the second node leads", async || {
        let is_leader = |node: &TestNode| node.consensus.leadership().borrow().is_leader;
        if let Some(other) = nodes.values().find(|node| is_leader(node))
            && !is_leader(&nodes[&second])
        {
            // Refused while it is behind.
            let _ = other.consensus.transfer_leader(NodeId(second)).await;
        }
        nodes[&second].consensus.leadership().borrow().is_ready
    })
    .await;
    assert!(nodes[&second].consensus.status().is_joint);
    nodes[&second].consensus.finish_change().await.unwrap();
    let status = nodes[&second].consensus.status();
    let left: Vec<u64> = status.voters.keys().map(|node| node.0).collect();
    assert_eq!((status.is_joint, left.len(), left.contains(&third)), (false, 2, false));
    assert!(status.learners.is_empty(), "{status:?}");
    stop(nodes).await;
}

/// Begins to remove a voter and stops asking as soon as the first step is in the log.
async fn leave_half_done(leader: &TestNode, voter: u64) {
    let joint = async {
        while !leader.consensus.status().is_joint {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        () = joint => {}
        removed = leader.consensus.remove(NodeId(voter)) => panic!("already done: {removed:?}"),
    }
}

type Nodes = BTreeMap<u64, TestNode>;

async fn start_three(
    home: &Home,
    config: impl Fn(u64) -> Config,
) -> (Nodes, BTreeMap<NodeId, Peer>) {
    let mut nodes = Nodes::new();
    let mut members = BTreeMap::new();
    for id in 1..=3 {
        let listener = listener().await;
        members.insert(NodeId(id), peer(id, listener.local_addr().expect("an address")));
        nodes.insert(id, TestNode::start(config(id), &home.of(id), listener).await);
    }
    nodes[&1].consensus.initialize(members.clone()).await.expect("a new cluster");
    (nodes, members)
}

/// The node that leads, once one does and is ready.
async fn leader(nodes: &Nodes) -> u64 {
    let ready = nodes.iter().map(|(id, node)| {
        let mut leadership = node.consensus.leadership();
        Box::pin(async move {
            leadership.wait_for(|leadership| leadership.is_ready).await.expect("a live node");
            *id
        })
    });
    let first = futures::future::select_all(ready);
    tokio::time::timeout(PATIENCE, first).await.expect("a leader").0
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let looks = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, looks).await.is_ok(), "{what}: not so in {PATIENCE:?}");
}

async fn assert_all_equal(nodes: &Nodes, to: u64) {
    let expected = nodes[&to].consensus.read(|replica| replica.ledger.clone());
    for (id, node) in nodes {
        node.wait_until_equal(&nodes[&to]).await;
        let ledger = node.consensus.read(|replica| replica.ledger.clone());
        assert!(ledger == expected, "node {id} differs from node {to}");
    }
}

async fn stop(nodes: Nodes) {
    for node in nodes.into_values() {
        node.stop().await;
    }
}
