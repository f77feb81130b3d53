//! The machines under whatever another node may send: any command in any order, any number, any
//! bytes.
//!
//! What is checked: nothing panics; after each command the ledger's invariants hold, and so do
//! those between it and the state before; two replicas that apply the same are the same. Random
//! numbers alone rarely name what exists: some steps are steered, so that they do.
//!
//! `make fuzz CASES=100000` says how many cases each test runs; else so many as take some seconds.

mod arbitrary;
mod desk;
mod ledger;
mod steward;

use proptest::test_runner::Config;

/// As many cases as were asked for, else `usual` ones.
fn cases(usual: u32) -> Config {
    // Read when the tests are built: nothing in this crate reads its surroundings as it runs.
    let asked = option_env!("LEASEHOLD_FUZZ_CASES");
    let cases = asked.map_or(usual, |text| text.parse().expect("LEASEHOLD_FUZZ_CASES: a number"));
    Config { cases, failure_persistence: None, max_shrink_iters: 4_096, ..Config::default() }
}
