//! One node, killed under its engines.

use std::time::Duration;

use leasehold_clock::Clock;
use leasehold_cluster_tests::{Cluster, Engines, Habits, Shape, assert_clean, until};

const CALLS: usize = 100;
const ENTITLED: [(&str, u64); 2] = [("asr.tier1", 200), ("tts.chris", 200)];
const CALL: &[(&str, u64)] = &[("asr.tier1", 1), ("tts.chris", 1)];

#[tokio::test(flavor = "multi_thread")]
async fn engines_keep_every_running_call_through_kill_9_and_a_restart_of_their_node() {
    let shape = Shape::quick();
    let mut cluster = Cluster::start(shape, 1, &ENTITLED).await;
    let config = cluster.engine_config(&[1], "");
    let mut engines = Engines::new();
    let long = Habits { features: CALL, calls: 4, call_ms: (600_000, 600_000), wait_ms: 0 };
    engines.add(CALLS / long.calls, &config, long);
    let short = Habits { calls: 2, call_ms: (100, 1_500), ..long };
    engines.add(5, &config, short);
    let record = engines.record().clone();
    let running = |at_ms| record.running(at_ms);
    until("all long calls run", Duration::from_secs(10), async || {
        (running(Clock::Steady.now()) >= CALLS).then_some(())
    })
    .await;

    cluster.kill_9(1);
    let killed_ms = Clock::Steady.now();
    // An operator's, or a service manager's, time to start it again.
    tokio::time::sleep(Duration::from_secs(3)).await;
    cluster.start_node(1);

    // Once this has passed, no receipt of the process before is good any more.
    let outlived_ms =
        Clock::Steady.now() + shape.timings.end_lease_after_ms() + shape.timings.thaw_after_ms();
    until("calls begin again", Duration::from_secs(10), async || {
        let verdict = record.verdict();
        (verdict.began_between(killed_ms + 3_000, u64::MAX) > 0).then_some(())
    })
    .await;
    until("every lifetime of before has passed", Duration::from_secs(30), async || {
        (Clock::Steady.now() > outlived_ms).then_some(())
    })
    .await;
    assert!(running(Clock::Steady.now()) >= CALLS);
    engines.stop().await;
    assert_clean(&record, &ENTITLED);
}
