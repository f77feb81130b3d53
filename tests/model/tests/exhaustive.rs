//! Every state of the model, and each mutation refuted.

use std::collections::BTreeMap;

use leasehold_model::{Bounds, Mutation, runner};

#[test]
fn no_state_within_the_bounds_breaks_a_rule_and_everything_occurs() {
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    for bounds in Bounds::QUICK {
        let checked = runner::check(bounds, None);
        let (states, depth) = (checked.unique_states, checked.depth);
        println!("{}: {states} states, depth {depth}", bounds.name);
        assert!(checked.broken.is_empty(), "{}: {:#?}", bounds.name, checked.broken);
        for (what, times) in checked.transitions {
            *seen.entry(what).or_default() += times;
        }
        for (what, occurs) in checked.occurs {
            *seen.entry(what).or_default() += u64::from(occurs);
        }
    }
    // This needs wider bounds: those of `make model`.
    let expected = ["a reclaim of a dead receipt takes the units of another"];
    let missing: Vec<&str> =
        seen.iter().filter(|(_, times)| **times == 0).map(|(what, _)| *what).collect();
    assert_eq!(missing, expected, "a model in which something never occurs says nothing of it");
}

#[test]
fn a_model_without_one_of_its_rules_is_refuted() {
    for mutation in Mutation::ALL {
        let checked = runner::refute(mutation);
        println!("{mutation:?}: {}", runner::why(&checked));
        assert!(!checked.broken.is_empty(), "{mutation:?} was not refuted");
    }
}
