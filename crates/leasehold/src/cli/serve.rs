//! `leasehold serve`: runs a node.

use std::io::IsTerminal;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use leasehold_node::config::{LogConfig, LogFormat, LogLevel, NodeConfig};
use leasehold_node::http::Telemetry;
use leasehold_node::tls::raise_open_files_limit;
use leasehold_node::{Certificates, Node, RunError, Start};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::Failure;

/// SIGTERM and SIGINT stop it in order, SIGHUP has it read its certificates again.
#[derive(Debug, Args)]
pub(super) struct ServeOptions {
    /// The node's configuration (TOML); deploy/node.example.toml explains every key.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Says that the data directory was moved here for good: what used it before has stopped for ever,
    /// and nothing was set back to an earlier state. A copy beside its original lends units twice.
    #[arg(long)]
    moved: bool,
}

pub(super) async fn run(options: &ServeOptions) -> Result<(), Failure> {
    let config = NodeConfig::load(&options.config).map_err(anyhow::Error::from)?;
    start_log(config.log);
    // Before the node starts: a signal during the start ends it in order right after.
    let stop = [listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?];
    let hang_up = listen(SignalKind::hangup())?;
    if let Some(most) = raise_open_files_limit() {
        tracing::debug!(most, "open files");
    }
    let start = Start { was_moved: options.moved };
    let telemetry = Telemetry::install().map_err(anyhow::Error::from)?;
    let node =
        Box::pin(Node::start(config, start, telemetry)).await.context("the node can't start")?;
    tokio::spawn(reload_on(hang_up, node.certificates()));
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "the node runs");
    match Box::pin(node.run(any_of(stop))).await {
        Ok(()) => {}
        Err(expelled @ RunError::Expelled { .. }) => return Err(Failure::expelled(&expelled)),
        Err(failed) => {
            return Err(anyhow::Error::from(failed).context("the node has failed").into());
        }
    }
    tracing::info!("the node has stopped in order");
    Ok(())
}

fn listen(kind: SignalKind) -> anyhow::Result<Signal> {
    signal(kind).context("signals can't be listened for")
}

async fn any_of([mut terminate, mut interrupt]: [Signal; 2]) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("told to stop");
}

async fn reload_on(mut hang_up: Signal, certificates: Certificates) {
    while hang_up.recv().await.is_some() {
        tracing::info!("told to read the certificates again");
        certificates.reload();
    }
}

fn start_log(config: LogConfig) {
    let level = match config.level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    };
    // The libraries' own talk helps only whoever debugs them.
    let filter = EnvFilter::new(match config.level {
        LogLevel::Trace => level.to_owned(),
        LogLevel::Error | LogLevel::Warn | LogLevel::Info | LogLevel::Debug => {
            format!("{},leasehold={level},{}", LIBRARIES, own_crates(level))
        }
    });
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match config.format {
        LogFormat::Text => log.with_target(false).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}

/// What is logged of code that is not ours. Openraft warns of each message that a dead node does not
/// answer, some ten a second; our own consensus says once that the node is silent. Its progress warns
/// of one thing only: a follower has lost what it had.
const LIBRARIES: &str = "warn,openraft=error,openraft::progress=warn";

fn own_crates(level: &str) -> String {
    let crates = ["actor", "client", "consensus", "core", "node", "storage"];
    crates.map(|name| format!("leasehold_{name}={level}")).join(",")
}
