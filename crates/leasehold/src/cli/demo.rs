//! `leasehold demo`: see [`crate::demo`].

use std::time::Duration;

use anyhow::Context;
use clap::Args;
use leasehold_node::tls::raise_open_files_limit;
use tokio::signal::unix::{SignalKind, signal};

use super::{Exit, Failure, Output};
use crate::demo::{self, Ending, Plan, Screen};

/// The verdict is the exit code: 1 if a running call was lost or a unit over-issued.
#[derive(Debug, Args)]
pub(super) struct DemoOptions {
    /// Leaves the nodes running afterwards and prints commands to try, until Ctrl-C.
    #[arg(long)]
    keep: bool,
    /// How far the sites are from each other: proxies delay what goes from one to another, so that a
    /// question and its answer take this long.
    #[arg(long, value_name = "TIME", value_parser = round_trip)]
    wan: Option<Duration>,
    /// How long calls are made. The last check follows when no unit is frozen any more.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 51,
        value_parser = clap::value_parser!(u64).range(30..=3_600)
    )]
    seconds: u64,
    /// How many engines make calls, over all sites.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 300,
        value_parser = clap::value_parser!(u64).range(1..=5_000)
    )]
    engines: u64,
}

pub(super) async fn run(options: &DemoOptions, output: Output) -> Result<(), Failure> {
    let plan = Plan {
        program: std::env::current_exe().context("this program's path is not known")?,
        traffic: Duration::from_secs(options.seconds),
        engines: usize::try_from(options.engines).context("--engines")?,
        round_trip: options.wan,
        keep: options.keep,
    };
    // Each engine is a connection. The limit that results is not of interest here.
    let _ = raise_open_files_limit();
    let mut screen = match output {
        Output::Table => Screen::on_stdout(),
        // Standard output is for the result.
        Output::Json => Screen::on_stderr(),
    };
    let ending = Box::pin(demo::run(&plan, &mut screen, interrupted()?)).await?;
    let Ending::Finished(summary) = ending else {
        return Err(Failure::silent(Exit::Interrupted));
    };
    if output == Output::Json {
        output.print(&*summary, demo::Summary::text)?;
    }
    if summary.is_good { Ok(()) } else { Err(Failure::silent(Exit::Failed)) }
}

/// The timings of a cluster are made for less; see `election_max_ms`.
const ROUND_TRIP_MS_MOST: u64 = 200;

/// `80ms`, as people write it.
fn round_trip(text: &str) -> Result<Duration, String> {
    let number = text.strip_suffix("ms").unwrap_or(text).trim();
    match number.parse() {
        Ok(ms) if (1..=ROUND_TRIP_MS_MOST).contains(&ms) => Ok(Duration::from_millis(ms)),
        Ok(_) | Err(_) => Err(format!("expected 1ms to {ROUND_TRIP_MS_MOST}ms, such as 80ms")),
    }
}

/// Ctrl-C, a service manager, or the terminal that goes away.
fn interrupted() -> anyhow::Result<impl Future<Output = ()>> {
    let listen = |kind| signal(kind).context("signals can't be listened for");
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hang_up = listen(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
        }
    })
}
