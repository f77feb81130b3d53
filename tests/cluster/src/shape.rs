//! What a cluster is to be like.

use leasehold_core::time::Timings;

/// What a cluster is to be like.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub timings: Timings,
    /// As [`Layout::has_plain_engines`](crate::Layout::has_plain_engines).
    pub has_plain_engines: bool,
    pub wires: Wires,
    /// Entries between two snapshots, if not the default.
    pub snapshot_every: Option<u64>,
    /// Node ids for which there are certificates: from 1 to this.
    pub ids: u64,
}

/// How nodes reach each other, and engines them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wires {
    /// Over loopback.
    Direct,
    /// Through proxies: see [`Cluster::mesh`](crate::Cluster::mesh).
    Mesh,
    /// Each node in a network namespace of its own; this process must be alone in its own, too.
    Namespaces,
}

impl Shape {
    /// As an operator finds it.
    #[must_use]
    pub fn standard() -> Self {
        Self {
            timings: Timings::default(),
            has_plain_engines: false,
            wires: Wires::Direct,
            snapshot_every: None,
            ids: 5,
        }
    }

    /// Leases of 3 s and checkouts of 8 s, for tests that wait for their ends. About the shortest
    /// that `validate()` lets pass with an election that a busy machine of two cores can hold.
    #[must_use]
    pub fn quick() -> Self {
        let timings = Timings {
            lease_ms: 3_200,
            heartbeat_ms: 300,
            checkout_ttl_ms: 8_000,
            margin_ms: 100,
            election_max_ms: 600,
            ..Timings::default()
        };
        Self { timings, ..Self::standard() }
    }
}
