//! The replicated event log: what an operator wants to know later, in the order it happened.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::Closed;
use crate::id::{ClusterId, Epoch, NodeId, ProcessId, SetName, SiteName};
use crate::limits::EVENTS_MAX;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Rises by one from event to event, so that a reader sees what it missed.
    pub number: u64,
    /// The ledger's version that caused it.
    pub version: u64,
    /// The leader's Unix time at the last beat before it, to about a second; for those before the
    /// cluster's first beat, at that one.
    pub wall_ms: i64,
    pub kind: EventKind,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventKind {
    Founded {
        cluster: ClusterId,
    },
    Admitted {
        node: NodeId,
        site: SiteName,
    },
    Removed {
        node: NodeId,
    },
    EntitlementInstalled {
        serial: u64,
    },
    /// A set opened (`None`) or closed.
    SetChanged {
        set: SetName,
        closed: Option<Closed>,
    },
    LeaseOpened {
        node: NodeId,
        epoch: Epoch,
    },
    /// The lease of a silent node was ended; `units` were frozen.
    LeaseLapsed {
        node: NodeId,
        epoch: Epoch,
        units: u64,
    },
    /// The holder ended its lease itself, since it stops; `units` were frozen.
    LeaseClosed {
        node: NodeId,
        epoch: Epoch,
        units: u64,
    },
    /// An operator keeps the node from lending; `powered_off` is his word that the machine is off.
    Fenced {
        node: NodeId,
        epoch: Epoch,
        units: u64,
        powered_off: bool,
    },
    /// An operator lets a fenced node lend again.
    Unfenced {
        node: NodeId,
    },
    /// A process opened a lease while another process under the same node id held a live one and
    /// was not known to be gone. An alarm.
    NodeIdContested {
        node: NodeId,
        process: ProcessId,
    },
    /// Frozen units became free to lend.
    Thawed {
        node: NodeId,
        units: u64,
    },
}

pub(super) fn push(events: &mut VecDeque<Event>, version: u64, wall_ms: i64, kind: EventKind) {
    let number = events.back().map_or(1, |newest| newest.number + 1);
    while events.len() >= EVENTS_MAX {
        events.pop_front();
    }
    events.push_back(Event { number, version, wall_ms, kind });
}

/// Stamps events that happened before the ledger knew the time.
pub(super) fn tell_time(events: &mut VecDeque<Event>, wall_ms: i64) {
    events.iter_mut().filter(|event| event.wall_ms == 0).for_each(|event| event.wall_ms = wall_ms);
}
