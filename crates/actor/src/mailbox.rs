//! Bounded mailboxes and the asks that go through them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use metrics::{Gauge, Histogram};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Makes the mailbox of the actor `name` with `capacity` places; the name labels its metrics.
///
/// # Panics
/// If `capacity` is 0.
#[must_use]
pub fn mailbox<R>(name: &'static str, capacity: usize) -> (Mailbox<R>, Inbox<R>) {
    let (sender, receiver) = mpsc::channel(capacity);
    let depth = metrics::gauge!("leasehold_actor_mailbox_depth", "actor" => name);
    depth.set(0.0);
    let shared = Arc::new(Shared { name, sent: AtomicU32::new(0), depth });
    let inbox = Inbox {
        receiver,
        shared: Arc::clone(&shared),
        wait: metrics::histogram!("leasehold_actor_wait_duration_seconds", "actor" => name),
        handle: metrics::histogram!("leasehold_actor_handle_duration_seconds", "actor" => name),
        handling_since: None,
    };
    (Mailbox { sender, shared }, inbox)
}

/// Where an actor's requests are put; cheap to clone.
#[derive(Debug)]
pub struct Mailbox<R> {
    sender: mpsc::Sender<Envelope<R>>,
    shared: Arc<Shared>,
}

/// Where an actor takes its requests from.
#[derive(Debug)]
pub struct Inbox<R> {
    receiver: mpsc::Receiver<Envelope<R>>,
    shared: Arc<Shared>,
    wait: Histogram,
    handle: Histogram,
    handling_since: Option<Instant>,
}

/// How an actor answers one ask. Dropped without an answer, it tells the asker `Stopped`.
#[derive(Debug)]
pub struct Reply<A>(oneshot::Sender<A>);

/// Why a request was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    #[error("{actor} is overloaded: all {capacity} places of its mailbox are taken; retry later")]
    Overloaded { actor: &'static str, capacity: usize },
    #[error("{actor} has stopped")]
    Stopped { actor: &'static str },
}

/// Why an ask has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The actor never saw the request.
    #[error("{actor} is overloaded: all {capacity} places of its mailbox are taken; retry later")]
    Overloaded { actor: &'static str, capacity: usize },
    /// The actor may or may not have acted on the request.
    #[error("{actor} has stopped")]
    Stopped { actor: &'static str },
    /// The actor may still act on the request.
    #[error("{actor} did not answer within {deadline_ms} ms")]
    TimedOut { actor: &'static str, deadline_ms: u128 },
}

/// One message in so many is timed. Timing each would add two clock reads and two histogram
/// records, about a quarter of what an ask costs; one in 64 adds less than a hundredth.
const TIMED_ONE_IN: u32 = 64;

#[derive(Debug)]
struct Shared {
    name: &'static str,
    sent: AtomicU32,
    depth: Gauge,
}

#[derive(Debug)]
struct Envelope<R> {
    request: R,
    sent_at: Option<Instant>,
}

impl<R> Mailbox<R> {
    /// Puts a request into the mailbox, or refuses it at once.
    ///
    /// # Errors
    /// `Overloaded` when no place is free, `Stopped` when the actor is gone.
    pub fn try_send(&self, request: R) -> Result<(), SendError> {
        let actor = self.shared.name;
        let place = self.sender.try_reserve().map_err(|error| match error {
            mpsc::error::TrySendError::Full(()) => {
                SendError::Overloaded { actor, capacity: self.sender.max_capacity() }
            }
            mpsc::error::TrySendError::Closed(()) => SendError::Stopped { actor },
        })?;
        let number = self.shared.sent.fetch_add(1, Ordering::Relaxed);
        let sent_at = number.is_multiple_of(TIMED_ONE_IN).then(Instant::now);
        // Before the send: the receiver's decrement must never come first.
        self.shared.depth.increment(1.0);
        place.send(Envelope { request, sent_at });
        Ok(())
    }

    /// Sends the request that `request` makes of a [`Reply`], and waits for the answer.
    ///
    /// # Errors
    /// Each of [`AskError`]; none takes longer than `deadline`.
    pub async fn ask<A>(
        &self,
        deadline: Duration,
        request: impl FnOnce(Reply<A>) -> R,
    ) -> Result<A, AskError> {
        let actor = self.shared.name;
        let (reply, answer) = oneshot::channel();
        self.try_send(request(Reply(reply)))?;
        match tokio::time::timeout(deadline, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_dropped)) => Err(AskError::Stopped { actor }),
            Err(_elapsed) => Err(AskError::TimedOut { actor, deadline_ms: deadline.as_millis() }),
        }
    }

    /// Completes when the actor takes no more requests.
    pub async fn stopped(&self) {
        self.sender.closed().await;
    }
}

impl<R> Clone for Mailbox<R> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), shared: Arc::clone(&self.shared) }
    }
}

impl<R> Inbox<R> {
    /// The next request; `None` once every [`Mailbox`] is gone. Safe to cancel in a `select!`.
    ///
    /// The time until the next call counts as handling, unless [`Inbox::handled`] is called.
    pub async fn next(&mut self) -> Option<R> {
        self.handled();
        let envelope = self.receiver.recv().await?;
        Some(self.open(envelope))
    }

    /// The next request if one is there already: for actors that work in batches.
    pub fn try_next(&mut self) -> Option<R> {
        self.handled();
        let envelope = self.receiver.try_recv().ok()?;
        Some(self.open(envelope))
    }

    /// Refuses further requests; those accepted before can still be taken.
    pub fn close(&mut self) {
        self.receiver.close();
    }

    /// Ends the time that counts as handling the last request.
    pub fn handled(&mut self) {
        if let Some(since) = self.handling_since.take() {
            self.handle.record(since.elapsed());
        }
    }

    fn open(&mut self, envelope: Envelope<R>) -> R {
        self.shared.depth.decrement(1.0);
        if let Some(sent_at) = envelope.sent_at {
            let now = Instant::now();
            self.wait.record(now - sent_at);
            self.handling_since = Some(now);
        }
        envelope.request
    }
}

impl<R> Drop for Inbox<R> {
    fn drop(&mut self) {
        self.receiver.close();
        while self.try_next().is_some() {}
    }
}

impl<A> Reply<A> {
    /// Answers. An asker that no longer waits is no error.
    pub fn send(self, answer: A) {
        let _ = self.0.send(answer);
    }

    /// Whether the asker has given up: the work can be saved.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.0.is_closed()
    }
}

impl From<SendError> for AskError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Overloaded { actor, capacity } => AskError::Overloaded { actor, capacity },
            SendError::Stopped { actor } => AskError::Stopped { actor },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    enum Request {
        Double(u32, Reply<u32>),
    }

    const DEADLINE: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn an_ask_gets_its_answer() {
        let (mailbox, mut inbox) = mailbox("doubler", 4);
        tokio::spawn(async move {
            while let Some(Request::Double(number, reply)) = inbox.next().await {
                reply.send(number * 2);
            }
        });
        assert_eq!(mailbox.ask(DEADLINE, |reply| Request::Double(21, reply)).await, Ok(42));
    }

    #[tokio::test(start_paused = true)]
    async fn overload_is_refused_at_once() {
        let (mailbox, mut inbox) = mailbox("slow", 2);
        assert_eq!(mailbox.try_send(1), Ok(()));
        assert_eq!(mailbox.try_send(2), Ok(()));
        let refused = SendError::Overloaded { actor: "slow", capacity: 2 };
        assert_eq!(mailbox.try_send(3), Err(refused));
        assert_eq!(inbox.next().await, Some(1));
        assert_eq!(mailbox.try_send(4), Ok(()));
        assert_eq!(
            (inbox.try_next(), inbox.try_next(), inbox.try_next()),
            (Some(2), Some(4), None)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_ask_after_stop_says_stopped() {
        let (mailbox, inbox) = mailbox("gone", 1);
        drop(inbox);
        let answer = mailbox.ask(DEADLINE, |reply| Request::Double(1, reply)).await;
        assert_eq!(answer, Err(AskError::Stopped { actor: "gone" }));
        mailbox.stopped().await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_ask_that_waits_while_the_actor_stops_says_stopped() {
        let (mailbox, inbox) = mailbox("stopping", 1);
        let ask = mailbox.ask(DEADLINE, |reply| Request::Double(1, reply));
        let (answer, ()) = tokio::join!(ask, async { drop(inbox) });
        assert_eq!(answer, Err(AskError::Stopped { actor: "stopping" }));
    }

    #[tokio::test(start_paused = true)]
    async fn an_ask_ends_at_its_deadline_and_the_actor_can_see_it() {
        let (mailbox, mut inbox) = mailbox("deaf", 1);
        let began = Instant::now();
        let answer = mailbox.ask(DEADLINE, |reply| Request::Double(1, reply)).await;
        assert_eq!(answer, Err(AskError::TimedOut { actor: "deaf", deadline_ms: 1_000 }));
        assert_eq!(began.elapsed(), DEADLINE);
        let Some(Request::Double(_, reply)) = inbox.next().await else { panic!("no request") };
        assert!(reply.is_abandoned());
    }
}
