//! A steward that is asked anything, whose proposals come to anything.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::arbitrary::{command, epoch, node, number, operation, outcome, pool, process, report};
use super::cases;
use super::ledger::{start, steered};
use crate::desk::message::{Operation, Report};
use crate::id::{Epoch, NodeId, PoolId, ProcessId};
use crate::ledger::Replica;
use crate::ledger::command::{Command, Outcome};
use crate::steward::Steward;
use crate::steward::message::{BeatRequest, Effect, OpenRequest};
use crate::time::{Moment, Now};

#[derive(Clone, Debug)]
enum Step {
    Open(NodeId, ProcessId, Epoch),
    Beat {
        node: NodeId,
        epoch: Option<Epoch>,
        seq: u64,
        heard: u64,
        report: Report,
    },
    Operate(NodeId, Operation, bool),
    /// Answers a proposal by what the ledger does of it, or by anything.
    Proposed {
        index: Index,
        made_up: Option<Vec<Outcome>>,
    },
    Recalled(NodeId, Vec<PoolId>, Option<Vec<(PoolId, u64)>>),
    Pass {
        ms: u64,
        wall_ms: i64,
    },
    /// Somebody else's command is committed.
    Commit(Command, Index),
}

fn step() -> impl Strategy<Value = Step> {
    let ms = prop_oneof![8 => 0..3_000_u64, 1 => number()];
    prop_oneof![
        3 => (node(), process(), epoch()).prop_map(|(node, by, after)| Step::Open(node, by, after)),
        4 => (node(), prop::option::of(epoch()), number(), number(), report()).prop_map(
            |(node, epoch, seq, heard, report)| Step::Beat { node, epoch, seq, heard, report }
        ),
        6 => (node(), operation(), prop::bool::weighted(0.8))
            .prop_map(|(node, operation, is_steered)| Step::Operate(node, operation, is_steered)),
        8 => (any::<Index>(), prop::option::weighted(0.3, vec(outcome(), 0..3)))
            .prop_map(|(index, made_up)| Step::Proposed { index, made_up }),
        2 => (node(), vec(pool(), 0..3), prop::option::of(vec((pool(), number()), 0..3))).prop_map(
            |(node, pools, returning)| Step::Recalled(node, pools, returning)
        ),
        4 => (ms, any::<i64>()).prop_map(|(ms, wall_ms)| Step::Pass { ms, wall_ms }),
        4 => (command(), any::<Index>()).prop_map(|(command, index)| Step::Commit(command, index)),
    ]
}

proptest! {
    #![proptest_config(cases(1_000))]

    #[test]
    fn nothing_that_is_asked_or_answered_breaks_a_steward(steps in vec(step(), 1..80)) {
        let mut replica = Replica::default();
        replica.install(start(), Moment(0));
        let mut now = Now { steady: Moment(1_000), wall_ms: 1_795_608_000_000 };
        let mut steward = Steward::new(now);
        let mut proposals: Vec<(u64, Vec<Command>)> = Vec::new();
        for (ticket, step) in (0..).zip(steps) {
            take(&mut steward, &mut replica, &mut now, &mut proposals, ticket, step);
            for effect in steward.take_effects() {
                if let Effect::Propose { token, commands } = effect {
                    proposals.push((token, commands));
                }
            }
            let _ = (steward.next_wake(), steward.reports());
        }
    }
}

fn take(
    steward: &mut Steward,
    replica: &mut Replica,
    now: &mut Now,
    proposals: &mut Vec<(u64, Vec<Command>)>,
    ticket: u64,
    step: Step,
) {
    match step {
        Step::Open(node, process, after) => {
            steward.handle_open(OpenRequest { node, process, after, gone: None }, ticket);
        }
        Step::Beat { node, epoch, seq, heard, report } => {
            let epoch = epoch.unwrap_or(replica.ledger.view(node).newest_epoch);
            let request = BeatRequest { node, epoch, seq, heard, applied: None, report };
            steward.handle_beat(*now, replica, request, ticket);
        }
        Step::Operate(node, mut operation, is_steered) => {
            if is_steered {
                let view = replica.ledger.view(node);
                operation.epoch = view.newest_epoch;
                operation.number = view.operation.saturating_add(1);
            }
            steward.handle_operate(replica, node, operation, ticket);
        }
        Step::Proposed { index, made_up } => {
            if proposals.is_empty() {
                return;
            }
            let (token, commands) = proposals.remove(index.index(proposals.len()));
            let applied = replica.apply(now.steady, &commands);
            let outcomes = made_up.unwrap_or(applied);
            steward.on_proposed(*now, replica, token, Some(&outcomes));
        }
        Step::Recalled(node, pools, returning) => {
            steward.on_recalled(node, &pools, returning.as_deref());
        }
        Step::Pass { ms, wall_ms } => {
            *now = Now { steady: now.steady + ms, wall_ms };
            steward.on_tick(*now, replica);
        }
        Step::Commit(command, index) => {
            let command = steered(&replica.ledger, command, index);
            replica.apply(now.steady, &[command]);
        }
    }
}
