//! Whole clusters under faults, many seeds.
//!
//! `LEASEHOLD_SIM_SEEDS=n` runs n of them (default 300).

use std::collections::BTreeSet;

use leasehold_sim::{FREQUENT, Report, run_many, run_traced};

/// Seeds of a plain `cargo test`: they take seconds, and whatever is frequent occurs in them.
const SEEDS_DEFAULT: u64 = 300;

#[test]
fn nothing_is_lent_twice_and_everything_heals() {
    let seeds = std::env::var("LEASEHOLD_SIM_SEEDS").ok();
    let seeds = seeds.and_then(|text| text.parse().ok()).unwrap_or(SEEDS_DEFAULT);
    let summary = run_many(0..seeds, &|_, _| {});
    for (what, times) in summary.tally.iter() {
        println!("{times:>10}  {what}");
    }
    let failures: Vec<String> = summary.failures.iter().map(Report::story).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let expected = FREQUENT.into_iter().filter(|_| seeds >= SEEDS_DEFAULT);
    let missing: BTreeSet<&str> = expected.filter(|what| summary.tally.get(what) == 0).collect();
    assert!(missing.is_empty(), "never seen in {seeds} seeds: {missing:?}");
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in [0, 1, 2] {
        let (one, other) = (run_traced(seed, None), run_traced(seed, None));
        assert!(one.trace.len() > 100, "seed {seed} has {} lines", one.trace.len());
        let differing = one.trace.iter().zip(&other.trace).find(|(one, other)| one != other);
        assert_eq!(differing, None, "seed {seed}");
        assert_eq!(one, other, "seed {seed}");
    }
}
