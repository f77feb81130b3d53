//! A node that dies with thousands of running calls: each must move before its deadline, and they
//! come all at once.

use std::time::{Duration, Instant};

use leasehold_clock::Clock;
use leasehold_cluster_tests::{
    Cluster, Engines, Habits, Shape, assert_clean, until, until_running,
};
use leasehold_proto::v1::StatusRequest;

const CALLS: usize = 5_000;
const ENTITLED: [(&str, u64); 1] = [("asr.tier1", 6_000)];
const CALL: &[(&str, u64)] = &[("asr.tier1", 1)];
const ENGINES: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_calls_outlive_their_node() {
    let shape = Shape::quick();
    let mut cluster = Cluster::start(shape, 3, &ENTITLED).await;
    let leader = cluster.leader(1).await;
    let dying = if leader == 3 { 2 } else { 3 };
    let alive: Vec<u64> = [1, 2, 3].into_iter().filter(|id| *id != dying).collect();
    let all = [dying, alive[0], alive[1]];
    let at_dying = cluster.engine_config(&all, &format!("site-{dying}"));
    let mut engines = Engines::new();
    let record = engines.record().clone();
    let call_ms = (600_000, 600_000);
    let habits = Habits { features: CALL, calls: CALLS / ENGINES, call_ms, wait_ms: 2_000 };
    engines.add(ENGINES, &at_dying, habits);
    until_running(&record, CALLS, Duration::from_secs(30)).await;

    cluster.kill_9(dying);
    let killed = Instant::now();
    let within = Duration::from_millis(shape.timings.checkout_ttl_ms);
    until("all calls run at other nodes", within, async || {
        let mut moved = 0;
        for node in &alive {
            let status = cluster.admin(*node).await.status(StatusRequest {}).await.ok()?;
            let nodes = status.into_inner().nodes;
            moved += nodes.into_iter().find(|it| it.node_id == *node)?.checkouts.unwrap_or(0);
        }
        (moved == CALLS as u64).then_some(())
    })
    .await;
    println!("{CALLS} calls moved within {:?}", killed.elapsed());
    assert_eq!(record.running(Clock::Steady.now()), CALLS);
    engines.stop().await;
    assert_clean(&record, &ENTITLED);
}
