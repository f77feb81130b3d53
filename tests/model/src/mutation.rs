//! Rules of the design, removed one at a time: the checker must refute each.

use crate::bounds::Bounds;
use crate::clocks::{Age, TIMINGS, slow_ms};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// Rule 1: the holder takes no account of clock rates.
    HolderWithoutDrift,
    /// Rule 1: the holder keeps no margin.
    HolderWithoutMargin,
    /// Rule 1: the holder counts from the answer to its beat instead of from its sending.
    HolderCountsFromAnswer,
    /// Rule 2: who believes to lead acknowledges a beat at once.
    AcknowledgeFromMemory,
    /// Rule 3: a freeze is no compare-and-set.
    FreezeWithoutCompare,
    /// Rule 4: what is frozen thaws at once.
    ThawWithoutWait,
    /// Rule 5: the engine counts from the answer instead of from its sending.
    EngineCountsFromAnswer,
    /// Rule 6: nobody waits for a lease that may still run.
    LapseAtOnce,
    /// Rule 7: a desk covers a checkout out of the allotment that it left by a hand-over, and where
    /// it went is not forgotten first.
    CoverWhereItLeft,
    /// Rule 7: one checkout is reclaimed as often as its receipt is shown.
    ReclaimTwice,
}

impl Mutation {
    pub const ALL: [Mutation; 10] = [
        Mutation::HolderWithoutDrift,
        Mutation::HolderWithoutMargin,
        Mutation::HolderCountsFromAnswer,
        Mutation::AcknowledgeFromMemory,
        Mutation::FreezeWithoutCompare,
        Mutation::ThawWithoutWait,
        Mutation::EngineCountsFromAnswer,
        Mutation::LapseAtOnce,
        Mutation::CoverWhereItLeft,
        Mutation::ReclaimTwice,
    ];

    /// Bounds within which it can be seen.
    pub(crate) fn bounds(self) -> Bounds {
        match self {
            Mutation::HolderWithoutDrift
            | Mutation::HolderWithoutMargin
            | Mutation::HolderCountsFromAnswer
            | Mutation::FreezeWithoutCompare
            | Mutation::ThawWithoutWait
            | Mutation::EngineCountsFromAnswer => Bounds::SILENCE,
            Mutation::AcknowledgeFromMemory => Bounds::CUT,
            Mutation::LapseAtOnce => Bounds::FENCE,
            Mutation::CoverWhereItLeft => Bounds::CHANGE,
            Mutation::ReclaimTwice => Bounds::DEATH,
        }
    }

    /// What it does, for people.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Mutation::HolderWithoutDrift => "the holder takes no account of clock rates",
            Mutation::HolderWithoutMargin => "the holder keeps no margin",
            Mutation::HolderCountsFromAnswer => "the holder counts from the answer to its beat",
            Mutation::AcknowledgeFromMemory => "a beat is acknowledged from memory",
            Mutation::FreezeWithoutCompare => "freeze without compare-and-set",
            Mutation::ThawWithoutWait => "thaw without waiting for TTL",
            Mutation::EngineCountsFromAnswer => "the engine counts from the answer",
            Mutation::LapseAtOnce => "a lease that may still run is not waited for",
            Mutation::CoverWhereItLeft => "a checkout is covered where it left, its trace kept",
            Mutation::ReclaimTwice => "one checkout is reclaimed twice",
        }
    }
}

/// Whether a desk may lend `age` ticks after it sent the beat that was acknowledged last.
pub(crate) fn may_lend(age: Age, mutation: Option<Mutation>) -> bool {
    let lend_for_ms = match mutation {
        Some(Mutation::HolderWithoutDrift) => TIMINGS.lease_ms - TIMINGS.margin_ms,
        Some(Mutation::HolderWithoutMargin) => TIMINGS.shrink(TIMINGS.lease_ms),
        Some(_) | None => TIMINGS.lend_for_ms(),
    };
    // Read early by the margin that the design keeps for this.
    slow_ms(age).saturating_sub(TIMINGS.margin_ms) < lend_for_ms
}
