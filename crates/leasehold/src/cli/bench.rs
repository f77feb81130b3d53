//! `leasehold bench`: see [`crate::bench`].

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use leasehold_client::{Endpoint, Security, TlsFiles};
use leasehold_node::tls::raise_open_files_limit;

use super::admin::check_address;
use super::{Exit, Failure, Output};
use crate::bench::{self, BenchTarget, Load, Plan, Report};

/// A node of its own is measured beside a bare echo of the same messages, unless --endpoint names
/// a node that runs. The exit code is 1 if a ratio misses what is expected of it.
#[derive(Debug, Args)]
pub(super) struct BenchOptions {
    /// How long each run is measured.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = range(1..=600))]
    seconds: u64,
    /// How often each load runs; of the ratios of all rounds the median counts.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = range(1..=100))]
    rounds: u64,
    /// Calls at a time, beside the runs with one.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = range(2..=4_096))]
    concurrency: u64,
    /// Items of one call, in the runs with many.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = range(2..=1_024))]
    items: u64,
    /// Connections that the calls share.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = range(1..=1_024))]
    connections: u64,
    /// Without encryption.
    #[arg(long)]
    plain_text: bool,
    /// Measures instead what outstanding checkouts cost a node, up to so many.
    #[arg(
        long,
        value_name = "N",
        value_parser = range(1_000..=3_000_000),
        conflicts_with_all = ["seconds", "rounds", "concurrency", "items", "connections", "endpoint"]
    )]
    outstanding: Option<u64>,
    #[command(flatten)]
    running: RunningOptions,
}

/// A node of a running cluster; it is measured without an echo beside it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Running node")]
struct RunningOptions {
    /// Where it serves engines.
    #[arg(long, value_name = "HOST:PORT")]
    endpoint: Option<String>,
    /// What is checked out: one unit for each item of each call at a time.
    #[arg(long, value_name = "FEATURE", default_value = "asr.tier1", requires = "endpoint")]
    feature: String,
    /// The authority that its certificate comes from (PEM).
    #[arg(long, env = "LEASEHOLD_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// A certificate with the role `engine` (PEM), for nodes that ask for one.
    #[arg(long, env = "LEASEHOLD_ENGINE_CERT", value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Its key (PEM).
    #[arg(long, env = "LEASEHOLD_ENGINE_KEY", value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
}

fn range(of: std::ops::RangeInclusive<u64>) -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(of)
}

pub(super) async fn run(options: &BenchOptions, output: Output) -> Result<(), Failure> {
    // The limit that results is not of interest here.
    let _ = raise_open_files_limit();
    let mut progress = Progress::on_stderr();
    if let Some(most) = options.outstanding {
        let growth = bench::grow(number(most), |what| progress.show(what)).await?;
        progress.clear();
        return output.print(&growth, bench::Growth::text);
    }
    let report = bench::run(&options.plan()?, |what| progress.show(what)).await?;
    progress.clear();
    output.print(&report, Report::text)?;
    let is_good = report.targets.iter().all(|target| target.met);
    if is_good { Ok(()) } else { Err(Failure::silent(Exit::Failed)) }
}

impl BenchOptions {
    fn plan(&self) -> Result<Plan, Failure> {
        let concurrency = number(self.concurrency);
        let load = |concurrency, items| Load { concurrency, items };
        let many = number(self.items);
        Ok(Plan {
            loads: vec![load(1, 1), load(concurrency, 1), load(concurrency, many)],
            rounds: number(self.rounds),
            run: Duration::from_secs(self.seconds),
            connections: number(self.connections),
            target: self.target()?,
        })
    }

    fn target(&self) -> Result<BenchTarget, Failure> {
        let RunningOptions { endpoint, feature, ca, cert, key } = &self.running;
        let Some(address) = endpoint else {
            return Ok(BenchTarget::Embedded { tls: !self.plain_text });
        };
        check_address("endpoint", address)?;
        let security = match (ca, self.plain_text) {
            (_, true) => Security::Plain,
            (Some(ca), false) => {
                let identity = cert.clone().zip(key.clone());
                Security::Tls(TlsFiles { ca: ca.clone(), identity, server_name: None })
            }
            (None, false) => {
                return Err(Failure::usage(
                    "give --ca (or LEASEHOLD_CA) with --endpoint; for a node on this machine \
                     without certificates give --plain-text",
                ));
            }
        };
        let endpoint = Endpoint { address: address.clone(), site: String::new() };
        Ok(BenchTarget::Running { endpoint, security, feature: feature.clone() })
    }
}

/// Values of the command line have bounds far below.
fn number(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// One line that says what runs, for whoever watches.
struct Progress {
    is_watched: bool,
}

impl Progress {
    fn on_stderr() -> Self {
        Self { is_watched: std::io::stderr().is_terminal() }
    }

    fn show(&mut self, what: &str) {
        if self.is_watched {
            // Nobody misses a progress that can't be shown.
            let _ = write!(std::io::stderr(), "\r\x1b[K{what} ...");
        }
    }

    fn clear(&mut self) {
        if self.is_watched {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
