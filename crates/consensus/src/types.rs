//! The types that openraft is told to work with.

use std::fmt;

use leasehold_core::id::{Incarnation, SiteName};
use leasehold_core::ledger::command::{Command, Outcome};
use openraft::alias;
use serde::{Deserialize, Serialize};

openraft::declare_raft_types!(
    /// Node ids are plain numbers here: openraft's own tests ask for that.
    pub TypeConfig:
        D = Batch,
        R = Vec<Outcome>,
        NodeId = u64,
        Node = Peer,
);

/// The commands of one log entry: what waits while an entry is written shares the next one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Batch(pub Vec<Command>);

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} commands", self.0.len())
    }
}

/// A node of the cluster, as the membership in the log describes it. Stored: add, never change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Host and port where the other nodes reach it.
    pub address: String,
    pub site: SiteName,
    pub name: String,
    /// The data directory that it was admitted with.
    pub incarnation: Incarnation,
}

pub(crate) type Entry = alias::EntryOf<TypeConfig>;
pub(crate) type LogId = alias::LogIdOf<TypeConfig>;
pub(crate) type Vote = alias::VoteOf<TypeConfig>;
pub(crate) type Membership = alias::StoredMembershipOf<TypeConfig>;
pub(crate) type SnapshotMeta = alias::SnapshotMetaOf<TypeConfig>;
/// The encoded ledger.
pub(crate) type SnapshotData = Vec<u8>;
pub(crate) type Snapshot = alias::SnapshotOf<TypeConfig, SnapshotData>;
pub(crate) type Raft = openraft::Raft<TypeConfig, crate::machine::MachineAdapter>;

/// openraft's own tests ask for a node without properties.
#[cfg(test)]
impl Default for Peer {
    fn default() -> Self {
        let site = "nowhere".parse().unwrap();
        let incarnation = Incarnation::default();
        Self { address: String::new(), site, name: String::new(), incarnation }
    }
}
