//! An exhaustive model of the lease protocol: beat, freeze, thaw, reclaim, hand-over and cover, with
//! two nodes, two engines, a leader that changes, nodes that die, return and are cut off.
//!
//! The checker (stateright) visits every state within [`Bounds`]. The ledger, the notes that nodes
//! take and the steward's decisions are the real code of `core`; desks and engines are drawn anew,
//! as small as their rules allow. What happens is bounded, how long it takes is not: ages stop
//! growing when they make no difference any more.
//!
//! | file | what |
//! |---|---|
//! | `clocks` | ticks, and why no clock has to be modelled |
//! | `state` | what a moment consists of |
//! | `protocol` | the steps that there are, and the first state |
//! | `desk`, `log`, `faults` | what the steps do |
//! | `properties` | what must hold |
//! | `bounds` | how much may happen |
//! | `mutation` | rules removed, to see that the checker notices |
//! | `transition` | how often what occurred |
//! | `runner` | all checks, and their results |

mod bounds;
mod clocks;
mod desk;
mod faults;
mod log;
mod mutation;
mod properties;
mod protocol;
pub mod runner;
mod state;
mod transition;

pub use bounds::{Bounds, Budget};
pub use mutation::Mutation;
pub use protocol::{LeaseModel, Step};
