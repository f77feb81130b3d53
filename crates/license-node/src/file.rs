//! Files that are there whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, bail};
use leasehold_core::entitlement::{Entitlement, EntitlementError};
use leasehold_core::limits::ENTITLEMENT_BYTES_MAX;

/// Writes a file that must not exist yet, readable as `mode` says from its first moment.
pub(crate) fn write_new(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    let mut file = match OpenOptions::new().write(true).create_new(true).mode(mode).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => bail!(
            "{} exists already and is not overwritten: choose another --name or --out",
            path.display()
        ),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot create {}", path.display()));
        }
    };
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    written.with_context(|| {
        remove(path);
        format!("cannot write {}", path.display())
    })
}

/// Replaces an envelope in one step, so that nobody reads half of one. Any other file is left
/// alone: a mistyped path must not cost a key.
pub(crate) fn replace_envelope(path: &Path, envelope: &[u8]) -> anyhow::Result<()> {
    if path.exists() && !is_envelope(path)? {
        bail!("{} exists and is no entitlement: choose another --out", path.display());
    }
    let name = path.file_name().with_context(|| format!("{} names no file", path.display()))?;
    let mut temporary_name = name.to_owned();
    temporary_name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(temporary_name);
    let written = File::create(&temporary)
        .and_then(|mut file| file.write_all(envelope).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temporary, path));
    written.with_context(|| {
        remove(&temporary);
        format!("cannot write {}", path.display())
    })
}

fn is_envelope(path: &Path) -> anyhow::Result<bool> {
    let size = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len();
    if size > ENTITLEMENT_BYTES_MAX as u64 {
        return Ok(false);
    }
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let decoded = Entitlement::decode_unverified(&bytes);
    Ok(decoded.is_ok() || matches!(decoded, Err(EntitlementError::NewerFormat { .. })))
}

/// The failure that led here is the one to report, not one of cleaning up after it.
pub(crate) fn remove(path: &Path) {
    let _ = fs::remove_file(path);
}
