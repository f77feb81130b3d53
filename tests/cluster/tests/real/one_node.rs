//! One node, killed under its engines.

use std::time::Duration;

use leasehold_clock::Clock;
use leasehold_cluster_tests::{
    Cluster, Engines, Habits, Shape, assert_clean, pass, until, until_running,
};

const CALLS: usize = 100;
const ENTITLED: [(&str, u64); 2] = [("asr.tier1", 200), ("tts.chris", 200)];
const CALL: &[(&str, u64)] = &[("asr.tier1", 1), ("tts.chris", 1)];
/// An operator's, or a service manager's, time to start it again.
const AWAY: Duration = Duration::from_secs(3);

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
    until_running(&record, CALLS, Duration::from_secs(10)).await;

    cluster.kill_9(1);
    pass(AWAY).await;
    cluster.start_node(1);
    let back_ms = Clock::Steady.now();

    until("calls begin again", Duration::from_secs(10), async || {
        (record.verdict().began_between(back_ms, u64::MAX) > 0).then_some(())
    })
    .await;
    // After this, no receipt of the process before is good any more.
    let timings = shape.timings;
    pass(Duration::from_millis(timings.end_lease_after_ms() + timings.thaw_after_ms())).await;
    assert!(record.running(Clock::Steady.now()) >= CALLS);
    engines.stop().await;
    assert_clean(&record, &ENTITLED);
}
