//! The engine's own record of use, for tests and audits that must not trust the nodes.

/// Told of every change in what the engine may use. Called from the client's task: be quick.
pub trait Observer: Send + Sync + 'static {
    fn on_use(&self, event: &Use);
}

/// One change, in the engine's own time: milliseconds on its steady clock.
///
/// Units are in use from `Began` until the first of: `Ended`, `Lapsed`, and the newest
/// `valid_until_ms`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Use {
    /// A checkout was granted; for one guard again after each lapse.
    Began {
        /// The guard's number within its client.
        guard: u64,
        lines: Vec<(String, u64)>,
        /// When the attempt that was answered was sent.
        sent_ms: u64,
        at_ms: u64,
        valid_until_ms: u64,
    },
    /// A renewal arrived in time.
    Extended { guard: u64, at_ms: u64, valid_until_ms: u64 },
    /// The deadline passed without a renewal, or a node said that the checkout has ended.
    Lapsed { guard: u64, at_ms: u64 },
    /// The guard was dropped or checked in: nothing more was used, and the check-in not yet sent.
    Ended { guard: u64, at_ms: u64 },
}
