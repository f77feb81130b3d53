//! `leasehold entitlement`: what the vendor has granted.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use leasehold_core::entitlement::key_id;
use leasehold_core::limits::ENTITLEMENT_BYTES_MAX;
use leasehold_proto::v1;
use serde::Serialize;

use super::admin::AdminOptions;
use super::print::hex;
use super::sets::{self, Set};
use super::{AdminTarget, Failure, Output};

#[derive(Debug, Subcommand)]
pub(super) enum EntitlementCommand {
    /// Puts the vendor's file in force; its serial must be higher than the last one's.
    Install(InstallOptions),
    /// Shows the entitlement in force.
    Show(ShowOptions),
}

#[derive(Debug, Args)]
pub(super) struct InstallOptions {
    /// The entitlement as the vendor delivered it.
    file: PathBuf,
    #[command(flatten)]
    connection: AdminOptions,
}

#[derive(Debug, Args)]
pub(super) struct ShowOptions {
    #[command(flatten)]
    connection: AdminOptions,
}

#[derive(Debug, Serialize)]
struct Installed {
    serial: u64,
}

#[derive(Debug, Serialize)]
struct InForce {
    serial: u64,
    cluster: String,
    customer: String,
    issued: String,
    contact_days: u32,
    /// The name of the vendor's key.
    signed_by: String,
    sets: Vec<Set>,
}

pub(super) async fn run(command: EntitlementCommand, output: Output) -> Result<(), Failure> {
    match command {
        EntitlementCommand::Install(options) => {
            let envelope = read(&options.file)?;
            let serial = install(&options.connection.target()?, envelope).await?;
            output.print(&Installed { serial }, |installed| {
                format!("entitlement {} is in force\n", installed.serial)
            })
        }
        EntitlementCommand::Show(options) => show(&options.connection.target()?, output).await,
    }
}

/// Puts an entitlement in force and returns its serial.
///
/// # Errors
/// Why the cluster refused it.
pub(crate) async fn install(target: &AdminTarget, envelope: Vec<u8>) -> Result<u64, Failure> {
    let request = v1::InstallEntitlementRequest { entitlement: envelope.into() };
    let mut client = target.client();
    Ok(target.answer(client.install_entitlement(request)).await?.serial)
}

async fn show(target: &AdminTarget, output: Output) -> Result<(), Failure> {
    let mut client = target.client();
    let shown = target.answer(client.show_entitlement(v1::ShowEntitlementRequest {})).await?;
    let key = <[u8; 32]>::try_from(&shown.signed_by[..]).ok();
    let in_force = InForce {
        serial: shown.serial,
        cluster: hex(&shown.cluster_id),
        customer: shown.customer,
        issued: shown.issued,
        contact_days: shown.contact_days,
        signed_by: key.map_or("-".to_owned(), |key| key_id(&key)),
        sets: shown.sets.into_iter().map(Set::from).collect(),
    };
    output.print(&in_force, text)
}

fn text(shown: &InForce) -> String {
    format!(
        "serial     {}, issued {}\n\
         customer   {}\n\
         cluster    {}\n\
         signed by  key {}\n\
         contact    at least every {} days\n\
         \n{}",
        shown.serial,
        shown.issued,
        shown.customer,
        shown.cluster,
        shown.signed_by,
        shown.contact_days,
        sets::text(&shown.sets)
    )
}

/// Refuses here what could not even be sent.
fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let unreadable = || format!("{} can't be read", path.display());
    let length = std::fs::metadata(path).with_context(unreadable)?.len();
    anyhow::ensure!(
        (1..=ENTITLEMENT_BYTES_MAX as u64).contains(&length),
        "{} has {length} bytes: an entitlement has 1 to {ENTITLEMENT_BYTES_MAX}; give the vendor's \
         file as it was delivered",
        path.display()
    );
    std::fs::read(path).with_context(unreadable)
}
