//! How a scenario's outcome is written.

use leasehold_core::desk::DeskStatus;
use leasehold_core::desk::message::Denial;
use leasehold_core::id::{NodeId, PoolId};
use leasehold_core::ledger::Ledger;
use leasehold_core::ledger::event::EventKind;
use leasehold_core::receipt::Receipt;
use leasehold_core::time::Moment;

pub(crate) fn time(ms: u64) -> String {
    format!("{}.{:03}", ms / 1_000, ms % 1_000)
}

pub(crate) fn receipt(ledger: &Ledger, receipt: &Receipt) -> String {
    let lines: Vec<String> = receipt
        .lines
        .iter()
        .map(|line| format!("{}={}", pool(ledger, line.pool), line.units))
        .collect();
    lines.join(" ")
}

pub(crate) fn denial(denial: &Denial) -> String {
    let mut said = format!("denied, {}", denial.reason.as_str());
    if let Some(feature) = &denial.feature {
        said += &format!(" {feature}");
    }
    if denial.units_entitled > 0 {
        said += &format!(", {} of {} in use", denial.units_in_use, denial.units_entitled);
    }
    if denial.retry_after_ms > 0 {
        said += &format!(", retry after {} ms", denial.retry_after_ms);
    }
    said
}

pub(crate) fn pools(ledger: &Ledger) -> Vec<String> {
    let line = |(id, total): (PoolId, leasehold_core::ledger::PoolTotals)| {
        let (name, closed) = (pool(ledger, id), ledger.pools()[&id].terms.closed);
        let closed = closed.map(|why| format!(", closed: {why:?}")).unwrap_or_default();
        format!(
            "{name}: reserve {} + live {} + frozen {} = {}{closed}",
            total.reserve, total.live, total.frozen, total.entitled
        )
    };
    ledger.totals().into_iter().map(line).collect()
}

pub(crate) fn desk(name: &str, now: Moment, status: Option<DeskStatus>) -> String {
    let Some(status) = status else { return format!("{name} does not run") };
    let lease = match (status.epoch, status.lend_until) {
        (Some(epoch), Some(until)) if until > now => format!("epoch {epoch}, lends"),
        (Some(epoch), _) => format!("epoch {epoch}, lends not"),
        (None, _) => "no lease".into(),
    };
    let free: u64 = status.report.pools.values().map(|it| it.free).sum();
    let (running, waiting) = (status.running, status.waiting);
    format!("{name}: {lease}, {running} running, {waiting} waiting, {free} units free")
}

/// The events after number `shown`, and the newest number.
pub(crate) fn events(ledger: &Ledger, shown: u64) -> (u64, Vec<String>) {
    let news: Vec<_> = ledger.events().filter(|event| event.number > shown).collect();
    let newest = news.last().map_or(shown, |event| event.number);
    (newest, news.into_iter().map(|it| event(ledger, &it.kind)).collect())
}

fn event(ledger: &Ledger, kind: &EventKind) -> String {
    let name =
        |node: &NodeId| ledger.node(*node).map_or_else(String::new, |it| it.name.to_string());
    match kind {
        EventKind::Founded { .. } => "founded".into(),
        EventKind::Admitted { node, site } => format!("admitted {} in {site}", name(node)),
        EventKind::Removed { node } => format!("removed {}", name(node)),
        EventKind::EntitlementInstalled { serial } => format!("entitlement {serial} installed"),
        EventKind::SetChanged { set, closed: None } => format!("set {set} opened"),
        EventKind::SetChanged { set, closed: Some(why) } => format!("set {set} closed: {why:?}"),
        EventKind::LeaseOpened { node, epoch } => {
            format!("{} opened epoch {epoch}", name(node))
        }
        EventKind::LeaseLapsed { node, epoch, units } => {
            format!("epoch {epoch} of {} lapsed, {units} units frozen", name(node))
        }
        EventKind::Fenced { node, epoch, units, powered_off } => {
            let off = if *powered_off { ", powered off" } else { "" };
            format!("epoch {epoch} of {} fenced{off}, {units} units frozen", name(node))
        }
        EventKind::Unfenced { node } => format!("{} let in again", name(node)),
        EventKind::LeaseClosed { node, epoch, units } => {
            format!("epoch {epoch} of {} closed, {units} units frozen", name(node))
        }
        EventKind::NodeIdContested { node, .. } => {
            format!("ALARM: two processes under the id of {}", name(node))
        }
        EventKind::Thawed { node, units } => format!("{units} units of {} thawed", name(node)),
    }
}

fn pool(ledger: &Ledger, id: PoolId) -> String {
    ledger.pools().get(&id).map_or_else(
        || format!("pool {id}"),
        |pool| format!("{}/{}", pool.terms.set, pool.terms.feature),
    )
}
