//! Nodes that come and go under load.

use std::time::Duration;

use leasehold_cluster_tests::{
    Cluster, Engines, Habits, Shape, assert_clean, outlive, until_begun,
};

const ENTITLED: [(&str, u64); 3] = [("asr.tier1", 200), ("tts.chris", 200), ("cpa", 1_000)];
const CALL: &[(&str, u64)] = &[("asr.tier1", 1), ("tts.chris", 1)];
const ALL: [u64; 5] = [1, 2, 3, 4, 5];

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
    until_begun(engines.record(), 80, Duration::from_secs(10)).await;

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

    for leads in [false, true] {
        let members = cluster.started();
        let leader = cluster.leader(members[0]).await;
        let removed = *members.iter().find(|id| (**id == leader) == leads).unwrap();
        let via = *members.iter().find(|id| **id != removed).unwrap();
        cluster.remove(removed, via).await;
        cluster.farewell(removed).await;
        cluster.wait_for_voters_at(via, members.len() - 1).await;
        cluster.draw(via, "cpa", 100).await;
    }
    outlive(&shape).await;
    engines.stop().await;
    assert_clean(engines.record(), &ENTITLED);
}
