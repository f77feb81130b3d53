//! Results of plain tests, read from what `cargo test` has printed.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::results::Results;

/// Tests that passed, tests that failed and seconds.
type Counts = (u64, u64, f64);

/// What a test program belongs to; none if its layer writes results of its own.
fn layer_of(program: &str) -> Option<&'static str> {
    match program {
        "real" => Some("cluster"),
        // Both of crates/storage.
        "leasehold_storage" | "crash" => Some("storage"),
        "exhaustive" | "seeds" | "mutations" => None,
        _ => Some("tests"),
    }
}

/// One result for each layer of plain tests that occurs in `log`.
///
/// # Errors
/// If no test was run, or one program did not end: that log shows nothing.
pub fn results(log: &str) -> Result<Vec<Results>> {
    let mut layers: BTreeMap<&str, Counts> = BTreeMap::new();
    for (program, (passed, failed, seconds)) in programs(log)? {
        let Some(layer) = layer_of(&program) else { continue };
        let it = layers.entry(layer).or_default();
        *it = (it.0 + passed, it.1 + failed, it.2 + seconds);
    }
    ensure!(!layers.is_empty(), "no test was run: is this what `make test` has printed?");
    let results = layers.into_iter().map(|(layer, (passed, failed, seconds))| {
        let mut it = Results::of(layer, COMMAND, Duration::from_secs_f64(seconds));
        it.volume.insert("tests passed".to_owned(), passed);
        it.violations = failed;
        it.checks.push("what each test says in its name".to_owned());
        it
    });
    Ok(results.collect())
}

const COMMAND: &str =
    "make test 2>&1 | tee test.log; cargo run -p leasehold-proof -- --tests test.log";

fn programs(log: &str) -> Result<BTreeMap<String, Counts>> {
    let mut programs: BTreeMap<String, Counts> = BTreeMap::new();
    let mut running: Option<String> = None;
    for line in log.lines().map(str::trim) {
        let started = if let Some(rest) = line.strip_prefix("Running ") {
            // unittests src/lib.rs (target/debug/deps/leasehold_core-0123456789abcdef)
            let file = rest.rsplit('/').next().unwrap_or_default();
            file.rsplit_once('-').map_or(file, |(name, _)| name)
        } else if line.starts_with("Doc-tests ") {
            "documentation"
        } else if let Some(rest) = line.strip_prefix("test result: ") {
            let program = running.take().context("a result without a program before it")?;
            let it = programs.entry(program).or_default();
            it.0 += number_before(rest, " passed");
            it.1 += number_before(rest, " failed");
            let took = rest.rsplit(' ').next().and_then(|took| took.strip_suffix('s'));
            it.2 += took.and_then(|took| took.parse::<f64>().ok()).unwrap_or(0.0);
            continue;
        } else {
            continue;
        };
        if let Some(unended) = running.replace(started.to_owned()) {
            bail!("the test program `{unended}` did not end");
        }
    }
    match running {
        Some(unended) => bail!("the test program `{unended}` did not end"),
        None => Ok(programs),
    }
}

fn number_before(text: &str, word: &str) -> u64 {
    let before = text.split_once(word).map_or("", |(before, _)| before);
    before.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_cargo_is_split_by_layers() {
        let log = "
     Running unittests src/lib.rs (target/debug/deps/leasehold_core-0123456789abcdef)
test result: ok. 140 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.50s
     Running tests/single_node.rs (target/debug/deps/single_node-0123456789abcdef)
test result: ok. 9 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s
     Running tests/crash.rs (target/debug/deps/crash-0123456789abcdef)
test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 9.00s
     Running tests/seeds.rs (target/debug/deps/seeds-0123456789abcdef)
test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 30.00s
";
        let results = results(log).unwrap();
        let found: Vec<_> = results
            .iter()
            .map(|it| (it.layer.as_str(), it.volume["tests passed"], it.violations, it.seconds))
            .collect();
        assert_eq!(found, [("storage", 1, 1, 9), ("tests", 149, 0, 2)]);
    }

    #[test]
    fn a_log_that_shows_nothing_is_refused() {
        let running = "Running tests/real/main.rs (target/debug/deps/real-0123456789abcdef)\n";
        for wrong in ["", "error: could not compile", running, &running.repeat(2)] {
            assert!(results(wrong).is_err(), "{wrong:?}");
        }
    }
}
