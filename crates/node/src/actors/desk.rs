//! The desk actor: feeds the node's [`Desk`] and performs its effects.
//!
//! A request of many items is one message; its answers are gathered by ticket and sent together.

use std::time::Duration;

use bytes::Bytes;
use leasehold_actor::{AskError, BoxError, CancellationToken, Inbox, Mailbox, Reply, mailbox};
use leasehold_clock::Clock;
use leasehold_consensus::Consensus;
use leasehold_core::desk::message::{
    Answer, BeatAnswer, CheckoutItem, Effect, HandOver, Operated, Ticket,
};
use leasehold_core::desk::{Desk, DeskConfig, DeskStatus};
use leasehold_core::id::{CheckoutId, Epoch, NodeId, PoolId, ProcessId};
use leasehold_core::ledger::command::Command;
use leasehold_core::limits::WAIT_MS_MAX;
use leasehold_core::steward::message::{BeatRequest, OpenAnswer, OpenRequest};
use leasehold_core::time::Moment;
use slab::Slab;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::route::Route;
use super::{now, wake_at};
use crate::membership::has_left;

/// Requests that wait for the desk: at a microsecond each, a hundredth of a second's work. More
/// is overload, and is refused so that engines turn to another node.
const MAILBOX_CAPACITY: usize = 8_192;
/// Answers that take longer than the longest queue are a defect, not a wait.
const CHECKOUT_DEADLINE: Duration = Duration::from_millis(WAIT_MS_MAX + 1_000);
/// A renewal may have to move a checkout here.
const DEADLINE: Duration = Duration::from_secs(5);
/// Tickets name a batch and the item within it; a batch has far fewer items.
const ITEM_BITS: u32 = 16;

#[derive(Debug)]
enum DeskRequest {
    Checkout { items: Vec<CheckoutItem>, reply: Reply<Vec<Answer>> },
    Renew { items: Vec<Renewal>, reply: Reply<Vec<Answer>> },
    Checkin { receipts: Vec<Bytes>, is_passed_on: bool, reply: Reply<Vec<Answer>> },
    HandOver { receipt: Bytes, to: NodeId, reply: Reply<Vec<Answer>> },
    Recall { pools: Vec<(PoolId, u64)>, reply: Reply<Vec<(PoolId, u64)>> },
    Overrun { reports: Vec<(Bytes, u64)> },
    Retire { reply: Reply<Option<Command>> },
}

/// A receipt to renew, and its age on the engine's clock.
#[derive(Clone, Debug)]
pub struct Renewal {
    pub receipt: Bytes,
    pub age_ms: u64,
}

#[derive(Clone, Debug)]
pub struct DeskHandle {
    mailbox: Mailbox<DeskRequest>,
    status: watch::Receiver<DeskStatus>,
}

impl DeskHandle {
    /// One answer per item, in order.
    ///
    /// # Errors
    /// Overloaded, stopped, or no answer in time.
    pub async fn checkout(&self, items: Vec<CheckoutItem>) -> Result<Vec<Answer>, AskError> {
        let request = |reply| DeskRequest::Checkout { items, reply };
        self.mailbox.ask(CHECKOUT_DEADLINE, request).await
    }

    /// One answer per item, in order.
    ///
    /// # Errors
    /// Overloaded, stopped, or no answer in time.
    pub async fn renew(&self, items: Vec<Renewal>) -> Result<Vec<Answer>, AskError> {
        self.mailbox.ask(DEADLINE, |reply| DeskRequest::Renew { items, reply }).await
    }

    /// One answer per receipt, in order. `is_passed_on`: sent by another node.
    ///
    /// # Errors
    /// Overloaded, stopped, or no answer in time.
    pub async fn checkin(
        &self,
        receipts: Vec<Bytes>,
        is_passed_on: bool,
    ) -> Result<Vec<Answer>, AskError> {
        let request = |reply| DeskRequest::Checkin { receipts, is_passed_on, reply };
        self.mailbox.ask(DEADLINE, request).await
    }

    /// Gives a running checkout to the node `to`.
    ///
    /// # Errors
    /// Overloaded, stopped, or no answer in time.
    pub async fn hand_over(&self, receipt: Bytes, to: NodeId) -> Result<HandOver, AskError> {
        let request = |reply| DeskRequest::HandOver { receipt, to, reply };
        let answers = self.mailbox.ask(DEADLINE, request).await?;
        Ok(match answers.first() {
            Some(Answer::HandOver(answer)) => *answer,
            Some(_) | None => HandOver::NotNow,
        })
    }

    /// Has idle units returned; says which will be.
    ///
    /// # Errors
    /// Overloaded, stopped, or no answer in time.
    pub async fn recall(&self, pools: Vec<(PoolId, u64)>) -> Result<Vec<(PoolId, u64)>, AskError> {
        self.mailbox.ask(DEADLINE, |reply| DeskRequest::Recall { pools, reply }).await
    }

    /// Counts milliseconds that engines went on without a valid checkout, by their receipts. A
    /// report that finds the mailbox full is lost: it is counted once or not at all.
    pub fn count_overrun(&self, reports: Vec<(Bytes, u64)>) {
        if !reports.is_empty() {
            let _ = self.mailbox.try_send(DeskRequest::Overrun { reports });
        }
    }

    /// Lends and renews nothing from now on; returns what ends the lease in the ledger.
    ///
    /// # Errors
    /// Overloaded, stopped, or no answer in time.
    pub async fn retire(&self) -> Result<Option<Command>, AskError> {
        self.mailbox.ask(DEADLINE, |reply| DeskRequest::Retire { reply }).await
    }

    /// The desk's observable state, about once a second.
    #[must_use]
    pub fn observe(&self) -> watch::Receiver<DeskStatus> {
        self.status.clone()
    }
}

/// Who this desk's process is.
#[derive(Clone, Debug)]
pub struct DeskIdentity {
    pub desk: DeskConfig,
    pub process: ProcessId,
    /// The process that this one has succeeded, if it is certainly gone.
    pub gone: Option<ProcessId>,
}

/// The mailbox of a desk that is yet to be made: desk and steward know each other.
pub struct DeskInbox {
    inbox: Inbox<DeskRequest>,
    status: watch::Sender<DeskStatus>,
}

#[must_use]
pub fn desk_mailbox() -> (DeskHandle, DeskInbox) {
    let (mailbox, inbox) = mailbox("desk", MAILBOX_CAPACITY);
    let (status, observed) = watch::channel(DeskStatus::default());
    (DeskHandle { mailbox, status: observed }, DeskInbox { inbox, status })
}

pub struct DeskTask {
    inbox: DeskInbox,
    desk: Desk,
    identity: DeskIdentity,
    clock: Clock,
    consensus: Consensus,
    route: Route,
    batches: Slab<Batch>,
    completions: JoinSet<Completion>,
    status_due: Moment,
}

/// The answers of one request, until all are there.
struct Batch {
    answers: Vec<Option<Answer>>,
    missing: usize,
    reply: Reply<Vec<Answer>>,
}

/// What came of an effect.
enum Completion {
    Opened(Option<OpenAnswer>),
    Beaten { epoch: Epoch, seq: u64, answer: Option<BeatAnswer> },
    Operated { epoch: Epoch, number: u64, answer: Option<Operated> },
    HandedOver { checkout: CheckoutId, answer: Option<HandOver> },
    PassedOn,
}

/// The observable state is published this often; making it visits every pool.
const STATUS_MS: u64 = 500;

impl DeskTask {
    #[must_use]
    pub fn new(
        inbox: DeskInbox,
        identity: DeskIdentity,
        clock: Clock,
        consensus: Consensus,
        route: Route,
    ) -> Self {
        Self {
            inbox,
            desk: Desk::new(identity.desk.clone()),
            identity,
            clock,
            consensus,
            route,
            batches: Slab::new(),
            completions: JoinSet::new(),
            status_due: Moment::default(),
        }
    }

    /// # Errors
    /// If a task of an effect panicked.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), BoxError> {
        let mut applied = self.consensus.subscribe_applied();
        applied.mark_changed();
        loop {
            self.perform_effects();
            let timer = tokio::time::sleep_until(self.next_wake());
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                Some(completion) = self.completions.join_next() => self.on_completion(completion?),
                changed = applied.changed() => {
                    changed?;
                    self.on_applied();
                }
                request = self.inbox.inbox.next() => {
                    let Some(request) = request else {
                        // Everybody who could ask has stopped; this actor's turn comes.
                        stop.cancelled().await;
                        return Ok(());
                    };
                    self.handle(request);
                }
                () = timer => self.desk.on_tick(now(&self.clock)),
            }
            self.publish_status();
        }
    }

    fn next_wake(&self) -> tokio::time::Instant {
        wake_at(now(&self.clock), self.desk.next_wake().min(self.status_due))
    }

    fn handle(&mut self, request: DeskRequest) {
        let now = now(&self.clock);
        match request {
            DeskRequest::Checkout { items, reply } => {
                let first = self.open_batch(items.len(), reply);
                for (item, ticket) in items.into_iter().zip(first..) {
                    self.desk.handle_checkout(now, item, ticket);
                }
            }
            DeskRequest::Renew { items, reply } => {
                let first = self.open_batch(items.len(), reply);
                for (item, ticket) in items.into_iter().zip(first..) {
                    self.desk.handle_renew(now, &item.receipt, item.age_ms, ticket);
                }
            }
            DeskRequest::Checkin { receipts, is_passed_on, reply } => {
                let first = self.open_batch(receipts.len(), reply);
                for (receipt, ticket) in receipts.into_iter().zip(first..) {
                    self.desk.handle_checkin(now, &receipt, is_passed_on, ticket);
                }
            }
            DeskRequest::HandOver { receipt, to, reply } => {
                let ticket = self.open_batch(1, reply);
                self.desk.handle_hand_over(now, &receipt, to, ticket);
            }
            DeskRequest::Recall { pools, reply } => {
                reply.send(self.desk.handle_recall(now, &pools));
            }
            DeskRequest::Overrun { reports } => {
                for (receipt, overrun_ms) in reports {
                    self.desk.handle_overrun(&receipt, overrun_ms);
                }
            }
            DeskRequest::Retire { reply } => reply.send(self.desk.retire(now)),
        }
    }

    /// Returns the ticket of the batch's first item; the others follow it. Nothing follows that of
    /// an empty batch, such as one whose items were all malformed: not even a count may go on.
    fn open_batch(&mut self, items: usize, reply: Reply<Vec<Answer>>) -> Ticket {
        if items == 0 {
            reply.send(Vec::new());
            return Ticket::MAX;
        }
        let batch = Batch { answers: vec![None; items], missing: items, reply };
        (self.batches.insert(batch) as u64) << ITEM_BITS
    }

    fn answer(&mut self, ticket: Ticket, answer: Answer) {
        let Ok(index) = usize::try_from(ticket >> ITEM_BITS) else { return };
        let item = usize::from(u16::try_from(ticket & ((1 << ITEM_BITS) - 1)).unwrap_or(u16::MAX));
        let Some(batch) = self.batches.get_mut(index) else { return };
        let Some(place) = batch.answers.get_mut(item) else { return };
        if place.replace(answer).is_none() {
            batch.missing -= 1;
        }
        if batch.missing == 0 {
            let batch = self.batches.remove(index);
            batch.reply.send(batch.answers.into_iter().flatten().collect());
        }
    }

    fn perform_effects(&mut self) {
        for effect in self.desk.take_effects() {
            self.perform(effect);
        }
    }

    fn perform(&mut self, effect: Effect) {
        let route = self.route.clone();
        let node = self.identity.desk.node;
        match effect {
            Effect::Answer { ticket, answer } => self.answer(ticket, answer),
            Effect::Open { after } => {
                let DeskIdentity { process, gone, .. } = self.identity;
                let request = OpenRequest { node, process, after, gone };
                self.completions
                    .spawn(async move { Completion::Opened(route.open(request).await) });
            }
            Effect::Beat { epoch, seq, heard, report } => {
                // Of this very node's ledger, not of a view that the leader sent.
                let applied = Some(self.consensus.read(|replica| replica.ledger.checkpoint()));
                let request = BeatRequest { node, epoch, seq, heard, applied, report };
                self.completions.spawn(async move {
                    Completion::Beaten { epoch, seq, answer: route.beat(request).await }
                });
            }
            Effect::Operate(operation) => {
                let (epoch, number) = (operation.epoch, operation.number);
                self.completions.spawn(async move {
                    let answer = route.operate(node, operation).await;
                    Completion::Operated { epoch, number, answer }
                });
            }
            Effect::HandOver { from, checkout, receipt } => {
                self.completions.spawn(async move {
                    let answer = route.hand_over(from, receipt).await;
                    Completion::HandedOver { checkout, answer }
                });
            }
            Effect::PassCheckin { to, receipt } => {
                self.completions.spawn(async move {
                    route.pass_checkin(to, receipt).await;
                    Completion::PassedOn
                });
            }
        }
    }

    fn on_completion(&mut self, completion: Completion) {
        let now = now(&self.clock);
        match completion {
            Completion::Opened(answer) => {
                let epoch = answer.as_ref().and_then(|answer| answer.epoch);
                if let Some(epoch) = epoch {
                    tracing::info!(%epoch, "lease opened");
                }
                self.desk.on_opened(now, epoch, answer.map(|answer| answer.view));
            }
            Completion::Beaten { epoch, seq, answer } => {
                self.desk.on_beat(now, epoch, seq, answer);
            }
            Completion::Operated { epoch, number, answer } => {
                self.desk.on_operated(now, epoch, number, answer);
            }
            Completion::HandedOver { checkout, answer } => {
                self.desk.on_hand_over(now, checkout, answer);
            }
            Completion::PassedOn => {}
        }
    }

    /// The local ledger has moved on: what it says this node holds is looked at afresh.
    fn on_applied(&mut self) {
        let known = self.desk.catalog_version();
        let node = self.identity.desk.node;
        let (view, catalog, is_odd) = self.consensus.read(|replica| {
            let view = replica.ledger.view(node);
            let is_newer = replica.ledger.catalog_version() > known;
            let is_odd = replica.agreement.is_odd(node);
            (view, is_newer.then(|| replica.ledger.catalog()), is_odd)
        });
        if has_left(&self.consensus, node) {
            self.route.expulsion.tell("this node was removed from the cluster");
        }
        let now = now(&self.clock);
        if is_odd {
            self.desk.on_diverged(now);
        }
        if let Some(catalog) = catalog {
            self.desk.on_catalog(now, catalog);
        }
        self.desk.on_view(now, &view);
    }

    fn publish_status(&mut self) {
        let now = now(&self.clock);
        if self.status_due > now.steady {
            return;
        }
        self.status_due = now.steady + STATUS_MS;
        self.inbox.status.send_replace(self.desk.status());
    }
}
