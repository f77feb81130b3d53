//! `leasehold-chaos`: faults on real processes for a given time; see `make chaos`.
//!
//! As root it enters namespaces of its own first: disks are mounted and networks cut where nobody
//! else sees it, and all of it goes when it ends, however it ends.

#![allow(clippy::print_stdout, clippy::print_stderr)] // Its purpose is to tell.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use leasehold_cluster_tests::chaos::{ENTITLED, Outcome, Plan, Results, run};
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
    /// End after so many faults in each network.
    #[arg(long, default_value_t = usize::MAX)]
    faults: usize,
    /// Engines that call all the time.
    #[arg(long, default_value_t = 150)]
    engines: usize,
    /// Write what was counted into this file.
    #[arg(long)]
    results: Option<PathBuf>,
    /// Set by the program for itself, once it is in its own namespaces.
    #[arg(long, hide = true)]
    isolated: bool,
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
    let time = Duration::from_secs(60 * arguments.minutes);
    let proxies = if is_root { time * PROXIES_PART.0 / PROXIES_PART.1 } else { time };
    let mut parts = vec![(Wires::Mesh, proxies)];
    if is_root {
        parts.push((Wires::Namespaces, time - proxies));
        command("ip link set lo up").map_err(anyhow::Error::msg)?;
    } else {
        println!("not root: no disks are harmed, no packets filtered; the proxies do the rest");
    }
    let mut outcome = Outcome::default();
    for (wires, time) in parts {
        let (seed, faults, engines) = (arguments.seed, arguments.faults, arguments.engines);
        let has_disks = is_root;
        let plan = Plan { seed, time, faults, engines, wires, has_disks, among: Vec::new() };
        println!("seed {seed}, {wires:?}, {} s, {engines} engines", time.as_secs());
        let local = LocalSet::new();
        // A task of its own: its panic is an outcome, not this program's end.
        let running = local.spawn_local(run(plan));
        match local.run_until(running).await {
            Ok(shown) => outcome.add(shown),
            Err(_) => {
                println!("FAILED. The same faults again: {}", replay(arguments));
                return Ok(false);
            }
        }
    }
    summarize(&outcome);
    if let Some(path) = &arguments.results {
        let results = results(arguments, &outcome)?;
        let text = serde_json::to_string_pretty(&results)? + "\n";
        std::fs::write(path, text).with_context(|| path.display().to_string())?;
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

fn replay(arguments: &Arguments) -> String {
    let Arguments { seed, engines, .. } = arguments;
    format!(
        "cargo run -p leasehold-cluster-tests --bin leasehold-chaos -- --seed {seed} \
         --engines {engines} --minutes {}",
        arguments.minutes
    )
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
        "{} faults in {} s; {} calls; slowest recovery {:.1} s\nunits over-issued: {}; calls lost: \
         {} ({} more without a majority for longer than a checkout lives)",
        outcome.faults.values().sum::<u64>(),
        outcome.took.as_secs(),
        outcome.calls,
        outcome.slowest_recovery.as_secs_f64(),
        outcome.over_issued_units,
        outcome.lost,
        outcome.lost_without_promise,
    );
}

fn results(arguments: &Arguments, outcome: &Outcome) -> anyhow::Result<Results> {
    let shell = |line| command(line).map_err(anyhow::Error::msg);
    let changed = !shell("git status --porcelain --untracked-files=no")?.is_empty();
    let revision = shell("git rev-parse --short HEAD")? + if changed { "+" } else { "" };
    let cores = std::thread::available_parallelism()?;
    let volume = BTreeMap::from([
        ("faults".to_owned(), outcome.faults.values().sum()),
        ("calls".to_owned(), outcome.calls as u64),
        ("engines".to_owned(), arguments.engines as u64),
        ("units entitled".to_owned(), ENTITLED.iter().map(|(_, units)| units).sum()),
        ("slowest recovery, ms".to_owned(), millis(outcome.slowest_recovery)),
        ("calls lost without a promise".to_owned(), outcome.lost_without_promise as u64),
    ]);
    Ok(Results {
        layer: "chaos",
        command: format!("{} --results docs/proof/results/chaos.json", replay(arguments)),
        revision,
        date: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
        machine: format!("{cores} cores, Linux {}", shell("uname --kernel-release")?),
        seconds: outcome.took.as_secs(),
        volume,
        faults: outcome.counted_faults(),
        transitions: outcome.counted_transitions(),
        checks: CHECKS.to_vec(),
        violations: 0,
        over_issued_units: outcome.over_issued_units,
        lost_calls: outcome.lost as u64,
        not_covered: NOT_COVERED.to_vec(),
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

const CHECKS: [&str; 5] = [
    "units in valid use by all engines <= units entitled, at every moment, after every fault",
    "no running call loses its license while a majority lives or is back in time",
    "after every fault each member is ready and draws units from the leader",
    "a node whose files were damaged serves, or ends with an error that says what to do",
    "at the end every unit of every feature can be taken out within T + TTL + 2 s",
];
const NOT_COVERED: [&str; 4] = [
    "clocks that run too fast or too slow: all processes share the machine's",
    "a suspended machine, and a hypervisor that freezes one",
    "a device that keeps nothing of what it has confirmed: the kernel here has no device mapper",
    "memory that changes by itself",
];
