//! What a cluster is to be like.

use leasehold_core::time::Timings;

/// What a cluster is to be like.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub timings: Timings,
    /// As [`Layout::has_plain_engines`].
    pub has_plain_engines: bool,
    /// Nodes reach each other through proxies: see [`Cluster::mesh`](crate::Cluster::mesh).
    pub has_mesh: bool,
    /// Node ids for which there are certificates: from 1 to this.
    pub ids: u64,
}

impl Shape {
    /// As an operator finds it.
    #[must_use]
    pub fn standard() -> Self {
        Self { timings: Timings::default(), has_plain_engines: false, has_mesh: false, ids: 5 }
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
