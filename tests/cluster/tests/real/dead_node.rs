//! A node that is killed and never comes back: what it did not use moves at once, what it used
//! follows its engines, and in the end nothing is missing.

use std::time::{Duration, Instant};

use leasehold_clock::Clock;
use leasehold_cluster_tests::{
    Cluster, Engines, Habits, Shape, assert_clean, until, until_running,
};

const UNITS: u64 = 100;
const ENTITLED: [(&str, u64); 1] = [("asr.tier1", UNITS)];
const CALL: &[(&str, u64)] = &[("asr.tier1", 1)];
/// In use at the node that dies.
const USED: usize = 20;
/// What must be free elsewhere at once; the rest of 100 is what the dead node had in reserve.
const AT_ONCE: usize = 70;

/// Arrivals of this long count for what a desk keeps at hand.
const HEADROOM_MS: u64 = 6_000;

#[tokio::test(flavor = "multi_thread")]
async fn the_units_of_a_dead_node_are_lent_again_and_its_calls_live_on() {
    let shape = Shape::quick();
    let mut cluster = Cluster::start(shape, 3, &ENTITLED).await;
    let leader = cluster.leader(1).await;
    let dying = if leader == 3 { 2 } else { 3 };
    let alive: Vec<u64> = [1, 2, 3].into_iter().filter(|id| *id != dying).collect();
    let mut engines = Engines::new();
    let record = engines.record().clone();

    let all = [dying, alive[0], alive[1]];
    let at_dying = cluster.engine_config(&all, &format!("site-{dying}"));
    let forever = Habits { features: CALL, calls: 1, call_ms: (600_000, 600_000), wait_ms: 0 };
    engines.add(USED, &at_dying, forever);
    until_running(&record, USED, Duration::from_secs(10)).await;
    // A desk keeps units for as many calls as have just begun. None begins any more.
    let settled_ms = Clock::Steady.now() + HEADROOM_MS;
    until("the node holds little beyond what it uses", Duration::from_secs(20), async || {
        let is_little = cluster.units_lent(alive[0], dying).await <= UNITS - AT_ONCE as u64;
        (Clock::Steady.now() > settled_ms && is_little).then_some(())
    })
    .await;

    cluster.kill_9(dying);
    let killed = Instant::now();
    let elsewhere = cluster.engine_config(&alive, "");
    // The units that are free at the two others, or in the reserve: as many as wanted, at once.
    let wanted = Habits { calls: 4, wait_ms: 1_000, ..forever };
    engines.add(20, &elsewhere, wanted);
    until_running(&record, USED + AT_ONCE, Duration::from_secs(3)).await;
    let at_once = killed.elapsed();

    let timings = shape.timings;
    let deadline = Duration::from_millis(timings.lease_ms + timings.checkout_ttl_ms + 2_000);
    let left = deadline.saturating_sub(killed.elapsed());
    until_running(&record, usize::try_from(UNITS).unwrap(), left).await;
    println!("70 units after {at_once:?}, all after {:?}", killed.elapsed());
    engines.stop().await;
    assert_clean(&record, &ENTITLED);
}
