//! One checkout as the engine sees it: what it holds, until when, and what is to be done next.

use std::collections::BTreeMap;

use leasehold_proto::v1::{CheckoutLine, FeatureUsage};

use super::CallId;
use crate::error::Denial;
use crate::router::NodeIndex;

/// What an engine asked for; the same in each attempt.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) lines: Vec<CheckoutLine>,
    pub(crate) wait_ms: u64,
    /// `YYYY-MM-DD`, or empty.
    pub(crate) build_date: String,
}

/// One guard's checkout, or what is left of it to check in.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) terms: Terms,
    pub(super) stage: Stage,
    /// The call that will bring this session an answer.
    pub(super) call: Option<CallId>,
    /// When to look at it next; its entry in the agenda.
    pub(super) due_ms: Option<u64>,
    /// The guard is gone: check in as soon as no answer is outstanding.
    pub(super) departed: Option<Vec<FeatureUsage>>,
    /// No node may be asked now: to be brought forward when one is back.
    pub(super) is_put_off: bool,
    /// Overrun that no message has carried yet.
    pub(super) overrun_ms: u64,
}

#[derive(Debug)]
pub(super) enum Stage {
    Asking(Asking),
    Held(Held),
    Lapsed(Lapsed),
    Ending(Ending),
}

/// The first checkout: the engine waits for the answer.
#[derive(Debug)]
pub(super) struct Asking {
    pub(super) request_id: [u8; 16],
    pub(super) asked_ms: u64,
    pub(super) give_up_ms: u64,
    pub(super) next_try_ms: u64,
    pub(super) last_denial: Option<Denial>,
    pub(super) last_failure: String,
}

/// A license that counts until `valid_until_ms`.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) receipt: Vec<u8>,
    pub(super) node: NodeIndex,
    /// When the attempt was sent that granted or last extended it.
    pub(super) extended_by_ms: u64,
    pub(super) valid_until_ms: u64,
    pub(super) next_try_ms: u64,
    /// Nodes that would not renew it, and until when.
    pub(super) denied: BTreeMap<NodeIndex, u64>,
}

/// The license has ended under a call that runs: try to get another.
#[derive(Debug)]
pub(super) struct Lapsed {
    pub(super) since_ms: u64,
    /// Of the dead checkout; only to report overrun with.
    pub(super) receipt: Vec<u8>,
    pub(super) node: NodeIndex,
    pub(super) request_id: [u8; 16],
    pub(super) next_try_ms: u64,
}

/// The engine is done with it: tell a node.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) receipt: Vec<u8>,
    pub(super) node: NodeIndex,
    pub(super) give_up_ms: u64,
    pub(super) next_try_ms: u64,
    pub(super) denied: BTreeMap<NodeIndex, u64>,
    pub(super) usage: Vec<FeatureUsage>,
    /// The node that may have counted the usage: no other is told of it again.
    pub(super) told: Option<NodeIndex>,
    pub(super) last_failure: String,
}

impl Session {
    pub(super) fn new(terms: Terms, stage: Stage) -> Self {
        Self {
            terms,
            stage,
            call: None,
            due_ms: None,
            departed: None,
            is_put_off: false,
            overrun_ms: 0,
        }
    }

    /// When this session has to be looked at next; `None` while only an answer can move it.
    pub(super) fn wants_at(&self) -> Option<u64> {
        let is_idle = self.call.is_none();
        match &self.stage {
            Stage::Asking(asking) => is_idle.then(|| asking.next_try_ms.min(asking.give_up_ms)),
            Stage::Held(held) if is_idle => Some(held.next_try_ms.min(held.valid_until_ms)),
            Stage::Held(held) => self.departed.is_none().then_some(held.valid_until_ms),
            Stage::Lapsed(lapsed) => is_idle.then_some(lapsed.next_try_ms),
            Stage::Ending(ending) => is_idle.then(|| ending.next_try_ms.min(ending.give_up_ms)),
        }
    }

    pub(super) fn put_off(&mut self, until_ms: u64) {
        self.is_put_off = true;
        self.try_at(until_ms);
    }

    /// Sets the time of the next attempt.
    pub(super) fn try_at(&mut self, at_ms: u64) {
        match &mut self.stage {
            Stage::Asking(asking) => asking.next_try_ms = at_ms,
            Stage::Held(held) => held.next_try_ms = at_ms,
            Stage::Lapsed(lapsed) => lapsed.next_try_ms = at_ms,
            Stage::Ending(ending) => ending.next_try_ms = at_ms,
        }
    }
}
