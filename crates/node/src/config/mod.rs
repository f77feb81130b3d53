//! A node's configuration: one TOML file, read once at the start.
//!
//! Unknown keys are refused with their line, relations between values are checked in
//! [`NodeConfig::validate`], and relative paths start at the file's own directory. The documented
//! example is `deploy/node.example.toml`.

mod error;
mod listener;

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use leasehold_core::id::{NodeId, SiteName};
use leasehold_core::time::Timings;
use serde::Deserialize;

use crate::tls::ListenerKind;
pub use error::{ConfigError, InvalidConfig};
pub use listener::{ListenerConfig, Security, TlsConfig};

/// All that a node must be told.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    pub node: NodeSettings,
    /// Where engines check units out (gRPC).
    pub engines: ListenerConfig,
    /// Where operators are served (gRPC).
    pub admin: ListenerConfig,
    /// Where other nodes are served (gRPC); a node that is alone needs none.
    pub peers: Option<ListenerConfig>,
    /// Metrics and health for machines (HTTP).
    pub http: ListenerConfig,
    /// Durations that the whole cluster agrees on; used when a cluster is founded.
    #[serde(default)]
    pub timings: Timings,
    #[serde(default)]
    pub snapshots: SnapshotPolicy,
    #[serde(default)]
    pub log: LogConfig,
}

/// Which node this is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSettings {
    /// Unique in the cluster, from 1, and never used again for another data directory.
    id: NonZeroU64,
    /// For logs and tables; `node-<id>` if it is not given.
    name: Option<String>,
    /// The data center that it stands in.
    pub site: SiteName,
    /// Where it keeps its state; made if it is missing, and used by one process at a time.
    pub data_dir: PathBuf,
    /// Where the other nodes reach it, host:port; the address that `peers` listens on if it is
    /// not given.
    peer_address: Option<String>,
}

/// When the log is folded into a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SnapshotPolicy {
    /// A snapshot is taken after so many entries. An idle cluster writes one entry a second.
    pub every_entries: u64,
    /// Entries kept behind a snapshot for nodes that lag a little; these get the entries, others
    /// the snapshot.
    pub keep_entries: u64,
}

/// What is logged, to standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    pub level: LogLevel,
    pub format: LogFormat,
}

/// The least important events that are logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One object a line.
    Json,
}

impl NodeConfig {
    /// Reads and validates the file at `path`.
    ///
    /// # Errors
    /// Names the file, the place in it, what is wrong with it, and what to do.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        let directory = path.parent().unwrap_or(Path::new(""));
        Self::parse(&text, directory)
            .map_err(|problem| ConfigError::Invalid { path: path.to_owned(), problem })
    }

    /// Parses and validates `text`, whose relative paths start at `directory`.
    ///
    /// # Errors
    /// As [`NodeConfig::load`], without the file's name.
    pub fn parse(text: &str, directory: &Path) -> Result<Self, InvalidConfig> {
        let mut config: Self = toml::from_str(text)
            .map_err(|error| InvalidConfig::Syntax(error.to_string().trim_end().to_owned()))?;
        config.validate()?;
        config.resolve(directory);
        Ok(config)
    }

    /// Checks each value, and those that must fit each other.
    ///
    /// # Errors
    /// Names the field, its value and a value that would do.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        self.node.validate()?;
        self.timings.validate()?;
        self.snapshots.validate()?;
        let listeners = self.listeners();
        for (kind, listener) in &listeners {
            listener.validate(*kind)?;
        }
        for (index, (kind, listener)) in listeners.iter().enumerate() {
            let clash = listeners[..index].iter().find(|(_, other)| other.clashes_with(listener));
            if let Some((other, _)) = clash {
                let (first, second) = (other.as_str(), kind.as_str());
                return Err(InvalidConfig::SameAddress { first, second, listen: listener.listen });
            }
        }
        let peers = self.peers.as_ref().filter(|_| self.node.peer_address.is_none());
        match peers.map(|peers| peers.listen).filter(|listen| listen.ip().is_unspecified()) {
            Some(listen) => Err(InvalidConfig::NoPeerAddress { listen }),
            None => Ok(()),
        }
    }

    /// Where the other nodes reach this one; empty for a node that is alone.
    #[must_use]
    pub fn peer_address(&self) -> String {
        let listen = self.peers.as_ref().map(|peers| peers.listen.to_string());
        self.node.peer_address.clone().or(listen).unwrap_or_default()
    }

    fn listeners(&self) -> Vec<(ListenerKind, &ListenerConfig)> {
        let mut listeners = vec![
            (ListenerKind::Engines, &self.engines),
            (ListenerKind::Admin, &self.admin),
            (ListenerKind::Http, &self.http),
        ];
        listeners.extend(self.peers.as_ref().map(|peers| (ListenerKind::Peers, peers)));
        listeners
    }

    fn resolve(&mut self, directory: &Path) {
        self.node.data_dir = directory.join(&self.node.data_dir);
        let listeners = [&mut self.engines, &mut self.admin, &mut self.http];
        for listener in listeners.into_iter().chain(&mut self.peers) {
            listener.resolve(directory);
        }
    }
}

impl NodeSettings {
    #[must_use]
    pub fn id(&self) -> NodeId {
        NodeId(self.id.get())
    }

    #[must_use]
    pub fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| format!("node-{}", self.id))
    }

    fn validate(&self) -> Result<(), InvalidConfig> {
        let name = self.name();
        let is_plain =
            name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        if name.is_empty() || name.len() > NODE_NAME_BYTES_MAX || !is_plain {
            return Err(InvalidConfig::NodeName { name });
        }
        if self.data_dir.as_os_str().is_empty() {
            return Err(InvalidConfig::NoDataDirectory);
        }
        Ok(())
    }
}

/// Names stand in tables and metric labels; a host name's part is not longer.
const NODE_NAME_BYTES_MAX: usize = 63;

impl Default for SnapshotPolicy {
    /// A few hours of an idle cluster, seconds of replay; and a day's lag without a snapshot.
    fn default() -> Self {
        Self { every_entries: 20_000, keep_entries: 100_000 }
    }
}

impl SnapshotPolicy {
    fn validate(self) -> Result<(), InvalidConfig> {
        let Self { every_entries, keep_entries } = self;
        if !(EVERY_ENTRIES_LEAST..=EVERY_ENTRIES_MOST).contains(&every_entries) {
            return Err(InvalidConfig::SnapshotEvery { every_entries });
        }
        if keep_entries > KEEP_ENTRIES_MOST {
            return Err(InvalidConfig::SnapshotKeep { keep_entries, most: KEEP_ENTRIES_MOST });
        }
        Ok(())
    }
}

/// More often would snapshot all the time; more seldom would replay for minutes.
const EVERY_ENTRIES_LEAST: u64 = 100;
const EVERY_ENTRIES_MOST: u64 = 10_000_000;
/// A few gigabytes of log.
const KEEP_ENTRIES_MOST: u64 = 10_000_000;

#[cfg(test)]
mod tests;
