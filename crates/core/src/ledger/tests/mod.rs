//! Tests of the ledger: every refusal and every outcome by table, and random commands against a
//! naive model.

pub(crate) mod fixture;
mod model;
mod outcomes;
mod refusals;
