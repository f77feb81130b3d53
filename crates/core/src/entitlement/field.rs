//! How single fields are read, so that a refusal names the field and what it should be.

use std::fmt;

use serde::{Deserializer, de};

use crate::limits::UNITS_PER_POOL_MAX;

/// A cluster id as 32 hexadecimal digits.
pub(super) mod cluster {
    use serde::{Deserialize, Deserializer, Serializer, de};

    use crate::id::ClusterId;

    pub(in super::super) fn serialize<S: Serializer>(
        cluster: &ClusterId,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(cluster)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<ClusterId, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A number of units. Its range is checked with the rest; what is no `u64` is refused here.
pub(super) fn units<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    struct UnitsVisitor;

    impl de::Visitor<'_> for UnitsVisitor {
        type Value = u64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "units as a whole number, 1 to {UNITS_PER_POOL_MAX}")
        }

        fn visit_u64<E: de::Error>(self, units: u64) -> Result<u64, E> {
            Ok(units)
        }

        fn visit_i64<E: de::Error>(self, units: i64) -> Result<u64, E> {
            u64::try_from(units).map_err(|_| E::invalid_value(de::Unexpected::Signed(units), &self))
        }
    }
    deserializer.deserialize_u64(UnitsVisitor)
}
