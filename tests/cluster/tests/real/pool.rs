//! A few units and many who want them.

use std::time::Duration;

use leasehold_client::Reason;
use leasehold_clock::Clock;
use leasehold_cluster_tests::{Cluster, Engines, Habits, Shape, assert_clean, until};

const UNITS: u64 = 10;
const ENTITLED: [(&str, u64); 1] = [("asr.tier4", UNITS)];
const CALL: &[(&str, u64)] = &[("asr.tier4", 1)];
/// Long enough for hundreds of calls.
const CONTENTION_MS: u64 = 8_000;

#[tokio::test(flavor = "multi_thread")]
async fn ten_units_for_fifty_engines_are_never_over_issued_and_never_idle_for_a_second() {
    let mut cluster = Cluster::start(Shape::standard(), 1, &ENTITLED).await;
    contend(&mut cluster, &[1], 1_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_units_for_fifty_engines_at_three_nodes_are_never_idle_for_two_seconds() {
    let mut cluster = Cluster::start(Shape::standard(), 3, &ENTITLED).await;
    contend(&mut cluster, &[1, 2, 3], 2_000).await;
}

/// Half of the engines wait for a unit, the others want an answer at once.
async fn contend(cluster: &mut Cluster, nodes: &[u64], idle_ms_most: u64) {
    let mut engines = Engines::new();
    for number in 0..50 {
        let node = nodes[number % nodes.len()];
        let config = cluster.engine_config(nodes, &format!("site-{node}"));
        let wait_ms = if number % 2 == 0 { 0 } else { 2_000 };
        engines.add(1, &config, Habits { features: CALL, calls: 1, call_ms: (200, 600), wait_ms });
    }
    let record = engines.record().clone();
    let began_ms = until("all units are in use", Duration::from_secs(10), async || {
        let now = Clock::Steady.now();
        (record.verdict().most_in_use("asr.tier4") == UNITS).then_some(now)
    })
    .await;
    let end_ms = began_ms + CONTENTION_MS;
    until("they have contended for a while", Duration::from_secs(30), async || {
        (Clock::Steady.now() >= end_ms).then_some(())
    })
    .await;
    engines.stop().await;

    let verdict = record.verdict();
    assert_clean(&record, &ENTITLED);
    let calls = verdict.began_between(began_ms, end_ms);
    assert!(calls > 50, "only {calls} calls in {CONTENTION_MS} ms");
    let idle_ms = verdict.longest_below("asr.tier4", UNITS, began_ms, end_ms);
    assert!(idle_ms <= idle_ms_most, "a unit was idle for {idle_ms} ms");
    let denied = engines.denials().denied();
    assert!(denied.len() > 50, "only {} denials", denied.len());
    for denial in denied {
        assert_eq!(denial.reason, Reason::Exhausted, "{denial}");
        assert_eq!(denial.units_entitled, UNITS, "{denial}");
        assert!((1..=UNITS).contains(&denial.units_in_use), "{denial}");
    }
}
