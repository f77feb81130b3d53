//! The command line: what can be asked, and how the answer and the exit code look.
//!
//! Results go to standard output, as tables for people or as JSON for scripts; whatever went
//! wrong goes to standard error as one line. In JSON every object carries `"schema": 1`; fields
//! are only ever added under one schema number.

mod admin;
mod bench;
mod certs;
mod cluster;
mod demo;
mod engine;
mod entitlement;
mod events;
mod exit;
mod node;
mod print;
mod serve;
mod sets;
mod status;
#[cfg(test)]
mod tests;

use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};

pub use admin::AdminTarget;
pub use exit::{Exit, Failure};
pub use print::{Output, lines, table};

/// What commands do, for the demo.
pub(crate) mod commands {
    pub(crate) use super::cluster::{found, join};
    pub(crate) use super::entitlement::install;
    pub(crate) use super::status::{fetch as status, reason_name};
}

/// Leasehold lends licensed units to speech engines, from a cluster that outlives its nodes.
#[derive(Debug, Parser)]
#[command(
    name = "leasehold",
    version,
    arg_required_else_help = true,
    after_help = EXIT_CODES,
    max_term_width = 100
)]
struct Arguments {
    /// How results are printed.
    #[arg(long, value_enum, global = true, default_value_t)]
    output: Output,
    #[command(subcommand)]
    command: Command,
}

/// Constant, so that scripts can rely on them.
const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    refused, denied or failed; standard error says why
  2    the command line is wrong
  3    the node could not be reached, or knows no leader: try again, or another node
  4    serve: the node was removed from its cluster; it is not to be started again
  130  ended by Ctrl-C";

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a node until it is told to stop.
    Serve(serve::ServeOptions),
    /// Shows it all working on this machine: three sites, engines, two kills and the verdict.
    Demo(demo::DemoOptions),
    /// Measures checkouts beside a bare echo of the same messages.
    Bench(bench::BenchOptions),
    /// Founds or joins a cluster.
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// Lists, adds, promotes, removes or fences nodes.
    #[command(subcommand)]
    Node(node::NodeCommand),
    /// Shows nodes, leases and pools.
    Status(status::StatusOptions),
    /// Shows the license sets of the entitlement in force.
    Sets(sets::SetsOptions),
    /// Installs or shows the vendor's entitlement.
    #[command(subcommand)]
    Entitlement(entitlement::EntitlementCommand),
    /// Shows what happened in the cluster.
    Events(events::EventsOptions),
    /// Takes units out by hand, as an engine would, and prints the receipt.
    Checkout(engine::CheckoutArguments),
    /// Extends a checkout by hand.
    Renew(engine::RenewArguments),
    /// Gives a checkout back by hand.
    Checkin(engine::CheckinArguments),
    /// Makes certificates for trying things out.
    #[command(subcommand)]
    Certs(certs::CertsCommand),
}

/// Parses the command line, does what it says, and reports.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(()) => Exit::Done.into(),
        Err(failure) => failure.report(),
    }
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    let runtime = tokio::runtime::Runtime::new().context("the async runtime can't be started")?;
    let result = runtime.block_on(Box::pin(perform(arguments)));
    // Whatever still runs belongs to nobody: a command is over when its result is there.
    runtime.shutdown_background();
    result
}

async fn perform(Arguments { output, command }: Arguments) -> Result<(), Failure> {
    match command {
        Command::Serve(options) => Box::pin(serve::run(&options)).await,
        Command::Demo(options) => Box::pin(demo::run(&options, output)).await,
        Command::Bench(options) => Box::pin(bench::run(&options, output)).await,
        Command::Cluster(command) => cluster::run(command, output).await,
        Command::Node(command) => node::run(command, output).await,
        Command::Status(options) => status::run(&options, output).await,
        Command::Sets(options) => sets::run(&options, output).await,
        Command::Entitlement(command) => entitlement::run(command, output).await,
        Command::Events(options) => events::run(&options, output).await,
        Command::Checkout(arguments) => engine::checkout(arguments, output).await,
        Command::Renew(arguments) => engine::renew(arguments, output).await,
        Command::Checkin(arguments) => engine::checkin(arguments, output).await,
        Command::Certs(command) => certs::run(&command, output),
    }
}
