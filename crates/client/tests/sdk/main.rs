//! The SDK against nodes that answer by script.
#![allow(clippy::unwrap_used)] // clippy.toml allows it in tests, but not in their support.

mod calls;
mod support;
mod tls;
