//! The task that feeds the book and performs what it asks for.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use leasehold_clock::Clock;
use leasehold_proto::v1::CheckoutLine;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::book::{Answers, Book, Call, CallId, Failure, Items, Key, Notice, Terms};
use crate::client::ClientStatus;
use crate::connection::{CallError, Connection};
use crate::error::{CheckinError, CheckoutError};
use crate::guard::{Departure, Guard, GuardState};
use crate::observer::{Observer, Use};

/// Requests not yet taken up: the task takes microseconds for each, so a full mailbox means that
/// the engine's runtime is stalled.
pub(crate) const REQUESTS_MAX: usize = 4_096;
/// The longest sleep: tokio's clock stands still while the machine is suspended, so deadlines are
/// looked at again soon after it wakes.
const SLEEP_MAX: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) enum ClientRequest {
    Checkout { terms: Terms, answer: oneshot::Sender<Result<Guard, CheckoutError>> },
    Flush { answer: oneshot::Sender<()> },
    Status { answer: oneshot::Sender<ClientStatus> },
}

type Completion = (CallId, Result<Answers, Failure>);

pub(crate) struct ClientTask {
    book: Book,
    connections: Vec<Connection>,
    clock: Clock,
    observer: Option<Arc<dyn Observer>>,
    requests: mpsc::Receiver<ClientRequest>,
    /// Not bounded by itself but by the guards: each sends once, from a `drop` that can't wait.
    departures: mpsc::UnboundedReceiver<Departure>,
    departure_sender: mpsc::UnboundedSender<Departure>,
    calls: JoinSet<Completion>,
    guards: HashMap<Key, GuardEntry>,
    flushes: Vec<oneshot::Sender<()>>,
}

/// Whom to tell about a session.
struct GuardEntry {
    lines: Vec<CheckoutLine>,
    answer: Option<oneshot::Sender<Result<Guard, CheckoutError>>>,
    state: Option<watch::Sender<GuardState>>,
    checkin: Option<oneshot::Sender<Result<(), CheckinError>>>,
}

enum Input {
    Request(Option<ClientRequest>),
    Departure(Departure),
    Completion(Completion),
    Wake,
}

impl ClientTask {
    pub(crate) fn new(
        book: Book,
        connections: Vec<Connection>,
        clock: Clock,
        observer: Option<Arc<dyn Observer>>,
        requests: mpsc::Receiver<ClientRequest>,
    ) -> Self {
        let (departure_sender, departures) = mpsc::unbounded_channel();
        Self {
            book,
            connections,
            clock,
            observer,
            requests,
            departures,
            departure_sender,
            calls: JoinSet::new(),
            guards: HashMap::new(),
            flushes: Vec::new(),
        }
    }

    /// Runs until every client handle and guard is gone and every check-in has been dealt with.
    pub(crate) async fn run(mut self) {
        let mut is_open = true;
        while is_open || !self.book.is_empty() {
            match self.next_input(is_open).await {
                Input::Request(None) => is_open = false,
                Input::Request(Some(request)) => self.handle_request(request),
                Input::Departure(departure) => self.handle_departure(departure),
                Input::Completion((call, result)) => {
                    self.book.on_call_ended(self.clock.now(), call, result);
                }
                Input::Wake => self.book.tick(self.clock.now()),
            }
            self.perform();
        }
    }

    async fn next_input(&mut self, is_open: bool) -> Input {
        let now_ms = self.clock.now();
        let wake_at_ms = self.book.next_wake();
        let sleep = wake_at_ms.map_or(SLEEP_MAX, |at_ms| {
            Duration::from_millis(at_ms.saturating_sub(now_ms)).min(SLEEP_MAX)
        });
        tokio::select! {
            biased;
            Some(departure) = self.departures.recv() => Input::Departure(departure),
            Some(Ok(completion)) = self.calls.join_next() => Input::Completion(completion),
            request = self.requests.recv(), if is_open => Input::Request(request),
            () = tokio::time::sleep(sleep), if wake_at_ms.is_some() => Input::Wake,
        }
    }

    fn handle_request(&mut self, request: ClientRequest) {
        match request {
            ClientRequest::Checkout { terms, answer } => {
                let lines = terms.lines.clone();
                match self.book.checkout(self.clock.now(), terms) {
                    Some(key) => {
                        let answer = Some(answer);
                        let entry = GuardEntry { lines, answer, state: None, checkin: None };
                        self.guards.insert(key, entry);
                    }
                    None => {
                        let most = crate::book::ASKING_MAX;
                        // Whoever asked may have gone: then nobody need be told.
                        let _ = answer.send(Err(CheckoutError::Overloaded { most }));
                    }
                }
            }
            ClientRequest::Flush { answer } => self.flushes.push(answer),
            ClientRequest::Status { answer } => {
                let [asking, active, lapsed, ending] = self.book.counts();
                let _ = answer.send(ClientStatus { asking, active, lapsed, ending });
            }
        }
    }

    fn handle_departure(&mut self, departure: Departure) {
        if let Some(entry) = self.guards.get_mut(&departure.key) {
            entry.checkin = departure.answer;
        }
        self.book.depart(self.clock.now(), departure.key, departure.usage);
    }

    fn perform(&mut self) {
        // Observers hear that a use has ended before the check-in that says so leaves.
        for notice in self.book.take_notices() {
            self.tell(notice);
        }
        for call in self.book.take_calls() {
            if let Some(connection) = self.connections.get(call.node) {
                self.calls.spawn(place(connection.clone(), call));
            }
        }
        if !self.flushes.is_empty() && !self.book.has_endings() {
            for answer in self.flushes.drain(..) {
                let _ = answer.send(());
            }
        }
    }

    fn tell(&mut self, notice: Notice) {
        let at_ms = self.clock.now();
        match notice {
            Notice::Granted { key, sent_ms, valid_until_ms } => {
                self.tell_granted(key, sent_ms, at_ms, valid_until_ms);
            }
            Notice::Extended { key, valid_until_ms } => {
                self.set_state(key, GuardState::Active { valid_until_ms });
                self.observe(&Use::Extended { guard: key, at_ms, valid_until_ms });
            }
            Notice::Lapsed { key, since_ms, denied } => {
                if denied.is_none() {
                    tracing::warn!(guard = key, "license lapsed; checking out anew");
                    self.observe(&Use::Lapsed { guard: key, at_ms: since_ms });
                }
                let denied = denied.map(|denial| denial.reason);
                self.set_state(key, GuardState::Lapsed { since_ms, denied });
            }
            Notice::Refused { key, error } => {
                if let Some(answer) = self.guards.remove(&key).and_then(|entry| entry.answer) {
                    let _ = answer.send(Err(error));
                }
            }
            Notice::Ended { key } => self.observe(&Use::Ended { guard: key, at_ms }),
            Notice::CheckedIn { key, result } => self.tell_checked_in(key, result),
        }
    }

    fn tell_granted(&mut self, key: Key, sent_ms: u64, at_ms: u64, valid_until_ms: u64) {
        let state = GuardState::Active { valid_until_ms };
        self.set_state(key, state);
        let Some(entry) = self.guards.get_mut(&key) else { return };
        let lines = entry.lines.iter().map(|line| (line.feature.clone(), line.units)).collect();
        let answer = entry.answer.take();
        let began = Use::Began { guard: key, lines, sent_ms, at_ms, valid_until_ms };
        if let Some(answer) = answer {
            let (sender, receiver) = watch::channel(state);
            entry.state = Some(sender);
            let (clock, departures) = (self.clock.clone(), self.departure_sender.clone());
            self.observe(&began);
            // If the engine no longer waits, the guard comes back, is dropped and checks in.
            let _ = answer.send(Ok(Guard::new(key, clock, receiver, departures)));
        } else {
            self.observe(&began);
        }
    }

    fn tell_checked_in(&mut self, key: Key, result: Result<(), CheckinError>) {
        // What was given back after a late answer has no guard.
        let answer = self.guards.remove(&key).and_then(|entry| entry.checkin);
        match (answer, result) {
            (Some(answer), result) => {
                let _ = answer.send(result);
            }
            (None, Ok(())) => {}
            (None, Err(error)) => tracing::warn!(guard = key, %error, "check-in failed"),
        }
    }

    fn set_state(&self, key: Key, state: GuardState) {
        if let Some(sender) = self.guards.get(&key).and_then(|entry| entry.state.as_ref()) {
            sender.send_replace(state);
        }
    }

    fn observe(&self, event: &Use) {
        if let Some(observer) = &self.observer {
            observer.on_use(event);
        }
    }
}

async fn place(connection: Connection, call: Call) -> Completion {
    let result = match call.items {
        Items::Checkout(items) => {
            connection.checkout_within(items, call.deadline_ms).await.map(Answers::Checkout)
        }
        Items::Renew(items) => connection.renew(items).await.map(Answers::Renew),
        Items::Checkin(items) => connection.checkin(items).await.map(Answers::Checkin),
    };
    (call.id, result.map_err(|error| failure(&error)))
}

fn failure(error: &CallError) -> Failure {
    tracing::debug!(%error, "call failed");
    Failure { was_not_sent: error.was_not_sent, detail: error.to_string() }
}
