//! The benchmark: what a checkout costs at a node beside a bare echo of the same messages.
//!
//! ```text
//!  workers ══ same client code, same TLS ══▶ a node's engines listener ─▶ service ─▶ desk
//!        └══ same client code, same TLS ══▶ the echo's listener: a ready-made answer
//! ```
//!
//! Both are served in this process, by the same runtime and the same server settings. Their runs
//! alternate, so that a machine that becomes slower meanwhile slows both; of the rounds' ratios the
//! median counts. What remains of the ratio is the price of licensing.

mod echo;
mod load;
mod node;
mod outstanding;
mod report;
mod samples;

use std::time::Duration;

use anyhow::Context;
use leasehold_client::{ClientConfig, Connection, Deadlines, Endpoint, Security};

pub use load::Load;
pub use outstanding::{Growth, Level, grow};
pub use report::{Report, Run, Side, Target};

use echo::Echo;
use load::Measured;
use node::EmbeddedNode;

/// What is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    pub loads: Vec<Load>,
    /// Each load runs so often against each side.
    pub rounds: usize,
    /// How long one run is measured.
    pub run: Duration,
    /// The connections that the workers of one load share.
    pub connections: usize,
    pub target: BenchTarget,
}

/// Whose checkouts are measured.
#[derive(Clone, Debug)]
pub enum BenchTarget {
    /// A node made for it, beside the echo.
    Embedded { tls: bool },
    /// A node of a running cluster, which lends `feature`; there is no echo beside it.
    Running { endpoint: Endpoint, security: Security, feature: String },
}

/// Connections open, pools are drawn and code is paged in; none of it is a checkout's price.
const WARM_UP: Duration = Duration::from_millis(500);
/// What the embedded node lends.
const FEATURE: &str = "asr.tier1";

/// Measures and reports; `progress` is told what is about to run.
///
/// # Errors
/// If a side can't be started or does not lend what is asked of it.
pub async fn run(plan: &Plan, mut progress: impl FnMut(&str)) -> anyhow::Result<Report> {
    match &plan.target {
        BenchTarget::Embedded { tls } => {
            let most = plan.loads.iter().map(|load| load.concurrency * load.items).max();
            let units = 10 * most.context("there is no load to measure")? as u64;
            let node = EmbeddedNode::start(*tls, units, None).await?;
            let echo = Echo::start(&node).await?;
            let measured = beside_echo(plan, &node, &echo, &mut progress).await;
            echo.stop().await;
            node.stop().await;
            measured
        }
        BenchTarget::Running { endpoint, security, feature } => {
            let node = connections(endpoint, security, plan.connections)?;
            let mut runs = Vec::new();
            for load in &plan.loads {
                let mut rounds = Vec::new();
                for round in 1..=plan.rounds {
                    progress(&format!("{load}, round {round} of {}", plan.rounds));
                    rounds.push(load.measure(&node, feature, WARM_UP, plan.run).await?);
                }
                runs.push(Run::alone(load, &rounds));
            }
            let is_encrypted = !matches!(security, Security::Plain);
            Ok(Report::new(plan, Some(endpoint.address.clone()), is_encrypted, runs))
        }
    }
}

async fn beside_echo(
    plan: &Plan,
    node: &EmbeddedNode,
    echo: &Echo,
    progress: &mut impl FnMut(&str),
) -> anyhow::Result<Report> {
    let security = node.security();
    let lending = connections(&node.endpoint(), &security, plan.connections)?;
    let echoing = connections(&echo.endpoint(), &security, plan.connections)?;
    let mut runs = Vec::new();
    for load in &plan.loads {
        let mut rounds: Vec<(Measured, Measured)> = Vec::new();
        for round in 1..=plan.rounds {
            progress(&format!("{load}, round {round} of {}", plan.rounds));
            let of_node = load.measure(&lending, FEATURE, WARM_UP, plan.run);
            let of_echo = load.measure(&echoing, FEATURE, WARM_UP, plan.run);
            // Whoever runs second may find a warmer machine: they take turns.
            rounds.push(if round % 2 == 1 {
                let first = of_node.await?;
                (first, of_echo.await?)
            } else {
                let first = of_echo.await?;
                (of_node.await?, first)
            });
        }
        runs.push(Run::beside_echo(load, &rounds));
    }
    Ok(Report::new(plan, None, !matches!(security, Security::Plain), runs))
}

fn connections(
    endpoint: &Endpoint,
    security: &Security,
    count: usize,
) -> anyhow::Result<Vec<Connection>> {
    let config = ClientConfig {
        endpoints: vec![endpoint.clone()],
        site: String::new(),
        security: security.clone(),
        deadlines: Deadlines::default(),
    };
    let mut all = Vec::new();
    // One at a time: two endpoints of one configuration must differ.
    for _ in 0..count {
        all.extend(Connection::to_all(&config)?);
    }
    Ok(all)
}
