//! The document, signed by the vendor, that says what a cluster may lend.
//!
//! It travels as a DSSE-style envelope: JSON text that holds the payload's exact bytes and
//! signatures over them, so nothing is ever put into a canonical form. [`Entitlement::open`] is
//! the one way in: size, signature, format, cluster, serial and every relation between fields are
//! checked before anything is believed. It knows no clock: whether a contract has ended is for
//! those who know what day it is.
//!
//! ```text
//! envelope bytes ─ envelope.rs: size, JSON, type, signature ─▶ payload bytes
//!                ─ here: format, fields, cluster, serial ─▶ check.rs: relations ─▶ Entitlement
//! ```

mod check;
mod date;
mod envelope;
mod error;
mod field;
#[cfg(test)]
mod tests;

use std::fmt;

pub use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};

pub use self::check::{AUTONOMY_S_MAX, CONTACT_DAYS_MIN, CUSTOMER_CHARACTERS_MAX};
pub use self::date::{Date, InvalidDate};
pub use self::envelope::{SIGNATURES_MAX, key_id};
pub use self::error::{EntitlementError, InvalidEntitlement};
use crate::id::{ClusterId, FeatureId, SetName, SiteName};

/// The format that this software writes and reads.
pub const FORMAT: u32 = 1;

/// What a cluster may lend, and until when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entitlement {
    /// Always [`FORMAT`].
    pub format: u32,
    #[serde(with = "field::cluster")]
    pub cluster: ClusterId,
    /// From 1; a cluster accepts only a higher one than it has.
    pub serial: u64,
    pub issued: Date,
    /// For people, 1 to [`CUSTOMER_CHARACTERS_MAX`] printable characters.
    pub customer: String,
    /// How long the cluster may go without contact to the vendor; at least [`CONTACT_DAYS_MIN`].
    /// Nothing acts on it yet.
    #[serde(default = "default_contact_days")]
    pub contact_days: u32,
    /// May be empty: nothing is lent then.
    pub sets: Vec<LicenseSet>,
}

/// A named bundle of units, bought as production or backup capacity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LicenseSet {
    pub name: SetName,
    pub kind: SetKind,
    /// The only site whose nodes lend the set; none means that it floats: any node may.
    #[serde(default)]
    pub home: Option<SiteName>,
    /// The sites that a backup set is to stand in for. Nothing acts on it yet: such a set stands by.
    #[serde(default)]
    pub covers: Vec<SiteName>,
    /// The first day on which the set may be lent.
    pub starts: Date,
    /// The last day on which the set may be lent.
    pub contract_end: Date,
    /// The last build day of software that the set may be lent to.
    pub maintenance_until: Date,
    /// How long a cut-off home may go on lending a homed production set. Nothing acts on it yet: a
    /// node lends until its lease ends.
    #[serde(default)]
    pub autonomy_s: Option<u64>,
    pub features: Vec<FeatureLine>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SetKind {
    Production,
    Backup,
}

/// Units of one feature; with its set this becomes a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureLine {
    pub feature: FeatureId,
    #[serde(deserialize_with = "field::units")]
    pub units: u64,
}

/// What an envelope says, whoever signed it: to be shown, never to be acted upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unverified {
    pub entitlement: Entitlement,
    /// The keys that the signatures claim to be of.
    pub key_ids: Vec<String>,
}

impl Entitlement {
    /// The entitlement in `envelope`, if one of the `trusted` keys signed it for `cluster` and its
    /// serial is above `newer_than`.
    ///
    /// # Errors
    /// The first thing that is wrong, by name and value, and what was expected.
    pub fn open(
        envelope: &[u8],
        trusted: &[[u8; 32]],
        cluster: ClusterId,
        newer_than: Option<u64>,
    ) -> Result<Self, EntitlementError> {
        let entitlement = decode_payload(&envelope::verified_payload(envelope, trusted)?)?;
        if entitlement.cluster != cluster {
            return Err(EntitlementError::OtherCluster {
                found: entitlement.cluster,
                expected: cluster,
            });
        }
        entitlement.validate()?;
        match newer_than {
            Some(current) if entitlement.serial <= current => {
                Err(EntitlementError::OldSerial { serial: entitlement.serial, current })
            }
            Some(_) | None => Ok(entitlement),
        }
    }

    /// What an envelope says, without asking who signed it or whether it makes sense.
    ///
    /// # Errors
    /// What keeps it from being read.
    pub fn decode_unverified(envelope: &[u8]) -> Result<Unverified, EntitlementError> {
        let (payload, key_ids) = envelope::unverified_payload(envelope)?;
        Ok(Unverified { entitlement: decode_payload(&payload)?, key_ids })
    }

    /// The envelope that holds this entitlement, signed with `key`. Valid or not: the issuer calls
    /// [`Entitlement::validate`] first.
    #[must_use]
    pub fn seal(&self, key: &SigningKey) -> Vec<u8> {
        let payload = serde_json::to_vec(self).expect("plain data without maps is always JSON");
        envelope::seal(&payload, key)
    }
}

impl LicenseSet {
    /// From this wall-clock time on, in Unix milliseconds, the set may be lent.
    #[must_use]
    pub fn starts_ms(&self) -> u64 {
        self.starts.start_ms()
    }

    /// From this wall-clock time on, in Unix milliseconds, the set may no longer be lent: the end
    /// (UTC) of the day that [`LicenseSet::contract_end`] names.
    #[must_use]
    pub fn contract_end_ms(&self) -> u64 {
        self.contract_end.end_ms()
    }

    /// Software built at this Unix millisecond or later is out of maintenance.
    #[must_use]
    pub fn maintenance_until_ms(&self) -> u64 {
        self.maintenance_until.end_ms()
    }
}

impl fmt::Display for SetKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SetKind::Production => "production",
            SetKind::Backup => "backup",
        })
    }
}

/// Reads the format before the rest, so that a newer one is called that and not a wrong field.
fn decode_payload(payload: &[u8]) -> Result<Entitlement, EntitlementError> {
    #[derive(Deserialize)]
    struct Probe {
        format: u32,
    }
    let malformed =
        |error: serde_json::Error| EntitlementError::Payload { reason: error.to_string() };
    let Probe { format } = serde_json::from_slice(payload).map_err(malformed)?;
    if format > FORMAT {
        return Err(EntitlementError::NewerFormat { format });
    }
    serde_json::from_slice(payload).map_err(malformed)
}

fn default_contact_days() -> u32 {
    CONTACT_DAYS_MIN
}
