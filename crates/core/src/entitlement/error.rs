//! Why an entitlement is refused. Nothing is changed by one that is.

use super::{Date, FORMAT};
use crate::id::{ClusterId, FeatureId, SetName, SiteName};

/// Why an envelope was not opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntitlementError {
    #[error("entitlement of {bytes} bytes is too large: expected at most {most}")]
    TooLarge { bytes: usize, most: usize },
    #[error(
        "not an entitlement, or cut off: {reason}; expected the whole file as the vendor signed it"
    )]
    NotAnEnvelope { reason: String },
    #[error("payloadType `{found}` is not an entitlement's: expected `{expected}`")]
    WrongType { found: String, expected: &'static str },
    #[error("{field} is not base64: {reason}; expected the file exactly as the vendor signed it")]
    NotBase64 { field: &'static str, reason: String },
    #[error("signatures is empty: expected one by the vendor; ask the vendor for a signed file")]
    NoSignature,
    #[error("signatures has {count} entries: expected at most {most}")]
    TooManySignatures { count: usize, most: usize },
    #[error(
        "signed with unknown key {found}: trusted are [{trusted}]; ask the vendor which key signs \
         its entitlements"
    )]
    UnknownKey { found: String, trusted: String },
    #[error(
        "wrong signature of key {key_id}: the content was changed after it was signed; ask the \
         vendor for the file again"
    )]
    WrongSignature { key_id: String },
    #[error("format {format} is newer than this software, which reads {FORMAT}: upgrade first")]
    NewerFormat { format: u32 },
    #[error("payload refused: {reason}")]
    Payload { reason: String },
    #[error(
        "cluster is {found}, but this cluster is {expected}: ask the vendor for this cluster's \
         entitlement"
    )]
    OtherCluster { found: ClusterId, expected: ClusterId },
    #[error(
        "serial {serial} is not above {current}, the one in force: ask the vendor for the newest \
         entitlement"
    )]
    OldSerial { serial: u64, current: u64 },
    #[error(transparent)]
    Invalid(#[from] InvalidEntitlement),
}

/// Fields that contradict each other, or are out of range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEntitlement {
    #[error("format = {format} is not known: expected {FORMAT}")]
    Format { format: u32 },
    #[error("serial = 0 is out of range: expected 1 or more")]
    SerialZero,
    #[error("customer has {characters} characters: expected 1 to {most}")]
    CustomerLength { characters: usize, most: usize },
    #[error("customer contains {character}: expected printable characters only")]
    CustomerNotPrintable { character: String },
    #[error("contact_days = {days} is too short: expected {least} or more")]
    ContactDays { days: u32, least: u32 },
    #[error("sets has {count} entries: expected at most {most}")]
    TooManySets { count: usize, most: usize },
    #[error("set `{set}` is listed twice: give each set its own name")]
    DuplicateSet { set: SetName },
    #[error(
        "set `{set}`: contract_end = {contract_end} is before starts = {starts}: expected that \
         day or later"
    )]
    EndBeforeStart { set: SetName, starts: Date, contract_end: Date },
    #[error("set `{set}`: covers is empty: a backup set needs at least one site to stand in for")]
    BackupWithoutCovers { set: SetName },
    #[error(
        "set `{set}`: covers names `{site}`, but the set is of kind production: expected none, or \
         kind = \"backup\""
    )]
    ProductionWithCovers { set: SetName, site: SiteName },
    #[error("set `{set}`: covers names `{site}` twice: expected each site once")]
    DuplicateCover { set: SetName, site: SiteName },
    #[error(
        "set `{set}`: home `{site}` is also in covers: a set cannot stand in for the site it is \
         at; remove it from one of them"
    )]
    HomeIsCovered { set: SetName, site: SiteName },
    #[error(
        "set `{set}`: autonomy_s = {autonomy_s}, but only a production set with a home has \
         autonomy: give it a home, or remove autonomy_s"
    )]
    AutonomyWithoutHome { set: SetName, autonomy_s: u64 },
    #[error("set `{set}`: autonomy_s = {autonomy_s} is out of range: expected 1 to {most}")]
    Autonomy { set: SetName, autonomy_s: u64, most: u64 },
    #[error("set `{set}`: features is empty: expected at least one")]
    NoFeatures { set: SetName },
    #[error("set `{set}`: features has {count} entries: expected at most {most}")]
    TooManyFeatures { set: SetName, count: usize, most: usize },
    #[error("set `{set}`: feature `{feature}` is listed twice: add its units up in one line")]
    DuplicateFeature { set: SetName, feature: FeatureId },
    #[error(
        "set `{set}`: feature `{feature}`: units = {units} is out of range: expected 1 to {most}"
    )]
    Units { set: SetName, feature: FeatureId, units: u64, most: u64 },
}
