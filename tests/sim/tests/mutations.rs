//! Rules of the design, removed one at a time: each must be missed within a bounded number of
//! seeds, or the simulator proves nothing about it.

use leasehold_sim::{Mutation, run_many};

/// Runs seeds until one notices.
#[track_caller]
fn is_caught_within(seeds: u64, mutation: Mutation, expected: &str) {
    let summary = run_many(0..seeds, Some(mutation), true);
    let Some(first) = summary.failures.first() else {
        panic!("{mutation:?} was not noticed in {seeds} seeds");
    };
    let violation = first.violation.as_deref().unwrap_or_default();
    println!("{mutation:?}: caught after {} seeds, by seed {}", summary.seeds, first.seed);
    println!("  {violation}");
    assert!(violation.contains(expected), "{mutation:?}, seed {}: {violation}", first.seed);
}

macro_rules! mutation {
    ($test:ident, $mutation:ident, $seeds:literal) => {
        #[test]
        fn $test() {
            is_caught_within($seeds, Mutation::$mutation, "");
        }
    };
}

mutation!(a_holder_that_trusts_its_clock_over_issues, HolderTrustsItsClock, 3_000);
mutation!(a_holder_that_counts_from_the_answer_over_issues, HolderCountsFromAnswer, 3_000);
mutation!(beats_acknowledged_from_memory_over_issue, BeatsAcknowledgedFromMemory, 3_000);
mutation!(a_lease_ended_early_over_issues, LeaseEndedEarly, 3_000);
mutation!(a_freeze_that_compares_nothing_over_issues, FreezeWithoutCompare, 3_000);
mutation!(units_that_thaw_at_once_over_issue, ThawAtOnce, 3_000);
mutation!(an_engine_that_counts_from_the_answer_over_issues, EngineCountsFromAnswer, 3_000);
mutation!(an_engine_that_revives_a_lapsed_checkout_over_issues, EngineResurrects, 3_000);
mutation!(a_desk_that_holds_for_ttl_only_over_issues, DeskHoldsForTtlOnly, 3_000);
mutation!(a_predecessor_wrongly_declared_gone_over_issues, PredecessorDeclaredGone, 3_000);
mutation!(a_lease_that_may_run_and_is_not_waited_for_over_issues, LapseAtOnce, 3_000);
