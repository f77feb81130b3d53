//! The machines that decide, without I/O: they take events, time included, and return effects.
//!
//! | module | plain term |
//! |---|---|
//! | [`ledger`] | the replicated record of who may lend what: `apply(command) -> outcome` |
//! | [`desk`] | the local lender: checkouts, renewals, check-ins out of one node's allotments |
//! | [`steward`] | the allocator at the leader: whom to lend how much, freeze and thaw |
//! | [`receipt`] | the proof an engine holds |
//! | [`entitlement`] | the vendor-signed document that says what a cluster may lend |
//!
//! Nothing here reads a clock, draws a random number, waits, or knows a wire format. State that
//! is replicated or simulated lives in ordered maps, so that equal inputs give equal outputs.

pub mod desk;
pub mod entitlement;
#[cfg(test)]
mod fuzz;
pub mod id;
pub mod ledger;
pub mod limits;
pub mod receipt;
pub mod steward;
pub mod time;
pub mod units;
