//! What a node keeps on disk: the stamp of its data directory, the Raft log, and snapshots.
//!
//! ```text
//! <data directory>/lock           held by the running process
//!                  stamp          format, whose the directory is, and where its node stands
//!                  process        which process used the directory last
//!                  log/           RocksDB: log entries, vote, committed (one write-ahead log)
//!                  durable-tail   how far the log is known to be on disk
//!                  durable-mark   the same, newer: written with each sync, never synced itself
//!                  snapshots/     whole files, the newest two
//! ```
//!
//! This crate stores bytes: it knows neither Raft nor the ledger. Its promises:
//!
//! * what was acknowledged as durable is there after a crash, or the start is refused;
//! * writes reach the disk in the order in which they were made, votes and entries alike;
//! * damage is never read as data: entries, meta values and snapshots carry a checksum;
//! * after the first failed write or sync nothing more is acknowledged. The kernel may have
//!   dropped the pages that it could not write, so a later sync that succeeds proves nothing.

mod directory;
mod error;
mod files;
mod lock;
mod log;
mod snapshots;
mod stamp;
mod succession;

pub use directory::{DataDirectory, Use};
pub use error::{OpenError, StorageError};
pub use log::{Entry, LogStore, OnDurable, Purged};
pub use snapshots::{Snapshot, SnapshotStore};
pub use stamp::Standing;
