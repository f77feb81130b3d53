//! A node that is frozen for longer than its lease, and then goes on as if nothing had happened.

use std::time::Duration;

use leasehold_clock::Clock;
use leasehold_cluster_tests::{
    Cluster, Engines, Habits, Shape, assert_not_over_issued, pass, until,
};

const UNITS: u64 = 10;
const ENTITLED: [(&str, u64); 1] = [("asr.tier1", UNITS)];
const CALL: &[(&str, u64)] = &[("asr.tier1", 1)];

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_wakes_from_a_long_pause_lends_nothing_that_others_lend_now() {
    let shape = Shape::quick();
    let mut cluster = Cluster::start(shape, 3, &ENTITLED).await;
    let leader = cluster.leader(1).await;
    let paused = if leader == 3 { 2 } else { 3 };
    let awake: Vec<u64> = [1, 2, 3].into_iter().filter(|id| *id != paused).collect();
    let mut engines = Engines::new();
    let record = engines.record().clone();

    // These know the paused node only, and ask it for more the very moment it wakes.
    let loyal = cluster.engine_config(&[paused], "");
    let busy = Habits { features: CALL, calls: 2, call_ms: (300, 3_000), wait_ms: 0 };
    engines.add(10, &loyal, busy);
    until("the node lends", Duration::from_secs(10), async || {
        (record.verdict().most_in_use("asr.tier1") >= 5).then_some(())
    })
    .await;
    cluster.process(paused).pause();
    let elsewhere = cluster.engine_config(&awake, "");
    engines.add(10, &elsewhere, Habits { calls: 2, wait_ms: 1_000, ..busy });
    // Its lease has ended by then, and its units have thawed and are lent elsewhere.
    until("the others lend all units", Duration::from_secs(25), async || {
        let running = record.running(Clock::Steady.now());
        (u64::try_from(running).unwrap() == UNITS).then_some(())
    })
    .await;

    cluster.process(paused).resume();
    // It has been awake for a whole lease then.
    pass(Duration::from_millis(shape.timings.end_lease_after_ms())).await;
    assert!(cluster.process(paused).is_running());
    engines.stop().await;
    cluster.wait_until_ready(paused).await;
    let client = engines.client(&loyal);
    let guard = client.checkout(CALL).await.expect("it lends again");
    guard.checkin().await.expect("an acknowledgement");
    // Calls at the paused node itself may be lost: their engines know no other.
    assert_not_over_issued(&record, &ENTITLED);
}
