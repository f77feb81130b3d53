//! A cluster of one node: what it has answered survives stops, snapshots and purges.

use std::time::{Duration, Instant};

use leasehold_clock::Clock;
use leasehold_consensus::{
    Config, Consensus, FatalError, InitializeError, ProposeError, StartError, connect_plaintext,
};
use leasehold_core::id::{Incarnation, NodeId};
use leasehold_core::ledger::command::{Command, Outcome};
use leasehold_storage::{DataDirectory, Use};

use self::common::{Home, TestNode, admit, config, found, start_single};

mod common;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_committed_is_there_after_a_restart() {
    let home = Home::new();
    let node = start_single(config(1), &home).await;
    assert_eq!(node.propose(found()).await, Ok(Outcome::Done));
    for id in 1..=20 {
        assert_eq!(node.propose(admit(id)).await, Ok(Outcome::Done), "node {id}");
    }
    let before = node.consensus.read(|replica| replica.ledger.clone());
    let applied = *node.consensus.subscribe_applied().borrow();
    node.stop().await;

    let node = start_single(config(1), &home).await;
    assert_eq!(node.consensus.read(|replica| replica.ledger.clone()), before);
    assert!(*node.consensus.subscribe_applied().borrow() >= applied);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_proposed_together_share_an_entry_and_have_an_outcome_each() {
    let home = Home::new();
    let node = start_single(config(1), &home).await;
    let before = *node.consensus.subscribe_applied().borrow();
    let commands = vec![found(), admit(1), found()];
    let outcomes = node.consensus.propose(commands, Duration::from_secs(5)).await.unwrap();
    assert_eq!(outcomes[..2], [Outcome::Done, Outcome::Done]);
    assert!(matches!(outcomes[2], Outcome::Refused(_)), "{outcomes:?}");
    assert_eq!(*node.consensus.subscribe_applied().borrow(), before + 1);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_done_is_refused_in_words() {
    let home = Home::new();
    let listener = common::listener().await;
    let address = listener.local_addr().unwrap();
    let node = TestNode::start(config(1), &home.of(1), listener).await;
    let error = node.propose(found()).await.unwrap_err();
    assert!(matches!(error, ProposeError::NotLeader { leader: None }), "{error}");

    let members = [(NodeId(2), common::peer(2, address))].into();
    let error = node.consensus.initialize(members).await.unwrap_err();
    assert_eq!(error, InitializeError::NotAMember { node: NodeId(1) });
    let members = [(NodeId(1), common::peer(1, address))];
    node.consensus.initialize(members.clone().into()).await.unwrap();
    node.wait_until_ready().await;
    let error = node.consensus.initialize(members.into()).await.unwrap_err();
    assert_eq!(error, InitializeError::AlreadyInitialized);

    let huge = Command::InstallEntitlement { envelope: vec![0xff; 2 << 20] };
    let error = node.propose(huge).await.unwrap_err();
    assert!(matches!(error, ProposeError::TooLarge { .. }), "{error}");
    let consensus = node.consensus.clone();
    node.stop().await;
    let error = consensus.propose(vec![found()], Duration::from_secs(5)).await.unwrap_err();
    assert_eq!(error, ProposeError::Stopped);
}

/// A core that has died leaves a process behind that answers nothing: the process has to learn it.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_can_not_write_its_snapshot_says_that_it_must_end() {
    let home = Home::new();
    let node = start_single(Config { snapshot_after_entries: 50, ..config(1) }, &home).await;
    let leadership = node.consensus.leadership();
    std::fs::remove_dir_all(home.of(1).join("snapshots")).unwrap();
    for _ in 0..60 {
        if node.propose(found()).await.is_err() {
            break;
        }
    }
    let cause = tokio::time::timeout(common::PATIENCE, node.consensus.fatal()).await.unwrap();
    assert!(matches!(cause, FatalError::Core { .. }), "{cause}");
    assert!(!leadership.borrow().is_leader, "a dead node leads nobody");
    assert_eq!(node.propose(found()).await, Err(ProposeError::Stopped));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_snapshots_are_gone_does_not_start_with_an_empty_ledger() {
    let home = Home::new();
    let config = Config { snapshot_after_entries: 50, entries_kept: 10, ..config(1) };
    let node = start_single(config.clone(), &home).await;
    // Entries are purged by a few hundred.
    while node.consensus.status().snapshot < Some(600) {
        node.propose(found()).await.unwrap();
    }
    node.stop().await;
    std::fs::remove_dir_all(home.of(1).join("snapshots")).unwrap();
    let by = Use { node: NodeId(1), incarnation: Incarnation([1; 16]), was_moved: false };
    let directory = DataDirectory::open(&home.of(1), by).unwrap();
    let started = Consensus::start(config, &directory, Clock::Steady, connect_plaintext()).await;
    let error = started.unwrap_err();
    assert!(matches!(error, StartError::SnapshotMissing { newest: None, .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn seconds_of_writes_with_snapshots_and_restarts() {
    write_and_restart(Duration::from_secs(10), Duration::from_secs(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "ten minutes long"]
async fn ten_minutes_of_writes_with_snapshots_and_restarts() {
    write_and_restart(Duration::from_secs(600), Duration::from_secs(20)).await;
}

/// Writes as fast as it can, from several tasks, and restarts now and then. Everything that was
/// answered must be there, though most of the log is purged.
async fn write_and_restart(total: Duration, life: Duration) {
    let home = Home::new();
    let config = Config { snapshot_after_entries: 200, entries_kept: 50, ..config(1) };
    let end = Instant::now() + total;
    let mut admitted = 0;
    let node = start_single(config.clone(), &home).await;
    assert_eq!(node.propose(found()).await, Ok(Outcome::Done));
    node.stop().await;
    while Instant::now() < end {
        let node = start_single(config.clone(), &home).await;
        let known = node.consensus.read(|replica| replica.ledger.nodes().count() as u64);
        assert_eq!(known, admitted, "after a restart: {:?}", node.consensus.status());
        admitted = write_for(&node, life, admitted).await;
        node.stop().await;
    }
    assert!(admitted > 1_000, "only {admitted} commands");
    let node = start_single(config, &home).await;
    let status = node.consensus.status();
    assert!(status.snapshot > Some(200), "{status:?}");
    node.stop().await;
}

/// Admits nodes `done + 1` and on, `WRITERS` at a time; gives the last one.
async fn write_for(node: &TestNode, life: Duration, mut done: u64) -> u64 {
    const WRITERS: u64 = 16;
    let end = Instant::now() + life;
    while Instant::now() < end && done < NODES_MAX {
        let round = (done + 1..=done + WRITERS).map(|id| node.propose(admit(id)));
        let outcomes = futures::future::join_all(round).await;
        assert!(outcomes.iter().all(|outcome| *outcome == Ok(Outcome::Done)), "{outcomes:?}");
        done += WRITERS;
    }
    // The rest of the time: commands that change nothing, but fill the log.
    while Instant::now() < end {
        let round = (0..WRITERS).map(|_| node.propose(found()));
        let outcomes = futures::future::join_all(round).await;
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    }
    done
}

/// Keeps the snapshot small: it is written every 200 entries.
const NODES_MAX: u64 = 2_000;
