//! Real processes: nodes that are killed, paused and misconfigured, and engines that judge them.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // Helpers of tests; clippy exempts only the tests themselves.

mod bad_config;
mod bad_directory;
mod bad_entitlement;
mod bad_request;
mod chaos;
mod connections;
mod dead_node;
mod identity;
mod many_calls;
mod members;
mod one_node;
mod other_tools;
mod partitions;
mod paused_node;
mod pool;
mod prometheus;
mod renewed_certificates;
mod strangers;
mod three_nodes;
mod wan;
