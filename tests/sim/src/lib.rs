//! A deterministic simulator over the real machines of `core`: ledger, desks and stewards of a
//! whole cluster, with its engines, in one thread and in true time that only the simulator knows.
//!
//! A seed says everything: cluster, clocks, network and faults. Equal seeds give equal runs.
//!
//! | file | what |
//! |---|---|
//! | `plan`, `fault` | what a seed stands for |
//! | `world`, `event` | the loop and its queue |
//! | `clock` | true time, and the clocks that machines read |
//! | `network`, `raft` | messages; an abstract replicated log |
//! | `process`, `leader`, `wake` | a node: desk, replica and steward |
//! | `engine`, `answers` | an honest engine |
//! | `harm`, `probe` | faults as they happen; what must be there after the last one |
//! | `members`, `market` | who belongs to the cluster; entitlements |
//! | `checks`, `lease_checks` | what must hold |
//! | `excuse`, `health` | what may excuse a failed renewal |
//! | `tally`, `known` | how often what happened, and what can |
//! | `mutation`, `forgery` | rules removed, to see that the simulator notices |
//! | `runner`, `results`, `bugs` | many seeds on all cores, and what they have shown |
//!
//! **Not simulated:** Raft itself (its guarantees are assumed), disks, wire formats, and the SDK
//! (engines here follow the same rules, in their own code).

mod answers;
mod bugs;
mod checks;
mod clock;
mod dice;
mod engine;
mod event;
mod excuse;
mod fault;
mod forgery;
mod harm;
mod health;
mod known;
mod leader;
mod lease_checks;
mod market;
mod members;
mod mutation;
mod network;
mod plan;
mod probe;
mod process;
mod raft;
pub mod results;
mod runner;
mod tally;
mod wake;
mod world;

pub use known::{missing, unknown};
pub use mutation::Mutation;
pub use runner::{Report, SEEDS_MAX, Summary, hunt, run, run_many, run_traced};
pub use tally::Tally;
