//! Tests of the steward: when it ends leases, what it commits, and what it tells those who want.

use std::collections::BTreeMap;

use super::message::{Answer, BeatRequest, Effect, OpenAnswer, OpenRequest};
use super::{BEAT_GATHER_MS, OWN_PROPOSAL_MS, Steward, TICK_MS};
use crate::desk::message::{Operated, Operation, PoolUse, Report, Supply, Ticket, Want};
use crate::id::{Epoch, NodeId, PoolId};
use crate::ledger::command::{ActionOutcome, Beat, Command, Outcome};
use crate::ledger::tests::fixture::*;
use crate::ledger::{Ledger, Replica};
use crate::time::{Moment, Now, Timings};

#[test]
fn beats_are_gathered_into_one_entry_and_acknowledged_when_it_is_applied() {
    let mut stage = Stage::new(10);
    for node in 1..=2 {
        stage.beat(node, 1, 0);
    }
    assert_eq!(stage.proposals(), [], "the third node may follow");
    stage.pass(BEAT_GATHER_MS - 1);
    assert_eq!(stage.proposals(), []);
    stage.pass(1);
    let [(token, commands)] = stage.proposals().try_into().unwrap();
    let beats = [1, 2].map(|node| Beat {
        node: NodeId(node),
        epoch: stage.epoch(node),
        seq: 1,
        applied: None,
    });
    let wall_ms = stage.now.wall_ms;
    assert_eq!(commands, [Command::Beat { beats: beats.to_vec(), wall_ms }]);
    assert_eq!(stage.answers, BTreeMap::new(), "nothing is acknowledged before it is applied");
    stage.commit(token, &commands);
    assert!(stage.answers.values().all(|it| matches!(it, Answer::Beat(it) if it.live)));
    assert_eq!(stage.answers.len(), 2);
}

#[test]
fn the_last_of_all_beats_is_not_waited_for() {
    let mut stage = Stage::new(10);
    for node in 1..=3 {
        assert_eq!(stage.proposals(), []);
        stage.beat(node, 1, 0);
    }
    assert_eq!(stage.proposals().len(), 1);
}

#[test]
fn a_proposal_whose_fate_is_unknown_acknowledges_nothing() {
    let mut stage = Stage::new(10);
    let beat = stage.beat(1, 1, 0);
    stage.pass(BEAT_GATHER_MS);
    let opening = stage.open(2);
    let operation = stage.operate(1, 1, 2, 0);
    for (token, _) in stage.proposals() {
        stage.steward.on_proposed(stage.now, &stage.replica, token, None);
    }
    stage.take();
    for ticket in [beat, opening, operation] {
        assert_eq!(stage.answers[&ticket], Answer::Unknown);
    }
}

#[test]
fn beats_of_a_deaf_node_are_not_committed_and_it_is_told_once_its_lease_has_ended() {
    let mut stage = Stage::new(10);
    stage.settle_beat(1, 1, 0);
    stage.settle_beat(1, 2, 1);
    // From now on it hears nothing: it goes on saying that it heard the first beat.
    for seq in 3..=11 {
        stage.pass(1_000);
        stage.settle_beat(1, seq, 1);
    }
    stage.pass(1_000);
    let ticket = stage.beat(1, 12, 1);
    stage.pass(BEAT_GATHER_MS);
    assert_eq!(stage.answers[&ticket], Answer::Unknown);
    assert_eq!(stage.replica.ledger.node(NodeId(1)).unwrap().lease.as_ref().unwrap().seq, 11);

    // It hears again, and what it hears lets it start anew.
    stage.commit_all_for(Timings::default().end_lease_after_ms() + 200);
    let ticket = stage.beat(1, 13, 1);
    let Answer::Beat(answer) = &stage.answers[&ticket] else { panic!("it would stay deaf") };
    assert!(!answer.live);
}

/// A beat from before was late. What it had heard replaced what was known, and the next beat seemed
/// to have heard something new: a deaf node's lease went on for another T.
#[test]
fn a_late_beat_does_not_make_a_deaf_node_hear() {
    let mut stage = Stage::new(10);
    stage.settle_beat(1, 1, 0);
    for seq in 2..=10 {
        stage.pass(1_000);
        stage.settle_beat(1, seq, 1);
    }
    stage.settle_beat(1, 1, 0);
    stage.pass(2_000);
    let ticket = stage.beat(1, 11, 1);
    stage.pass(BEAT_GATHER_MS);
    assert_eq!(stage.answers.get(&ticket), Some(&Answer::Unknown));
}

#[test]
fn a_node_that_hears_is_never_deaf() {
    let mut stage = Stage::new(10);
    for seq in 1..=30 {
        let ticket = stage.settle_beat(1, seq, seq - 1);
        assert!(matches!(&stage.answers[&ticket], Answer::Beat(it) if it.live), "beat {seq}");
        stage.pass(1_000);
    }
}

#[test]
fn a_lease_is_ended_t_and_drift_after_this_process_applied_its_newest_beat_and_not_before() {
    let mut stage = Stage::new(10);
    for node in 1..=3 {
        stage.beat(node, 4, 0);
    }
    let applied_at = stage.now.steady;
    stage.commit_all();
    let wait_ms = Timings::default().end_lease_after_ms();
    assert_eq!(wait_ms, 10_100);
    stage.tick_at(applied_at + wait_ms - 1);
    assert_eq!(stage.proposals(), []);
    stage.pass(TICK_MS);
    let freeze = |node| Command::Freeze { node: NodeId(node), epoch: stage.epoch(node), seq: 4 };
    assert_eq!(stage.last_proposed(), [1, 2, 3].map(freeze));
}

#[test]
fn a_beat_that_is_applied_later_puts_the_end_off() {
    let mut stage = Stage::new(10);
    stage.settle_beat(1, 1, 0);
    stage.pass(9_000);
    stage.settle_beat(1, 2, 1);
    let (one, wait_ms) = (stage.epoch(1), Timings::default().end_lease_after_ms());
    let applied_at = stage.now.steady;
    stage.commit_all_for(wait_ms - 200);
    assert!(stage.replica.ledger.view(NodeId(1)).live);
    stage.tick_at(applied_at + wait_ms);
    assert_eq!(
        stage.last_proposed(),
        [Command::Freeze { node: NodeId(1), epoch: one, seq: 2 }],
        "the others have lapsed before"
    );
}

#[test]
fn a_new_leader_counts_from_its_own_notes_and_not_from_its_election() {
    let mut stage = Stage::new(10);
    for node in 1..=3 {
        stage.beat(node, 4, 0);
    }
    let applied_at = stage.now.steady;
    stage.commit_all();
    stage.tick_at(applied_at + 10_000);
    // A follower of the same age takes over: it has the same notes.
    stage.steward = Steward::new(stage.now);
    stage.tick_at(applied_at + Timings::default().end_lease_after_ms());
    assert_eq!(stage.last_proposed().len(), 3);
}

#[test]
fn after_a_snapshot_everything_counts_as_seen_now() {
    let mut stage = Stage::new(10);
    let dead = drawn(&mut stage.replica.ledger, 1, FIRST, 4);
    freeze(&mut stage.replica.ledger, 1);
    stage.pass(60_000);
    stage.proposals();
    let (ledger, installed_at) = (stage.replica.ledger.clone(), stage.now.steady);
    stage.replica.install(ledger, installed_at);
    stage.steward = Steward::new(stage.now);
    let timings = Timings::default();
    stage.tick_at(installed_at + timings.end_lease_after_ms() - 1);
    assert_eq!(stage.proposals(), []);
    stage.commit_all_for(TICK_MS);
    stage.tick_at(installed_at + timings.thaw_after_ms() - 1);
    assert_eq!(stage.proposals(), []);
    stage.pass(TICK_MS);
    assert_eq!(stage.last_proposed(), [Command::Thaw { allotments: vec![dead] }]);
}

#[test]
fn frozen_units_thaw_ttl_and_drift_and_margin_after_the_note_of_the_freeze() {
    let mut stage = Stage::new(10);
    let dead = drawn(&mut stage.replica.ledger, 1, FIRST, 4);
    stage.commit_all_for(100);
    let lease = stage.replica.ledger.node(NodeId(1)).unwrap().lease.clone().unwrap();
    let freeze = Command::Freeze { node: NodeId(1), epoch: lease.epoch, seq: lease.seq };
    let frozen_at = stage.now.steady;
    assert_eq!(stage.replica.apply(frozen_at, &[freeze]), [Outcome::Done]);
    let wait_ms = Timings::default().thaw_after_ms();
    assert_eq!(wait_ms, 30_550);
    // The leases of the others end meanwhile.
    stage.commit_all_for(wait_ms - 100);
    stage.tick_at(frozen_at + wait_ms - 1);
    assert_eq!(stage.proposals(), []);
    stage.pass(TICK_MS);
    assert_eq!(stage.last_proposed(), [Command::Thaw { allotments: vec![dead] }]);
}

#[test]
fn units_of_a_lease_that_may_run_thaw_only_ttl_after_its_end() {
    let mut stage = Stage::new(10);
    stage.settle_beat(1, 1, 0);
    let beaten_at = stage.now.steady;
    let dead = drawn(&mut stage.replica.ledger, 1, FIRST, 4);
    let (node, process, after) = (NodeId(1), process(77), stage.epoch(1));
    stage.pass(1_000);
    let open = Command::Open { node, process, after, gone: None };
    stage.replica.apply(stage.now.steady, &[open]);
    let timings = Timings::default();
    let thaw_at = beaten_at + timings.end_lease_after_ms() + timings.thaw_after_ms();
    while stage.now.steady + TICK_MS < thaw_at {
        stage.commit_all_for(TICK_MS);
        assert_eq!(units(&stage.replica.ledger, dead), Some(4), "at {:?}", stage.now.steady);
    }
    stage.commit_all_for(5 * TICK_MS);
    assert_eq!(units(&stage.replica.ledger, dead), None);
}

#[test]
fn its_own_proposal_is_not_repeated_while_it_is_under_way_and_given_up_in_the_end() {
    let mut stage = Stage::new(10);
    stage.tick_at(stage.now.steady + 20_000);
    let [(lost, _)] = stage.proposals().try_into().unwrap();
    stage.pass(1_900);
    assert_eq!(stage.proposals(), []);
    stage.pass(TICK_MS);
    assert_eq!(stage.proposals().len(), 1, "tried again");
    // The first one's answer comes after all, and changes nothing.
    stage.steward.on_proposed(stage.now, &stage.replica, lost, Some(&[]));
    stage.pass(TICK_MS);
    assert_eq!(stage.proposals(), []);
}

#[test]
fn a_new_leader_tells_the_time_and_tells_it_again_before_what_makes_events() {
    let mut stage = Stage::new(10);
    stage.pass(TICK_MS);
    let first = stage.now.wall_ms;
    stage.commit_all_for(5_000);
    assert_eq!(stage.times_told, [first], "nothing happened since");
    stage.commit_all_for(6_000);
    assert_eq!(stage.times_told.len(), 2, "the leases of all nodes have ended");
    let ended = stage.replica.ledger.events().last().unwrap();
    assert_eq!(ended.wall_ms, stage.times_told[1]);
}

#[test]
fn a_leader_whose_first_word_of_the_time_was_lost_tells_it_again() {
    let mut stage = Stage::new(10);
    stage.answers_time = false;
    stage.pass(TICK_MS);
    stage.answers_time = true;
    stage.pass(OWN_PROPOSAL_MS);
    assert_eq!(stage.times_told.len(), 2);
    stage.pass(OWN_PROPOSAL_MS);
    assert_eq!(stage.times_told.len(), 2, "once it is told");
}

#[test]
fn a_day_is_told_once() {
    let mut stage = Stage::new(10);
    stage.now.wall_ms += 24 * 3_600_000;
    stage.pass(TICK_MS);
    assert_eq!(stage.last_proposed(), [Command::Day { day: date("2026-11-26") }]);
    stage.commit_all();
    stage.pass(TICK_MS);
    assert_eq!(stage.proposals(), []);
}

#[test]
fn an_opening_is_answered_with_its_epoch_or_with_the_newest_one() {
    let mut stage = Stage::new(10);
    let newest = stage.epoch(1);
    let (stale, right) = (stage.open_after(1, Epoch(0)), stage.open_after(1, newest));
    stage.commit_all();
    let Answer::Open(OpenAnswer { epoch: None, view }) = &stage.answers[&stale] else {
        panic!("{:?}", stage.answers[&stale]);
    };
    assert_eq!(view.newest_epoch, newest, "ask again with this one");
    let Answer::Open(OpenAnswer { epoch: Some(epoch), .. }) = &stage.answers[&right] else {
        panic!("{:?}", stage.answers[&right]);
    };
    assert_eq!(*epoch, stage.epoch(1));
}

#[test]
fn a_repeated_operation_is_answered_the_same() {
    let mut stage = Stage::new(10);
    let first = stage.operate(1, 1, 3, 0);
    stage.commit_all();
    let held = stage.replica.ledger.totals();
    let second = stage.operate(1, 1, 3, 0);
    stage.commit_all();
    let (first, second) = (stage.answers[&first].clone(), stage.answers[&second].clone());
    let (
        Answer::Operated(Operated::Applied { outcomes, supplies, view }),
        Answer::Operated(Operated::Applied { outcomes: again, supplies: and_again, view: later }),
    ) = (first, second)
    else {
        panic!("both were applied");
    };
    assert_eq!((outcomes, supplies, view.held), (again, and_again, later.held));
    assert_eq!(stage.replica.ledger.totals(), held, "applied once");
}

#[test]
fn an_operation_of_an_ended_epoch_is_refused_with_the_truth() {
    let mut stage = Stage::new(10);
    freeze(&mut stage.replica.ledger, 1);
    let ticket = stage.operate(1, 1, 3, 0);
    stage.commit_all();
    let view = stage.replica.ledger.view(NodeId(1));
    assert!(!view.live);
    assert_eq!(stage.answers[&ticket], Answer::Operated(Operated::Refused { view }));
}

#[test]
fn need_comes_before_headroom_and_headroom_is_shared() {
    // Of a reserve of 10, three nodes live: units needed, spare wished for, units drawn.
    for (need, spare, drawn) in
        [(3, 0, 3), (3, 2, 5), (3, 9, 5), (10, 9, 10), (12, 9, 10), (0, 9, 3)]
    {
        let mut stage = Stage::new(10);
        stage.operate(1, 1, need, spare);
        stage.commit_all();
        assert_eq!(stage.replica.ledger.totals()[&FIRST].live.get(), drawn, "{need} and {spare}");
    }
}

#[test]
fn a_home_pool_is_drawn_from_before_a_floating_one() {
    let sets = vec![set("all", &[("cpa", 10)]), homed("east", set("east", &[("cpa", 4)]))];
    let mut stage = Stage::with(sets);
    stage.operate(1, 1, 6, 0);
    stage.commit_all();
    let totals = stage.replica.ledger.totals();
    assert_eq!((totals[&FIRST].live.get(), totals[&SECOND].live.get()), (2, 4));
}

#[test]
fn exhausted_is_said_only_when_no_node_has_idle_units() {
    // What node 2 reports as free, what it then returns, and what is said before and after.
    let exhausted = Supply::Exhausted { in_use: 10, entitled: 10 };
    let recalling = Supply::Recalling { in_use: 10, entitled: 10 };
    let two_idle = Supply::Recalling { in_use: 8, entitled: 10 };
    let rows = [
        ("nothing idle", Some(0), None, exhausted, exhausted),
        ("idle and returned", Some(2), Some(2), two_idle, two_idle),
        ("idle, but used meanwhile", Some(2), Some(0), two_idle, exhausted),
        ("never reported", None, Some(0), recalling, exhausted),
        ("never reported, unreachable", None, None, recalling, exhausted),
    ];
    for (what, reported, returned, before, after) in rows {
        let mut stage = Stage::new(10);
        drawn(&mut stage.replica.ledger, 2, FIRST, 10);
        stage.report(3, 0);
        if let Some(free) = reported {
            stage.report(2, free);
        }
        assert_eq!(stage.supply(1, 1), before, "{what}");
        let returning = returned.map(|units| vec![(FIRST, units)]);
        if matches!(before, Supply::Recalling { .. }) {
            stage.steward.on_recalled(NodeId(2), &[FIRST], returning.as_deref());
        }
        stage.pass(50);
        assert_eq!(stage.supply(1, 2), after, "{what}, after the recall");
    }
}

/// What a node had free before its lease ended was taken for free still, and a denial named fewer
/// units in use than there were.
#[test]
fn units_of_a_lease_that_has_ended_are_in_use_until_they_thaw() {
    let mut stage = Stage::new(10);
    drawn(&mut stage.replica.ledger, 2, FIRST, 6);
    drawn(&mut stage.replica.ledger, 1, FIRST, 4);
    stage.report(1, 0);
    stage.report(2, 6);
    stage.report(3, 0);
    freeze(&mut stage.replica.ledger, 2);
    let totals = stage.replica.ledger.totals()[&FIRST];
    assert_eq!((totals.live.get(), totals.frozen.get()), (4, 6));
    assert_eq!(stage.supply(1, 2), Supply::Exhausted { in_use: 10, entitled: 10 });

    // The node is back: what its former process said is not what this one has free.
    opened(&mut stage.replica.ledger, 2, 12);
    assert_eq!(stage.supply(1, 3), Supply::Recalling { in_use: 10, entitled: 10 });
}

#[test]
fn a_node_is_asked_for_idle_units_at_most_four_times_a_second_and_pool() {
    let mut stage = Stage::new(10);
    drawn(&mut stage.replica.ledger, 2, FIRST, 10);
    stage.report(3, 0);
    let mut recalls = Vec::new();
    for step in 1..=100 {
        stage.report(2, 5);
        stage.supply(1, step);
        recalls.extend(std::mem::take(&mut stage.recalls).into_iter().map(|_| stage.now.steady));
        stage.steward.on_recalled(NodeId(2), &[FIRST], Some(&[(FIRST, 1)]));
        stage.pass(10);
    }
    assert!(recalls.len() > 10, "it goes on asking: {recalls:?}");
    assert!(recalls.windows(2).all(|pair| pair[1].since(pair[0]) >= 250), "{recalls:?}");
}

#[test]
fn a_recall_names_what_is_missing_and_is_not_sent_to_the_asker() {
    let mut stage = Stage::new(10);
    drawn(&mut stage.replica.ledger, 2, FIRST, 8);
    stage.report(1, 4);
    stage.report(2, 5);
    stage.report(3, 0);
    stage.want(1, 1, 6);
    assert_eq!(stage.recalls, [(NodeId(2), vec![(FIRST, 4)])], "two came from the reserve");
}

#[test]
fn a_feature_that_no_pool_serves_here_is_not_served() {
    let mut stage = Stage::with(vec![homed("west", set("west", &[("cpa", 5)]))]);
    assert_eq!(stage.supply(1, 1), Supply::NotServed);
}

/// A ledger with nodes 1 to 3 in east, all with live leases, and its steward.
struct Stage {
    steward: Steward,
    replica: Replica,
    now: Now,
    last_ticket: Ticket,
    answers: BTreeMap<Ticket, Answer>,
    proposals: Vec<(u64, Vec<Command>)>,
    times_told: Vec<i64>,
    /// Whether the time, told alone, is applied.
    answers_time: bool,
    recalls: Vec<(NodeId, Vec<(PoolId, u64)>)>,
}

impl Stage {
    fn new(cpa: u64) -> Self {
        Self::with(vec![set("all", &[("cpa", cpa)])])
    }

    fn with(sets: Vec<crate::entitlement::LicenseSet>) -> Self {
        let mut ledger: Ledger = cluster(&[(1, "east"), (2, "east"), (3, "east")], sets);
        for (node, by) in [(1, 1), (2, 2), (3, 3)] {
            opened(&mut ledger, node, by);
        }
        let now = Now { steady: Moment(1_000_000), wall_ms: 1_795_608_000_000 };
        let mut replica = Replica::default();
        replica.install(ledger, now.steady);
        let steward = Steward::new(now);
        let (answers, proposals, times_told, recalls) = Default::default();
        let answers_time = true;
        Self {
            steward,
            replica,
            now,
            last_ticket: 0,
            answers,
            proposals,
            times_told,
            answers_time,
            recalls,
        }
    }

    fn epoch(&self, node: u64) -> Epoch {
        newest_epoch(&self.replica.ledger, node)
    }

    fn ticket(&mut self) -> Ticket {
        self.last_ticket += 1;
        self.last_ticket
    }

    fn beat(&mut self, node: u64, seq: u64, heard: u64) -> Ticket {
        self.beat_with(node, seq, heard, Report::default())
    }

    fn beat_with(&mut self, node: u64, seq: u64, heard: u64, report: Report) -> Ticket {
        let ticket = self.ticket();
        let (node, epoch) = (NodeId(node), self.epoch(node));
        let request = BeatRequest { node, epoch, seq, heard, applied: None, report };
        self.steward.handle_beat(self.now, &self.replica, request, ticket);
        self.take();
        ticket
    }

    /// A beat, gathered and applied.
    fn settle_beat(&mut self, node: u64, seq: u64, heard: u64) -> Ticket {
        let ticket = self.beat(node, seq, heard);
        self.pass(BEAT_GATHER_MS);
        self.commit_all();
        ticket
    }

    /// Node `node` says how many units of the first pool it has free.
    fn report(&mut self, node: u64, free: u64) {
        let pools = BTreeMap::from([(FIRST, PoolUse { in_use: 0, free })]);
        self.beat_with(node, 1, 0, Report { pools, ..Report::default() });
        self.pass(BEAT_GATHER_MS);
        self.commit_all();
    }

    fn open(&mut self, node: u64) -> Ticket {
        self.open_after(node, self.epoch(node))
    }

    fn open_after(&mut self, node: u64, after: Epoch) -> Ticket {
        let ticket = self.ticket();
        let process = process(100 + u8::try_from(ticket).unwrap());
        let request = OpenRequest { node: NodeId(node), process, after, gone: None };
        self.steward.handle_open(request, ticket);
        self.take();
        ticket
    }

    fn operate(&mut self, node: u64, number: u64, need: u64, spare: u64) -> Ticket {
        let ticket = self.ticket();
        let homed = |pool: &&PoolId| self.replica.ledger.pools()[pool].terms.home.is_none();
        let mut pools: Vec<PoolId> = self.replica.ledger.pools().keys().copied().collect();
        pools.sort_by_key(|pool| homed(&pool));
        let wants = vec![Want { pools, need, spare }];
        let epoch = self.epoch(node);
        let operation = Operation { epoch, number, actions: vec![], wants };
        self.steward.handle_operate(&self.replica, NodeId(node), operation, ticket);
        self.take();
        ticket
    }

    /// How a want of one unit is met.
    fn supply(&mut self, node: u64, number: u64) -> Supply {
        self.want(node, number, 1)
    }

    fn want(&mut self, node: u64, number: u64, need: u64) -> Supply {
        let ticket = self.operate(node, number, need, 0);
        self.commit_all();
        let Answer::Operated(Operated::Applied { supplies, outcomes, .. }) = &self.answers[&ticket]
        else {
            panic!("{:?}", self.answers[&ticket]);
        };
        assert_eq!(*outcomes, Vec::<ActionOutcome>::new(), "draws are the steward's own");
        supplies[0]
    }

    fn tick_at(&mut self, at: Moment) {
        self.pass(at.since(self.now.steady));
    }

    /// Lets time pass at once, and wakes the steward at its end.
    fn pass(&mut self, ms: u64) {
        self.now.steady = self.now.steady + ms;
        self.now.wall_ms += i64::try_from(ms).unwrap();
        self.steward.on_tick(self.now, &self.replica);
        self.take();
    }

    fn proposals(&mut self) -> Vec<(u64, Vec<Command>)> {
        std::mem::take(&mut self.proposals)
    }

    fn last_proposed(&self) -> &[Command] {
        &self.proposals.last().expect("something was proposed").1
    }

    fn commit(&mut self, token: u64, commands: &[Command]) {
        let outcomes = self.replica.apply(self.now.steady, commands);
        self.steward.on_proposed(self.now, &self.replica, token, Some(&outcomes));
        self.take();
    }

    fn commit_all(&mut self) {
        for (token, commands) in self.proposals() {
            self.commit(token, &commands);
        }
    }

    /// Lets time pass as it does in life: woken in time, everything is committed.
    fn commit_all_for(&mut self, ms: u64) {
        let end = self.now.steady + ms;
        while self.now.steady < end {
            self.pass(TICK_MS.min(end.since(self.now.steady)));
            self.commit_all();
        }
    }

    /// Keeps a proposal without the time that the steward tells before it; the time alone is
    /// answered at once.
    fn proposed(&mut self, token: u64, mut commands: Vec<Command>) {
        if matches!(&commands[0], Command::Beat { beats, .. } if beats.is_empty()) {
            self.times_told.push(self.now.wall_ms);
            let time = commands.remove(0);
            if !self.answers_time {
                return;
            }
            self.replica.apply(self.now.steady, &[time]);
        }
        if commands.is_empty() {
            let told = [Outcome::Beaten(Vec::new())];
            self.steward.on_proposed(self.now, &self.replica, token, Some(&told));
        } else {
            self.proposals.push((token, commands));
        }
    }

    fn take(&mut self) {
        for effect in self.steward.take_effects() {
            match effect {
                Effect::Answer { ticket, answer } => {
                    let before = self.answers.insert(ticket, answer);
                    assert_eq!(before, None, "a question is answered once");
                }
                Effect::Propose { token, commands } => self.proposed(token, commands),
                Effect::Recall { node, pools } => self.recalls.push((node, pools)),
            }
        }
    }
}
