//! A network that can be made bad while it is used: TCP proxies before the nodes.
//!
//! ```text
//!  caller ──▶ Proxy ── forth: Way ──▶ node        A Way leads from one party to another. What a
//!         ◀──       ◀─ back:  Way ───             node answers travels the way back.
//! ```
//!
//! Bytes are delayed, held or slowed, never changed, dropped or swapped: TCP itself repairs loss.
//! On a way that is cut, connections stay open and nothing arrives, not even their end; once it is
//! healed, all that was sent arrives late, as retransmitted segments do. A delay limits no
//! throughput. Memory is bounded: a way that holds [`HELD_BYTES_MOST`] for a connection stops
//! reading, and the sender feels it as it would feel a full socket.

mod callers;
mod mesh;
mod proxy;
mod pump;
#[cfg(test)]
mod tests;
mod way;

pub use mesh::Mesh;
pub use proxy::{Link, Proxy};
pub use pump::HELD_BYTES_MOST;
pub use way::{Condition, Way};
