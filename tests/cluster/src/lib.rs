//! Clusters of real `leasehold serve` processes, and engines that keep their own record of use.
//!
//! ```text
//!  Cluster ── spawns, kills, pauses ──▶ NodeProcess … (one data directory, config and log each)
//!     │                                    ▲ gRPC over TLS
//!     └─ engine_config ─▶ Engines (SDK) ───┘
//!                            └─ Witness ─▶ Record ─▶ assert_clean
//! ```
//!
//! A verdict rests on the [`Record`](leasehold::demo::Record) alone: the intervals in which engines validly used units, on
//! their own clock. What nodes count or say of themselves proves nothing here.

mod access;
pub mod chaos;
mod cluster;
mod command;
mod disk;
mod engines;
mod http;
mod layout;
mod namespaces;
mod operator;
mod process;
mod shape;
mod verdict;
mod wait;
mod wires;

pub use cluster::Cluster;
pub use command::run;
pub use disk::Disk;
pub use engines::{Denials, Engines, Habits, Waits};
pub use http::{get, metric};
pub use layout::{Layout, Ports};
pub use operator::vendor;
pub use process::{NodeProcess, Refusal, exit, program, program_command, refuse};
pub use shape::{Shape, Wires};
pub use verdict::{assert_clean, assert_none_lost, assert_not_over_issued};
pub use wait::{outlive, pass, until, until_begun, until_running};
