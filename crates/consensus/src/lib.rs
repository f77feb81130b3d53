//! The replicated log: openraft over our storage, our ledger and gRPC.
//!
//! ```text
//!  propose ─► Raft core ─► LogAdapter ─► storage::LogStore (one sync for many entries)
//!                │  ▲
//!                │  └────── peers: gRPC to and from the other nodes
//!                ▼
//!          MachineAdapter ─► core::ledger::Replica (in memory) + storage::SnapshotStore
//! ```
//!
//! The ledger lives in memory; snapshots and the log bring it back after a start. This crate
//! decides nothing about licenses. It promises:
//!
//! * an outcome is given only for what a majority has on disk and this node has applied;
//! * a node whose log or Raft core has failed says so through [`Consensus::fatal`] and answers
//!   nothing more: the process must end, since a half-dead node harms the others.

mod codec;
mod config;
mod consensus;
mod error;
mod log;
mod machine;
mod membership;
mod peers;
mod proposal;
mod types;
mod watchdog;

#[cfg(test)]
mod conformance;

pub use config::{Config, InvalidConfig};
pub use consensus::{Consensus, Status};
pub use error::{FatalError, InitializeError, ProposeError, StartError, Uncertain};
pub use peers::{
    Admitted, Certified, Connect, FORMAT, PeerCertificate, RaftService, connect_plaintext,
};
pub use types::Peer;
pub use watchdog::Leadership;
