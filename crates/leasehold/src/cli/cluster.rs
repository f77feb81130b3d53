//! `leasehold cluster`: founding and joining.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use ed25519_dalek::VerifyingKey;
use ed25519_dalek::pkcs8::DecodePublicKey;
use leasehold_core::entitlement::key_id;
use leasehold_proto::v1;
use serde::Serialize;

use super::admin::{AdminOptions, FOUND_DEADLINE, check_address};
use super::print::hex;
use super::{AdminTarget, Failure, Output};

#[derive(Debug, Subcommand)]
pub(super) enum ClusterCommand {
    /// Founds a cluster on a node that has no data yet, and prints the cluster's id, to which the
    /// vendor issues the entitlement.
    Init(InitOptions),
    /// Has a node that has no data yet join a cluster. It gets the log at once, and a vote as soon
    /// as it has caught up.
    Join(JoinOptions),
}

#[derive(Debug, Args)]
pub(super) struct JoinOptions {
    /// Where any member of the cluster serves the other nodes.
    #[arg(long, value_name = "HOST:PORT")]
    via: String,
    #[command(flatten)]
    connection: AdminOptions,
}

#[derive(Debug, Serialize)]
struct Joined {
    cluster: String,
}

#[derive(Debug, Args)]
pub(super) struct InitOptions {
    /// A public key of the vendor (PEM) that entitlements may be signed with; may be repeated.
    #[arg(long, value_name = "FILE", required = true)]
    trust: Vec<PathBuf>,
    #[command(flatten)]
    timings: TimingsOptions,
    #[command(flatten)]
    connection: AdminOptions,
}

/// Durations for the whole cluster; those of the node's configuration if none is given here.
#[derive(Debug, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Timings")]
struct TimingsOptions {
    /// How long a node may lend after a heartbeat.
    #[arg(long, value_name = "MS")]
    lease_ms: Option<u64>,
    /// How often a node sends a heartbeat.
    #[arg(long, value_name = "MS")]
    heartbeat_ms: Option<u64>,
    /// How long a checkout lives without a renewal.
    #[arg(long, value_name = "MS")]
    checkout_ttl_ms: Option<u64>,
    /// The largest error of any clock's rate, in parts per million.
    #[arg(long, value_name = "PPM")]
    clock_drift_ppm: Option<u64>,
    /// What rounding and scheduling may cost.
    #[arg(long, value_name = "MS")]
    margin_ms: Option<u64>,
    /// The longest random part of an election timeout.
    #[arg(long, value_name = "MS")]
    election_max_ms: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Founded {
    cluster: String,
    trusted_keys: Vec<String>,
}

pub(super) async fn run(command: ClusterCommand, output: Output) -> Result<(), Failure> {
    match command {
        ClusterCommand::Init(options) => init(&options, output).await,
        ClusterCommand::Join(options) => {
            let target = options.connection.target()?;
            let joined = Joined { cluster: hex(&join(&target, &options.via).await?) };
            output.print(&joined, |joined| format!("joined cluster {}\n", joined.cluster))
        }
    }
}

/// Has the node behind `target` join the cluster of the node at `via`; returns the cluster's id.
///
/// # Errors
/// Why it did not.
pub(crate) async fn join(target: &AdminTarget, via: &str) -> Result<Vec<u8>, Failure> {
    check_address("via", via)?;
    let request = v1::JoinClusterRequest { via: via.to_owned() };
    let mut client = target.client();
    let joined = target.answer_within(FOUND_DEADLINE, client.join_cluster(request)).await?;
    Ok(joined.cluster_id.to_vec())
}

async fn init(options: &InitOptions, output: Output) -> Result<(), Failure> {
    let keys = options.trust.iter().map(|path| read_key(path));
    let keys = keys.collect::<anyhow::Result<Vec<_>>>()?;
    let target = options.connection.target()?;
    let cluster_id = found(&target, options.timings.to_wire(), &keys).await?;
    let founded =
        Founded { cluster: hex(&cluster_id), trusted_keys: keys.iter().map(key_id).collect() };
    output.print(&founded, |founded| {
        format!(
            "cluster  {}\ntrusts   {}\n\nThe vendor issues your entitlement to this cluster; then: \
             leasehold entitlement install FILE\n",
            founded.cluster,
            founded.trusted_keys.join(", ")
        )
    })
}

/// Founds a cluster and returns its id.
///
/// # Errors
/// Why the node did not.
pub(crate) async fn found(
    target: &AdminTarget,
    timings: Option<v1::Timings>,
    trusted: &[[u8; 32]],
) -> Result<Vec<u8>, Failure> {
    let trusted_keys = trusted.iter().map(|key| key.to_vec().into()).collect();
    let request = v1::InitClusterRequest { timings, trusted_keys };
    let mut client = target.client();
    let founded = target.answer_within(FOUND_DEADLINE, client.init_cluster(request)).await?;
    Ok(founded.cluster_id.to_vec())
}

fn read_key(path: &Path) -> anyhow::Result<[u8; 32]> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("--trust {} can't be read", path.display()))?;
    let key = VerifyingKey::from_public_key_pem(&text).map_err(|error| {
        anyhow::anyhow!(
            "--trust {} is not an Ed25519 public key ({error}): expected the vendor's file with \
             `BEGIN PUBLIC KEY`",
            path.display()
        )
    })?;
    Ok(key.to_bytes())
}

impl TimingsOptions {
    /// 0 stands for the default; nothing at all for what the node's configuration says.
    fn to_wire(&self) -> Option<v1::Timings> {
        if *self == Self::default() {
            return None;
        }
        Some(v1::Timings {
            lease_ms: self.lease_ms.unwrap_or(0),
            heartbeat_ms: self.heartbeat_ms.unwrap_or(0),
            checkout_ttl_ms: self.checkout_ttl_ms.unwrap_or(0),
            clock_drift_ppm: self.clock_drift_ppm.unwrap_or(0),
            margin_ms: self.margin_ms.unwrap_or(0),
            election_max_ms: self.election_max_ms.unwrap_or(0),
        })
    }
}
