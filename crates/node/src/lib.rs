//! A license-server node: actors, gRPC services, HTTP, and their wiring.
//!
//! | module | what it holds |
//! |---|---|
//! | [`node`] | a whole node, from data directory to listeners |
//! | [`actors`] | desk, steward, proposals, monitor |
//! | [`services`] | the gRPC services in front of them |
//! | [`membership`] | joining, and changing who belongs to the cluster |
//! | [`leader`] | what only the leader can do, asked of it wherever it is |
//! | [`servers`] | which services stand behind which listener |
//! | [`peers`] | the other nodes: channels and calls |
//! | [`config`] | the configuration file |
//! | [`tls`] | listeners, connectors, certificates, roles |
//! | [`http`] | metrics and health |
//! | [`certs`] | development certificates |

pub mod actors;
pub mod certs;
pub mod config;
mod expulsion;
mod founding;
pub mod http;
pub mod leader;
pub mod membership;
pub mod node;
pub mod peers;
mod random;
pub mod servers;
pub mod services;
pub mod tls;
mod usage;

pub use node::{Certificates, Node, RunError, Start, StartError};
