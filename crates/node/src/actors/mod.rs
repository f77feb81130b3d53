//! The actors of a node: each owns one machine of the core and performs its effects.
//!
//! ```text
//!  engines ─▶ services ─▶ desk ──open, beat, operate──▶ steward (at the leader) ─▶ proposals
//!                          ▲  └─◀──────recall─────────────┘                           │
//!                          └──views of the ledger── consensus ◀──one entry per commit─┘
//! ```
//!
//! No handler awaits another actor: what it asked for comes back as a message.

pub mod desk;
pub mod monitor;
pub mod proposals;
pub mod route;
pub mod steward;

use leasehold_clock::Clock;
use leasehold_core::time::{Moment, Now};

/// Both clocks as the machines want them.
pub(crate) fn now(clock: &Clock) -> Now {
    let (steady_ms, wall_ms) = clock.reading();
    Now { steady: Moment(steady_ms), wall_ms }
}

/// The instant of tokio's clock at which `at` will have come, as far as the two run alike: a
/// machine that is woken too early has nothing to do yet, and says so.
pub(crate) fn wake_at(now: Now, at: Moment) -> tokio::time::Instant {
    tokio::time::Instant::now() + std::time::Duration::from_millis(at.since(now.steady).max(1))
}
