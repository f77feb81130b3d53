//! Key files: PKCS#8 and SPKI in PEM (RFC 8410), which openssl reads and writes too.

use std::fs;
use std::path::Path;

use anyhow::Context;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{
    DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, KeypairBytes,
};
use ed25519_dalek::{SigningKey, VerifyingKey};

/// Both PEM texts of a key: private, then public.
pub(crate) fn encode(key: &SigningKey) -> anyhow::Result<(impl AsRef<[u8]> + use<>, String)> {
    // Without the public half this is PKCS#8 version 1, which every openssl reads.
    let private = KeypairBytes { secret_key: key.to_bytes(), public_key: None };
    let private = private.to_pkcs8_pem(LineEnding::LF).context("cannot encode the private key")?;
    let public = key
        .verifying_key()
        .to_public_key_pem(LineEnding::LF)
        .context("cannot encode the public key")?;
    Ok((private, public))
}

pub(crate) fn read_private(path: &Path) -> anyhow::Result<SigningKey> {
    SigningKey::from_pkcs8_pem(&read(path)?).map_err(|error| {
        anyhow::anyhow!(
            "key file {} is not an Ed25519 private key ({error}): expected `BEGIN PRIVATE KEY` as \
             `license-node keygen` writes it",
            path.display()
        )
    })
}

pub(crate) fn read_public(path: &Path) -> anyhow::Result<VerifyingKey> {
    VerifyingKey::from_public_key_pem(&read(path)?).map_err(|error| {
        anyhow::anyhow!(
            "key file {} is not an Ed25519 public key ({error}): expected `BEGIN PUBLIC KEY` as \
             `license-node keygen` writes it",
            path.display()
        )
    })
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read key file {}", path.display()))
}
