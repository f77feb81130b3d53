//! What can be wrong with a configuration, in words that say what to do about it.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use leasehold_core::time::InvalidTimings;

/// A configuration file that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error(
        "{} can't be read: name the configuration with --config; an example is \
         deploy/node.example.toml",
        path.display()
    )]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{} is not valid", path.display())]
    Invalid {
        path: PathBuf,
        #[source]
        problem: InvalidConfig,
    },
}

/// What is wrong with it.
#[derive(Debug, thiserror::Error)]
pub enum InvalidConfig {
    /// With line, column and key, in the words of the parser.
    #[error("{0}")]
    Syntax(String),
    #[error("node.name = `{name}`: expected 1 to 63 letters, digits, `-`, `.` and `_`")]
    NodeName { name: String },
    #[error("node.data_dir is empty: expected a directory, such as /var/lib/leasehold")]
    NoDataDirectory,
    #[error(
        "peers.listen = {listen} says nothing of where other nodes reach this one: add \
         node.peer_address, such as \"east-1.example:{}\"", listen.port()
    )]
    NoPeerAddress { listen: SocketAddr },
    #[error("timings")]
    Timings(#[from] InvalidTimings),
    #[error("snapshots.every_entries = {every_entries}: expected 100 to 10000000, such as 20000")]
    SnapshotEvery { every_entries: u64 },
    #[error(
        "snapshots.keep_entries = {keep_entries} is out of range: expected 0 to {most}, such as \
         100000"
    )]
    SnapshotKeep { keep_entries: u64, most: u64 },
    #[error("{first}.listen and {second}.listen are both {listen}: each needs its own port")]
    SameAddress { first: &'static str, second: &'static str, listen: SocketAddr },
    #[error(
        "{listener}.plain_text with {listener}.listen = {listen}: plain text is for loopback \
         addresses such as 127.0.0.1 only; replace it with a section [{listener}.tls]"
    )]
    PlainTextBeyondLoopback { listener: &'static str, listen: SocketAddr },
    #[error("{listener}.plain_text and [{listener}.tls] exclude each other: remove one of the two")]
    PlainTextAndTls { listener: &'static str },
    #[error(
        "[{listener}] does not say how its connections are protected: add a section \
         [{listener}.tls], or plain_text = \"on loopback only\" for tests on one machine"
    )]
    NotProtected { listener: &'static str },
    #[error(
        "{listener}.tls.require_client_certificate = false: this listener always requires one; \
         remove the line"
    )]
    CertificateNotOptional { listener: &'static str },
    #[error("{listener}.connections_max = {value}: expected 1 to 1000000, such as 16384")]
    ConnectionsMax { listener: &'static str, value: usize },
}
