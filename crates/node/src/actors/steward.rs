//! The steward actor: at the leader it feeds a [`Steward`] and performs its effects.
//!
//! The machine lives exactly as long as this node leads and has applied an entry of its own term;
//! at other times every request is answered "not here".

use std::collections::BTreeMap;
use std::time::Duration;

use leasehold_actor::{BoxError, CancellationToken, Inbox, Mailbox, Reply, mailbox};
use leasehold_clock::Clock;
use leasehold_consensus::{Consensus, Leadership};
use leasehold_core::desk::message::{BeatAnswer, Operated, Operation, Report, Ticket};
use leasehold_core::id::{Epoch, NodeId, PoolId};
use leasehold_core::ledger::command::Outcome;
use leasehold_core::steward::message::{Answer, BeatRequest, Effect, OpenAnswer, OpenRequest};
use leasehold_core::steward::{NodeReport, Steward};
use leasehold_core::time::Moment;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::proposals::ProposalsHandle;
use super::route::DeskRoute;
use super::{now, wake_at};

/// Every node has a beat and an operation under way; a thousand nodes are out of sight.
const MAILBOX_CAPACITY: usize = 4_096;
/// An answer takes a commit; a node that waits longer asks again.
const DEADLINE: Duration = Duration::from_secs(3);
/// While this node does not lead there is nothing to be woken for.
const IDLE: Duration = Duration::from_secs(3_600);

#[derive(Debug)]
enum StewardRequest {
    Open(OpenRequest, Reply<Answer>),
    Beat(BeatRequest, Reply<Answer>),
    Operate(NodeId, Operation, Reply<Answer>),
}

#[derive(Clone, Debug)]
pub struct StewardHandle {
    mailbox: Mailbox<StewardRequest>,
    clock: Clock,
    reports: watch::Receiver<Option<BTreeMap<NodeId, NodeReport>>>,
}

/// The newest report of each node, as far as it is known.
pub type Figures = BTreeMap<NodeId, NodeFigures>;

/// What one node said of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeFigures {
    pub epoch: Epoch,
    /// How long ago, at the leader.
    pub age_ms: u64,
    pub report: Report,
}

impl StewardHandle {
    /// `None`: not led from here, or it is not known what became of it.
    pub async fn open(&self, request: OpenRequest) -> Option<OpenAnswer> {
        let asked = self.mailbox.ask(DEADLINE, |reply| StewardRequest::Open(request, reply)).await;
        match asked {
            Ok(Answer::Open(answer)) => Some(answer),
            Ok(Answer::Beat(_) | Answer::Operated(_) | Answer::Unknown) | Err(_) => None,
        }
    }

    /// `None`: not led from here, or it is not known what became of it.
    pub async fn beat(&self, request: BeatRequest) -> Option<BeatAnswer> {
        let asked = self.mailbox.ask(DEADLINE, |reply| StewardRequest::Beat(request, reply)).await;
        match asked {
            Ok(Answer::Beat(answer)) => Some(answer),
            Ok(Answer::Open(_) | Answer::Operated(_) | Answer::Unknown) | Err(_) => None,
        }
    }

    /// `None`: not led from here, or it is not known what became of it.
    pub async fn operate(&self, node: NodeId, operation: Operation) -> Option<Operated> {
        let request = |reply| StewardRequest::Operate(node, operation, reply);
        match self.mailbox.ask(DEADLINE, request).await {
            Ok(Answer::Operated(answer)) => Some(answer),
            Ok(Answer::Open(_) | Answer::Beat(_) | Answer::Unknown) | Err(_) => None,
        }
    }

    /// What the nodes last reported; `None` while this node does not lead.
    #[must_use]
    pub fn figures(&self) -> Option<Figures> {
        let reports = self.reports.borrow().clone()?;
        let now = Moment(self.clock.now());
        let figures = reports.into_iter().map(|(node, known)| {
            let age_ms = now.since(known.at);
            (node, NodeFigures { epoch: known.epoch, age_ms, report: known.report })
        });
        Some(figures.collect())
    }
}

pub struct StewardTask {
    inbox: Inbox<StewardRequest>,
    clock: Clock,
    consensus: Consensus,
    proposals: ProposalsHandle,
    desks: DeskRoute,
    role: Role,
    last_ticket: Ticket,
    waiting: BTreeMap<Ticket, Reply<Answer>>,
    completions: JoinSet<Completion>,
    reports: watch::Sender<Option<BTreeMap<NodeId, NodeReport>>>,
}

enum Role {
    Following,
    Leading { term: u64, steward: Box<Steward> },
}

/// What came of an effect, in the term it belongs to.
enum Completion {
    Proposed { term: u64, token: u64, outcomes: Option<Vec<Outcome>> },
    Recalled { term: u64, node: NodeId, pools: Vec<PoolId>, returning: Option<Vec<(PoolId, u64)>> },
}

/// Makes the actor.
#[must_use]
pub fn steward(
    clock: Clock,
    consensus: Consensus,
    proposals: ProposalsHandle,
    desks: DeskRoute,
) -> (StewardHandle, StewardTask) {
    let (mailbox, inbox) = mailbox("steward", MAILBOX_CAPACITY);
    let (reports, observed) = watch::channel(None);
    let handle = StewardHandle { mailbox, clock: clock.clone(), reports: observed };
    let task = StewardTask {
        inbox,
        clock,
        consensus,
        proposals,
        desks,
        role: Role::Following,
        last_ticket: 0,
        waiting: BTreeMap::new(),
        completions: JoinSet::new(),
        reports,
    };
    (handle, task)
}

impl StewardTask {
    /// # Errors
    /// If a task of an effect panicked.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), BoxError> {
        let mut leadership = self.consensus.leadership();
        leadership.mark_changed();
        loop {
            self.perform_effects();
            let timer = tokio::time::sleep_until(self.next_wake());
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                changed = leadership.changed() => {
                    changed?;
                    let led = leadership.borrow_and_update().clone();
                    self.on_leadership(&led);
                }
                Some(completion) = self.completions.join_next() => self.on_completion(completion?),
                request = self.inbox.next() => {
                    let Some(request) = request else {
                        // Everybody who could ask has stopped; this actor's turn comes.
                        stop.cancelled().await;
                        return Ok(());
                    };
                    self.handle(request);
                }
                () = timer => self.on_tick(),
            }
        }
    }

    fn next_wake(&self) -> tokio::time::Instant {
        match &self.role {
            Role::Following => tokio::time::Instant::now() + IDLE,
            Role::Leading { steward, .. } => wake_at(now(&self.clock), steward.next_wake()),
        }
    }

    fn on_leadership(&mut self, led: &Leadership) {
        if !led.is_leader || !led.is_ready {
            self.become_following();
            return;
        }
        match self.role {
            Role::Leading { term, .. } if term == led.term => {}
            Role::Leading { .. } | Role::Following => self.become_leading(led.term),
        }
    }

    fn become_leading(&mut self, term: u64) {
        tracing::info!(term, "this node leads");
        self.waiting.clear();
        self.role = Role::Leading { term, steward: Box::new(Steward::new(now(&self.clock))) };
    }

    fn become_following(&mut self) {
        if let Role::Leading { term, .. } = self.role {
            tracing::info!(term, "this node leads no more");
        }
        self.waiting.clear();
        self.role = Role::Following;
        self.reports.send_replace(None);
    }

    fn handle(&mut self, request: StewardRequest) {
        let Role::Leading { steward, .. } = &mut self.role else {
            let (StewardRequest::Open(_, reply)
            | StewardRequest::Beat(_, reply)
            | StewardRequest::Operate(_, _, reply)) = request;
            reply.send(Answer::Unknown);
            return;
        };
        self.last_ticket += 1;
        let ticket = self.last_ticket;
        let now = now(&self.clock);
        let reply = match request {
            StewardRequest::Open(open, reply) => {
                steward.handle_open(open, ticket);
                reply
            }
            StewardRequest::Beat(beat, reply) => {
                self.consensus.read(|replica| steward.handle_beat(now, replica, beat, ticket));
                self.reports.send_replace(Some(steward.reports().clone()));
                reply
            }
            StewardRequest::Operate(node, operation, reply) => {
                self.consensus
                    .read(|replica| steward.handle_operate(replica, node, operation, ticket));
                reply
            }
        };
        self.waiting.insert(ticket, reply);
    }

    fn on_tick(&mut self) {
        let now = now(&self.clock);
        if let Role::Leading { steward, .. } = &mut self.role {
            self.consensus.read(|replica| steward.on_tick(now, replica));
        }
    }

    fn perform_effects(&mut self) {
        let Role::Leading { term, steward } = &mut self.role else { return };
        let term = *term;
        for effect in steward.take_effects() {
            match effect {
                Effect::Answer { ticket, answer } => {
                    if let Some(reply) = self.waiting.remove(&ticket) {
                        reply.send(answer);
                    }
                }
                Effect::Propose { token, commands } => {
                    let proposals = self.proposals.clone();
                    self.completions.spawn(async move {
                        let outcomes = proposals.propose(commands).await.ok();
                        Completion::Proposed { term, token, outcomes }
                    });
                }
                Effect::Recall { node, pools } => {
                    let desks = self.desks.clone();
                    self.completions.spawn(async move {
                        let ids = pools.iter().map(|(pool, _)| *pool).collect();
                        let returning = desks.recall(node, pools).await;
                        Completion::Recalled { term, node, pools: ids, returning }
                    });
                }
            }
        }
    }

    fn on_completion(&mut self, completion: Completion) {
        let Role::Leading { term: leading, steward } = &mut self.role else { return };
        match completion {
            Completion::Proposed { term, token, outcomes } if term == *leading => {
                let now = now(&self.clock);
                self.consensus.read(|replica| {
                    steward.on_proposed(now, replica, token, outcomes.as_deref());
                });
            }
            Completion::Recalled { term, node, pools, returning } if term == *leading => {
                steward.on_recalled(node, &pools, returning.as_deref());
            }
            // Of a term that this node led before: its machine is gone.
            Completion::Proposed { .. } | Completion::Recalled { .. } => {}
        }
    }
}
