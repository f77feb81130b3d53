//! What is known of a peer from the messages sent to it, for the operator: one line when it gives
//! no answers any more, one when it does again, and figures.
//!
//! A leader sends to every peer several times a second. Other nodes send votes only, so to them a
//! peer may seem unchanged for long: what they last saw.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use leasehold_core::id::NodeId;
use metrics::{Counter, Gauge, Histogram};

use crate::types::Peer;

/// One peer, whichever task sends to it. Clones share it.
#[derive(Clone)]
pub(crate) struct Contact {
    inner: Arc<Inner>,
}

struct Inner {
    node: NodeId,
    peer: Peer,
    election_max: Duration,
    state: Mutex<State>,
    figures: Figures,
}

/// Since when, if ever, the peer has not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Its last message was answered, or none was sent yet.
    Answering,
    /// No message since then was answered; it may be one that was lost. `last` was the last one.
    Silent { since: Instant, last: Instant },
    /// The operator has been told so.
    Unreachable { since: Instant },
}

struct Figures {
    active: Gauge,
    round_trip: Histogram,
    sent_bytes: Counter,
    failures: Counter,
    heartbeat_failures: Counter,
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Without entries: its round trip is the network's, and a little of the peer's core.
    Heartbeat,
    Other,
}

/// A message under way. Dropped without an answer, it counts as unanswered.
pub(crate) struct Attempt {
    contact: Contact,
    kind: Kind,
    began: Instant,
    is_answered: bool,
}

/// Without an answer for so many of the longest waits for a leader, a peer is reported: as long as
/// an election takes. A message that was lost, or a second's work of its machine, is none of the
/// operator's business.
const REPORTED_AFTER: u32 = 2;
/// Nothing was sent for so many of them: it says nothing of the peer. A leader without a majority
/// falls silent for up to 4 at a time.
const FORGOTTEN_AFTER: u32 = 6;

impl Contact {
    pub(crate) fn new(node: NodeId, peer: Peer, election_max: Duration) -> Self {
        let figures = Figures::of(node);
        let state = Mutex::new(State::Answering);
        Self { inner: Arc::new(Inner { node, peer, election_max, state, figures }) }
    }

    pub(crate) fn peer(&self) -> &Peer {
        &self.inner.peer
    }

    pub(crate) fn attempt(&self, kind: Kind, payload_bytes: usize) -> Attempt {
        self.inner.figures.sent_bytes.increment(payload_bytes as u64);
        Attempt { contact: self.clone(), kind, began: Instant::now(), is_answered: false }
    }

    /// It is no member any more: whether it answers is nobody's business.
    pub(crate) fn forget(&self) {
        let mut state = self.state();
        *state = State::Answering;
        self.inner.figures.active.set(1.0);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn on_answer(&self, kind: Kind, began: Instant) {
        let Inner { node, peer, figures, .. } = &*self.inner;
        if kind == Kind::Heartbeat {
            figures.round_trip.record(began.elapsed());
        }
        // Held while the gauge is set, so that it follows the state.
        let mut state = self.state();
        let before = std::mem::replace(&mut *state, State::Answering);
        if let State::Unreachable { since } = before {
            figures.active.set(1.0);
            drop(state);
            let away_ms = since.elapsed().as_millis();
            tracing::info!(%node, name = peer.name, site = %peer.site, away_ms, "a node answers again");
        }
    }

    fn on_silence(&self, kind: Kind, began: Instant) {
        let Inner { node, peer, election_max, figures, .. } = &*self.inner;
        figures.failures.increment(1);
        if kind == Kind::Heartbeat {
            figures.heartbeat_failures.increment(1);
        }
        let mut state = self.state();
        match *state {
            // Nothing was sent for long: whoever leads now begins to count.
            State::Silent { last, .. }
                if began.duration_since(last) > FORGOTTEN_AFTER * *election_max =>
            {
                *state = State::Silent { since: began, last: began };
            }
            State::Silent { since, .. } if since.elapsed() >= REPORTED_AFTER * *election_max => {
                *state = State::Unreachable { since };
                figures.active.set(0.0);
                drop(state);
                tracing::warn!(
                    %node, name = peer.name, site = %peer.site, address = peer.address,
                    "a node gives no answers: does it run, and can it be reached?"
                );
            }
            State::Answering => *state = State::Silent { since: began, last: began },
            State::Silent { since, .. } => *state = State::Silent { since, last: began },
            State::Unreachable { .. } => {}
        }
    }
}

impl Attempt {
    /// The peer has answered, be it with a refusal.
    pub(crate) fn answered(mut self) {
        self.is_answered = true;
        self.contact.on_answer(self.kind, self.began);
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.is_answered {
            self.contact.on_silence(self.kind, self.began);
        }
    }
}

impl Figures {
    fn of(node: NodeId) -> Self {
        let to = || node.to_string();
        let figures = Self {
            active: metrics::gauge!("leasehold_network_active_peers", "to" => to()),
            round_trip: metrics::histogram!(
                "leasehold_network_peer_round_trip_time_seconds", "to" => to()
            ),
            sent_bytes: metrics::counter!(
                "leasehold_network_peer_sent_bytes_total", "to" => to()
            ),
            failures: metrics::counter!(
                "leasehold_network_peer_sent_failures_total", "to" => to()
            ),
            heartbeat_failures: metrics::counter!(
                "leasehold_server_heartbeat_send_failures_total", "to" => to()
            ),
        };
        figures.active.set(1.0);
        figures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ELECTION_MAX: Duration = Duration::from_secs(1);
    const REPORTED: Duration = Duration::from_secs(2);

    fn contact() -> Contact {
        let peer = Peer { name: "west-1".to_owned(), ..Peer::default() };
        Contact::new(NodeId(2), peer, ELECTION_MAX)
    }

    fn state(contact: &Contact) -> State {
        *contact.state()
    }

    #[test]
    fn a_peer_is_reported_once_it_was_silent_for_long_and_forgotten_when_it_answers() {
        let contact = contact();
        let since = Instant::now().checked_sub(REPORTED).unwrap();
        contact.on_silence(Kind::Heartbeat, since);
        assert_eq!(state(&contact), State::Silent { since, last: since }, "one may be lost");
        contact.on_silence(Kind::Heartbeat, since + REPORTED);
        assert_eq!(state(&contact), State::Unreachable { since });
        contact.on_silence(Kind::Heartbeat, Instant::now());
        assert_eq!(state(&contact), State::Unreachable { since }, "told once");
        contact.attempt(Kind::Other, 1).answered();
        assert_eq!(state(&contact), State::Answering);
    }

    #[test]
    fn a_lost_message_of_an_earlier_leadership_counts_no_more() {
        let contact = contact();
        let long_ago =
            Instant::now().checked_sub(FORGOTTEN_AFTER * ELECTION_MAX + REPORTED).unwrap();
        contact.on_silence(Kind::Heartbeat, long_ago);
        let now = Instant::now();
        contact.on_silence(Kind::Heartbeat, now);
        assert_eq!(state(&contact), State::Silent { since: now, last: now });
    }

    /// Such a leader sends seldom. Each message once seemed to be the first of a new leadership,
    /// and the operator never learned whom it could not reach.
    #[test]
    fn a_leader_without_a_majority_reports_who_gives_no_answers() {
        let contact = contact();
        let since = Instant::now().checked_sub(Duration::from_millis(4_100)).unwrap();
        contact.on_silence(Kind::Heartbeat, since);
        contact.on_silence(Kind::Heartbeat, Instant::now());
        assert_eq!(state(&contact), State::Unreachable { since });
    }

    #[test]
    fn a_node_that_was_removed_while_it_gave_no_answers_is_not_reported_for_ever() {
        let contact = contact();
        let since = Instant::now().checked_sub(REPORTED).unwrap();
        contact.on_silence(Kind::Heartbeat, since);
        contact.on_silence(Kind::Heartbeat, since + REPORTED);
        assert!(matches!(state(&contact), State::Unreachable { .. }));
        contact.forget();
        assert_eq!(state(&contact), State::Answering);
    }

    #[test]
    fn a_message_that_is_given_up_was_not_answered() {
        let contact = contact();
        drop(contact.attempt(Kind::Heartbeat, 1));
        assert!(matches!(state(&contact), State::Silent { .. }));
    }
}
