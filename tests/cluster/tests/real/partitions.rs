//! Nodes that don't hear each other, and engines that don't hear their node.

use std::time::Duration;

use leasehold_client::{CheckoutError, Reason};
use leasehold_clock::Clock;
use leasehold_cluster_tests::{Cluster, Engines, Habits, Shape, Wires, assert_clean, until};

const UNITS: u64 = 30;
const ENTITLED: [(&str, u64); 3] = [("asr.tier1", UNITS), ("tts.chris", 5), ("cpa", 1_000)];
const CALL: &[(&str, u64)] = &[("asr.tier1", 1)];
const FOREVER: Habits =
    Habits { features: CALL, calls: 1, call_ms: (600_000, 600_000), wait_ms: 0 };
const CALLS: usize = 10;
/// The engines that can be cut off.
const PARTY: u64 = 1_000;
/// Promised for each leader that is lost.
const DRAW_WITHIN: Duration = Duration::from_secs(6);

fn quick() -> Shape {
    Shape { wires: Wires::Mesh, ..Shape::quick() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_peers_lends_no_longer_than_its_lease_and_its_calls_go_on_elsewhere() {
    let shape = quick();
    let mut cluster = Cluster::start(shape, 3, &ENTITLED).await;
    let (leader, alone, other) = roles(&mut cluster).await;
    let mut engines = Engines::new();
    let config = cluster.engine_config(&[alone, leader, other], &format!("site-{alone}"));
    engines.add(CALLS, &config, FOREVER);
    until_running(&engines, CALLS).await;
    let loyal = engines.client(&cluster.engine_config(&[alone], ""));
    let warm = loyal.checkout(&[("tts.chris", 1)]).await.expect("a unit");
    warm.checkin().await.expect("an acknowledgement");

    cluster.part(alone, leader);
    cluster.part(alone, other);
    let guard = loyal.checkout(&[("tts.chris", 1)]).await.expect("it lends on for a while");
    guard.checkin().await.expect("an acknowledgement");
    until("it lends nothing any more", Duration::from_secs(10), async || {
        match loyal.checkout(&[("tts.chris", 1)]).await {
            Err(CheckoutError::Denied(denial)) if denial.reason == Reason::CutOff => Some(()),
            Err(_) | Ok(_) => None,
        }
    })
    .await;
    // While engines reach it still, the others lend all units, those of its calls to these calls.
    let elsewhere = cluster.engine_config(&[leader, other], "");
    engines.add(20, &elsewhere, Habits { calls: 2, wait_ms: 1_000, ..FOREVER });
    let all = usize::try_from(UNITS).unwrap();
    until("all units are in use", thawed(&shape), async || {
        (engines.record().running(Clock::Steady.now()) == all).then_some(())
    })
    .await;

    cluster.heal();
    cluster.wait_until_ready(alone).await;
    let guard = loyal.checkout(&[("tts.chris", 1)]).await.expect("it lends again");
    guard.checkin().await.expect("an acknowledgement");
    engines.stop().await;
    assert_clean(engines.record(), &ENTITLED);
}

#[tokio::test(flavor = "multi_thread")]
async fn engines_that_are_cut_off_from_their_node_take_their_units_to_another() {
    let shape = quick();
    // As many units as calls: none is free that a call could be given instead of its own.
    let entitled = [("asr.tier1", CALLS as u64)];
    let mut cluster = Cluster::start(shape, 3, &entitled).await;
    let (leader, left, other) = roles(&mut cluster).await;
    let mut engines = Engines::new();
    let known = [left, other, leader];
    let config = cluster.engine_config_of(PARTY, &known, &format!("site-{left}")).await;
    engines.add(CALLS, &config, FOREVER);
    until_running(&engines, CALLS).await;
    for one_way in [false, true] {
        until("the calls' units are at their node", Duration::from_secs(20), async || {
            (cluster.units_lent(leader, left).await == CALLS as u64).then_some(())
        })
        .await;
        cluster.cut(left, PARTY);
        if !one_way {
            cluster.cut(PARTY, left);
        }
        outlive(&shape).await;
        assert_eq!(engines.record().running(Clock::Steady.now()), CALLS);
        assert_eq!(cluster.units_lent(leader, left).await, 0, "the calls have left");
        cluster.heal();
        if !one_way {
            // New calls of the same engines begin at home.
            engines = engines_anew(engines, &config).await;
        }
    }
    engines.stop().await;
    assert_clean(engines.record(), &entitled);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_cut_off_with_a_minority_gives_way_to_the_majority() {
    let shape = quick();
    let mut cluster = Cluster::start(shape, 5, &ENTITLED).await;
    let (leader, with_it, other) = roles(&mut cluster).await;
    let majority: Vec<u64> = (1..=5).filter(|id| *id != leader && *id != with_it).collect();
    let mut engines = Engines::new();
    for id in 1..=5 {
        let config = cluster.engine_config(&[1, 2, 3, 4, 5], &format!("site-{id}"));
        engines.add(2, &config, FOREVER);
    }
    until_running(&engines, CALLS).await;
    for minority in [leader, with_it] {
        for id in &majority {
            cluster.part(minority, *id);
        }
    }
    let drawn = cluster.draw(other, "cpa", 100).await;
    assert!(drawn <= DRAW_WITHIN, "the first draw took {drawn:?}");
    let minority = engines.client(&cluster.engine_config(&[leader, with_it], ""));
    until("the minority lends nothing", thawed(&shape), async || {
        match minority.checkout(&[("cpa", 500)]).await {
            Err(CheckoutError::Denied(denial)) if denial.reason == Reason::CutOff => Some(()),
            Err(_) | Ok(_) => None,
        }
    })
    .await;
    outlive(&shape).await;
    assert_eq!(engines.record().running(Clock::Steady.now()), CALLS);
    cluster.heal();
    for id in 1..=5 {
        cluster.wait_until_ready(id).await;
        cluster.draw(id, "cpa", 100).await;
    }
    engines.stop().await;
    assert_clean(engines.record(), &ENTITLED);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_way_partitions_depose_a_leader_that_is_not_heard_and_no_other() {
    let shape = quick();
    let mut cluster = Cluster::start(shape, 3, &ENTITLED).await;
    let mut engines = Engines::new();
    for id in 1..=3 {
        let config = cluster.engine_config(&[1, 2, 3], &format!("site-{id}"));
        engines.add(3, &config, FOREVER);
    }
    until_running(&engines, 9).await;
    // A follower that hears nothing, or is not heard, disturbs nobody.
    let (leader, follower, other) = roles(&mut cluster).await;
    let term = cluster.status(leader).await.term;
    for (from, to) in [(leader, follower), (follower, leader)] {
        cluster.cut(from, to);
        outlive(&shape).await;
        let status = cluster.status(other).await;
        assert_eq!((status.term, status.leader), (term, Some(leader)), "{from} to {to}");
        cluster.heal();
        cluster.wait_until_ready(follower).await;
    }
    // A leader that is not heard, or that hears nothing, is replaced.
    for hears in [true, false] {
        let (leader, one, other) = roles(&mut cluster).await;
        for id in [one, other] {
            let (from, to) = if hears { (leader, id) } else { (id, leader) };
            cluster.cut(from, to);
        }
        let units = if hears { 100 } else { 300 };
        let drawn = cluster.draw(one, "cpa", units).await;
        assert!(drawn <= 2 * DRAW_WITHIN, "hears: {hears}; the first draw took {drawn:?}");
        outlive(&shape).await;
        cluster.heal();
        for id in 1..=3 {
            cluster.wait_until_ready(id).await;
        }
    }
    engines.stop().await;
    assert_clean(engines.record(), &ENTITLED);
}

/// The leader and two others.
async fn roles(cluster: &mut Cluster) -> (u64, u64, u64) {
    let leader = cluster.leader(1).await;
    let others: Vec<u64> = [1, 2, 3].into_iter().filter(|id| *id != leader).collect();
    (leader, others[0], others[1])
}

async fn until_running(engines: &Engines, calls: usize) {
    until(&format!("{calls} calls run"), Duration::from_secs(10), async || {
        (engines.record().running(Clock::Steady.now()) >= calls).then_some(())
    })
    .await;
}

/// The same calls once more, begun when the ones before have ended.
async fn engines_anew(mut before: Engines, config: &leasehold_client::ClientConfig) -> Engines {
    before.stop().await;
    let mut engines = before.successors();
    engines.add(CALLS, config, FOREVER);
    until_running(&engines, CALLS).await;
    engines
}

/// Waits until every promise of before has ended.
async fn outlive(shape: &Shape) {
    let end_ms = Clock::Steady.now() + shape.timings.checkout_ttl_ms;
    until("a whole lifetime has passed", Duration::from_secs(20), async || {
        (Clock::Steady.now() > end_ms).then_some(())
    })
    .await;
}

/// Within this, the units of a node that is lost can be lent again.
fn thawed(shape: &Shape) -> Duration {
    Duration::from_millis(shape.timings.lease_ms + shape.timings.checkout_ttl_ms + 2_000)
}
