//! `leasehold-chaos`: faults on real processes for a given time; see `make chaos`.
//!
//! As root it enters namespaces of its own first: disks are mounted and networks cut where nobody
//! else sees it, and all of it goes when it ends, however it ends.

#![allow(clippy::print_stdout, clippy::print_stderr)] // Its purpose is to tell.

use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, ValueEnum};
use leasehold_cluster_tests::chaos::{Outcome, Plan, Progress, run};
use leasehold_cluster_tests::{Wires, run as command};
use tokio::task::LocalSet;

/// Harms a cluster under load, and judges it by what its engines noted.
#[derive(Debug, Parser)]
#[command(name = "leasehold-chaos")]
struct Arguments {
    /// How long to go on.
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// What is drawn from: the same seed draws the same faults.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// In this network alone, and not in one after the other.
    #[arg(long)]
    only: Option<Network>,
    /// End after so many faults in each network.
    #[arg(long)]
    faults: Option<usize>,
    /// Engines that call all the time.
    #[arg(long, default_value_t = 150)]
    engines: usize,
    /// Write what was counted into this file; if the run fails it is removed.
    #[arg(long)]
    results: Option<PathBuf>,
    /// Set by the program for itself, once it is in its own namespaces.
    #[arg(long, hide = true)]
    isolated: bool,
}

/// How the nodes reach each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Network {
    /// Over loopback, through proxies that hold back what is sent.
    Proxies,
    /// Each in a network namespace of its own, with packets filtered: needs root.
    Namespaces,
}

/// Of the time, the first part goes through proxies, the rest through namespaces.
const PROXIES_PART: (u32, u32) = (2, 3);

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match perform(&arguments).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn perform(arguments: &Arguments) -> anyhow::Result<bool> {
    let is_root = rustix::process::geteuid().is_root();
    if is_root && !arguments.isolated {
        return Err(isolate()).context("unshare can't be run");
    }
    if is_root {
        command("ip link set lo up").map_err(anyhow::Error::msg)?;
    } else {
        println!("not root: no disks are harmed, no packets filtered; the proxies do the rest");
    }
    let mut outcome = Outcome::default();
    for (network, time) in parts(arguments, is_root)? {
        let (seed, engines) = (arguments.seed, arguments.engines);
        let faults = arguments.faults.unwrap_or(usize::MAX);
        let wires = match network {
            Network::Proxies => Wires::Mesh,
            Network::Namespaces => Wires::Namespaces,
        };
        let has_disks = is_root;
        let plan = Plan { seed, time, faults, engines, wires, has_disks, among: Vec::new() };
        println!("seed {seed}, {network:?}, {} s, {engines} engines", time.as_secs());
        let progress = Rc::new(Progress::default());
        let told = Rc::clone(&progress);
        let local = LocalSet::new();
        // A task of its own: its panic is an outcome, not this program's end.
        let running = local.spawn_local(async move { run(plan, &told).await });
        match local.run_until(running).await {
            Ok(shown) => outcome.add(shown),
            Err(_) => {
                tell_failure(arguments, network, &progress);
                forget_results(arguments.results.as_deref())?;
                return Ok(false);
            }
        }
    }
    summarize(&outcome);
    if let Some(path) = &arguments.results {
        let again = again(arguments, arguments.only, arguments.faults);
        let command = format!("{again} --results {}", path.display());
        outcome.results(&command, arguments.engines).write(path)?;
    }
    Ok(true)
}

/// Becomes the same program in namespaces of its own; returns only if that fails.
fn isolate() -> std::io::Error {
    let own = match std::env::current_exe() {
        Ok(own) => own,
        Err(error) => return error,
    };
    let mut again = Command::new("unshare");
    again.args(["--mount", "--net", "--"]).arg(own);
    again.args(std::env::args_os().skip(1)).arg("--isolated").exec()
}

/// Which networks, and how long in each.
fn parts(arguments: &Arguments, is_root: bool) -> anyhow::Result<Vec<(Network, Duration)>> {
    let time = Duration::from_secs(60 * arguments.minutes);
    let proxies = time * PROXIES_PART.0 / PROXIES_PART.1;
    Ok(match arguments.only {
        Some(Network::Namespaces) if !is_root => anyhow::bail!("--only namespaces needs root"),
        Some(only) => vec![(only, time)],
        None if is_root => {
            vec![(Network::Proxies, proxies), (Network::Namespaces, time - proxies)]
        }
        None => vec![(Network::Proxies, time)],
    })
}

/// How to see it fail again, and what to look at.
fn tell_failure(arguments: &Arguments, network: Network, progress: &Progress) {
    println!(
        "FAILED. The same faults again: {}\nlogs: {}",
        again(arguments, Some(network), Some(progress.faults.get())),
        progress.logs.borrow().join("node-*/log.txt").display()
    );
}

/// Results of an earlier run must not be taken for those of one that has failed.
fn forget_results(path: Option<&Path>) -> anyhow::Result<()> {
    let Some(path) = path else { return Ok(()) };
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("can't remove {}", path.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The command that draws the same faults, but for where the results go.
fn again(arguments: &Arguments, only: Option<Network>, faults: Option<usize>) -> String {
    let Arguments { seed, engines, minutes, .. } = arguments;
    let mut command = format!(
        "cargo run -p leasehold-cluster-tests --bin leasehold-chaos -- --seed {seed} \
         --engines {engines} --minutes {minutes}"
    );
    if let Some(only) = only.as_ref().and_then(ValueEnum::to_possible_value) {
        command += &format!(" --only {}", only.get_name());
    }
    if let Some(faults) = faults {
        command += &format!(" --faults {faults}");
    }
    command
}

fn summarize(outcome: &Outcome) {
    println!("\nFaults:");
    for (name, times) in outcome.counted_faults() {
        let note = if times == 0 { "  NOT TESTED" } else { "" };
        println!("  {times:>5}  {name}{note}");
    }
    println!("Transitions:");
    for (name, times) in outcome.counted_transitions() {
        println!("  {times:>5}  {name}");
    }
    println!(
        "{} faults in {} s; {} calls; slowest recovery {:.1} s\nno unit over-issued, no call lost \
         ({} without a majority for longer than a checkout lives)",
        outcome.faults.values().sum::<u64>(),
        outcome.took.as_secs(),
        outcome.calls,
        outcome.slowest_recovery.as_secs_f64(),
        outcome.lost_without_promise,
    );
}
