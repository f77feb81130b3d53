//! An entitlement as a person reads it.

use std::io::Write;

use leasehold_core::entitlement::{Entitlement, LicenseSet};
use leasehold_core::id::SiteName;

pub(crate) fn write(entitlement: &Entitlement, out: &mut impl Write) -> anyhow::Result<()> {
    writeln!(out, "  cluster   {}", entitlement.cluster)?;
    writeln!(out, "  serial    {}, issued {}", entitlement.serial, entitlement.issued)?;
    // Quoted, with control characters escaped: it may come from a stranger's file.
    writeln!(out, "  customer  {:?}", entitlement.customer)?;
    writeln!(out, "  contact   at least every {} days", entitlement.contact_days)?;
    for set in &entitlement.sets {
        write_set(set, out)?;
    }
    Ok(())
}

fn write_set(set: &LicenseSet, out: &mut impl Write) -> anyhow::Result<()> {
    writeln!(out, "\n  {} set {}, {}", set.kind, set.name, place(set))?;
    writeln!(
        out,
        "    {} to {}, maintenance until {}",
        set.starts, set.contract_end, set.maintenance_until
    )?;
    if let Some(autonomy_s) = set.autonomy_s {
        writeln!(out, "    autonomy {autonomy_s} s")?;
    }
    let width = set.features.iter().map(|line| line.feature.as_str().len()).max().unwrap_or(0);
    for line in &set.features {
        writeln!(out, "    {:<width$}  {:>8}", line.feature.as_str(), line.units)?;
    }
    Ok(())
}

fn place(set: &LicenseSet) -> String {
    let home = match &set.home {
        Some(site) => format!("at home in {site}"),
        None => "floating".to_owned(),
    };
    if set.covers.is_empty() {
        return home;
    }
    let covers: Vec<&str> = set.covers.iter().map(SiteName::as_str).collect();
    format!("{home}, covers {}", covers.join(", "))
}
