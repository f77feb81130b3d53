//! Names and numbers that identify things, parsed once at the edge into types that can't be wrong.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::limits::{FEATURE_BYTES_MAX, NAME_BYTES_MAX, NODE_NAME_BYTES_MAX};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// A license-server node. Never used again once removed.
    NodeId(u64)
}
number! {
    /// One opening of a node's lease. Given by the ledger, rising, never reused.
    Epoch(u64)
}
number! {
    /// One loan of units by the ledger to a node. Given by the ledger, never reused.
    AllotmentId(u64)
}
number! {
    /// One feature of one license set. Given by the ledger at first installation, never reused.
    PoolId(u32)
}

macro_rules! bytes16 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub [u8; 16]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let invalid = || InvalidId::new(stringify!($name), text, "32 hexadecimal digits");
                if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    return Err(invalid());
                }
                u128::from_str_radix(text, 16)
                    .map(|number| Self(number.to_be_bytes()))
                    .map_err(|_| invalid())
            }
        }
    };
}

bytes16! {
    /// A cluster; drawn at random when it is founded.
    ClusterId
}
bytes16! {
    /// A cluster's secret name, drawn with it: every message between its nodes carries it, and no
    /// stranger is told.
    Generation
}
bytes16! {
    /// A data directory, for as long as it lasts; drawn when it is made. A node that lost its disk
    /// comes back as another incarnation, which has promised nothing.
    Incarnation
}
bytes16! {
    /// One run of a node's program; drawn at random when it starts.
    ProcessId
}
bytes16! {
    /// A checkout: the epoch that granted it and a counter, so it is unique in the cluster.
    CheckoutId
}
bytes16! {
    /// All that a ledger was told and has answered: equal at all replicas of one version.
    Digest
}
bytes16! {
    /// An engine's name for one checkout request; a repeat gets the same answer.
    RequestId
}

impl CheckoutId {
    /// The checkout number `counter` of `epoch`.
    #[must_use]
    pub fn of(epoch: Epoch, counter: u64) -> Self {
        Self((u128::from(epoch.0) << 64 | u128::from(counter)).to_be_bytes())
    }
}

/// Text that does not name what it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} `{text}` is not valid: expected {expected}")]
pub struct InvalidId {
    what: &'static str,
    text: String,
    expected: &'static str,
}

impl InvalidId {
    fn new(what: &'static str, text: &str, expected: &'static str) -> Self {
        let text: String = text.chars().take(80).collect();
        Self { what, text, expected }
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $is_good:expr, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                if !$is_good(text) {
                    return Err(InvalidId::new($what, text, $expected));
                }
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name! {
    /// What an engine asks for, such as `asr.tier1`: dotted data, never an enum.
    FeatureId, "feature", |text| is_dotted_name(text, FEATURE_BYTES_MAX),
    "1 to 64 lower-case letters, digits, `-` and `_` in parts joined by dots, such as asr.tier1"
}
name! {
    /// A data center.
    SiteName, "site", |text| is_dotted_name(text, NAME_BYTES_MAX),
    "1 to 48 lower-case letters, digits, `-` and `_` in parts joined by dots, such as east"
}
name! {
    /// A license set.
    SetName, "license set", |text| is_dotted_name(text, NAME_BYTES_MAX),
    "1 to 48 lower-case letters, digits, `-` and `_` in parts joined by dots, such as production-east"
}

name! {
    /// What people call a node; a host's name will do.
    NodeName, "node name", is_node_name,
    "1 to 63 ASCII letters, digits, `-`, `.` and `_`, such as east-1"
}

fn is_node_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    (1..=NODE_NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_plain)
}

fn is_dotted_name(text: &str, bytes_max: usize) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_'
            })
    };
    text.len() <= bytes_max && text.split('.').all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feature_is_dotted_lower_case() {
        for good in ["cpa", "asr.tier1", "tts.en-us.chris_2"] {
            assert_eq!(good.parse::<FeatureId>().unwrap().as_str(), good);
        }
        let long = "a".repeat(FEATURE_BYTES_MAX + 1);
        for bad in ["", ".", "asr.", ".asr", "asr..tier1", "ASR", "asr tier1", "ä", long.as_str()]
        {
            let error = bad.parse::<FeatureId>().unwrap_err().to_string();
            assert!(error.starts_with("feature `"), "{bad}: {error}");
        }
    }

    #[test]
    fn no_bytes_make_a_name_that_could_not_be_typed() {
        fn read<T: serde::de::DeserializeOwned>(text: &str) -> bool {
            serde_json::from_value::<T>(text.into()).is_ok()
        }
        assert!(read::<NodeName>("East_1.example") && read::<SiteName>("east"));
        let long = "a".repeat(FEATURE_BYTES_MAX + 1);
        for bad in ["", "a b", "ä", "a\n", &long] {
            let is_read = read::<NodeName>(bad) || read::<SiteName>(bad) || read::<SetName>(bad);
            assert!(!is_read && !read::<FeatureId>(bad), "{bad:?}");
        }
    }

    #[test]
    fn an_id_is_read_back_from_its_text() {
        let id = CheckoutId::of(Epoch(7), 9);
        assert_eq!(id.to_string().parse::<CheckoutId>().unwrap(), id);
        for bad in ["", "12", &"g".repeat(32), &"+".repeat(32)] {
            assert!(bad.parse::<CheckoutId>().is_err(), "{bad}");
        }
    }
}
