//! Bugs that the simulator has found in the machines. Each has a test of its own in `core`: what a
//! seed stands for changes with the simulator.

/// A bug, repaired since.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bug {
    pub(crate) name: &'static str,
    /// `path/from/the/root.rs::function`.
    pub(crate) test: &'static str,
    pub(crate) story: &'static str,
}

macro_rules! bugs {
    ($($file:literal $function:ident: $name:literal, $story:literal;)+) => {
        pub(crate) const BUGS: &[Bug] = &[$(Bug {
            name: $name,
            test: concat!("crates/core/src/", $file, "::", stringify!($function)),
            story: $story,
        }),+];
    };
}

bugs! {
    "desk/tests/kept.rs" units_that_arrive_late_for_a_call_that_expired_here_before_stay_its_own:
        "late units of a returning call given back",
        "a call had expired at a node, had run on at another, and came back; its claim was answered \
         \"not ready\" before its units arrived, they were given back at once, and its engine used \
         them on under the other node's receipt";
    "desk/tests/kept.rs" a_checkout_is_held_for_the_millisecond_that_the_clock_may_hide:
        "held for a fraction of a millisecond too short",
        "a desk whose clock was as fast as may be ended a checkout 0.3 ms before its engine, whose \
         clock was as slow as may be, had to stop";
    "desk/tenure.rs" a_small_step_back_hides_nothing_of_a_later_pause:
        "small step back of the wall clock that hid a pause",
        "a wall clock that was set back by less than the margin hid as much of later pauses: a lease \
         ran on for up to twice the margin";
    "desk/tests/found.rs" a_node_that_started_anew_says_of_no_call_that_it_has_ended:
        "empty desk taken for the truth",
        "a node that had started anew said of a running call, which the ledger still had under its \
         old epoch, that it had ended, and the engine lost it";
    "desk/tests/kept.rs" a_desk_whose_lease_ran_out_says_of_no_call_that_it_has_ended:
        "verdict of a desk without a lease",
        "a node that woke from a pause told an engine, whose call another node had taken over \
         meanwhile, that the call had ended";
    "desk/tests/kept.rs" a_call_that_was_covered_elsewhere_comes_back_though_it_expired_here:
        "covered call refused on its way back",
        "a call that was covered at another node and had expired here was told that it had ended \
         when it came back with its newer receipt";
    "desk/tests/kept.rs" a_running_call_is_covered_before_new_requests_are_served:
        "running call behind a new request",
        "a call that only free units could keep stood in line behind a new request that waited for \
         another feature";
    "desk/tests/kept.rs" a_covered_calls_own_units_go_back_only_when_its_old_receipt_has_died:
        "covered call's own units given back too early",
        "when the own units of a covered call arrived they went back at once, while its engine \
         still used them under the old receipt";
    "desk/tests/found.rs" a_claim_does_not_wait_for_a_node_whose_lease_has_ended:
        "claim that waited for the dead",
        "a claim waited for a node that did not answer though its lease had ended meanwhile, and \
         the engine ran out of time";
    "desk/tests/operations.rs" an_operation_without_an_answer_is_sent_again_unchanged_and_applied_once:
        "operation that waited for a dead leader",
        "all moves of running calls stood behind one operation that had been sent to a dead \
         leader, until its call ran into the deadline";
    "desk/tests/operations.rs" an_operation_is_sent_again_as_soon_as_a_leader_answers:
        "pause that outlived the outage",
        "the pause before the next attempt had grown to seconds, and moves of running calls waited \
         for its end though a new leader answered beats";
    "desk/tests/operations.rs" units_that_a_waiting_request_needs_are_not_given_back:
        "needed units given back",
        "units that had been drawn for a waiting request were given back before it was served";
    "desk/tests/wants.rs" who_waits_for_one_feature_draws_no_headroom_of_another_that_is_at_hand:
        "headroom in circles, with each question",
        "as long as somebody waited, each question drew headroom that the next beat gave back";
    "desk/tests/found.rs" headroom_is_not_drawn_from_one_pool_and_given_back_from_another:
        "headroom in circles, between pools",
        "headroom was drawn from one pool of a feature and given back from another, several \
         commits a second, for ever";
    "desk/tenure.rs" a_slow_steady_clock_is_no_paused_machine:
        "slow clock taken for a pause",
        "a desk whose clock was slow by rho, and which looked rarely, took that for a pause: it \
         held a live lease and lent nothing";
    "desk/tenure.rs" pauses_below_the_margin_add_up:
        "pauses below the margin",
        "several pauses, each shorter than the margin, added up to a lease that ran on for as long";
    "desk/tests/wants.rs" a_grant_after_the_longest_wait_is_good_for_half_its_lifetime:
        "grant that was dead when it came",
        "a wait of longer than a lifetime ended in a grant that had expired before it was read";
    "steward/tests.rs" a_late_beat_does_not_make_a_deaf_node_hear:
        "late beat of a deaf node",
        "a beat that was overtaken said that its node had heard less, so that the next one seemed to \
         have heard more: a deaf node kept its lease for another T";
    "desk/departed.rs" what_came_back_and_left_again_is_remembered_from_its_last_departure:
        "second departure forgotten with the first",
        "a call that was handed over, came back and was handed over again was told that it had \
         ended by the node that it had left twice";
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use leasehold_proof::require_test;

    use super::*;

    #[test]
    fn each_bug_has_a_test_that_would_find_it_again() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for bug in BUGS {
            assert_eq!(require_test(&root, bug.test).map_err(|it| it.to_string()), Ok(()));
        }
    }
}
