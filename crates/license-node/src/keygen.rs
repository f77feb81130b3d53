//! `license-node keygen`.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::Context;
use ed25519_dalek::SigningKey;
use leasehold_core::entitlement::key_id;

use crate::{file, keys};

pub(crate) fn keygen(folder: &Path, name: &str, out: &mut impl Write) -> anyhow::Result<()> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).context("the system gives no random numbers")?;
    let key = SigningKey::from_bytes(&secret);
    let (private, public) = keys::encode(&key)?;

    fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let private_path = folder.join(format!("{name}.private.pem"));
    let public_path = folder.join(format!("{name}.public.pem"));
    file::write_new(&private_path, private.as_ref(), 0o600)?;
    file::write_new(&public_path, public.as_bytes(), 0o644).inspect_err(|_| {
        // A key without its other half is of no use.
        file::remove(&private_path);
    })?;

    writeln!(out, "key      {}", key_id(key.verifying_key().as_bytes()))?;
    writeln!(out, "private  {} (keep it secret and backed up)", private_path.display())?;
    writeln!(out, "public   {} (clusters trust this one)", public_path.display())?;
    Ok(())
}

/// The name becomes part of two file names, and nothing else.
pub(crate) fn parse_name(text: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if (1..=64).contains(&text.len()) && text.bytes().all(is_plain) {
        return Ok(text.to_owned());
    }
    Err("expected 1 to 64 letters, digits, `-` and `_`".to_owned())
}
