//! The desk: lends units to engines out of its node's allotments, in memory.
//!
//! A desk lends only while its lease, counted from the sending of its beats, still runs; it acts on
//! the ledger's views of what it holds and never on what it hopes to hold. It writes nothing to
//! disk: after a restart engines bring their receipts back. What it decides:
//!
//! | file | decides |
//! |---|---|
//! | `engine` | what an engine's checkout, renewal or check-in is answered |
//! | `lending` | who gets which units, the queue, and when a checkout ends |
//! | `headroom` | what to keep for requests to come, and what to give back |
//! | `claims` | what becomes of a checkout that another node granted |
//! | `operations` | lease, beats, and what to ask of the steward |
//!
//! Every method takes the time and leaves its [`Effect`]s to be taken by
//! [`Desk::take_effects`]. [`Desk::next_wake`] says when to call [`Desk::on_tick`] at the latest.

mod book;
mod claims;
mod departed;
mod directory;
mod engine;
mod headroom;
mod lending;
pub mod message;
mod operations;
mod queue;
mod status;
mod tenure;
#[cfg(test)]
mod tests;
mod till;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::id::{CheckoutId, Epoch, FeatureId, NodeId, PoolId, SiteName};
use crate::ledger::Catalog;
use crate::ledger::command::{Action, Command};
use crate::receipt::{Receipt, ReceiptKey, ReceiptLine, ReceiptLines};
use crate::time::{Moment, Now, Timings};
use book::Book;
use claims::Claim;
use departed::Departed;
use directory::Directory;
use headroom::SpareAsk;
use message::{Answer, Denial, Effect, Life, Operation, Reason, Supply, Ticket};
use queue::Queue;
pub use status::{DeskCounters, DeskStatus};
use tenure::Tenure;
use till::Tills;

/// Who a desk is.
#[derive(Clone, Debug)]
pub struct DeskConfig {
    pub node: NodeId,
    pub site: SiteName,
}

#[derive(Debug)]
pub struct Desk {
    config: DeskConfig,
    catalog: Catalog,
    receipt_key: ReceiptKey,
    directory: Directory,
    tenure: Tenure,
    tills: Tills,
    book: Book,
    queue: Queue,
    claims: BTreeMap<CheckoutId, Claim>,
    /// Checkouts that the ledger was asked to move: to where, and who waits to hear of it.
    departing: BTreeMap<CheckoutId, (NodeId, Vec<Ticket>)>,
    /// Units that moved here for checkouts covered meanwhile, and when to give them back.
    superseded: VecDeque<(Moment, Vec<ReceiptLine>)>,
    /// Handed-over checkouts, and when their old receipts must have died.
    departed: Departed,
    /// Steps for the next operation.
    outbox: VecDeque<Action>,
    in_flight: Option<InFlight>,
    /// The newest operation whose answer was taken in.
    operation: u64,
    /// Units that the steward asked back, by pool.
    recalled: BTreeMap<PoolId, u64>,
    /// Pools cut below what is lent.
    overdrawn: BTreeSet<PoolId>,
    /// How the newest want for each choice of pools was met.
    supplies: BTreeMap<Vec<PoolId>, Supply>,
    view_version: u64,
    newest_epoch: Epoch,
    /// The newest epoch that has ended, or that this process has asked to replace.
    closed_epoch: Epoch,
    granted: u64,
    is_draining: bool,
    /// Set when this desk has given up its lease for good.
    is_retired: bool,
    /// An operator keeps this node from opening leases.
    is_fenced: bool,
    /// Set for good once this node's ledger is known to differ from the others'.
    is_diverged: bool,
    give_back_due: bool,
    next_open: Moment,
    next_beat: Moment,
    next_ask: Moment,
    next_spare_ask: Moment,
    spare_asks: BTreeMap<FeatureId, SpareAsk>,
    counters: DeskCounters,
    effects: VecDeque<Effect>,
}

/// The one operation that has been sent and not answered; its content never changes.
#[derive(Debug)]
struct InFlight {
    operation: Operation,
    sent_at: Moment,
    /// When it is sent again, and how long after that once more.
    retry_at: Moment,
    pause_ms: u64,
}

impl Desk {
    #[must_use]
    pub fn new(config: DeskConfig) -> Self {
        let catalog = Catalog::default();
        let receipt_key = ReceiptKey::new(catalog.cluster, &catalog.receipt_key);
        Self {
            config,
            catalog,
            receipt_key,
            directory: Directory::default(),
            tenure: Tenure::default(),
            tills: Tills::default(),
            book: Book::default(),
            queue: Queue::default(),
            claims: BTreeMap::new(),
            departing: BTreeMap::new(),
            superseded: VecDeque::new(),
            departed: Departed::default(),
            outbox: VecDeque::new(),
            in_flight: None,
            operation: 0,
            recalled: BTreeMap::new(),
            overdrawn: BTreeSet::new(),
            supplies: BTreeMap::new(),
            view_version: 0,
            newest_epoch: Epoch::default(),
            closed_epoch: Epoch::default(),
            granted: 0,
            is_draining: false,
            is_retired: false,
            is_fenced: false,
            is_diverged: false,
            give_back_due: false,
            next_open: Moment::default(),
            next_beat: Moment::default(),
            next_ask: Moment::default(),
            next_spare_ask: Moment::default(),
            spare_asks: BTreeMap::new(),
            counters: DeskCounters::default(),
            effects: VecDeque::new(),
        }
    }

    /// What is to be done, in order.
    pub fn take_effects(&mut self) -> VecDeque<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// Takes in what pools there are. A catalog older than the one at hand changes nothing.
    pub fn on_catalog(&mut self, now: Now, catalog: Catalog) {
        if catalog.version <= self.catalog.version {
            return;
        }
        self.receipt_key = ReceiptKey::new(catalog.cluster, &catalog.receipt_key);
        self.directory = Directory::new(&catalog, &self.config.site);
        self.catalog = catalog;
        self.supplies.clear();
        self.refuse_hopeless_waiters();
        self.next_open = self.next_open.min(now.steady);
        self.on_tick(now);
    }

    /// The version of the catalog at hand; a view that names a newer one asks for it.
    #[must_use]
    pub fn catalog_version(&self) -> u64 {
        self.catalog.version
    }

    /// Lends nothing new from now on; running checkouts are renewed as before.
    pub fn drain(&mut self, now: Now) {
        self.is_draining = true;
        for (id, _) in self.queue.iter().map(|(id, waiter)| (id, waiter.until)).collect::<Vec<_>>()
        {
            self.deny_waiter(id, Reason::Draining.into());
        }
        self.on_tick(now);
    }

    /// Lends and renews nothing any more: engines bring their receipts to other nodes. Returns what
    /// ends its lease in the ledger.
    pub fn retire(&mut self, now: Now) -> Option<Command> {
        self.drain(now);
        let (node, used) = (self.config.node, self.tills.used());
        let close = self.tenure.epoch().map(|epoch| Command::Close { node, epoch, used });
        self.is_retired = true;
        self.become_closed(now);
        for id in self.claims.keys().copied().collect::<Vec<_>>() {
            self.give_up_claim(id, &Reason::Draining.into());
        }
        close
    }

    /// This node's ledger is not that of the others: nothing that it says can be relied on, so this
    /// desk lends and renews nothing any more. Engines bring their receipts to other nodes, which
    /// are handed the running checkouts; units that nobody uses go back.
    pub fn on_diverged(&mut self, now: Now) {
        if std::mem::replace(&mut self.is_diverged, true) {
            return;
        }
        for id in self.queue.iter().map(|(id, _)| id).collect::<Vec<_>>() {
            self.deny_waiter(id, Reason::NotReady.into());
        }
        for id in self.claims.keys().copied().collect::<Vec<_>>() {
            self.give_up_claim(id, &Reason::NotReady.into());
        }
        self.on_tick(now);
    }

    /// When [`Desk::on_tick`] has something to do.
    #[must_use]
    pub fn next_wake(&self) -> Moment {
        let lease = match self.tenure.epoch() {
            Some(_) => self.next_beat,
            None if self.is_retired => Moment(u64::MAX),
            None => self.next_open,
        };
        let retry = self.in_flight.as_ref().map(|in_flight| in_flight.retry_at);
        let may_ask = self.in_flight.is_none() && self.tenure.until().is_some();
        let ask = (may_ask && self.queue.len() > 0).then_some(self.next_ask);
        let superseded = self.superseded.front().map(|(at, _)| *at);
        let (look, answer) = (self.book.next_look(), self.queue.next_deadline());
        [retry, ask, superseded, look, answer, self.next_claim_deadline()]
            .into_iter()
            .flatten()
            .fold(lease, Moment::min)
    }

    pub fn on_tick(&mut self, now: Now) {
        self.end_overdue_checkouts(now);
        self.give_back_superseded(now);
        self.answer_overdue_waiters(now);
        self.answer_overdue_claims(now);
        self.keep_lease(now);
        self.serve_queue(now);
        self.ask_steward(now);
    }

    fn timings(&self) -> &Timings {
        &self.catalog.timings
    }

    fn answer(&mut self, ticket: Ticket, answer: Answer) {
        if let Answer::Denied(denial) = &answer {
            *self.counters.denied.entry(denial.reason).or_default() += 1;
            // Only features that an entitlement names: an engine can't make this grow.
            if let Some(feature) = denial.feature.as_ref().filter(|_| denial.units_entitled > 0) {
                *self.counters.denied_features.entry(feature.clone()).or_default() += 1;
            }
        }
        self.effects.push_back(Effect::Answer { ticket, answer });
    }

    fn deny(&mut self, ticket: Ticket, denial: impl Into<Denial>) {
        self.answer(ticket, Answer::Denied(denial.into()));
    }

    fn life(&self, from: Moment) -> Life {
        let Timings { checkout_ttl_ms, clock_drift_ppm, .. } = *self.timings();
        Life { from, ttl_ms: checkout_ttl_ms, clock_drift_ppm }
    }

    /// Until when a checkout renewed at `renewed` is held for its engine, whose clock may be slow
    /// while this one is fast: TTL(1+ρ), and 1 ms as the clock's whole milliseconds may hide so much.
    fn held_until(&self, renewed: Moment) -> Moment {
        renewed + self.timings().stretch(self.timings().checkout_ttl_ms) + 1
    }

    fn receipt(&self, checkout: CheckoutId, issued: Moment, lines: &ReceiptLines) -> Vec<u8> {
        let receipt = Receipt {
            checkout,
            node: self.config.node,
            epoch: self.tenure.epoch().unwrap_or_default(),
            issued_ms: issued.0,
            lines: lines.clone(),
        };
        receipt.seal(&self.receipt_key)
    }

    /// Whether it would lend at this very moment, if it had units: its lease runs, and its clocks
    /// agree. To ask changes nothing.
    #[must_use]
    pub fn would_lend(&self, now: Now) -> bool {
        !self.is_diverged && self.tenure.clone().may_lend(now, self.timings())
    }

    /// Why nothing can be lent at this moment.
    fn not_lending(&mut self, now: Now) -> Option<Reason> {
        self.without_lease(now).or(self.is_diverged.then_some(Reason::NotReady))
    }

    /// Why nothing can be said of what this desk holds.
    fn without_lease(&mut self, now: Now) -> Option<Reason> {
        let timings = *self.timings();
        if self.tenure.may_lend(now, &timings) {
            return None;
        }
        if self.is_retired {
            return Some(Reason::Draining);
        }
        let was_lending = self.tenure.until().is_some();
        Some(if was_lending { Reason::CutOff } else { Reason::NotReady })
    }
}
