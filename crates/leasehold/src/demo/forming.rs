//! From three processes to a cluster that lends, by what an operator does: `cluster init`,
//! `cluster join`, `entitlement install`.

use std::time::{Duration, Instant};

use anyhow::Context;
use leasehold_client::{Client, ClientConfig, Deadlines};
use leasehold_proto::v1;

use super::cluster::Cluster;
use super::screen::Screen;
use super::{Plan, SITES, entitlement};

/// A node that joined gets its vote as soon as it has caught up with an almost empty log.
const VOTES_DEADLINE: Duration = Duration::from_secs(20);
/// From the entitlement to a site's first checkout: its node opens its lease and draws.
const FIRST_CHECKOUT_DEADLINE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(100);

/// Starts and forms the cluster; returns what an engine of each site is given.
pub(super) async fn form(
    plan: &Plan,
    cluster: &mut Cluster,
    screen: &mut Screen,
) -> anyhow::Result<Vec<ClientConfig>> {
    let began = Instant::now();
    let mut say =
        |text: &str| screen.note(&format!("{:>4.1} s  {text}", began.elapsed().as_secs_f64()));
    let nodes = cluster.nodes().len();
    for index in 0..nodes {
        cluster.start(index)?;
    }
    for index in 0..nodes {
        cluster.answers(index).await?;
    }
    let names: Vec<String> = cluster.nodes().iter().map(|node| node.name.clone()).collect();
    say(&format!("{} run and answer", names.join(", ")))?;
    let id = cluster.found().await?;
    say(&format!("leasehold cluster init         {} has founded cluster {id}", names[0]))?;
    for (index, name) in names.iter().enumerate().skip(1) {
        cluster.join(index).await?;
        say(&format!("leasehold cluster join         {name} has joined it"))?;
    }
    all_vote(cluster).await?;
    cluster.install(|key| entitlement(id, plan.engines, key)).await?;
    say("leasehold entitlement install  the vendor's entitlement is in force")?;
    let configs: Vec<ClientConfig> = SITES.iter().map(|site| config(cluster, site)).collect();
    for config in &configs {
        first_checkout(config).await?;
    }
    say("every site's first checkout is granted; the engines begin\n")?;
    Ok(configs)
}

fn config(cluster: &Cluster, site: &str) -> ClientConfig {
    let (endpoints, security) = cluster.for_engines(site);
    ClientConfig { endpoints, site: site.to_owned(), security, deadlines: Deadlines::default() }
}

async fn all_vote(cluster: &Cluster) -> anyhow::Result<()> {
    let votes =
        |node: &&v1::NodeStatus| matches!(node.role(), v1::NodeRole::Leader | v1::NodeRole::Voter);
    let began = Instant::now();
    loop {
        if let Ok(status) = cluster.status(0).await
            && status.nodes.iter().filter(votes).count() == cluster.nodes().len()
        {
            return Ok(());
        }
        let seconds = VOTES_DEADLINE.as_secs();
        anyhow::ensure!(
            began.elapsed() < VOTES_DEADLINE,
            "not every node that joined has got a vote within {seconds} s"
        );
        tokio::time::sleep(POLL).await;
    }
}

/// Waits until the site's own node lends.
async fn first_checkout(config: &ClientConfig) -> anyhow::Result<()> {
    let endpoints = config.endpoints.iter().filter(|it| it.site == config.site).cloned().collect();
    let client = Client::connect(&ClientConfig { endpoints, ..config.clone() })?;
    let began = Instant::now();
    loop {
        match client.checkout(&[("cpa", 1)]).await {
            Ok(guard) => return guard.checkin().await.context("the first check-in failed"),
            Err(error) if began.elapsed() > FIRST_CHECKOUT_DEADLINE => {
                return Err(error).context(format!("the node of {} lends nothing", config.site));
            }
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}
