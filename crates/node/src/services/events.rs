//! The replicated event log, in words.

use leasehold_core::ledger::event::{Event, EventKind};
use leasehold_proto::v1;

pub(super) fn wire_event(event: &Event) -> v1::Event {
    let mut wire =
        v1::Event { number: event.number, unix_ms: event.wall_ms, ..v1::Event::default() };
    let (kind, text) = match &event.kind {
        EventKind::Founded { cluster } => {
            ("cluster.founded", format!("cluster {cluster} was founded"))
        }
        EventKind::Admitted { node, site } => {
            wire.node_id = node.0;
            wire.site = site.to_string();
            ("node.admitted", format!("node {node} joined in site {site}"))
        }
        EventKind::Removed { node } => {
            wire.node_id = node.0;
            ("node.removed", format!("node {node} was removed; its id is never used again"))
        }
        EventKind::EntitlementInstalled { serial } => (
            "entitlement.installed",
            format!("the entitlement with serial {serial} was put in force"),
        ),
        EventKind::SetChanged { set, closed } => {
            wire.set = set.to_string();
            match closed {
                None => ("set.opened", format!("set {set} lends")),
                Some(reason) => ("set.closed", format!("set {set} lends nothing: {reason}")),
            }
        }
        EventKind::LeaseOpened { node, epoch } => {
            wire.node_id = node.0;
            ("lease.opened", format!("node {node} opened its lease, epoch {epoch}"))
        }
        EventKind::LeaseLapsed { node, epoch, units } => {
            wire.node_id = node.0;
            let text = format!(
                "node {node} fell silent: its lease, epoch {epoch}, was ended and {units} units \
                 were frozen"
            );
            ("lease.ended", text)
        }
        EventKind::Fenced { node, epoch, units, powered_off } => {
            wire.node_id = node.0;
            let word = if *powered_off { ", said to be powered off," } else { "" };
            let text = format!(
                "an operator fenced node {node}{word}: it lends nothing until it is let in again; \
                 {units} units of its epoch {epoch} were frozen"
            );
            ("node.fenced", text)
        }
        EventKind::Unfenced { node } => {
            wire.node_id = node.0;
            ("node.unfenced", format!("an operator let node {node} lend again"))
        }
        EventKind::LeaseClosed { node, epoch, units } => {
            wire.node_id = node.0;
            let text = format!(
                "node {node} stopped: it gave up its lease, epoch {epoch}, and {units} units were \
                 frozen"
            );
            ("lease.closed", text)
        }
        EventKind::NodeIdContested { node, process } => {
            wire.node_id = node.0;
            let text = format!(
                "ALARM: process {process} took over node {node} while another process under that \
                 id may still run: check for a second copy of the node"
            );
            ("node.contested", text)
        }
        EventKind::Thawed { node, units } => {
            wire.node_id = node.0;
            ("units.thawed", format!("{units} units last lent to node {node} can be lent again"))
        }
    };
    wire.kind = kind.to_owned();
    wire.text = text;
    wire
}
