//! The readable file that is to become an entitlement.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use leasehold_core::entitlement::{CONTACT_DAYS_MIN, Date, Entitlement, FORMAT, LicenseSet};
use leasehold_core::id::ClusterId;
use serde::Deserialize;

/// Like an [`Entitlement`], but what can be known otherwise may be left out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Draft {
    cluster: Option<String>,
    serial: u64,
    issued: Option<Date>,
    customer: String,
    contact_days: Option<u32>,
    sets: Vec<LicenseSet>,
}

/// The entitlement that the file at `path` describes, for `cluster` where the file names none.
pub(crate) fn read(path: &Path, cluster: Option<ClusterId>) -> anyhow::Result<Entitlement> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let draft: Draft = toml::from_str(&text).map_err(|error| {
        anyhow::anyhow!("{} is not understood: {}", path.display(), error.to_string().trim_end())
    })?;
    let in_file = |name: &str| format!("{}: {name}", path.display());
    let named = match &draft.cluster {
        Some(text) => Some(text.parse::<ClusterId>().with_context(|| in_file("cluster"))?),
        None => None,
    };
    let entitlement = Entitlement {
        format: FORMAT,
        cluster: choose_cluster(named, cluster).with_context(|| in_file("cluster"))?,
        serial: draft.serial,
        issued: match draft.issued {
            Some(issued) => issued,
            None => today()?,
        },
        customer: draft.customer,
        contact_days: draft.contact_days.unwrap_or(CONTACT_DAYS_MIN),
        sets: draft.sets,
    };
    entitlement.validate().with_context(|| path.display().to_string())?;
    Ok(entitlement)
}

fn choose_cluster(
    file: Option<ClusterId>,
    argument: Option<ClusterId>,
) -> anyhow::Result<ClusterId> {
    match (file, argument) {
        (Some(file), Some(argument)) if file != argument => {
            bail!("the file says {file}, --cluster says {argument}: remove the wrong one")
        }
        (Some(cluster), _) | (None, Some(cluster)) => Ok(cluster),
        (None, None) => bail!(
            "missing: add cluster = \"…\" to the file or give --cluster; `leasehold status` shows \
             the id, 32 hexadecimal digits"
        ),
    }
}

fn today() -> anyhow::Result<Date> {
    let today =
        jiff::Timestamp::now().to_zoned_datetime(jiff::tz::TimeZone::UTC).date().to_string();
    today.parse().context("this machine's clock is wrong: set issued in the file")
}
