//! Whole nodes: from data directory to gRPC.

mod single;
mod support;
mod three;
