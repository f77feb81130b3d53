//! `license-node show`.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use leasehold_core::entitlement::{Entitlement, Unverified};
use leasehold_core::limits::ENTITLEMENT_BYTES_MAX;

use crate::{keys, summary};

pub(crate) fn show(path: &Path, trust: &[PathBuf], out: &mut impl Write) -> anyhow::Result<()> {
    let trusted = trust
        .iter()
        .map(|path| keys::read_public(path).map(|key| key.to_bytes()))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let envelope = read_envelope(path)?;
    let in_file = || path.display().to_string();
    let Unverified { entitlement, key_ids } =
        Entitlement::decode_unverified(&envelope).with_context(in_file)?;

    writeln!(out, "{} names key {}", path.display(), key_ids.join(", "))?;
    summary::write(&entitlement, out)?;
    if trusted.is_empty() {
        entitlement.validate().with_context(in_file)?;
        writeln!(out, "\nsignature not checked: give --trust PUBKEY")?;
        return Ok(());
    }
    Entitlement::open(&envelope, &trusted, entitlement.cluster, None).with_context(in_file)?;
    writeln!(out, "\nverified: signed by a trusted key")?;
    Ok(())
}

/// Reads no more than shows that a file is too large.
fn read_envelope(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(ENTITLEMENT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes))
        .with_context(|| format!("cannot read {}", path.display()))?;
    Ok(bytes)
}
