//! Units: what is lent, as a number that is never absurd and never overflows.
//!
//! More than [`UNITS_PER_POOL_MAX`] can't be written down, in whatever bytes they come: no pool has
//! as many. There is no `+` and no `-`; a sum or difference that there is not is `None`, and the
//! caller says what that means. Nothing that is lent is ever rounded or capped in silence.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::limits::UNITS_PER_POOL_MAX;

/// A number of units of one pool, at most [`UNITS_PER_POOL_MAX`].
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "u64", into = "u64")]
pub struct Units(u64);

/// A number of units that no pool has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("units = {units} is out of range: expected at most {UNITS_PER_POOL_MAX}")]
pub struct TooManyUnits {
    units: u64,
}

// A reserve is a pool's units less those lent: neither it nor a change of it overflows.
const _: () = assert!(UNITS_PER_POOL_MAX < i64::MAX as u64 / 4);

impl Units {
    pub const ZERO: Self = Self(0);
    pub const ONE: Self = Self(1);
    pub const MAX: Self = Self(UNITS_PER_POOL_MAX);

    /// # Errors
    /// More than [`UNITS_PER_POOL_MAX`].
    pub fn new(units: u64) -> Result<Self, TooManyUnits> {
        if units > UNITS_PER_POOL_MAX {
            return Err(TooManyUnits { units });
        }
        Ok(Self(units))
    }

    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }

    #[must_use]
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// `None`: more than any pool has.
    #[must_use]
    pub fn checked_add(self, more: Self) -> Option<Self> {
        self.0.checked_add(more.0).and_then(|sum| Self::new(sum).ok())
    }

    /// `None`: there are fewer.
    #[must_use]
    pub fn checked_sub(self, fewer: Self) -> Option<Self> {
        self.0.checked_sub(fewer.0).map(Self)
    }

    /// How many more there can be.
    #[must_use]
    pub fn room(self) -> Self {
        Self(UNITS_PER_POOL_MAX.saturating_sub(self.0))
    }

    pub(crate) fn signed(self) -> i64 {
        self.0.cast_signed()
    }

    /// What of a reserve can be lent: nothing while a cut waits.
    pub(crate) fn of_reserve(reserve: i64) -> Self {
        Self(u64::try_from(reserve).unwrap_or(0).min(UNITS_PER_POOL_MAX))
    }
}

impl TryFrom<u64> for Units {
    type Error = TooManyUnits;

    fn try_from(units: u64) -> Result<Self, TooManyUnits> {
        Self::new(units)
    }
}

impl From<u32> for Units {
    fn from(units: u32) -> Self {
        // Every `u32` is far below the limit.
        Self(u64::from(units))
    }
}

const _: () = assert!(u32::MAX as u64 <= UNITS_PER_POOL_MAX);

impl From<Units> for u64 {
    fn from(units: Units) -> u64 {
        units.0
    }
}

impl fmt::Display for Units {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bytes_make_more_units_than_a_pool_has() {
        let most = UNITS_PER_POOL_MAX;
        assert_eq!(serde_json::from_str::<Units>(&most.to_string()).unwrap(), Units::MAX);
        assert_eq!(serde_json::to_string(&Units::MAX).unwrap(), most.to_string());
        for bad in [(most + 1).to_string(), u64::MAX.to_string(), "-1".into(), "1.5".into()] {
            assert!(serde_json::from_str::<Units>(&bad).is_err(), "{bad}");
        }
        let error = Units::new(u64::MAX).unwrap_err().to_string();
        assert!(error.contains(&u64::MAX.to_string()) && error.contains(&most.to_string()));
    }

    #[test]
    fn sums_and_differences_that_are_not_are_none() {
        let ten = Units::from(10);
        assert_eq!(ten.checked_add(Units::ONE), Some(Units::from(11)));
        assert_eq!(Units::MAX.checked_add(Units::ONE), None);
        assert_eq!(Units::MAX.checked_add(Units::ZERO), Some(Units::MAX));
        assert_eq!(ten.checked_sub(ten), Some(Units::ZERO));
        assert_eq!(ten.checked_sub(Units::from(11)), None);
        assert_eq!(
            Units::MAX.checked_sub(ten),
            ten.checked_add(ten.room()).unwrap().checked_sub(ten)
        );
    }

    #[test]
    fn of_a_reserve_below_zero_nothing_can_be_lent() {
        let rows = [(-5, 0), (0, 0), (7, 7), (i64::MIN, 0), (i64::MAX, UNITS_PER_POOL_MAX)];
        for (reserve, units) in rows {
            assert_eq!(Units::of_reserve(reserve).get(), units, "{reserve}");
        }
    }
}
