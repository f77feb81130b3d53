//! Tests of the desk: every denial by table, its lease, and its dealings with the steward.

mod bench;
mod denials;
mod found;
mod kept;
mod lease;
mod operations;
mod wants;
