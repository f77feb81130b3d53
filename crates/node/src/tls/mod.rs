//! The one seam between the program and the network: every listener and every connector.
//!
//! ```text
//!  files ──▶ Material ──▶ Reloading<ServerConfig> ──▶ Listener ──▶ Connection ──▶ tonic, HTTP
//!  (polled, or on a signal)  Reloading<ClientConfig> ──▶ Connector ──▶ tonic channel
//! ```
//!
//! Invariants:
//! * A connection that a service sees has been authenticated and its role has been checked: roles
//!   are enforced in the handshake, so no service can forget to.
//! * Plain text exists on loopback addresses only, whatever the configuration says.
//! * Handshakes, open connections and the time of a handshake are bounded.
//! * New files take effect whole or not at all: the old ones stay in use until the new ones were
//!   read, parsed, matched and verified.
//!
//! Cryptography comes from aws-lc-rs, named explicitly: no process-wide provider is installed.

mod connection;
mod connector;
mod files;
mod identity;
mod listener;
mod open_files;
mod rejections;
mod reload;
mod server;

#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use connection::{Connection, PeerInfo, Socket};
pub use connector::{ConnectError, Connector};
pub use files::{TlsError, TlsFiles};
pub use identity::{Identity, MalformedCertificate, Role};
pub use listener::{BindError, Incoming, Limits, Listener};
pub use open_files::raise_open_files_limit;
pub use reload::Reloading;
pub use server::{ListenerKind, ServerTls};

/// How a listener's connections are protected.
#[derive(Clone, Debug)]
pub enum Transport {
    /// Not at all; refused on any address but loopback.
    PlainText,
    Tls(Arc<ServerTls>),
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Says what the metrics of this module mean.
pub fn describe_metrics() {
    metrics::describe_counter!(
        "leasehold_tls_rejected_total",
        "Connections that were refused before any request, by listener and reason."
    );
    metrics::describe_gauge!("leasehold_connections_open", "Open connections, by listener.");
    metrics::describe_gauge!(
        "leasehold_tls_certificate_not_after_seconds",
        "Unix time at which the certificate in use expires, by its use."
    );
    metrics::describe_counter!(
        "leasehold_tls_reloads_total",
        "Changed certificate files that were taken into use or refused, by use and outcome."
    );
}
