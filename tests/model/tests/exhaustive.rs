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
    let missing = seen.iter().filter(|(_, times)| **times == 0);
    let missing: Vec<&str> = missing.map(|(what, _)| *what).collect();
    let none: [&str; 0] = [];
    assert_eq!(missing, none, "a model in which something never occurs says nothing of it");
}

#[test]
fn a_model_without_one_of_its_rules_is_refuted() {
    for mutation in Mutation::ALL {
        let checked = runner::refute(mutation);
        println!("{mutation:?}: {}", runner::why(&checked));
        assert!(!checked.broken.is_empty(), "{mutation:?} was not refuted");
    }
}
