//! Sites far from each other: no election, local checkouts, and draws that cost a few round trips.
//!
//! `LEASEHOLD_WAN_SECONDS=600 cargo test -p leasehold-cluster-tests wan -- --include-ignored` makes it
//! ten minutes for each distance.

use std::time::Duration;

use leasehold_cluster_tests::{
    Cluster, Engines, Habits, Shape, Waits, Wires, assert_clean, pass, until_begun,
};

const NODES: [u64; 3] = [1, 2, 3];
const ENTITLED: [(&str, u64); 2] = [("asr.tier1", 300), ("tts.chris", 300)];
const CALL: &[(&str, u64)] = &[("asr.tier1", 1), ("tts.chris", 1)];
/// Without distance, to compare with.
const NEAR: Duration = Duration::from_secs(6);
/// Under load, far apart, in a run of all tests.
const FAR_SECONDS: u64 = 14;
/// Features that nobody has asked for yet: no desk has a unit of them.
const COLD_NEAR: [&str; 3] = ["cold.near.1", "cold.near.2", "cold.near.3"];
const COLD_FAR: [&str; 9] =
    ["cold.1", "cold.2", "cold.3", "cold.4", "cold.5", "cold.6", "cold.7", "cold.8", "cold.9"];
const COLD_UNITS: u64 = 100;
/// Until a desk has filled up the headroom for the draw before: it has one operation at a time.
const BETWEEN_DRAWS: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "shows nothing that 80 ms do not: cargo test -p leasehold-cluster-tests wan -- --ignored"]
async fn sites_20_ms_apart_elect_nobody_and_lend_locally() {
    lend_over(Duration::from_millis(20)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sites_80_ms_apart_elect_nobody_and_lend_locally() {
    lend_over(Duration::from_millis(80)).await;
}

async fn lend_over(round_trip: Duration) {
    let shape = Shape { wires: Wires::Mesh, ..Shape::standard() };
    let cold = COLD_NEAR.iter().chain(&COLD_FAR).map(|feature| (*feature, COLD_UNITS));
    let features: Vec<(&str, u64)> = ENTITLED.into_iter().chain(cold).collect();
    let mut cluster = Cluster::start(shape, 3, &features).await;
    let leader = cluster.leader(1).await;
    let follower = if leader == 1 { 2 } else { 1 };
    let mut engines = under_load(&mut cluster);
    until_begun(engines.record(), 100, Duration::from_secs(20)).await;
    let drawn_near = draws(&mut cluster, follower, &COLD_NEAR).await;
    let _settling = engines.waits().take_sorted();
    pass(NEAR).await;
    let p99_near = p99(engines.waits());

    for (one, other) in [(1, 2), (1, 3), (2, 3)] {
        cluster.mesh().set_round_trip(one, other, round_trip);
    }
    let term = cluster.status(follower).await.term;
    let drawn_far = draws(&mut cluster, follower, &COLD_FAR).await;
    let _settling = engines.waits().take_sorted();
    pass(Duration::from_secs(far_seconds())).await;
    let p99_far = p99(engines.waits());
    println!(
        "{round_trip:?} apart: draws {drawn_far:.1?} (near {drawn_near:.1?}), p99 of a checkout \
         {p99_far:.1?} (near {p99_near:.1?})"
    );
    for id in NODES {
        let status = cluster.status(id).await;
        assert_eq!((status.term, status.leader), (term, Some(leader)), "an election");
    }
    assert!(drawn_far[0] >= round_trip, "a draw in {:?} has asked nobody", drawn_far[0]);
    let on_the_way = median(&drawn_far).saturating_sub(median(&drawn_near));
    assert!(on_the_way <= 3 * round_trip, "{on_the_way:?} more than near");
    // One that asks another site takes a whole round trip, so at most one of a hundred does.
    assert!(p99_far < p99_near + round_trip / 2, "p99 {p99_far:?}, near {p99_near:?}");
    engines.stop().await;
    assert_clean(engines.record(), &ENTITLED);
}

fn under_load(cluster: &mut Cluster) -> Engines {
    let mut engines = Engines::new();
    for id in NODES {
        let config = cluster.engine_config(&NODES, &format!("site-{id}"));
        let long = Habits { features: CALL, calls: 4, call_ms: (600_000, 900_000), wait_ms: 0 };
        engines.add(5, &config, long);
        let short = Habits { calls: 1, call_ms: (200, 2_000), ..long };
        engines.add(15, &config, short);
    }
    engines
}

/// How long a draw takes, the shortest first.
async fn draws(cluster: &mut Cluster, id: u64, features: &[&str]) -> Vec<Duration> {
    let mut took = Vec::new();
    for feature in features {
        pass(BETWEEN_DRAWS).await;
        took.push(cluster.draw(id, feature, COLD_UNITS).await);
    }
    took.sort_unstable();
    took
}

fn median(sorted: &[Duration]) -> Duration {
    sorted[sorted.len() / 2]
}

fn p99(waits: &Waits) -> Duration {
    let sorted = waits.take_sorted();
    assert!(sorted.len() >= 100, "only {} checkouts", sorted.len());
    sorted[sorted.len() * 99 / 100]
}

fn far_seconds() -> u64 {
    let wanted = std::env::var("LEASEHOLD_WAN_SECONDS").ok();
    wanted.map_or(FAR_SECONDS, |wanted| wanted.parse().expect("LEASEHOLD_WAN_SECONDS in seconds"))
}
