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
//! | `checks`, `tally` | what must hold; how often what happened |
//! | `mutation` | rules removed, to see that the simulator notices |
//! | `market` | entitlements |
//! | `runner` | many seeds on all cores |
//!
//! **Not simulated:** Raft itself (its guarantees are assumed), disks, wire formats, and the SDK
//! (engines here follow the same rules, in their own code).

mod answers;
mod checks;
mod clock;
mod dice;
mod engine;
mod event;
mod excuse;
mod fault;
mod harm;
mod health;
mod leader;
mod market;
mod mutation;
mod network;
mod plan;
mod probe;
mod process;
mod raft;
pub mod runner;
mod tally;
mod wake;
mod world;

pub use mutation::Mutation;
pub use runner::{Report, Summary, run, run_many, run_mutated, run_traced};
pub use tally::Tally;
