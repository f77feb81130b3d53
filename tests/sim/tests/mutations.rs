//! Rules of the design, removed one at a time: each must be noticed within a bounded number of
//! seeds, or the simulator proves nothing about it.

use std::io::{Write, stderr};

use leasehold_sim::{Mutation, Report, SEEDS_MAX, hunt, run};

#[test]
fn each_rule_that_is_removed_is_noticed() {
    let mut survivors = Vec::new();
    for mutation in Mutation::ALL {
        let Some(report) = noticed(*mutation) else {
            survivors.push(mutation.story());
            continue;
        };
        let seed = report.seed;
        assert_eq!(run(seed, None).violation, None, "seed {seed} is right without {mutation:?}");
    }
    assert!(survivors.is_empty(), "not noticed in {SEEDS_MAX} seeds: {survivors:?}");
}

/// By the known seed; what it stands for may have changed, and then by another.
fn noticed(mutation: Mutation) -> Option<Report> {
    let known = run(mutation.known_seed(), Some(mutation));
    if known.violation.is_some() {
        return Some(known);
    }
    let found = hunt(mutation);
    if let Some(Report { seed, .. }) = &found {
        // Past the harness, which shows nothing of a test that passes.
        let _ = writeln!(stderr(), "{mutation:?}: its known seed in mutation.rs is now {seed}");
    }
    found
}
