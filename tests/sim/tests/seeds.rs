//! Whole clusters under faults, many seeds.
//!
//! `LEASEHOLD_SIM_SEEDS=n` runs n of them (default 300).

use leasehold_sim::{Report, missing, run_many, run_traced, unknown};

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
    let none: [&str; 0] = [];
    assert_eq!(missing(&summary), none, "never seen in {seeds} seeds");
    assert_eq!(unknown(&summary), none, "missing in known.rs");
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
