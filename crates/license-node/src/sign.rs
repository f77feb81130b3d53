//! `license-node sign`.

use std::io::Write;
use std::path::Path;

use anyhow::Context;
use leasehold_core::entitlement::{Entitlement, key_id};
use leasehold_core::id::ClusterId;

use crate::{draft, file, keys, summary};

pub(crate) fn sign(
    key: &Path,
    input: &Path,
    envelope_path: &Path,
    cluster: Option<ClusterId>,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let key = keys::read_private(key)?;
    let entitlement = draft::read(input, cluster)?;
    let envelope = entitlement.seal(&key);
    // What leaves this machine is opened first, just as a cluster will open it.
    let public = key.verifying_key().to_bytes();
    Entitlement::open(&envelope, &[public], entitlement.cluster, None)
        .with_context(|| format!("{} makes no good entitlement", input.display()))?;
    file::replace_envelope(envelope_path, &envelope)?;

    writeln!(out, "signed {} with key {}", envelope_path.display(), key_id(&public))?;
    summary::write(&entitlement, out)
}
