//! `leasehold status`: nodes, leases and pools.

use clap::Args;
use leasehold_proto::v1;
use serde::Serialize;

use super::admin::AdminOptions;
use super::print::{hex, lines, table};
use super::{AdminTarget, Failure, Output};

#[derive(Debug, Args)]
pub(super) struct StatusOptions {
    #[command(flatten)]
    connection: AdminOptions,
}

/// The cluster as one node knows it.
#[derive(Debug, Serialize)]
pub(super) struct ClusterStatus {
    /// `null`: not founded.
    cluster: Option<String>,
    answering_node: u64,
    software_version: String,
    leader: Option<u64>,
    term: u64,
    applied_index: u64,
    /// `null`: none is installed.
    entitlement_serial: Option<u64>,
    /// Whether what is in use, free, waiting and denied is the whole cluster's; otherwise it is that
    /// of the nodes whose `checkouts` are known.
    cluster_wide: bool,
    /// How old the oldest of these figures is.
    figures_age_ms: Option<u64>,
    sites: Vec<Site>,
    nodes: Vec<Node>,
    pools: Vec<Pool>,
}

#[derive(Debug, Serialize)]
struct Site {
    name: String,
    /// `down` while it has no node that may lend.
    state: &'static str,
    nodes: u32,
    live_nodes: u32,
    units_lent: u64,
    checkouts: u64,
}

#[derive(Debug, Serialize)]
struct Node {
    id: u64,
    name: String,
    site: String,
    peer_address: String,
    role: &'static str,
    lease: &'static str,
    epoch: u64,
    last_heartbeat_ms_ago: Option<u64>,
    units_lent: u64,
    checkouts: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Pool {
    id: u32,
    set: String,
    kind: &'static str,
    /// Of its set: `standby` until a backup set is needed.
    state: &'static str,
    feature: String,
    entitled: u64,
    in_use: u64,
    free_at_nodes: u64,
    reserve: i64,
    frozen: u64,
    waiting: u64,
    denied: u64,
    overrun_ms: u64,
    /// Why it lends nothing although units are free.
    withheld: Option<String>,
}

pub(super) async fn run(options: &StatusOptions, output: Output) -> Result<(), Failure> {
    let status = fetch(&options.connection.target()?).await?;
    output.print(&ClusterStatus::from(status), text)
}

#[derive(Debug, Serialize)]
struct Members {
    nodes: Vec<Node>,
}

/// Prints the nodes alone.
pub(super) fn print_nodes(status: v1::StatusResponse, output: Output) -> Result<(), Failure> {
    let members = Members { nodes: status.nodes.into_iter().map(Node::from).collect() };
    output.print(&members, |members| nodes(&members.nodes))
}

/// Asks a node for the cluster's status.
///
/// # Errors
/// Why there was no answer.
pub(crate) async fn fetch(target: &AdminTarget) -> Result<v1::StatusResponse, Failure> {
    target.answer(target.client().status(v1::StatusRequest {})).await
}

impl From<v1::StatusResponse> for ClusterStatus {
    fn from(status: v1::StatusResponse) -> Self {
        Self {
            cluster: Some(hex(&status.cluster_id)).filter(|_| !status.cluster_id.is_empty()),
            answering_node: status.answering_node,
            software_version: status.software_version,
            leader: status.leader,
            term: status.term,
            applied_index: status.applied_index,
            entitlement_serial: Some(status.entitlement_serial).filter(|serial| *serial > 0),
            cluster_wide: status.cluster_wide,
            figures_age_ms: status.figures_age_ms,
            sites: status.sites.into_iter().map(Site::from).collect(),
            nodes: status.nodes.into_iter().map(Node::from).collect(),
            pools: status.pools.into_iter().map(Pool::from).collect(),
        }
    }
}

impl From<v1::SiteStatus> for Site {
    fn from(site: v1::SiteStatus) -> Self {
        Self {
            name: site.name,
            state: if site.live_nodes > 0 { "up" } else { "down" },
            nodes: site.nodes,
            live_nodes: site.live_nodes,
            units_lent: site.units_lent,
            checkouts: site.checkouts,
        }
    }
}

impl From<v1::NodeStatus> for Node {
    fn from(node: v1::NodeStatus) -> Self {
        Self {
            role: role(node.role()),
            lease: lease(node.lease()),
            id: node.node_id,
            name: node.name,
            site: node.site,
            peer_address: node.peer_address,
            epoch: node.epoch,
            last_heartbeat_ms_ago: node.last_beat_ms_ago,
            units_lent: node.units_lent,
            checkouts: node.checkouts,
        }
    }
}

impl From<v1::PoolStatus> for Pool {
    fn from(pool: v1::PoolStatus) -> Self {
        Self {
            kind: kind(pool.kind()),
            state: set_state(pool.state()),
            withheld: withheld(pool.withheld_reason),
            id: pool.pool_id,
            set: pool.set,
            feature: pool.feature,
            entitled: pool.entitled,
            in_use: pool.in_use,
            free_at_nodes: pool.free_at_nodes,
            reserve: pool.reserve,
            frozen: pool.frozen,
            waiting: pool.waiting,
            denied: pool.denied,
            overrun_ms: pool.overrun_ms,
        }
    }
}

fn role(role: v1::NodeRole) -> &'static str {
    match role {
        v1::NodeRole::Unspecified => "unknown",
        v1::NodeRole::Leader => "leader",
        v1::NodeRole::Voter => "voter",
        v1::NodeRole::Learner => "learner",
    }
}

fn lease(lease: v1::LeaseState) -> &'static str {
    match lease {
        v1::LeaseState::Unspecified => "unknown",
        v1::LeaseState::None => "none",
        v1::LeaseState::Live => "live",
        v1::LeaseState::Ended => "ended",
        v1::LeaseState::Removed => "removed",
        v1::LeaseState::Fenced => "fenced",
    }
}

pub(super) fn kind(kind: v1::SetKind) -> &'static str {
    match kind {
        v1::SetKind::Unspecified => "unknown",
        v1::SetKind::Production => "production",
        v1::SetKind::Backup => "backup",
    }
}

pub(super) fn set_state(state: v1::SetState) -> &'static str {
    match state {
        v1::SetState::Unspecified => "unknown",
        v1::SetState::Active => "active",
        v1::SetState::Standby => "standby",
        v1::SetState::Draining => "draining",
    }
}

fn withheld(reason: u32) -> Option<String> {
    let reason = v1::Reason::try_from(i32::try_from(reason).ok()?).ok()?;
    (reason != v1::Reason::Unspecified).then(|| reason_name(reason))
}

/// `EXHAUSTED`: a reason as the API's description names it.
pub(crate) fn reason_name(reason: v1::Reason) -> String {
    reason.as_str_name().trim_start_matches("REASON_").to_owned()
}

pub(super) fn text(status: &ClusterStatus) -> String {
    let ClusterStatus { answering_node, software_version, .. } = status;
    let Some(cluster) = &status.cluster else {
        return format!(
            "node {answering_node} (version {software_version}) belongs to no cluster yet: found \
             one with `leasehold cluster init`\n"
        );
    };
    let leader = match status.leader {
        Some(leader) => format!("node {leader}, term {}", status.term),
        None => "none is known".to_owned(),
    };
    let entitlement = match status.entitlement_serial {
        Some(serial) => format!("serial {serial}"),
        None => "none: install one with `leasehold entitlement install FILE`".to_owned(),
    };
    format!(
        "cluster      {cluster}\n\
         leader       {leader}\n\
         entitlement  {entitlement}\n\
         answer of    node {answering_node} (version {software_version}), applied index {}\n\
         figures      {}\n\
         \n{}\n{}\n{}",
        status.applied_index,
        scope(status),
        sites(&status.sites),
        nodes(&status.nodes),
        pools(&status.pools)
    )
}

/// Of whom the figures are that the ledger does not hold, and as of when.
fn scope(status: &ClusterStatus) -> String {
    let Some(age_ms) = status.figures_age_ms else {
        return "of no node: none has a live lease, or the leader gave no answer".to_owned();
    };
    let nodes = if status.cluster_wide {
        "all nodes that may lend".to_owned()
    } else {
        let known = status.nodes.iter().filter(|node| node.checkouts.is_some());
        let known: Vec<String> = known.map(|node| node.id.to_string()).collect();
        format!("node {} alone; others may use more", known.join(", "))
    };
    format!("of {nodes}, at most {age_ms} ms old")
}

fn sites(sites: &[Site]) -> String {
    let numbers = ["NODES", "LIVE", "UNITS LENT", "CHECKOUTS"];
    let head = [&["SITE", "STATE"][..], &numbers].concat();
    let mut table = table(&head, &numbers);
    for site in sites {
        table.add_row([
            site.name.clone(),
            site.state.to_owned(),
            site.nodes.to_string(),
            site.live_nodes.to_string(),
            site.units_lent.to_string(),
            site.checkouts.to_string(),
        ]);
    }
    lines(&table)
}

fn nodes(nodes: &[Node]) -> String {
    let head =
        ["NODE", "NAME", "SITE", "ROLE", "LEASE", "EPOCH", "HEARTBEAT", "UNITS LENT", "CHECKOUTS"];
    let mut table = table(&head, &["NODE", "EPOCH", "HEARTBEAT", "UNITS LENT", "CHECKOUTS"]);
    for node in nodes {
        let beat = node.last_heartbeat_ms_ago;
        table.add_row([
            node.id.to_string(),
            node.name.clone(),
            node.site.clone(),
            node.role.to_owned(),
            node.lease.to_owned(),
            node.epoch.to_string(),
            beat.map_or("-".to_owned(), |ms| format!("{ms} ms ago")),
            node.units_lent.to_string(),
            node.checkouts.map_or("-".to_owned(), |count| count.to_string()),
        ]);
    }
    lines(&table)
}

fn pools(pools: &[Pool]) -> String {
    if pools.is_empty() {
        return "no pools\n".to_owned();
    }
    let numbers = [
        "ENTITLED",
        "IN USE",
        "FREE AT NODES",
        "RESERVE",
        "FROZEN",
        "WAITING",
        "DENIED",
        "OVERRUN",
    ];
    let head = [&["SET", "KIND", "STATE", "FEATURE"][..], &numbers, &["NOTE"]].concat();
    let mut table = table(&head, &numbers);
    for pool in pools {
        table.add_row([
            pool.set.clone(),
            pool.kind.to_owned(),
            pool.state.to_owned(),
            pool.feature.clone(),
            pool.entitled.to_string(),
            pool.in_use.to_string(),
            pool.free_at_nodes.to_string(),
            pool.reserve.to_string(),
            pool.frozen.to_string(),
            pool.waiting.to_string(),
            pool.denied.to_string(),
            format!("{} s", pool.overrun_ms / 1_000),
            pool.withheld.as_ref().map_or(String::new(), |reason| format!("withheld: {reason}")),
        ]);
    }
    lines(&table)
}
