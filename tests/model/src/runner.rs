//! Runs the checks: every state within all bounds, and each mutation until it is refuted.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use leasehold_proof::Results;
use stateright::{Checker, Expectation, HasDiscoveries, Model};

use crate::bounds::Bounds;
use crate::mutation::Mutation;
use crate::protocol::LeaseModel;

/// What came of one check.
#[derive(Clone, Debug)]
pub struct Checked {
    pub bounds: &'static str,
    pub unique_states: u64,
    /// States reached, by whichever way.
    pub states: u64,
    /// Steps of the longest of the shortest ways to all states.
    pub depth: u64,
    pub took: Duration,
    /// Properties that do not hold, with the steps that lead there.
    pub broken: BTreeMap<&'static str, Vec<String>>,
    /// What may occur, and whether it does.
    pub occurs: BTreeMap<&'static str, bool>,
    pub transitions: BTreeMap<&'static str, u64>,
}

/// Looks at every state within the bounds; with a mutation, until some property is broken.
#[must_use]
pub fn check(bounds: Bounds, mutation: Option<Mutation>) -> Checked {
    let began = Instant::now();
    let model = LeaseModel::new(bounds, mutation);
    let seen = model.seen.clone();
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let checker = model.checker().threads(threads);
    let checker = checker.finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let mut broken = BTreeMap::new();
    let mut occurs = BTreeMap::new();
    for property in checker.model().properties() {
        let path = checker.discovery(property.name);
        match (property.expectation, path) {
            (Expectation::Sometimes, path) => {
                occurs.insert(property.name, path.is_some());
            }
            (Expectation::Always | Expectation::Eventually, None) => {}
            (Expectation::Always | Expectation::Eventually, Some(path)) => {
                let steps = path.into_actions().into_iter().map(|step| format!("{step:?}"));
                broken.insert(property.name, steps.collect());
            }
        }
    }
    Checked {
        bounds: bounds.name,
        unique_states: checker.unique_state_count() as u64,
        states: checker.state_count() as u64,
        depth: checker.max_depth() as u64,
        took: began.elapsed(),
        broken,
        occurs,
        transitions: seen.iter().collect(),
    }
}

/// What the checker says when the rule is missing.
#[must_use]
pub fn refute(mutation: Mutation) -> Checked {
    check(mutation.bounds(), Some(mutation))
}

/// All checks of one kind, added up.
#[must_use]
pub fn results(command: &str, checked: &[Checked], refuted: &[(Mutation, Checked)]) -> Results {
    let took = checked.iter().map(|it| it.took).sum();
    let mut results = Results::of("model", command, took);
    for it in checked {
        *results.volume.entry("states".to_owned()).or_default() += it.unique_states;
        *results.volume.entry("steps taken".to_owned()).or_default() += it.states;
        let depth = results.volume.entry("steps deep".to_owned()).or_default();
        *depth = it.depth.max(*depth);
        for (what, occurs) in &it.occurs {
            let what = format!("state in which {what} (bounds that have one)");
            *results.transitions.entry(what).or_default() += u64::from(*occurs);
        }
        results.violations += it.broken.len() as u64;
        for (transition, times) in &it.transitions {
            let is_fault = FAULTS.contains(transition);
            let counts = if is_fault { &mut results.faults } else { &mut results.transitions };
            *counts.entry((*transition).to_owned()).or_default() += times;
        }
    }
    let model = LeaseModel::new(Bounds::ALL[0], None);
    let checks = model.properties().into_iter();
    let checks = checks.filter(|property| matches!(property.expectation, Expectation::Always));
    results.checks = checks.map(|property| property.name.to_owned()).collect();
    results.mutations = refuted
        .iter()
        .map(|(mutation, refuted)| leasehold_proof::Mutation {
            name: mutation.title().to_owned(),
            caught: !refuted.broken.is_empty(),
            seeds: refuted.unique_states,
            by: why(refuted),
        })
        .collect();
    results.not_covered = NOT_COVERED.iter().map(|text| (*text).to_owned()).collect();
    results
}

/// What no check has reached: it says nothing of that.
#[must_use]
pub fn missing(results: &Results) -> Vec<&str> {
    let counts = results.faults.iter().chain(&results.transitions);
    counts.filter(|(_, times)| **times == 0).map(|(what, _)| what.as_str()).collect()
}

/// What was broken, by how many steps.
#[must_use]
pub fn why(checked: &Checked) -> String {
    let broken = checked.broken.iter().min_by_key(|(_, steps)| steps.len());
    broken.map_or(String::new(), |(property, steps)| {
        format!("{}: not \"{property}\" after {} steps", checked.bounds, steps.len())
    })
}

/// Transitions that are faults.
const FAULTS: [&str; 7] = [
    "leader changed",
    "leader elected where none was",
    "node cut off",
    "node fenced",
    "node killed",
    "node restarted, predecessor known to be gone",
    "node restarted, predecessor not known to be gone",
];

const NOT_COVERED: [&str; 5] = [
    "more than two nodes, two engines, one pool, one unit per checkout",
    "more of anything than its bounds allow; time is not bounded",
    "desks and engines are drawn anew, small; ledger, notes and steward are the real ones",
    "consensus itself, disks and wire formats",
    "that a call is kept: only that the ledger never says of a valid checkout that it has ended",
];
