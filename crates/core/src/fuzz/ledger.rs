//! Any commands to a ledger, any bytes as commands, any bytes as a ledger.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::arbitrary::command;
use super::cases;
use crate::id::NodeId;
use crate::ledger::command::{Action, Command};
use crate::ledger::tests::fixture::{cluster, opened, set};
use crate::ledger::{Ledger, Replica, check_transition};
use crate::time::Moment;

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn no_command_breaks_the_ledger(
        is_founded in prop::bool::weighted(0.9),
        steps in vec((command(), prop::bool::weighted(0.8), any::<Index>()), 1..60),
    ) {
        let mut run = Run::new(if is_founded { start() } else { Ledger::default() });
        for (command, is_steered, index) in steps {
            let command = if is_steered { steered(run.ledger(), command, index) } else { command };
            run.take(&command);
        }
    }

    #[test]
    fn no_bytes_that_are_read_as_commands_break_the_ledger(
        commands in vec((command(), any::<Index>()), 1..12),
        damage in vec((any::<Index>(), damage()), 0..6),
    ) {
        let mut run = Run::new(start());
        let mut steered_commands = Vec::new();
        for (command, index) in commands {
            let command = steered(run.ledger(), command, index);
            run.take(&command);
            steered_commands.push(command);
        }
        let bytes = damaged(rmp_serde::to_vec_named(&steered_commands).unwrap(), &damage);
        let Ok(read) = rmp_serde::from_slice::<Vec<Command>>(&bytes) else { return Ok(()) };
        for command in &read {
            run.take(command);
        }
    }

    /// A snapshot of another node: what passes the check is a ledger that goes on as one.
    #[test]
    fn no_bytes_that_are_taken_for_a_ledger_break_it_later(
        before in vec((command(), any::<Index>()), 0..20),
        damage in vec((any::<Index>(), damage()), 1..4),
        after in vec((command(), any::<Index>()), 1..12),
    ) {
        let mut run = Run::new(start());
        for (command, index) in before {
            run.take(&steered(run.ledger(), command, index));
        }
        let bytes = damaged(rmp_serde::to_vec_named(run.ledger()).unwrap(), &damage);
        let Ok(read) = rmp_serde::from_slice::<Ledger>(&bytes) else { return Ok(()) };
        if read.check_foreign().is_err() {
            return Ok(());
        }
        let mut run = Run::new(read);
        for (command, index) in after {
            run.take(&steered(run.ledger(), command, index));
        }
    }
}

#[test]
fn every_command_is_among_those_that_are_tried() {
    let mut runner = TestRunner::deterministic();
    let mut seen = BTreeSet::new();
    for _ in 0..2_000 {
        seen.insert(name_of(&command().new_tree(&mut runner).unwrap().current()));
    }
    assert_eq!(seen.len(), COMMANDS, "only {seen:?}");
}

const COMMANDS: usize = 14;

/// Exhaustive, so that a new command is not forgotten.
fn name_of(command: &Command) -> &'static str {
    match command {
        Command::Found(_) => "Found",
        Command::Admit { .. } => "Admit",
        Command::InstallEntitlement { .. } => "InstallEntitlement",
        Command::Open { .. } => "Open",
        Command::Beat { .. } => "Beat",
        Command::Operate { .. } => "Operate",
        Command::Freeze { .. } => "Freeze",
        Command::Fence { .. } => "Fence",
        Command::Lapse { .. } => "Lapse",
        Command::Thaw { .. } => "Thaw",
        Command::Remove { .. } => "Remove",
        Command::Day { .. } => "Day",
        Command::Close { .. } => "Close",
        Command::Unfence { .. } => "Unfence",
    }
}

pub(super) fn start() -> Ledger {
    let nodes = [(1, "east"), (2, "east"), (3, "west")];
    let mut ledger = cluster(&nodes, vec![set("all", &[("cpa", 20), ("asr.tier1", 10)])]);
    for (node, _) in nodes {
        opened(&mut ledger, node, 1);
    }
    ledger
}

/// Two replicas that must stay equal, each with a clock of its own.
struct Run {
    one: Replica,
    other: Replica,
    now: u64,
}

impl Run {
    fn new(ledger: Ledger) -> Self {
        let mut one = Replica::default();
        one.install(ledger, Moment(0));
        Self { other: one.clone(), one, now: 0 }
    }

    fn ledger(&self) -> &Ledger {
        &self.one.ledger
    }

    fn take(&mut self, command: &Command) {
        let before = self.one.ledger.clone();
        self.now += 1_000;
        let outcomes = self.one.apply(Moment(self.now), std::slice::from_ref(command));
        let others = self.other.apply(Moment(u64::MAX), std::slice::from_ref(command));
        assert_eq!(outcomes, others, "{command:?}");
        assert_eq!(self.one.ledger, self.other.ledger, "{command:?}");
        assert_eq!(self.one.ledger.check(), Ok(()), "{command:?}");
        assert_eq!(check_transition(&before, &self.one.ledger), Ok(()), "{command:?}");
    }
}

/// The command as somebody would give it who knows the ledger.
pub(super) fn steered(ledger: &Ledger, mut command: Command, index: Index) -> Command {
    let some = |node: &NodeId| ledger.view(*node);
    match &mut command {
        Command::Open { node, after, .. } => *after = some(node).newest_epoch,
        Command::Beat { beats, .. } => {
            for beat in beats {
                beat.epoch = some(&beat.node).newest_epoch;
            }
        }
        Command::Operate { node, epoch, operation, actions } => {
            let view = some(node);
            (*epoch, *operation) = (view.newest_epoch, view.operation.saturating_add(1));
            let known: Vec<_> = ledger.allotments().map(|(id, _)| *id).collect();
            for (number, action) in actions.iter_mut().enumerate() {
                steer_action(action, &known, index.index(1 << 20) + number);
            }
        }
        Command::Freeze { node, epoch, seq } => {
            if let Some(lease) = ledger.node(*node).and_then(|it| it.lease.as_ref()) {
                (*epoch, *seq) = (lease.epoch, lease.seq);
            }
        }
        Command::Fence { node, epoch, .. } => *epoch = some(node).newest_epoch,
        Command::Close { node, epoch, used } => {
            let view = some(node);
            *epoch = view.newest_epoch;
            for (line, held) in used.iter_mut().zip(&view.held) {
                line.allotment = held.allotment;
            }
        }
        Command::Lapse { allotments } | Command::Thaw { allotments } => {
            *allotments = ledger.allotments().map(|(id, _)| *id).step_by(2).collect();
        }
        Command::Found(_)
        | Command::Admit { .. }
        | Command::InstallEntitlement { .. }
        | Command::Remove { .. }
        | Command::Day { .. }
        | Command::Unfence { .. } => {}
    }
    command
}

fn steer_action(action: &mut Action, known: &[crate::id::AllotmentId], at: usize) {
    let Some(one) = known.get(at % known.len().max(1)) else { return };
    match action {
        Action::Return { allotment, .. } => *allotment = *one,
        Action::Reclaim { lines, .. } | Action::HandOver { lines, .. } => {
            for (number, line) in lines.iter_mut().enumerate() {
                line.allotment = known[(at + number) % known.len()];
            }
            lines.truncate(known.len());
        }
        Action::Draw { .. } | Action::Forget { .. } => {}
    }
}

/// What is written over the bytes at one place.
pub(super) fn damage() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => vec(any::<u8>(), 1..3),
        // A number in MessagePack: the largest, and one above any limit.
        2 => Just([&[0xcf][..], &[0xff; 8]].concat()),
        1 => Just([&[0xcf, 0x40][..], &[0; 7]].concat()),
        // Arrays and maps that claim to be long.
        1 => Just(vec![0xdd, 0xff, 0xff, 0xff, 0xff]),
        1 => Just(vec![0xdf, 0xff, 0xff, 0xff, 0xff]),
    ]
}

pub(super) fn damaged(mut bytes: Vec<u8>, damage: &[(Index, Vec<u8>)]) -> Vec<u8> {
    for (index, new) in damage {
        let at = index.index(bytes.len());
        // A number of one byte becomes a long one, so that what follows stays where it was.
        let old = if new.len() > 2 { 1 } else { new.len() };
        let end = (at + old).min(bytes.len());
        bytes.splice(at..end, new.iter().copied());
    }
    bytes
}
