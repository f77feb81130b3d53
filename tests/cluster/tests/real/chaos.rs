//! A few faults of a chaos run, always the same; `make chaos` goes on for half an hour.

use std::time::Duration;

use leasehold_cluster_tests::Wires;
use leasehold_cluster_tests::chaos::{Fault, Plan, run};

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
    let outcome = run(Plan {
        seed: 3,
        time: Duration::from_secs(25),
        faults: among.len(),
        engines: 60,
        wires: Wires::Mesh,
        has_disks: false,
        among,
    })
    .await;
    assert!(outcome.calls > 60, "{outcome:?}");
    assert!(outcome.faults.len() > 2, "{outcome:?}");
    assert_eq!((outcome.lost, outcome.over_issued_units), (0, 0), "{outcome:?}");
}
