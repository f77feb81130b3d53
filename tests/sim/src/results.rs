//! What runs have shown, as the files that docs/proof.md is made of.

use std::collections::BTreeMap;

use leasehold_proof::{Bug, Mutation as Caught, Results};

use crate::bugs::BUGS;
use crate::clock::SECOND;
use crate::excuse::LOST;
use crate::known::kinds;
use crate::mutation::Mutation;
use crate::probe::LOST_TO_ONE_FAULT;
use crate::runner::{Report, SEEDS_MAX, Summary};

const FAULT: &str = "fault ";

/// Each says when it is looked at.
const CHECKS: [&str; 16] = [
    "units in valid checkouts <= units lent, in true time, after each grant, renewal and commit",
    "per pool reserve + live + frozen = entitled units, after every command",
    "only an entitlement makes a reserve negative, after every command but beats, and a sample of \
     those",
    "what engines may still use of a desk's units, the desk counts as lent, each time a desk wakes",
    "a desk has lent no more than what the ledger allots to it, in a sample of a desk's events",
    "nobody lends under a lease that the ledger knows to be over, at each grant and renewal; nor \
     would anybody, each time a lease is over",
    "nothing thaws under a checkout that its engine may still use, at each thaw",
    "no units are reclaimed twice for one checkout, at each reclaim",
    "epochs, beats, operations and entitlement serials only rise, after every command but beats, \
     and over the beats between them",
    "every process applies each entry with the same outcome, comes to the same digest, and finds no \
     beat that says another; its ledger equals its peers', in a sample of its steps and at the end",
    "a pool that ended or was cut is lent from no more at a node that must have heard, at each grant",
    "each failed renewal and each lost call has an excuse in true time; with one fault at a time no \
     call is lost",
    "every question of an engine is answered within its wait, and no desk asks to be woken without \
     end, each time a desk wakes",
    "a node that hears nothing loses its lease, every 50 ms",
    "a desk gives back only what it holds, at each return",
    "T + TTL + 2 s and an election after the last fault nothing is frozen, what desks count as lent \
     is in use, and every other unit can be drawn from any site that may",
];

const NOT_COVERED: [&str; 8] = [
    "Raft itself, its elections and its changes of voters: what it guarantees is assumed",
    "disks: a machine keeps what it applied, or a snapshot before it, or loses all",
    "wire formats, TLS, the SDK and the actors: real processes show them",
    "autonomy and backup sets beyond standby: core does not act on them yet",
    "contact deadlines and lapses: core does not have them yet",
    "clock rates beyond what is configured, and a hypervisor that freezes the wall clock as well",
    "a wall clock that is set back while the steady clock stands still: nothing tells of that",
    "restoring a disk or a whole cluster from a backup",
];

/// What many seeds have shown; `begun` says when, where and of which version.
#[must_use]
pub fn simulation(begun: Results, summary: &Summary) -> Results {
    let mut faults: BTreeMap<String, u64> = BTreeMap::new();
    let mut transitions = faults.clone();
    let known = kinds().map(|what| (what, 0));
    let counted = summary.tally.iter().map(|(what, times)| (what.to_owned(), times));
    for (what, times) in known.chain(counted) {
        match what.strip_prefix(FAULT) {
            Some(fault) => *faults.entry(fault.to_owned()).or_default() += times,
            None => *transitions.entry(what).or_default() += times,
        }
    }
    Results {
        volume: volume(summary),
        faults,
        transitions,
        checks: CHECKS.map(str::to_owned).to_vec(),
        violations: summary.failures.len() as u64,
        over_issued_units: summary.over_issued,
        lost_calls: summary.failures.iter().map(lost_calls).sum(),
        bugs: BUGS.iter().map(bug).collect(),
        not_covered: NOT_COVERED.map(str::to_owned).to_vec(),
        ..begun
    }
}

/// Running calls that were lost and that the design promises to keep: those of the violation.
fn lost_calls(report: &Report) -> u64 {
    match report.violation.as_deref() {
        Some(it) if it.starts_with(LOST_TO_ONE_FAULT) => report.losses.len() as u64,
        Some(it) if it.starts_with(LOST) => 1,
        Some(_) | None => 0,
    }
}

fn volume(summary: &Summary) -> BTreeMap<String, u64> {
    let tally = |what| summary.tally.get(what);
    BTreeMap::from([
        ("seeds".to_owned(), summary.seeds),
        ("simulated hours".to_owned(), summary.lasted / SECOND / 3_600),
        ("calls begun".to_owned(), tally("call begun")),
        ("renewals".to_owned(), tally("renewed")),
    ])
}

fn bug(bug: &crate::bugs::Bug) -> Bug {
    Bug { name: bug.name.to_owned(), test: bug.test.to_owned(), story: bug.story.to_owned() }
}

/// Which seed noticed each mutation, if one of the first [`SEEDS_MAX`] did.
#[must_use]
pub fn mutations(begun: Results, found: &[(Mutation, Option<Report>)]) -> Results {
    let caught = |(mutation, report): &(Mutation, Option<Report>)| {
        let by = report.as_ref().map(|report| {
            format!("seed {}: {}", report.seed, report.violation.as_deref().unwrap_or_default())
        });
        Caught {
            name: mutation.name().to_owned(),
            caught: by.is_some(),
            seeds: report.as_ref().map_or(SEEDS_MAX, |report| report.seed + 1),
            by: by.unwrap_or_default(),
        }
    };
    let mutations: Vec<Caught> = found.iter().map(caught).collect();
    let seeds = mutations.iter().map(|it| it.seeds).sum();
    Results {
        volume: BTreeMap::from([("seeds".to_owned(), seeds)]),
        checks: vec![
            "each rule, removed alone, is noticed by a check of the simulation".to_owned(),
        ],
        mutations,
        not_covered: vec![
            "rules are removed where machines are joined; what is wrong within one is shown by the \
             tests of core"
                .to_owned(),
        ],
        ..begun
    }
}
