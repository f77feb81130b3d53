//! `leasehold node`: the members of the cluster.

use clap::{Args, Subcommand};
use leasehold_proto::v1;
use serde::Serialize;

use super::admin::AdminOptions;
use super::status;
use super::{Failure, Output};

#[derive(Debug, Subcommand)]
pub(super) enum NodeCommand {
    /// Shows the nodes and their leases.
    List(ListOptions),
    /// Has a new node, which runs and has no data yet, join this cluster.
    Add(AddOptions),
    /// Gives a learner that has caught up a vote now; the leader does so by itself within seconds.
    Promote(MemberOptions),
    /// Takes a node out for good. Its id is never used again.
    Remove(MemberOptions),
    /// Ends a node's lease now, and keeps it from lending until it is let in again.
    Fence(FenceOptions),
    /// Lets a fenced node lend again.
    Unfence(MemberOptions),
}

#[derive(Debug, Args)]
pub(super) struct ListOptions {
    #[command(flatten)]
    connection: AdminOptions,
}

#[derive(Debug, Args)]
pub(super) struct AddOptions {
    /// Where the other nodes reach the new one: its `peer_address`, or its `[peers]` listener.
    #[arg(value_name = "HOST:PORT")]
    address: String,
    #[command(flatten)]
    connection: AdminOptions,
}

#[derive(Debug, Args)]
pub(super) struct MemberOptions {
    /// The node's id.
    #[arg(value_name = "ID")]
    node: u64,
    #[command(flatten)]
    connection: AdminOptions,
}

#[derive(Debug, Args)]
pub(super) struct FenceOptions {
    /// Your word that the machine is off and stays off: its running calls move at once. Said of a
    /// machine that runs, units may be used twice.
    #[arg(long)]
    powered_off: bool,
    #[command(flatten)]
    member: MemberOptions,
}

#[derive(Debug, Serialize)]
struct Changed {
    node: u64,
    change: &'static str,
}

pub(super) async fn run(command: NodeCommand, output: Output) -> Result<(), Failure> {
    match command {
        NodeCommand::List(options) => {
            let answer = status::fetch(&options.connection.target()?).await?;
            status::print_nodes(answer, output)
        }
        NodeCommand::Add(AddOptions { address, connection }) => {
            let target = connection.target()?;
            let mut client = target.client();
            let request = v1::AddNodeRequest { peer_address: address };
            let added = target.answer(client.add_node(request)).await?;
            changed(output, added.node_id, "joined")
        }
        NodeCommand::Promote(MemberOptions { node, connection }) => {
            let target = connection.target()?;
            let mut client = target.client();
            let request = v1::PromoteNodeRequest { node_id: node };
            target.answer(client.promote_node(request)).await?;
            changed(output, node, "promoted")
        }
        NodeCommand::Remove(MemberOptions { node, connection }) => {
            let target = connection.target()?;
            let mut client = target.client();
            let request = v1::RemoveNodeRequest { node_id: node };
            target.answer(client.remove_node(request)).await?;
            changed(output, node, "removed")
        }
        NodeCommand::Fence(FenceOptions { powered_off, member }) => {
            let target = member.connection.target()?;
            let mut client = target.client();
            let request = v1::FenceNodeRequest { node_id: member.node, powered_off };
            target.answer(client.fence_node(request)).await?;
            changed(output, member.node, "fenced")
        }
        NodeCommand::Unfence(MemberOptions { node, connection }) => {
            let target = connection.target()?;
            let mut client = target.client();
            let request = v1::UnfenceNodeRequest { node_id: node };
            target.answer(client.unfence_node(request)).await?;
            changed(output, node, "let in again")
        }
    }
}

fn changed(output: Output, node: u64, change: &'static str) -> Result<(), Failure> {
    output.print(&Changed { node, change }, |it| format!("node {} {}\n", it.node, it.change))
}
