//! The envelope: a payload's exact bytes and Ed25519 signatures over them.
//!
//! It follows DSSE (<https://github.com/secure-systems-lab/dsse>): what is signed is
//! `PAE("DSSEv1", type, payload)`, so a signature never holds for a document of another type.
//! There is no field that names an algorithm, and so none that could be lied about. One signature
//! of a trusted key is enough; signatures of unknown keys are ignored, so that keys can change.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::EntitlementError;
use crate::limits::ENTITLEMENT_BYTES_MAX;

const PAYLOAD_TYPE: &str = "application/vnd.leasehold.entitlement.v1+json";
/// An old and a new key for each of two issuers, twice over. Bounds the work that a stranger's
/// file can ask for to half a millisecond.
pub const SIGNATURES_MAX: usize = 8;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    #[serde(rename = "payloadType")]
    payload_type: String,
    payload: String,
    signatures: Vec<KeySignature>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeySignature {
    keyid: String,
    sig: String,
}

/// The short name of an Ed25519 public key: the first 16 hexadecimal digits of its SHA-256.
#[must_use]
pub fn key_id(public: &[u8; 32]) -> String {
    Sha256::digest(public)[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn seal(payload: &[u8], key: &SigningKey) -> Vec<u8> {
    let signature = key.sign(&signed_bytes(payload));
    let envelope = Envelope {
        payload_type: PAYLOAD_TYPE.to_owned(),
        payload: STANDARD.encode(payload),
        signatures: vec![KeySignature {
            keyid: key_id(key.verifying_key().as_bytes()),
            sig: STANDARD.encode(signature.to_bytes()),
        }],
    };
    serde_json::to_vec(&envelope).expect("plain data without maps is always JSON")
}

/// The payload, if one of the `trusted` keys signed it.
pub(super) fn verified_payload(
    envelope: &[u8],
    trusted: &[[u8; 32]],
) -> Result<Vec<u8>, EntitlementError> {
    let envelope = Envelope::read(envelope)?;
    let payload = envelope.payload()?;
    let signed = signed_bytes(&payload);
    let mut wrong = None;
    for signature in &envelope.signatures {
        let Some(public) = trusted.iter().find(|public| key_id(public) == signature.keyid) else {
            continue;
        };
        if is_signature_of(public, &signed, &decode("sig", &signature.sig)?) {
            return Ok(payload);
        }
        wrong = Some(signature.keyid.clone());
    }
    Err(match wrong {
        Some(key_id) => EntitlementError::WrongSignature { key_id },
        None => EntitlementError::UnknownKey {
            found: envelope.key_ids().join(", "),
            trusted: trusted.iter().map(key_id).collect::<Vec<_>>().join(", "),
        },
    })
}

/// The payload whoever signed it, and who claims to have done so.
pub(super) fn unverified_payload(
    envelope: &[u8],
) -> Result<(Vec<u8>, Vec<String>), EntitlementError> {
    let envelope = Envelope::read(envelope)?;
    Ok((envelope.payload()?, envelope.key_ids()))
}

impl Envelope {
    fn read(bytes: &[u8]) -> Result<Self, EntitlementError> {
        if bytes.len() > ENTITLEMENT_BYTES_MAX {
            return Err(EntitlementError::TooLarge {
                bytes: bytes.len(),
                most: ENTITLEMENT_BYTES_MAX,
            });
        }
        let envelope: Self = serde_json::from_slice(bytes)
            .map_err(|error| EntitlementError::NotAnEnvelope { reason: error.to_string() })?;
        if envelope.payload_type != PAYLOAD_TYPE {
            let found = shown(&envelope.payload_type, 80);
            return Err(EntitlementError::WrongType { found, expected: PAYLOAD_TYPE });
        }
        match envelope.signatures.len() {
            0 => Err(EntitlementError::NoSignature),
            1..=SIGNATURES_MAX => Ok(envelope),
            count => Err(EntitlementError::TooManySignatures { count, most: SIGNATURES_MAX }),
        }
    }

    fn payload(&self) -> Result<Vec<u8>, EntitlementError> {
        decode("payload", &self.payload)
    }

    fn key_ids(&self) -> Vec<String> {
        self.signatures.iter().map(|signature| shown(&signature.keyid, 16)).collect()
    }
}

/// `verify_strict` also refuses keys of small order, under which one signature fits any document.
fn is_signature_of(public: &[u8; 32], signed: &[u8], signature: &[u8]) -> bool {
    let (Ok(public), Ok(signature)) =
        (VerifyingKey::from_bytes(public), Signature::from_slice(signature))
    else {
        return false;
    };
    public.verify_strict(signed, &signature).is_ok()
}

/// DSSE's pre-authentication encoding: lengths before texts, so that no two pairs look alike.
fn signed_bytes(payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

/// A stranger's text, short and without control characters, as it will be in logs and terminals.
fn shown(text: &str, characters: usize) -> String {
    text.chars().take(characters).flat_map(char::escape_debug).collect()
}

fn decode(field: &'static str, text: &str) -> Result<Vec<u8>, EntitlementError> {
    STANDARD
        .decode(text)
        .map_err(|error| EntitlementError::NotBase64 { field, reason: error.to_string() })
}
