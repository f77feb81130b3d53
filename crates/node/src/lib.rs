//! A license-server node. Its edge: configuration, listeners and connectors, certificates, HTTP.

pub mod certs;
pub mod config;
pub mod http;
pub mod tls;
