//! A few units and many who want them.

use std::sync::Arc;
use std::time::Duration;

use leasehold::demo::{Interval, Record};
use leasehold_client::{CheckoutOptions, Client, Reason};
use leasehold_clock::Clock;
use leasehold_cluster_tests::{Cluster, Engines, Habits, Shape, assert_clean, pass, until};
use tokio::sync::watch;
use tokio::task::JoinSet;

const UNITS: u64 = 10;
const ENTITLED: [(&str, u64); 1] = [("asr.tier4", UNITS)];
const CALL: &[(&str, u64)] = &[("asr.tier4", 1)];
/// Long against the way from one node to another.
const IDLE: Duration = Duration::from_millis(10);
/// Long enough for hundreds of calls.
const CONTENTION_MS: u64 = 8_000;
/// Engines of the node that has the last unit are served first, again and again: the others get it
/// once in some seconds, or a quarter of a minute.
const GIVEN_WITHIN: Duration = Duration::from_secs(60);

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

#[tokio::test(flavor = "multi_thread")]
async fn no_node_passes_the_last_unit_on_more_than_four_times_a_second() {
    let mut cluster = Cluster::start(Shape::standard(), 3, &[("asr.tier4", 1)]).await;
    let began_ms = Clock::Steady.now();
    let stop = watch::Sender::new(false);
    // Engines that know one node only, so that who uses the unit tells where it is.
    let (mut records, mut at_work) = (Vec::new(), JoinSet::new());
    for node in [1, 2, 3] {
        let engines = Engines::new();
        let client = engines.client(&cluster.engine_config(&[node], ""));
        at_work.spawn(use_now_and_then(client, stop.subscribe()));
        records.push(engines.record().clone());
    }
    pass(Duration::from_millis(CONTENTION_MS)).await;
    until("engines of another node are given the unit, too", GIVEN_WITHIN, async || {
        (passes(&uses(&records)).iter().sum::<u64>() > 0).then_some(())
    })
    .await;
    stop.send_replace(true);
    while let Some(ended) = at_work.join_next().await {
        ended.expect("an engine does not panic");
    }

    let seconds = (Clock::Steady.now() - began_ms) / 1_000;
    let uses = uses(&records);
    assert!(uses.len() > 50, "only {} calls", uses.len());
    for pair in uses.windows(2) {
        let [(_, earlier), (_, later)] = pair else { continue };
        assert!(earlier.until_ms <= later.from_ms, "in use twice: {earlier:?}, {later:?}");
    }
    let passes = passes(&uses);
    println!("{} calls; passed on by each node {passes:?} times in {seconds} s", uses.len());
    for (node, passes) in passes.into_iter().enumerate() {
        assert!(passes <= 4 * seconds + 1, "node {}: {passes} times", node + 1);
    }
}

/// Short uses, with the unit idle between them, so that another node may be given it.
async fn use_now_and_then(client: Client, stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        let options = CheckoutOptions { wait_ms: 300, build_date: None };
        if let Ok(guard) = client.checkout_with(CALL, options).await {
            // Its check-in is acknowledged: the unit is free from now on.
            let _ = guard.checkin().await;
        }
        tokio::time::sleep(IDLE).await;
    }
}

/// All uses, each with the number of its node, in the order of their beginnings.
fn uses(records: &[Arc<Record>]) -> Vec<(usize, Interval)> {
    let of = |(node, record): (usize, &Arc<Record>)| {
        record.intervals().into_iter().map(move |interval| (node, interval))
    };
    let mut uses: Vec<_> = records.iter().enumerate().flat_map(of).collect();
    uses.sort_by_key(|(_, interval)| interval.from_ms);
    uses
}

/// How often each node was followed by another.
fn passes(uses: &[(usize, Interval)]) -> [u64; 3] {
    let mut passes = [0; 3];
    for pair in uses.windows(2) {
        let [(from, _), (to, _)] = pair else { continue };
        passes[*from] += u64::from(from != to);
    }
    passes
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
    pass(Duration::from_millis(end_ms.saturating_sub(Clock::Steady.now()))).await;
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
