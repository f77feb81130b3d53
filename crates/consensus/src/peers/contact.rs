//! What is known of a peer from the messages sent to it, for the operator: one line when it gives
//! no answers any more, one when it does again, and figures.
//!
//! A leader sends to every peer several times a second. Other nodes send votes only, so to them a
//! peer may seem unchanged for long: what they last saw.

use std::sync::{Arc, Mutex, PoisonError};
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

/// Without an answer for so long, a peer is reported: as long as an election takes. A message that
/// was lost, or a second's work of its machine, is none of the operator's business.
const REPORTED_AFTER: Duration = Duration::from_secs(2);

impl Contact {
    pub(crate) fn new(node: NodeId, peer: Peer) -> Self {
        let figures = Figures::of(node);
        let state = Mutex::new(State::Answering);
        Self { inner: Arc::new(Inner { node, peer, state, figures }) }
    }

    pub(crate) fn peer(&self) -> &Peer {
        &self.inner.peer
    }

    pub(crate) fn attempt(&self, kind: Kind, payload_bytes: usize) -> Attempt {
        self.inner.figures.sent_bytes.increment(payload_bytes as u64);
        Attempt { contact: self.clone(), kind, began: Instant::now(), is_answered: false }
    }

    fn on_answer(&self, kind: Kind, began: Instant) {
        let Inner { node, peer, state, figures } = &*self.inner;
        if kind == Kind::Heartbeat {
            figures.round_trip.record(began.elapsed());
        }
        let before = {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *state, State::Answering)
        };
        if let State::Unreachable { since } = before {
            figures.active.set(1.0);
            let away_ms = since.elapsed().as_millis();
            tracing::info!(%node, name = peer.name, site = %peer.site, away_ms, "a node answers again");
        }
    }

    fn on_silence(&self, kind: Kind, began: Instant) {
        let Inner { node, peer, state, figures } = &*self.inner;
        figures.failures.increment(1);
        if kind == Kind::Heartbeat {
            figures.heartbeat_failures.increment(1);
        }
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        match *state {
            // Nothing was sent for long: whoever leads now begins to count.
            State::Silent { last, .. } if began.duration_since(last) > REPORTED_AFTER => {
                *state = State::Silent { since: began, last: began };
            }
            State::Silent { since, .. } if since.elapsed() >= REPORTED_AFTER => {
                *state = State::Unreachable { since };
                drop(state);
                figures.active.set(0.0);
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

    fn contact() -> Contact {
        Contact::new(NodeId(2), Peer { name: "west-1".to_owned(), ..Peer::default() })
    }

    fn state(contact: &Contact) -> State {
        *contact.inner.state.lock().unwrap()
    }

    #[test]
    fn a_peer_is_reported_once_it_was_silent_for_long_and_forgotten_when_it_answers() {
        let contact = contact();
        let since = Instant::now().checked_sub(REPORTED_AFTER).unwrap();
        contact.on_silence(Kind::Heartbeat, since);
        assert_eq!(state(&contact), State::Silent { since, last: since }, "one may be lost");
        contact.on_silence(Kind::Heartbeat, since + REPORTED_AFTER);
        assert_eq!(state(&contact), State::Unreachable { since });
        contact.on_silence(Kind::Heartbeat, Instant::now());
        assert_eq!(state(&contact), State::Unreachable { since }, "told once");
        contact.attempt(Kind::Other, 1).answered();
        assert_eq!(state(&contact), State::Answering);
    }

    #[test]
    fn a_lost_message_of_an_earlier_leadership_counts_no_more() {
        let contact = contact();
        let long_ago = Instant::now().checked_sub(3 * REPORTED_AFTER).unwrap();
        contact.on_silence(Kind::Heartbeat, long_ago);
        let now = Instant::now();
        contact.on_silence(Kind::Heartbeat, now);
        assert_eq!(state(&contact), State::Silent { since: now, last: now });
    }

    #[test]
    fn a_message_that_is_given_up_was_not_answered() {
        let contact = contact();
        drop(contact.attempt(Kind::Heartbeat, 1));
        assert!(matches!(state(&contact), State::Silent { .. }));
    }
}
