//! Rules of the design, removed one at a time: each must lead to a unit that is lent twice within a
//! bounded number of seeds, or the simulator proves nothing about it.
//!
//! The seed that was found to notice is tried first, so that this takes seconds; if the simulator
//! has changed since, others are searched, and the new one is printed.

use std::io::{Write, stdout};

use leasehold_sim::{Mutation, run, run_mutated};

/// Seeds of hostile runs are 3, 7, 11 and so on.
const FIRST_HOSTILE: u64 = 3;
/// Where no seed is known to notice: some minutes.
const SEARCHED: u64 = 5_000;

#[track_caller]
fn is_noticed(mutation: Mutation, known: u64) {
    assert_eq!(run(known, None).violation, None, "seed {known} is right without the mutation");
    let report = run(known, Some(mutation));
    if let Some(violation) = report.violation {
        return tell(mutation, known, 1, &violation);
    }
    let summary = run_mutated(FIRST_HOSTILE..FIRST_HOSTILE + 4 * SEARCHED, mutation);
    let Some(first) = summary.failures.first() else {
        panic!("{mutation:?} was not noticed in {} seeds", summary.seeds);
    };
    let violation = first.violation.as_deref().unwrap_or_default();
    tell(mutation, first.seed, summary.seeds, violation);
}

fn tell(mutation: Mutation, seed: u64, seeds: u64, violation: &str) {
    // A test whose output can't be written has still passed.
    let _ = writeln!(stdout(), "{mutation:?}: noticed by seed {seed}, {seeds} tried: {violation}");
}

macro_rules! mutation {
    ($test:ident, $mutation:ident, $known:literal) => {
        #[test]
        fn $test() {
            is_noticed(Mutation::$mutation, $known);
        }
    };
}

mutation!(a_holder_that_trusts_its_clock_over_issues, HolderTrustsItsClock, 4923);
mutation!(a_holder_that_counts_from_the_answer_over_issues, HolderCountsFromAnswer, 1527);
mutation!(beats_acknowledged_from_memory_over_issue, BeatsAcknowledgedFromMemory, 27);
mutation!(a_lease_ended_early_over_issues, LeaseEndedEarly, 3);
mutation!(a_freeze_that_compares_nothing_over_issues, FreezeWithoutCompare, 9115);
mutation!(units_that_thaw_at_once_over_issue, ThawAtOnce, 3);
mutation!(an_engine_that_counts_from_the_answer_over_issues, EngineCountsFromAnswer, 275);
mutation!(an_engine_that_revives_a_lapsed_checkout_over_issues, EngineResurrects, 1595);
mutation!(a_desk_that_holds_for_ttl_only_over_issues, DeskHoldsForTtlOnly, 1759);
mutation!(a_predecessor_wrongly_declared_gone_over_issues, PredecessorDeclaredGone, 71);
mutation!(a_lease_that_may_run_and_is_not_waited_for_over_issues, LapseAtOnce, 71);
