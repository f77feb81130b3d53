//! One fault of each of a few kinds, always the same; `make chaos` goes on for half an hour.

use std::time::Duration;

use leasehold_cluster_tests::Wires;
use leasehold_cluster_tests::chaos::{Fault, Plan, Progress, run};

/// On a busy machine; an idle one needs half of it.
const CAP: Duration = Duration::from_secs(120);
const ENGINES: usize = 60;

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_survives_the_faults_of_a_fixed_seed() {
    let among = vec![
        Fault::LeaderKilled,
        Fault::AllNodesKilled,
        Fault::SnapshotFlipped,
        Fault::DiskEmptied,
        Fault::ConnectionsReset,
        Fault::SlowNetwork,
        Fault::NodeAdded,
        Fault::NodeRemoved,
    ];
    let plan = Plan {
        seed: 3,
        time: CAP,
        // What has come least often comes next: each comes once.
        faults: among.len(),
        engines: ENGINES,
        wires: Wires::Mesh,
        has_disks: false,
        among: among.clone(),
    };
    let progress = Progress::default();
    let outcome = tokio::time::timeout(CAP, run(plan, &progress)).await;
    let outcome = outcome.unwrap_or_else(|_| {
        panic!("{} of {} faults within {CAP:?}", progress.faults.get(), among.len())
    });
    for fault in among {
        assert_eq!(outcome.faults.get(&fault), Some(&1), "{fault}: {outcome:?}");
    }
    assert!(outcome.calls > ENGINES, "{outcome:?}");
}
