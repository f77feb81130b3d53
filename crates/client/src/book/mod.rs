//! The engine's book of checkouts: decides what to ask of which node and when, and what an answer
//! means. It performs no I/O; time and identity are arguments.
//!
//! ```text
//!           granted            deadline passed, or ended
//!  Asking ───────────▶ Held ──────────────────────────▶ Lapsed
//!    │ denied           │ ▲          granted anew          │
//!    ▼                  │ └──────────────────────────────── ┤
//!  (told)               └─────▶ Ending ◀─────────────────── ┘ guard dropped
//! ```
//!
//! Invariants: a license counts only in `Held` and before its `valid_until_ms`. An answer that
//! comes after that deadline extends nothing; what it may have taken at the node is given back. A
//! session has at most one call outstanding whose answer it waits for.

mod answers;
mod sending;
mod session;
#[cfg(test)]
mod tests;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};

use leasehold_proto::v1;

use crate::error::{CheckinError, CheckoutError, Denial};
use crate::router::{NodeIndex, Router};
pub(crate) use session::Terms;
use session::{Asking, Ending, Lapsed, Session, Stage};

/// A guard's number within its client.
pub(crate) type Key = u64;
pub(crate) type CallId = u64;

/// A message to a node.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call {
    pub(crate) id: CallId,
    pub(crate) node: NodeIndex,
    pub(crate) deadline_ms: u64,
    pub(crate) items: Items,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Items {
    Checkout(Vec<v1::CheckoutItem>),
    Renew(Vec<v1::RenewItem>),
    Checkin(Vec<v1::CheckinItem>),
}

/// What came back, in the order of the items.
#[derive(Clone, Debug)]
pub(crate) enum Answers {
    Checkout(Vec<v1::CheckoutAnswer>),
    Renew(Vec<v1::RenewAnswer>),
    Checkin(Vec<v1::CheckinAnswer>),
}

/// The call itself failed.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// It certainly never left the engine.
    pub(crate) was_not_sent: bool,
    pub(crate) detail: String,
}

/// What guards and observers are to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    Granted {
        key: Key,
        sent_ms: u64,
        valid_until_ms: u64,
    },
    Extended {
        key: Key,
        valid_until_ms: u64,
    },
    Lapsed {
        key: Key,
        since_ms: u64,
        denied: Option<Denial>,
    },
    Refused {
        key: Key,
        error: CheckoutError,
    },
    /// The guard is gone; its check-in is not yet sent.
    Ended {
        key: Key,
    },
    CheckedIn {
        key: Key,
        result: Result<(), CheckinError>,
    },
}

/// How long to try; see `Deadlines` of the client's configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    pub(crate) call_ms: u64,
    pub(crate) checkout_ms: u64,
}

#[derive(Debug)]
pub(crate) struct Book {
    patience: Patience,
    router: Router,
    sessions: BTreeMap<Key, Session>,
    agenda: BTreeSet<(u64, Key)>,
    outstanding: BTreeMap<CallId, Outstanding>,
    next_key: Key,
    next_call: CallId,
    /// Request ids count up from a random number of 128 bits: no two engines meet.
    next_request: u128,
    calls: Vec<Call>,
    notices: Vec<Notice>,
}

#[derive(Debug)]
struct Outstanding {
    node: NodeIndex,
    sent_ms: u64,
    keys: Vec<Key>,
}

/// Checkouts that wait for an answer: a node's queue is no longer.
pub(crate) const ASKING_MAX: usize = 10_000;
/// A check-in is tried for as long as the default lifetime: then the units are free anyway.
const CHECKIN_FOR_MS: u64 = 30_000;

impl Book {
    pub(crate) fn new(patience: Patience, router: Router, first_request: u128) -> Self {
        Self {
            patience,
            router,
            sessions: BTreeMap::new(),
            agenda: BTreeSet::new(),
            outstanding: BTreeMap::new(),
            next_key: 1,
            next_call: 1,
            next_request: first_request,
            calls: Vec::new(),
            notices: Vec::new(),
        }
    }

    /// An engine asks for a license. `None` when too many wait already.
    pub(crate) fn checkout(&mut self, now_ms: u64, terms: Terms) -> Option<Key> {
        let is_asking = |session: &&Session| matches!(session.stage, Stage::Asking(_));
        if self.sessions.len() >= ASKING_MAX
            && self.sessions.values().filter(is_asking).count() >= ASKING_MAX
        {
            return None;
        }
        let asking = Asking {
            request_id: self.request_id(),
            asked_ms: now_ms,
            give_up_ms: now_ms + terms.wait_ms + self.patience.checkout_ms,
            next_try_ms: now_ms,
            last_denial: None,
            last_failure: "every server failed lately and is left alone for a moment".to_owned(),
        };
        let key = self.add(Session::new(terms, Stage::Asking(asking)));
        self.tick(now_ms);
        Some(key)
    }

    /// A guard is gone, with what was done under it.
    pub(crate) fn depart(&mut self, now_ms: u64, key: Key, usage: Vec<v1::FeatureUsage>) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        if session.departed.is_some() {
            return;
        }
        if let Stage::Held(held) = &session.stage
            && now_ms >= held.valid_until_ms
        {
            session.overrun_ms += now_ms - held.valid_until_ms;
        }
        if let Stage::Lapsed(lapsed) = &session.stage {
            session.overrun_ms += now_ms.saturating_sub(lapsed.since_ms);
        }
        session.departed = Some(usage);
        self.notices.push(Notice::Ended { key });
        if session.call.is_none() {
            self.become_ending(now_ms, key);
        }
        self.reschedule(key);
        self.tick(now_ms);
    }

    /// Does what is due. To be called at [`Book::next_wake`] at the latest.
    pub(crate) fn tick(&mut self, now_ms: u64) {
        let mut renewals = BTreeMap::<NodeIndex, Vec<(Key, v1::RenewItem)>>::new();
        let mut checkins = BTreeMap::<NodeIndex, Vec<(Key, v1::CheckinItem)>>::new();
        let mut targets = BTreeMap::new();
        while let Some((due_ms, key)) = self.agenda.first().copied()
            && due_ms <= now_ms
        {
            self.agenda.pop_first();
            let Some(session) = self.sessions.get_mut(&key) else { continue };
            session.due_ms = None;
            // Each of these puts it back on the agenda, or gathers it: then sending does.
            match &session.stage {
                Stage::Asking(_) => self.ask(now_ms, key),
                Stage::Lapsed(_) => self.ask_anew(now_ms, key),
                Stage::Held(held) if held.valid_until_ms <= now_ms => {
                    let since_ms = held.valid_until_ms;
                    self.become_lapsed(now_ms, key, since_ms);
                }
                Stage::Held(_) => self.gather_renewal(now_ms, key, &mut targets, &mut renewals),
                Stage::Ending(_) => self.gather_checkin(now_ms, key, &mut checkins),
            }
        }
        if !renewals.is_empty() {
            self.gather_early_renewals(now_ms, &mut targets, &mut renewals);
        }
        self.send_batches(now_ms, renewals, Items::Renew);
        self.send_batches(now_ms, checkins, Items::Checkin);
    }

    /// When [`Book::tick`] has something to do.
    pub(crate) fn next_wake(&self) -> Option<u64> {
        self.agenda.first().map(|(due_ms, _)| *due_ms)
    }

    /// Messages to send now. What they say about time was true at the last event.
    pub(crate) fn take_calls(&mut self) -> Vec<Call> {
        std::mem::take(&mut self.calls)
    }

    pub(crate) fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Check-ins that no node has acknowledged yet.
    pub(crate) fn has_endings(&self) -> bool {
        let mut sessions = self.sessions.values();
        sessions
            .any(|session| session.departed.is_some() || matches!(session.stage, Stage::Ending(_)))
    }

    /// Sessions that are asking, held, lapsed and ending.
    pub(crate) fn counts(&self) -> [usize; 4] {
        let mut counts = [0; 4];
        for session in self.sessions.values() {
            counts[match session.stage {
                Stage::Asking(_) => 0,
                Stage::Held(_) => 1,
                Stage::Lapsed(_) => 2,
                Stage::Ending(_) => 3,
            }] += 1;
        }
        counts
    }

    fn become_lapsed(&mut self, now_ms: u64, key: Key, since_ms: u64) {
        let request_id = self.request_id();
        let Some(session) = self.sessions.get_mut(&key) else { return };
        let Stage::Held(held) = &mut session.stage else { return };
        let receipt = std::mem::take(&mut held.receipt);
        let node = held.node;
        session.stage =
            Stage::Lapsed(Lapsed { since_ms, receipt, node, request_id, next_try_ms: now_ms });
        // An answer to a renewal that is still under way extends nothing now.
        session.call = None;
        self.notices.push(Notice::Lapsed { key, since_ms, denied: None });
        self.ask_anew(now_ms, key);
    }

    fn become_ending(&mut self, now_ms: u64, key: Key) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        let (receipt, node) = match &mut session.stage {
            Stage::Held(held) => (std::mem::take(&mut held.receipt), held.node),
            Stage::Lapsed(lapsed) => (std::mem::take(&mut lapsed.receipt), lapsed.node),
            Stage::Asking(_) | Stage::Ending(_) => return,
        };
        let usage = session.departed.take().unwrap_or_default();
        session.stage = Stage::Ending(Ending::new(now_ms, receipt, node, usage));
    }

    /// Gives back what a node lent in an answer that came too late to count.
    fn give_back(&mut self, now_ms: u64, receipt: Vec<u8>, node: NodeIndex) {
        let terms = Terms { lines: Vec::new(), wait_ms: 0, build_date: String::new() };
        let ending = Ending::new(now_ms, receipt, node, Vec::new());
        self.add(Session::new(terms, Stage::Ending(ending)));
    }

    fn refuse(&mut self, key: Key, error: CheckoutError) {
        self.remove(key);
        self.notices.push(Notice::Refused { key, error });
    }

    fn forget(&mut self, key: Key, result: Result<(), CheckinError>) {
        self.remove(key);
        self.notices.push(Notice::CheckedIn { key, result });
    }

    fn add(&mut self, session: Session) -> Key {
        let key = self.next_key;
        self.next_key += 1;
        self.sessions.insert(key, session);
        self.reschedule(key);
        key
    }

    fn remove(&mut self, key: Key) {
        if let Some(Session { due_ms: Some(due_ms), .. }) = self.sessions.remove(&key) {
            self.agenda.remove(&(due_ms, key));
        }
    }

    fn reschedule(&mut self, key: Key) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        let wants_at = session.wants_at();
        if session.due_ms == wants_at {
            return;
        }
        if let Some(due_ms) = session.due_ms {
            self.agenda.remove(&(due_ms, key));
        }
        session.due_ms = wants_at;
        if let Some(due_ms) = wants_at {
            self.agenda.insert((due_ms, key));
        }
    }

    fn request_id(&mut self) -> [u8; 16] {
        let id = self.next_request;
        self.next_request = self.next_request.wrapping_add(1);
        id.to_be_bytes()
    }
}

impl Ending {
    fn new(now_ms: u64, receipt: Vec<u8>, node: NodeIndex, usage: Vec<v1::FeatureUsage>) -> Self {
        Self {
            receipt,
            node,
            give_up_ms: now_ms + CHECKIN_FOR_MS,
            next_try_ms: now_ms,
            denied: BTreeMap::new(),
            usage,
            told: None,
            last_failure: "every server failed lately".to_owned(),
        }
    }
}
