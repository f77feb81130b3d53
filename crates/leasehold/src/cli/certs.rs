//! `leasehold certs`: certificates for trying things out.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};
use leasehold_core::id::NodeId;
use leasehold_node::certs::{DevelopmentCertificates, Validity, write_development_certificates};
use serde::Serialize;

use super::{Failure, Output};

#[derive(Debug, Subcommand)]
pub(super) enum CertsCommand {
    /// Makes an authority and certificates for nodes, an admin and an engine. Not for production:
    /// the authority's key lies beside them.
    Dev(DevOptions),
}

#[derive(Debug, Args)]
pub(super) struct DevOptions {
    /// Folder for the files; made if missing. Nothing is overwritten.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// A node's id and name; may be repeated. Without an id nodes are numbered from 1, in this order.
    #[arg(long, value_name = "[ID=]NAME", required = true)]
    node: Vec<String>,
    /// A name or address at which nodes are reached, beside those of this machine's loopback; may
    /// be repeated.
    #[arg(long, value_name = "HOST")]
    host: Vec<String>,
    /// How long they are good.
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=3_650))]
    days: u32,
}

#[derive(Debug, Serialize)]
struct Written {
    directory: String,
    /// Each has `NAME.pem` and `NAME-key.pem`.
    names: Vec<String>,
}

pub(super) fn run(command: &CertsCommand, output: Output) -> Result<(), Failure> {
    let CertsCommand::Dev(options) = command;
    let nodes = numbered(&options.node)?;
    let names = nodes.iter().map(|(_, name)| name.clone());
    let names: Vec<String> =
        ["ca", "admin", "engine"].map(str::to_owned).into_iter().chain(names).collect();
    let what = DevelopmentCertificates {
        nodes,
        hosts: options.host.clone(),
        validity: Validity::days(options.days),
    };
    write_development_certificates(&options.out, &what).map_err(anyhow::Error::from)?;
    let written = Written { directory: options.out.display().to_string(), names };
    output.print(&written, |written| {
        format!(
            "{}: {} (each NAME.pem and NAME-key.pem), good for {} days, not for production\n",
            written.directory,
            written.names.join(", "),
            options.days
        )
    })
}

/// The node that each certificate is for: peers believe no other.
fn numbered(nodes: &[String]) -> Result<Vec<(NodeId, String)>, Failure> {
    let number = |(position, node): (usize, &String)| match node.split_once('=') {
        None => Ok((NodeId(position as u64 + 1), node.clone())),
        Some((id, name)) => {
            let id = id.parse().ok().filter(|id| *id > 0).map(NodeId);
            let id = id.with_context(|| {
                format!("--node {node}: expected the node's id before `=`, as in 3=east-1")
            })?;
            Ok((id, name.to_owned()))
        }
    };
    nodes.iter().enumerate().map(number).collect::<anyhow::Result<_>>().map_err(Failure::from)
}
