//! Nodes that don't hear each other, and engines that don't hear their node.

use std::time::Duration;

use leasehold_client::{CheckoutError, Client, Reason};
use leasehold_clock::Clock;
use leasehold_cluster_tests::{
    Cluster, Engines, Habits, Shape, Wires, assert_clean, outlive, until, until_running,
};

const UNITS: u64 = 30;
const ENTITLED: [(&str, u64); 3] = [("asr.tier1", UNITS), ("tts.chris", 5), ("cpa", 1_000)];
const CALL: &[(&str, u64)] = &[("asr.tier1", 1)];
const FOREVER: Habits =
    Habits { features: CALL, calls: 1, call_ms: (600_000, 600_000), wait_ms: 0 };
const CALLS: usize = 10;
/// The engines that can be cut off.
const PARTY: u64 = 1_000;
/// Until calls run that may.
const SOON: Duration = Duration::from_secs(10);
/// What a busy machine adds to a limit.
const BUSY: Duration = Duration::from_secs(1);
/// What the promise of 6 s for a draw leaves for it after the longest election at usual timings.
const ONE_DRAW: Duration = Duration::from_secs(2);

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
    until_running(engines.record(), CALLS, SOON).await;
    let loyal = engines.client(&cluster.engine_config(&[alone], ""));
    lend(&loyal, "tts.chris").await;

    cluster.part(alone, leader);
    cluster.part(alone, other);
    // For a while it lends on.
    lend(&loyal, "tts.chris").await;
    until_cut_off(&loyal, "tts.chris", &shape).await;
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
    lend(&loyal, "tts.chris").await;
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
    until_running(engines.record(), CALLS, SOON).await;
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
    until_running(engines.record(), CALLS, SOON).await;
    // Both of the minority have units of this at hand, which they may lend while their leases last.
    let minority = [leader, with_it].map(|id| engines.client(&cluster.engine_config(&[id], "")));
    for client in &minority {
        lend(client, "tts.chris").await;
    }

    for cut_off in [leader, with_it] {
        for id in &majority {
            cluster.part(cut_off, *id);
        }
    }
    for client in &minority {
        lend(client, "tts.chris").await;
    }
    let drawn = cluster.draw(other, "cpa", 100).await;
    assert!(drawn <= an_election(&shape) + ONE_DRAW, "the first draw took {drawn:?}");
    for client in &minority {
        until_cut_off(client, "tts.chris", &shape).await;
    }
    outlive(&shape).await;
    for client in &minority {
        assert!(is_cut_off(client, "tts.chris").await, "a lifetime later it lends again");
    }
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
async fn a_leader_that_is_not_heard_or_hears_nobody_is_replaced_and_a_follower_disturbs_nobody() {
    let shape = quick();
    let mut cluster = Cluster::start(shape, 3, &ENTITLED).await;
    let mut engines = Engines::new();
    for id in 1..=3 {
        let config = cluster.engine_config(&[1, 2, 3], &format!("site-{id}"));
        engines.add(3, &config, FOREVER);
    }
    until_running(engines.record(), 9, SOON).await;
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
        let elected = if hears { an_election(&shape) } else { an_election_past_silence(&shape) };
        assert!(drawn <= elected + ONE_DRAW, "hears: {hears}; the first draw took {drawn:?}");
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

/// Lends one unit, and takes it back.
async fn lend(client: &Client, feature: &str) {
    let guard = client.checkout(&[(feature, 1)]).await.expect("a unit");
    guard.checkin().await.expect("an acknowledgement");
}

/// Whether a node lends not even one unit, for it has no lease any more.
async fn is_cut_off(client: &Client, feature: &str) -> bool {
    match client.checkout(&[(feature, 1)]).await {
        Err(CheckoutError::Denied(denial)) => denial.reason == Reason::CutOff,
        Err(_) | Ok(_) => false,
    }
}

/// Waits until a node that hears nobody lends nothing any more: its lease is the limit.
async fn until_cut_off(client: &Client, feature: &str, shape: &Shape) {
    let lease = Duration::from_millis(shape.timings.lease_ms);
    until("it lends nothing any more", lease + BUSY, async || {
        is_cut_off(client, feature).await.then_some(())
    })
    .await;
}

/// The longest that the design reckons with: a leader is missed, and the vote is repeated once.
fn an_election(shape: &Shape) -> Duration {
    Duration::from_millis(4 * shape.timings.election_max_ms)
}

/// A leader that hears nobody is trusted for the longest wait before a vote. It is silent for two
/// of these, is heard for two, and is silent again: by then, at the latest, another is elected.
fn an_election_past_silence(shape: &Shape) -> Duration {
    Duration::from_millis((1 + 2 + 2 + 2) * shape.timings.election_max_ms)
}

/// The same calls once more, begun when the ones before have ended.
async fn engines_anew(mut before: Engines, config: &leasehold_client::ClientConfig) -> Engines {
    before.stop().await;
    let mut engines = before.successors();
    engines.add(CALLS, config, FOREVER);
    until_running(engines.record(), CALLS, SOON).await;
    engines
}

/// Within this, the units of a node that is lost can be lent again.
fn thawed(shape: &Shape) -> Duration {
    Duration::from_millis(shape.timings.lease_ms + shape.timings.checkout_ttl_ms + 2_000)
}
