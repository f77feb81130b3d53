//! `leasehold demo`: three sites as real processes, simulated engines on top of them, two kills,
//! and a verdict from what the engines themselves noted.
//!
//! ```text
//!  Cluster ── starts, kills ──▶ 3 × `leasehold serve` ◀──SDK, TLS── Engines ──observer──▶ Record
//!     ▲                               │ status, events, /metrics                            │
//!     └── Story: what happens when ◀──┴── Watch                                             │
//!           └─▶ Screen, twice a second                      Summary ◀── verdict ◀───────────┘
//! ```

mod cluster;
mod dice;
mod distance;
mod draws;
mod engines;
mod forming;
mod free_again;
mod guide;
mod link;
mod look;
mod offer;
mod record;
mod screen;
mod story;
mod summary;
mod verdict;

use std::future::Future;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;

pub use cluster::{Cluster, NodeProcess};
pub use dice::Dice;
pub use draws::Draw;
use draws::Draws;
pub use engines::{Counts, Engines, GrantedCheckout, Tally};
pub use link::{Condition, HELD_BYTES_MOST, Link, Mesh, Proxy, Way};
pub use look::MovedCalls;
pub use offer::{entitled, entitlement};
pub use record::{Record, Witness};
pub use screen::{Frame, Role, Screen, SiteRow};
pub use story::Outage;
use story::{Story, Told};
use summary::Observed;
pub use summary::{OutageSummary, Summary};
pub use verdict::{FeatureUse, Interval, Verdict, is_clean, judge};

/// How long, how many, and with which program.
#[derive(Clone, Debug)]
pub struct Plan {
    pub program: PathBuf,
    /// Time with calls; start and final check come on top.
    pub traffic: Duration,
    pub engines: usize,
    /// How long a question from one site to another takes, with its answer; `None`: no delay.
    pub round_trip: Option<Duration>,
    /// The nodes stay when all is done, until the interrupt.
    pub keep: bool,
}

/// How it ended.
#[derive(Debug)]
pub enum Ending {
    Finished(Box<Summary>),
    Interrupted,
}

/// One node in each.
const SITES: [&str; 3] = ["east", "west", "central"];

/// Runs it all. On `interrupt` it stops the nodes and removes what it wrote.
///
/// # Errors
/// If something could not be done at all: then there is no verdict.
pub async fn run(
    plan: &Plan,
    screen: &mut Screen,
    interrupt: impl Future<Output = ()>,
) -> anyhow::Result<Ending> {
    screen.note(&guide::announcement(plan))?;
    let mut cluster = Cluster::prepare(plan.program.clone(), &SITES, plan.round_trip).await?;
    let mut interrupt = std::pin::pin!(interrupt);
    let summary = tokio::select! {
        biased;
        () = &mut interrupt => {
            screen.note("Interrupted: the nodes are stopped, their directory removed.")?;
            cluster.stop().await;
            return Ok(Ending::Interrupted);
        }
        summary = Box::pin(perform(plan, &mut cluster, screen)) => summary,
    };
    match summary {
        Ok(summary) => {
            screen.note(&summary.text())?;
            if plan.keep {
                screen.note(&guide::commands(plan, &cluster))?;
                interrupt.await;
                screen.note("The nodes are stopped, their directory removed.")?;
            }
            if summary.is_good || plan.keep {
                cluster.stop().await;
            } else {
                let path = cluster.stop_and_keep().await;
                screen.note(&format!("Logs and data are in {}", path.display()))?;
            }
            Ok(Ending::Finished(Box::new(summary)))
        }
        Err(error) => {
            let path = cluster.stop_and_keep().await;
            Err(error.context(format!("the demo failed; logs and data are in {}", path.display())))
        }
    }
}

async fn perform(
    plan: &Plan,
    cluster: &mut Cluster,
    screen: &mut Screen,
) -> anyhow::Result<Summary> {
    let began = Instant::now();
    let configs = forming::form(plan, cluster, screen).await?;
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).context("the system gives no random numbers")?;
    let mut engines = Engines::start(plan.engines, &configs, u64::from_be_bytes(seed))?;
    let mut draws = Draws::new(&engines, &configs)?;
    let entitled = entitled(plan.engines);
    let mut story = Story::new(cluster, &engines, &mut draws, screen, entitled.clone());
    story.begin().await;
    story.tell(plan.traffic).await?;
    engines.hang_up();
    story.settle().await?;
    let Told { outages, moved } = story.told();
    draws.finish().await;
    engines.finish().await;
    let calls = engines.record.intervals();
    let not_free_again = free_again::take_all(&engines, &configs, &entitled).await?;
    Ok(Summary::of(Observed {
        took: began.elapsed(),
        engines: plan.engines,
        round_trip: plan.round_trip,
        sites: SITES.len(),
        counts: &engines.tally.counts(),
        calls: &calls,
        all: &engines.record.intervals(),
        entitled: &entitled,
        outages,
        moved,
        draws: &draws.noted(),
        not_free_again,
    }))
}
