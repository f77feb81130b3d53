//! `leasehold demo`: a cluster of real processes, simulated engines on top of it, a kill -9 in the
//! middle, and a verdict from what the engines themselves noted.
//!
//! ```text
//!  Cluster ── starts, kills ──▶ `leasehold serve`  ◀──SDK, TLS── Engines ──observer──▶ Record
//!     ▲                                                            │                    │
//!     └─ Script: what happens when        Screen ◀── once a second ┘      Summary ◀── verdict
//! ```
//!
//! Another site is another name in `SITES` and more lines of the script.

mod cluster;
mod dice;
mod engines;
mod link;
mod offer;
mod ports;
mod record;
mod screen;
mod summary;
mod verdict;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use leasehold_client::{Client, ClientConfig, Deadlines};
use tokio::time::MissedTickBehavior;

pub use cluster::{Cluster, NodeProcess};
pub use engines::{Counts, Engines, GrantedCheckout, Tally};
pub use link::{Condition, HELD_BYTES_MOST, Link, Mesh, Proxy, Way};
pub use offer::{entitled, entitlement};
pub use ports::free_addresses;
pub use record::{Record, Witness};
pub use screen::{Frame, Screen};
use summary::Observed;
pub use summary::{Outage, Summary};
pub use verdict::{FeatureUse, Interval, Verdict, is_clean, judge};

/// How long, how many, and with which program.
#[derive(Clone, Debug)]
pub struct Plan {
    pub program: PathBuf,
    /// Time with calls; start and final check come on top.
    pub traffic: Duration,
    pub engines: usize,
    /// The nodes stay when all is done, until the interrupt.
    pub keep: bool,
}

/// How it ended.
#[derive(Debug)]
pub enum Ending {
    Finished(Box<Summary>),
    Interrupted,
}

const SITES: [&str; 1] = ["east"];
/// How long a killed node stays away.
const AWAY: Duration = Duration::from_secs(3);
/// The table is redrawn, and due lines of the script are performed, this often.
const TICK: Duration = Duration::from_millis(500);
/// For the table: a node that does not answer within a tick is shown as down.
const LOOK_DEADLINE: Duration = Duration::from_millis(400);
/// From the end of the last fault every unit that no engine uses can be drawn again within
/// T + TTL + 2 s; what is asked of a healthy cluster takes far less.
const FREE_AGAIN_AFTER_FAULT_MS: u64 = 42_000;
const FREE_AGAIN_MS: u64 = 5_000;
/// Between two attempts to take all units of a feature out.
const FREE_AGAIN_RETRY: Duration = Duration::from_millis(250);
/// From the entitlement to the first checkout: the node opens its lease and draws.
const FIRST_CHECKOUT_DEADLINE: Duration = Duration::from_secs(20);

/// A checkout's lifetime, with clock error and margin.
const FROZEN_S: u64 = 31;

/// Something that is done to a node, at a time after the calls began.
#[derive(Clone, Copy, Debug)]
struct Line {
    at: Duration,
    act: Act,
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Kill(usize),
    Start(usize),
}

/// Runs it all. On `interrupt` it stops the nodes and removes what it wrote.
///
/// # Errors
/// If something could not be done at all: then there is no verdict.
pub async fn run(
    plan: &Plan,
    screen: &mut Screen,
    interrupt: impl Future<Output = ()>,
) -> anyhow::Result<Ending> {
    screen.note(&announcement(plan))?;
    let mut cluster = Cluster::prepare(plan.program.clone(), &SITES)?;
    let mut interrupt = std::pin::pin!(interrupt);
    let summary = tokio::select! {
        biased;
        () = &mut interrupt => {
            screen.note("Interrupted: the node is stopped, its directory removed.")?;
            cluster.stop().await;
            return Ok(Ending::Interrupted);
        }
        summary = Box::pin(perform(plan, &mut cluster, screen)) => summary,
    };
    match summary {
        Ok(summary) => {
            screen.note(&summary.text())?;
            if plan.keep {
                screen.note(&commands(plan, &cluster))?;
                interrupt.await;
                screen.note("The node is stopped, its directory removed.")?;
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
    for index in 0..cluster.nodes().len() {
        cluster.start(index)?;
        cluster.answers(index).await?;
    }
    let id = cluster.found(|cluster, key| entitlement(cluster, plan.engines, key)).await?;
    let (endpoints, security) = cluster.for_engines();
    let deadlines = Deadlines::default();
    let config = ClientConfig { endpoints, site: SITES[0].to_owned(), security, deadlines };
    first_checkout(&config).await?;
    screen.note(&format!(
        "{:>4.1} s  cluster {id} is founded, its entitlement installed, the first checkout granted",
        began.elapsed().as_secs_f64()
    ))?;

    let mut seed = [0; 8];
    getrandom::fill(&mut seed).context("the system gives no random numbers")?;
    let mut engines = Engines::start(plan.engines, &config, u64::from_be_bytes(seed))?;
    let outages = traffic(plan, cluster, &engines, screen).await?;
    screen.note("The engines hang up, and one of them takes all units out once more.")?;
    engines.stop().await;
    let calls = engines.record.intervals();
    let bought = entitled(plan.engines);
    let healed_ms = outages.iter().map(|outage| outage.started_ms).max().unwrap_or(0);
    let not_free_again = take_all(&config, &engines, plan.engines, &bought, healed_ms).await?;
    Ok(Summary::of(Observed {
        took: began.elapsed(),
        engines: plan.engines,
        counts: &engines.tally.counts(),
        calls: &calls,
        all: &engines.record.intervals(),
        entitled: &bought,
        outages,
        not_free_again,
    }))
}

/// Waits until the cluster lends.
async fn first_checkout(config: &ClientConfig) -> anyhow::Result<()> {
    let client = Client::connect(config)?;
    let began = Instant::now();
    loop {
        match client.checkout(&[("cpa", 1)]).await {
            Ok(guard) => return guard.checkin().await.context("the first check-in failed"),
            Err(error) if began.elapsed() > FIRST_CHECKOUT_DEADLINE => {
                return Err(error).context("the new cluster lends nothing");
            }
            Err(_) => tokio::time::sleep(FREE_AGAIN_RETRY).await,
        }
    }
}

/// Kill at a third of the time, start again a little later.
fn script(traffic: Duration) -> Vec<Line> {
    let third = traffic / 3;
    vec![Line { at: third, act: Act::Kill(0) }, Line { at: third + AWAY, act: Act::Start(0) }]
}

async fn traffic(
    plan: &Plan,
    cluster: &mut Cluster,
    engines: &Engines,
    screen: &mut Screen,
) -> anyhow::Result<Vec<Outage>> {
    let mut script = script(plan.traffic).into_iter().peekable();
    let mut outages: Vec<Outage> = Vec::new();
    let entitled = entitled(plan.engines);
    let began = Instant::now();
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while began.elapsed() < plan.traffic {
        ticks.tick().await;
        while let Some(line) = script.next_if(|line| line.at <= began.elapsed()) {
            let now_ms = engines.clock.now();
            let at = began.elapsed().as_secs();
            match line.act {
                Act::Kill(node) => {
                    let calls_running = engines.record.running(now_ms);
                    cluster.kill(node).await?;
                    let node = cluster.nodes()[node].name.clone();
                    screen.note(&format!(
                        "{at:>4} s  {node} is killed (SIGKILL) under {calls_running} running calls"
                    ))?;
                    let (killed_ms, started_ms) = (now_ms, u64::MAX);
                    outages.push(Outage { node, killed_ms, started_ms, calls_running });
                }
                Act::Start(node) => {
                    cluster.start(node)?;
                    let name = &cluster.nodes()[node].name;
                    screen.note(&format!(
                        "{at:>4} s  {name} is started again; what it had lent stays frozen, for \
                         the calls that hold it, for up to {FROZEN_S} s"
                    ))?;
                    let outage = outages.iter_mut().rev().find(|outage| outage.node == *name);
                    if let Some(outage) = outage {
                        outage.started_ms = now_ms;
                    }
                }
            }
        }
        look(plan, cluster, engines, screen, &entitled, began.elapsed()).await?;
    }
    Ok(outages)
}

/// Draws the present moment. A node that ended although nobody killed it fails the demo.
async fn look(
    plan: &Plan,
    cluster: &mut Cluster,
    engines: &Engines,
    screen: &mut Screen,
    entitled: &BTreeMap<String, u64>,
    elapsed: Duration,
) -> anyhow::Result<()> {
    let mut status = None;
    for index in 0..cluster.nodes().len() {
        if cluster.process_id(index).is_none() {
            continue;
        }
        cluster.still_runs(index)?;
        let asked = tokio::time::timeout(LOOK_DEADLINE, cluster.status(index)).await;
        status = status.or(asked.ok().and_then(Result::ok));
    }
    let counts = engines.tally.counts();
    let now_ms = engines.clock.now();
    screen.draw(&Frame {
        elapsed,
        total: plan.traffic,
        running: engines.record.running(now_ms),
        ended: counts.ended,
        denied: counts.denied.values().sum(),
        lost: counts.lost,
        entitled,
        in_use: &engines.record.in_use(now_ms),
        denied_by_feature: &counts.denied_by_feature,
        status: status.as_ref(),
    })?;
    Ok(())
}

/// Checks all units of each feature out at once; tells of which features that did not work.
async fn take_all(
    config: &ClientConfig,
    engines: &Engines,
    number: usize,
    entitled: &BTreeMap<String, u64>,
    healed_ms: u64,
) -> anyhow::Result<BTreeMap<String, u64>> {
    let witness = engines.record.witness(number);
    let client = Client::connect_with(config, engines.clock.clone(), Some(witness))?;
    let now_ms = engines.clock.now();
    let deadline_ms = (now_ms + FREE_AGAIN_MS).max(healed_ms + FREE_AGAIN_AFTER_FAULT_MS);
    let mut guards = Vec::new();
    let mut missing = BTreeMap::new();
    for (feature, units) in entitled {
        let all = [(feature.as_str(), *units)];
        loop {
            match client.checkout(&all).await {
                Ok(guard) => break guards.push(guard),
                Err(_) if engines.clock.now() < deadline_ms => {
                    tokio::time::sleep(FREE_AGAIN_RETRY).await;
                }
                Err(_) => {
                    missing.insert(feature.clone(), *units);
                    break;
                }
            }
        }
    }
    drop(guards);
    client.flush().await;
    Ok(missing)
}

fn announcement(plan: &Plan) -> String {
    let seconds = plan.traffic.as_secs();
    let third = seconds / 3;
    let about = seconds + OVERHEAD.as_secs();
    format!(
        "Leasehold demo: about {about} s. What will happen:\n\
         \x20 * a `leasehold serve` process is started, with certificates, configuration and data in \
         a temporary directory\n\
         \x20 * a cluster is founded and an entitlement for {} features installed\n\
         \x20 * for {seconds} s, {} engines license calls of {} to {} s through the SDK over TLS\n\
         \x20 * after {third} s the node is killed with SIGKILL, {} s later it is started again\n\
         \x20 * a summary follows, with a verdict from what the engines noted. Ctrl-C ends it.\n",
        entitled(plan.engines).len(),
        plan.engines,
        engines::CALL_LEAST.as_secs(),
        engines::CALL_MOST.as_secs(),
        AWAY.as_secs(),
    )
}

/// Start and final check.
const OVERHEAD: Duration = Duration::from_secs(5);

/// What can be tried while the node runs on.
fn commands(plan: &Plan, cluster: &Cluster) -> String {
    let program = plan.program.display();
    let node = &cluster.nodes()[0];
    let admin = cluster.certificates("admin");
    let engine = cluster.certificates("engine");
    let as_admin = format!(
        "--admin {} --ca {} --cert {} --key {}",
        node.admin,
        admin.ca.display(),
        admin.certificate.display(),
        admin.key.display()
    );
    let as_engine = format!(
        "--engines {} --ca {} --cert {} --key {}",
        node.engines,
        engine.ca.display(),
        engine.certificate.display(),
        engine.key.display()
    );
    let id = cluster.process_id(0).map_or("?".to_owned(), |id| id.to_string());
    format!(
        "The node runs on (process {id}, log in {}). To try, in another terminal:\n\n\
         {program} status {as_admin}\n\n\
         {program} sets {as_admin}\n\n\
         {program} events --follow {as_admin}\n\n\
         {program} checkout asr.tier1 tts.emma=2 {as_engine}\n\n\
         curl http://{}/metrics\n\n\
         Ctrl-C here stops the node and removes {}.",
        cluster.log_path(0).display(),
        node.http,
        cluster.directory().display()
    )
}
