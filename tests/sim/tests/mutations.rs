//! Rules of the design, removed one at a time: each must be noticed within a bounded number of
//! seeds, or the simulator proves nothing about it.

use leasehold_sim::{Mutation, hunt, run};

/// Far more than any mutation needs today.
const SEEDS_MAX: u64 = 2_000;

#[test]
fn each_rule_that_is_removed_is_noticed() {
    let mut survivors = Vec::new();
    for mutation in Mutation::ALL {
        let known = run(mutation.known_seed(), Some(*mutation));
        // What the seed stands for may have changed: others are looked for.
        let noticed =
            if known.violation.is_some() { Some(known) } else { hunt(*mutation, SEEDS_MAX) };
        let Some(report) = noticed else {
            survivors.push(mutation.story());
            continue;
        };
        let seed = report.seed;
        assert_eq!(run(seed, None).violation, None, "seed {seed} is right without {mutation:?}");
    }
    assert!(survivors.is_empty(), "not noticed in {SEEDS_MAX} seeds: {survivors:?}");
}
