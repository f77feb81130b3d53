//! True time in ticks, and what clocks at the limit of their error show of it.
//!
//! Whoever *holds* something has the slowest clock that the design allows, whoever waits to take it
//! *back* the fastest one, even where both are one process. A holder may always stop earlier and a
//! reclaimer always wait longer, so this covers every clock within ρ, also one whose rate changes.

use leasehold_core::time::{Moment, Timings};

/// Whole ticks since something happened; stops at [`AGE_MAX`].
pub(crate) type Age = u8;

/// Long enough that the milliseconds by which durations are rounded never make up a tick.
const TICK_MS: u64 = 100_000;
/// T = 2 ticks, TTL = 4 ticks, ρ = 10 %, m = 1 ms: the shortest leases that `Timings::validate`
/// takes and in which a beat, its answer and the end of the lease are different moments.
pub(crate) const TIMINGS: Timings = Timings {
    lease_ms: 2 * TICK_MS,
    heartbeat_ms: TICK_MS / 2,
    checkout_ttl_ms: 4 * TICK_MS,
    clock_drift_ppm: 100_000,
    margin_ms: 1,
    election_max_ms: 1,
};
/// The longest duration of all is over by then: the wait before a thaw.
pub(crate) const AGE_MAX: Age = 5;

/// What the slowest clock shows after `age` ticks.
pub(crate) fn slow_ms(age: Age) -> u64 {
    TIMINGS.shrink(u64::from(age) * TICK_MS)
}

/// What the fastest clock shows after `age` ticks.
pub(crate) fn fast_ms(age: Age) -> u64 {
    TIMINGS.stretch(u64::from(age) * TICK_MS)
}

/// What a process that takes notes reads at `tick`.
pub(crate) fn noted_at(tick: u32) -> Moment {
    Moment(u64::from(tick) * TIMINGS.stretch(TICK_MS))
}

/// The same clock, read late by the margin that the design keeps for this.
pub(crate) fn judged_at(tick: u32) -> Moment {
    noted_at(tick) + TIMINGS.margin_ms
}

/// An engine may use a checkout `age` ticks after it sent what was answered.
pub(crate) fn is_valid_at_engine(age: Age) -> bool {
    slow_ms(age) < TIMINGS.shrink(TIMINGS.checkout_ttl_ms)
}

/// A desk may lend the units of a checkout anew `age` ticks after it was granted or renewed.
pub(crate) fn is_over_at_desk(age: Age) -> bool {
    fast_ms(age) >= TIMINGS.stretch(TIMINGS.checkout_ttl_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ledger_takes_these_timings_and_no_tick_is_wasted() {
        TIMINGS.validate().unwrap();
        assert!(is_valid_at_engine(3) && !is_valid_at_engine(4));
        assert!(!is_over_at_desk(3) && is_over_at_desk(4));
        let thaw_at = noted_at(0) + TIMINGS.thaw_after_ms();
        assert!(judged_at(3) < thaw_at && thaw_at <= judged_at(4));
        let end_at = noted_at(0) + TIMINGS.end_lease_after_ms();
        assert!(judged_at(1) < end_at && end_at <= judged_at(2));
    }
}
