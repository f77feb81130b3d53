//! openraft's own tests of a log store and a state machine, over ours.

use std::sync::Arc;

use leasehold_clock::Clock;
use leasehold_core::id::{Incarnation, NodeId};
use leasehold_storage::{DataDirectory, Use};
use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;
use tokio_util::task::TaskTracker;

use crate::log::LogAdapter;
use crate::machine::{Machine, MachineAdapter};
use crate::types::TypeConfig;

struct Builder;

impl StoreBuilder<TypeConfig, LogAdapter, MachineAdapter, TempDir> for Builder {
    async fn build(
        &self,
    ) -> Result<(TempDir, LogAdapter, MachineAdapter), StorageError<TypeConfig>> {
        let home = tempfile::tempdir().unwrap();
        let by = Use { node: NodeId(1), incarnation: Incarnation([1; 16]), was_moved: false };
        let directory = DataDirectory::open(home.path(), by).unwrap();
        let (log, snapshots) = (directory.open_log().unwrap(), directory.open_snapshots().unwrap());
        let open = TaskTracker::new();
        let machine = Arc::new(Machine::new(Clock::Steady));
        let adapter = MachineAdapter::new(machine, snapshots, log.clone(), open.token());
        Ok((home, LogAdapter::new(log, open.token()), adapter))
    }
}

#[test]
fn the_stores_pass_openrafts_own_tests() {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(Suite::test_all(Builder))
        .unwrap();
}
