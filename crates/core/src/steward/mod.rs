//! The steward: the leader's allocator. Lends nodes what they need, ends the leases of silent ones.
//!
//! It exists only at a leader that has applied an entry of its own term, and starts empty: all it
//! needs for safety is in the ledger and in this process's own [`Notes`](crate::ledger::Notes).
//! What nodes report of their idle units is a hint for recalls and for people, nothing more.
//!
//! * A lease is ended T(1+ρ) after this process applied its newest beat, by a compare-and-set.
//! * Frozen units thaw TTL(1+ρ) + m after this process noted the freeze.
//! * Beats are acknowledged only once committed and applied, and beats of a node that hears no
//!   acknowledgements are not committed: it would hold units that it can't lend.

pub mod message;
mod supply;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use crate::desk::message::{BeatAnswer, Operated, Operation, Report, Ticket, Want};
use crate::entitlement::Date;
use crate::id::{AllotmentId, Epoch, NodeId, PoolId};
use crate::ledger::command::{Beat, Command, Outcome};
use crate::ledger::{AllotmentState, FrozenLease, Replica};
use crate::limits::ACTIONS_PER_OPERATION_MAX;
use crate::time::{Moment, Now};
use message::{Answer, BeatRequest, Effect, OpenAnswer, OpenRequest};
use supply::Recalls;

/// Beats are gathered this long into one entry: short beside a lease, long beside a sync.
const BEAT_GATHER_MS: u64 = 50;
/// Leases and freezes are looked at this often: the delay is small beside a lease.
const TICK_MS: u64 = 100;
/// A proposal of the steward's own without an answer is given up after this.
const OWN_PROPOSAL_MS: u64 = 2_000;

#[derive(Debug, Default)]
pub struct Steward {
    last_token: u64,
    pending: BTreeMap<u64, Pending>,
    beats: Vec<(Beat, Ticket)>,
    send_beats_at: Option<Moment>,
    nodes: BTreeMap<NodeId, NodeReport>,
    recalls: Recalls,
    /// The steward's own proposal under way, and when it is given up.
    own: Option<(u64, Moment)>,
    /// Whether this leader has told the ledger what time it is.
    has_told_time: bool,
    next_tick: Moment,
    effects: VecDeque<Effect>,
}

/// What a node last said of itself.
#[derive(Clone, Debug)]
pub struct NodeReport {
    pub epoch: Epoch,
    pub at: Moment,
    pub report: Report,
    heard: u64,
    heard_at: Moment,
}

#[derive(Debug)]
enum Pending {
    Open {
        node: NodeId,
        ticket: Ticket,
    },
    Beats(Vec<(Beat, Ticket)>),
    Operate {
        node: NodeId,
        ticket: Ticket,
        own_actions: usize,
        wants: Vec<Want>,
        draws: Vec<usize>,
    },
    Own,
}

impl NodeReport {
    /// Units of a pool that the node had free.
    fn free(&self, pool: PoolId) -> u64 {
        self.report.pools.get(&pool).map_or(0, |it| it.free)
    }
}

impl Steward {
    #[must_use]
    pub fn new(now: Now) -> Self {
        Self { next_tick: now.steady, ..Self::default() }
    }

    pub fn take_effects(&mut self) -> VecDeque<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// What each node last reported, for operators.
    #[must_use]
    pub fn reports(&self) -> &BTreeMap<NodeId, NodeReport> {
        &self.nodes
    }

    /// When [`Steward::on_tick`] has something to do.
    #[must_use]
    pub fn next_wake(&self) -> Moment {
        self.send_beats_at.map_or(self.next_tick, |at| at.min(self.next_tick))
    }

    pub fn handle_open(&mut self, request: OpenRequest, ticket: Ticket) {
        let OpenRequest { node, process, after, gone } = request;
        let token = self.propose(vec![Command::Open { node, process, after, gone }]);
        self.pending.insert(token, Pending::Open { node, ticket });
    }

    pub fn handle_beat(
        &mut self,
        now: Now,
        replica: &Replica,
        request: BeatRequest,
        ticket: Ticket,
    ) {
        let BeatRequest { node, epoch, seq, heard, applied, report } = request;
        let lease_ms = replica.ledger.timings().map_or(0, |timings| timings.lease_ms);
        let known = self.nodes.get(&node).filter(|known| known.epoch == epoch);
        let heard_at = match known {
            Some(known) if known.heard >= heard => known.heard_at,
            Some(_) | None => now.steady,
        };
        let is_deaf = now.steady.since(heard_at) > lease_ms;
        // A beat that was overtaken says less: the next one would seem to have heard something.
        let heard = known.map_or(heard, |known| known.heard.max(heard));
        let noted = NodeReport { epoch, at: now.steady, report, heard, heard_at };
        self.nodes.insert(node, noted);
        if is_deaf {
            // Its lease is left to end. Once it has, the node is told, or it would stay deaf.
            let view = replica.ledger.view(node);
            let has_ended = view.newest_epoch > epoch || !view.live;
            let answer = if has_ended {
                Answer::Beat(BeatAnswer { live: false, view })
            } else {
                Answer::Unknown
            };
            self.answer(ticket, answer);
            return;
        }
        self.beats.push((Beat { node, epoch, seq, applied }, ticket));
        let live = replica.ledger.leases().filter(|(_, lease)| lease.live).count();
        if self.beats.len() >= live {
            self.send_beats(now);
        } else {
            self.send_beats_at.get_or_insert(now.steady + BEAT_GATHER_MS);
        }
    }

    fn send_beats(&mut self, now: Now) {
        self.send_beats_at = None;
        if self.beats.is_empty() {
            return;
        }
        let beats = std::mem::take(&mut self.beats);
        let entry = beats.iter().map(|(beat, _)| *beat).collect();
        let token = self.propose(vec![Command::Beat { beats: entry, wall_ms: now.wall_ms }]);
        self.pending.insert(token, Pending::Beats(beats));
    }

    pub fn handle_operate(
        &mut self,
        replica: &Replica,
        node: NodeId,
        asked: Operation,
        ticket: Ticket,
    ) {
        let Operation { epoch, number, mut actions, wants } = asked;
        let own_actions = actions.len();
        let room = ACTIONS_PER_OPERATION_MAX.saturating_sub(own_actions);
        let mut draws = Vec::new();
        for (index, want) in wants.iter().enumerate() {
            for draw in supply::plan(&replica.ledger, node, want) {
                if draws.len() < room {
                    actions.push(draw);
                    draws.push(index);
                }
            }
        }
        let token =
            self.propose(vec![Command::Operate { node, epoch, operation: number, actions }]);
        let pending = Pending::Operate { node, ticket, own_actions, wants, draws };
        self.pending.insert(token, pending);
    }

    /// The proposal was applied, with these outcomes; `None`: it is not known what became of it.
    pub fn on_proposed(
        &mut self,
        now: Now,
        replica: &Replica,
        token: u64,
        outcomes: Option<&[Outcome]>,
    ) {
        let Some(pending) = self.pending.remove(&token) else { return };
        let outcome = outcomes.and_then(<[Outcome]>::first);
        match pending {
            Pending::Own => {
                self.own = None;
                self.has_told_time |= outcome.is_some();
            }
            Pending::Open { node, ticket } => {
                let answer = open_answer(replica, node, outcome);
                self.answer(ticket, answer);
            }
            Pending::Beats(beats) => self.answer_beats(replica, &beats, outcome),
            Pending::Operate { node, ticket, own_actions, wants, draws } => {
                let answer = match outcome {
                    Some(Outcome::Operated(outcomes)) => {
                        let drawn =
                            supply::drawn(&outcomes[own_actions.min(outcomes.len())..], &draws);
                        let supplies =
                            self.supplies(now, &replica.ledger, node, &wants, drawn.as_ref());
                        let own = outcomes[..own_actions.min(outcomes.len())].to_vec();
                        let view = replica.ledger.view(node);
                        Answer::Operated(Operated::Applied { outcomes: own, supplies, view })
                    }
                    Some(_) => {
                        Answer::Operated(Operated::Refused { view: replica.ledger.view(node) })
                    }
                    None => Answer::Unknown,
                };
                self.answer(ticket, answer);
            }
        }
    }

    fn answer_beats(
        &mut self,
        replica: &Replica,
        beats: &[(Beat, Ticket)],
        outcome: Option<&Outcome>,
    ) {
        for (index, (beat, ticket)) in beats.iter().enumerate() {
            let answer = match outcome {
                Some(Outcome::Beaten(live)) => Answer::Beat(BeatAnswer {
                    live: live.get(index).copied().unwrap_or(false),
                    view: replica.ledger.view(beat.node),
                }),
                Some(_) | None => Answer::Unknown,
            };
            self.answer(*ticket, answer);
        }
    }

    pub fn on_tick(&mut self, now: Now, replica: &Replica) {
        if self.send_beats_at.is_some_and(|at| at <= now.steady) {
            self.send_beats(now);
        }
        if self.next_tick > now.steady {
            return;
        }
        self.next_tick = now.steady + TICK_MS;
        if let Some((token, give_up_at)) = self.own {
            if give_up_at > now.steady {
                return;
            }
            self.pending.remove(&token);
            self.own = None;
        }
        let mut commands = overdue_leases(now, replica);
        commands.extend(overdue_lapse(now, replica));
        commands.extend(overdue_thaw(now, replica));
        commands.extend(new_day(now, replica));
        let is_founded = replica.ledger.founding().is_some();
        if commands.is_empty() && (self.has_told_time || !is_founded) {
            return;
        }
        // What follows makes events, and there may have been no beat for long.
        commands.insert(0, Command::Beat { beats: Vec::new(), wall_ms: now.wall_ms });
        let token = self.propose(commands);
        self.pending.insert(token, Pending::Own);
        self.own = Some((token, now.steady + OWN_PROPOSAL_MS));
    }

    fn propose(&mut self, commands: Vec<Command>) -> u64 {
        self.last_token += 1;
        let token = self.last_token;
        self.effects.push_back(Effect::Propose { token, commands });
        token
    }

    fn answer(&mut self, ticket: Ticket, answer: Answer) {
        self.effects.push_back(Effect::Answer { ticket, answer });
    }
}

fn open_answer(replica: &Replica, node: NodeId, outcome: Option<&Outcome>) -> Answer {
    let view = replica.ledger.view(node);
    match outcome {
        Some(Outcome::Opened { epoch }) => Answer::Open(OpenAnswer { epoch: Some(*epoch), view }),
        Some(_) => Answer::Open(OpenAnswer { epoch: None, view }),
        None => Answer::Unknown,
    }
}

/// Leases whose holders must have stopped: T(1+ρ) after this process applied their newest beat.
fn overdue_leases(now: Now, replica: &Replica) -> Vec<Command> {
    let Some(timings) = replica.ledger.timings() else { return Vec::new() };
    let wait_ms = timings.end_lease_after_ms();
    let live = replica.ledger.leases().filter(|(_, lease)| lease.live);
    live.filter_map(|(node, lease)| {
        let (seq, at) = replica.notes.beat(node, lease.epoch)?;
        (at + wait_ms <= now.steady).then_some(Command::Freeze { node, epoch: lease.epoch, seq })
    })
    .collect()
}

/// Allotments that were frozen while their lease might still run, and now has ended.
fn overdue_lapse(now: Now, replica: &Replica) -> Option<Command> {
    let allotments = frozen_for(now, replica, FrozenLease::MayRun, 0);
    (!allotments.is_empty()).then_some(Command::Lapse { allotments })
}

/// Frozen allotments under which every checkout must have ended.
fn overdue_thaw(now: Now, replica: &Replica) -> Option<Command> {
    let wait_ms = replica.ledger.timings()?.thaw_after_ms();
    let allotments = frozen_for(now, replica, FrozenLease::Ended, wait_ms);
    (!allotments.is_empty()).then_some(Command::Thaw { allotments })
}

fn frozen_for(now: Now, replica: &Replica, lease: FrozenLease, ms: u64) -> Vec<AllotmentId> {
    let frozen = replica.ledger.allotments().filter(|(id, allotment)| {
        allotment.state == AllotmentState::Frozen(lease)
            && replica.notes.frozen(**id).is_some_and(|from| from + ms <= now.steady)
    });
    frozen.map(|(id, _)| *id).collect()
}

fn new_day(now: Now, replica: &Replica) -> Option<Command> {
    replica.ledger.founding()?;
    let day = Date::of_unix_ms(now.wall_ms)?;
    (replica.ledger.today() != Some(day)).then_some(Command::Day { day })
}
