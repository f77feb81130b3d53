//! Nodes that come and go under load.

use std::time::Duration;

use leasehold_clock::Clock;
use leasehold_cluster_tests::{Cluster, Engines, Habits, Shape, assert_clean, until};

const ENTITLED: [(&str, u64); 3] = [("asr.tier1", 200), ("tts.chris", 200), ("cpa", 1_000)];
const CALL: &[(&str, u64)] = &[("asr.tier1", 1), ("tts.chris", 1)];
const ALL: [u64; 5] = [1, 2, 3, 4, 5];
/// A node that was removed is told so, and ends.
const FAREWELL: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_added_and_removed_under_load_the_leader_too_and_two_of_five_may_die() {
    let shape = Shape::quick();
    let mut cluster = Cluster::start(shape, 3, &ENTITLED).await;
    let mut engines = Engines::new();
    for id in [1, 2, 3] {
        let config = cluster.engine_config(&ALL, &format!("site-{id}"));
        let long = Habits { features: CALL, calls: 4, call_ms: (600_000, 600_000), wait_ms: 0 };
        engines.add(5, &config, long);
        engines.add(10, &config, Habits { calls: 1, call_ms: (200, 2_000), ..long });
    }
    until("the long calls run", Duration::from_secs(10), async || {
        (engines.record().calls() > 80).then_some(())
    })
    .await;

    for (id, via) in [(4, 1), (5, 4)] {
        cluster.start_node(id);
        cluster.join(id, via).await;
        cluster.wait_for_voters(usize::try_from(id).unwrap()).await;
        cluster.wait_until_ready(id).await;
        cluster.draw(id, "cpa", 50).await;
    }

    let leader = cluster.leader(4).await;
    let dying: Vec<u64> = [1, 2, 3].into_iter().filter(|id| *id != leader).take(2).collect();
    dying.iter().for_each(|id| cluster.kill_9(*id));
    let drawn = cluster.draw(5, "cpa", 200).await;
    assert!(drawn < Duration::from_secs(6), "with three of five a draw took {drawn:?}");
    for id in &dying {
        cluster.start_node(*id);
        cluster.wait_until_ready(*id).await;
    }

    let leader = cluster.leader(5).await;
    let follower = dying[0];
    for (removed, left) in [(follower, 4), (leader, 3)] {
        if !cluster.runs(removed) {
            continue;
        }
        cluster.remove(removed, 5).await;
        cluster.wait_for_voters_at(5, left).await;
        let process = cluster.process(removed);
        let ended = process.ended(FAREWELL).await;
        println!("node {removed} ended with {ended}");
        cluster.discard(removed);
        cluster.draw(5, "cpa", 100).await;
    }
    let lapsed_ms = Clock::Steady.now() + shape.timings.checkout_ttl_ms;
    until("a whole lifetime has passed", Duration::from_secs(20), async || {
        (Clock::Steady.now() > lapsed_ms).then_some(())
    })
    .await;
    engines.stop().await;
    assert_clean(engines.record(), &ENTITLED);
}
