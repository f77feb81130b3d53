//! Time as data: moments on one process's clock, durations, and the timings that make leases safe.
//!
//! A [`Moment`] has meaning on the clock of the process that read it and nowhere else; only
//! durations travel. Rounding always errs to the safe side: a holder's time is rounded down, a
//! reclaimer's up.

use std::ops::{Add, Sub};

use serde::{Deserialize, Serialize};

/// Milliseconds on the local clock that counts suspends and is never slewed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub u64);

impl Moment {
    /// Milliseconds from `earlier` to `self`; 0 when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Moment) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<u64> for Moment {
    type Output = Moment;

    fn add(self, ms: u64) -> Moment {
        Moment(self.0.saturating_add(ms))
    }
}

impl Sub<u64> for Moment {
    type Output = Moment;

    fn sub(self, ms: u64) -> Moment {
        Moment(self.0.saturating_sub(ms))
    }
}

/// One reading of both clocks, taken together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Enters every decision about safety.
    pub steady: Moment,
    /// Unix time; only compared with itself, to notice that the steady clock stood still, and
    /// with calendar dates.
    pub wall_ms: i64,
}

/// The durations that the safety argument rests on; one value for the whole cluster.
///
/// Source of the scheme: Gray and Cheriton, "Leases", 1989; escrow: O'Neil, 1986.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timings {
    /// T: how long a node may lend after the beat that renewed its lease.
    pub lease_ms: u64,
    /// H: how often a node sends a beat.
    pub heartbeat_ms: u64,
    /// TTL: how long a checkout lives without a renewal.
    pub checkout_ttl_ms: u64,
    /// ρ: the largest error of any clock's rate, in parts per million.
    pub clock_drift_ppm: u64,
    /// m: what rounding, scheduling and reading a clock may cost.
    pub margin_ms: u64,
    /// Longest randomized part of a Raft election timeout.
    pub election_max_ms: u64,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            lease_ms: 10_000,
            heartbeat_ms: 1_000,
            checkout_ttl_ms: 30_000,
            clock_drift_ppm: 10_000,
            margin_ms: 250,
            election_max_ms: 1_000,
        }
    }
}

/// Timings under which a desk would not outlive an election, or a call not its node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTimings {
    #[error(
        "lease_ms = {lease_ms} is too short for election_max_ms = {election_max_ms}: a desk must \
         outlive an election, which takes at least lease_ms = {least_ms} here"
    )]
    LeaseOutlivedByElection { lease_ms: u64, election_max_ms: u64, least_ms: u64 },
    #[error(
        "checkout_ttl_ms = {checkout_ttl_ms} is too short for lease_ms = {lease_ms}: a running \
         call must outlive its node, which takes at least checkout_ttl_ms = {least_ms} here"
    )]
    CallOutlivedByLease { checkout_ttl_ms: u64, lease_ms: u64, least_ms: u64 },
    #[error("{name} = {value} is out of range: expected {least} to {most}")]
    OutOfRange { name: &'static str, value: u64, least: u64, most: u64 },
}

const PPM: u64 = 1_000_000;
/// Gathering, committing and acknowledging a beat, on top of its interval.
const BEAT_OVERHEAD_MS: u64 = 300;
/// Detecting, freezing and reclaiming, once the lease of a dead node has ended.
const TAKEOVER_MS: u64 = 2_000;
/// No duration may be absurd enough to overflow: one day.
const DURATION_MS_MAX: u64 = 86_400_000;

impl Timings {
    /// How long after sending a beat a holder may lend once the beat is acknowledged: T(1−ρ) − m.
    #[must_use]
    pub fn lend_for_ms(&self) -> u64 {
        self.shrink(self.lease_ms).saturating_sub(self.margin_ms)
    }

    /// How long after applying a beat a leader must wait before it ends the lease: T(1+ρ).
    #[must_use]
    pub fn end_lease_after_ms(&self) -> u64 {
        self.stretch(self.lease_ms)
    }

    /// How long after a freeze every checkout under it has ended: TTL(1+ρ) + m.
    #[must_use]
    pub fn thaw_after_ms(&self) -> u64 {
        self.stretch(self.checkout_ttl_ms).saturating_add(self.margin_ms)
    }

    /// What a holder may count of `duration_ms` on a clock that may be slow; rounded down.
    #[must_use]
    pub fn shrink(&self, duration_ms: u64) -> u64 {
        shrink(duration_ms, self.clock_drift_ppm)
    }

    /// What a reclaimer must wait for `duration_ms` on a clock that may be fast; rounded up.
    #[must_use]
    pub fn stretch(&self, duration_ms: u64) -> u64 {
        let rate = u128::from(PPM) + u128::from(self.clock_drift_ppm);
        let stretched = u128::from(duration_ms).saturating_mul(rate);
        u64::try_from(stretched.div_ceil(u128::from(PPM))).unwrap_or(u64::MAX)
    }

    /// Checks every value, and the relations that keep desks and calls alive.
    ///
    /// # Errors
    /// Names the setting, its value and the least value that would do.
    pub fn validate(&self) -> Result<(), InvalidTimings> {
        in_range("lease_ms", self.lease_ms, 100, DURATION_MS_MAX)?;
        in_range("heartbeat_ms", self.heartbeat_ms, 10, self.lease_ms)?;
        in_range("checkout_ttl_ms", self.checkout_ttl_ms, 100, DURATION_MS_MAX)?;
        in_range("clock_drift_ppm", self.clock_drift_ppm, 1, 100_000)?;
        in_range("margin_ms", self.margin_ms, 1, self.lease_ms)?;
        in_range("election_max_ms", self.election_max_ms, 1, DURATION_MS_MAX)?;
        self.desk_outlives_election()?;
        self.call_outlives_node()
    }

    fn desk_outlives_election(&self) -> Result<(), InvalidTimings> {
        // openraft campaigns after the old leader's lease (election_max) plus a random part up to
        // election_max; the election may have to be repeated once.
        let needed =
            self.margin_ms + self.heartbeat_ms + BEAT_OVERHEAD_MS + 4 * self.election_max_ms;
        if self.shrink(self.lease_ms) >= needed {
            return Ok(());
        }
        Err(InvalidTimings::LeaseOutlivedByElection {
            lease_ms: self.lease_ms,
            election_max_ms: self.election_max_ms,
            least_ms: (needed * PPM).div_ceil(PPM - self.clock_drift_ppm) + 1,
        })
    }

    fn call_outlives_node(&self) -> Result<(), InvalidTimings> {
        // The SDK renews at a third of the TTL: two thirds are left when the node dies.
        let needed = self.stretch(self.lease_ms) + TAKEOVER_MS;
        if self.shrink(self.checkout_ttl_ms) * 2 / 3 >= needed {
            return Ok(());
        }
        Err(InvalidTimings::CallOutlivedByLease {
            checkout_ttl_ms: self.checkout_ttl_ms,
            lease_ms: self.lease_ms,
            least_ms: (needed * 3 * PPM).div_ceil(2 * (PPM - self.clock_drift_ppm)) + 2,
        })
    }
}

/// What a holder may count of `duration_ms` on a clock whose rate is off by up to `drift_ppm`.
#[must_use]
pub fn shrink(duration_ms: u64, drift_ppm: u64) -> u64 {
    let shrunk = u128::from(duration_ms) * u128::from(PPM.saturating_sub(drift_ppm));
    u64::try_from(shrunk / u128::from(PPM)).unwrap_or(u64::MAX)
}

fn in_range(name: &'static str, value: u64, least: u64, most: u64) -> Result<(), InvalidTimings> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(InvalidTimings::OutOfRange { name, value, least, most })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        let timings = Timings::default();
        timings.validate().unwrap();
        assert_eq!(timings.lend_for_ms(), 9_650);
        assert_eq!(timings.end_lease_after_ms(), 10_100);
        assert_eq!(timings.thaw_after_ms(), 30_550);
    }

    #[test]
    fn refusals_name_a_value_that_would_do() {
        let timings = Timings { lease_ms: 4_000, ..Timings::default() };
        let Err(InvalidTimings::LeaseOutlivedByElection { least_ms, .. }) = timings.validate()
        else {
            panic!("a lease of 4 s was accepted");
        };
        Timings { lease_ms: least_ms, ..timings }.validate().unwrap();

        let timings = Timings { checkout_ttl_ms: 15_000, ..Timings::default() };
        let Err(InvalidTimings::CallOutlivedByLease { least_ms, .. }) = timings.validate() else {
            panic!("a checkout of 15 s was accepted");
        };
        Timings { checkout_ttl_ms: least_ms, ..timings }.validate().unwrap();

        for zero in [
            Timings { lease_ms: 0, ..Timings::default() },
            Timings { clock_drift_ppm: 0, ..Timings::default() },
            Timings { margin_ms: 0, ..Timings::default() },
            Timings { lease_ms: u64::MAX, ..Timings::default() },
        ] {
            assert!(matches!(zero.validate(), Err(InvalidTimings::OutOfRange { .. })), "{zero:?}");
        }
    }

    #[test]
    fn rounding_errs_to_the_safe_side() {
        let timings = Timings::default();
        assert_eq!(timings.shrink(101), 99);
        assert_eq!(timings.stretch(101), 103);
        assert_eq!(timings.stretch(u64::MAX), u64::MAX);
    }
}
