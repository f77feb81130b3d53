//! Whole nodes: from data directory to gRPC.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is how a test helper fails its test")]

mod members;
mod single;
mod support;
mod three;
