//! Checks the model and writes down the results: `leasehold-model --results FILE`. With `--large`
//! the bounds are wider, which takes long.

use std::io::{Write, stderr, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use leasehold_model::{Bounds, Mutation, runner};

const USAGE: &str = "usage: leasehold-model [--large] [--results FILE]";

fn main() -> anyhow::Result<ExitCode> {
    let mut is_large = false;
    let mut file = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match (argument.as_str(), &file) {
            ("--large", _) => is_large = true,
            ("--results", None) => file = arguments.next().map(PathBuf::from),
            _ => {
                writeln!(stderr(), "{USAGE}")?;
                return Ok(ExitCode::from(2));
            }
        }
    }
    let mut out = stdout().lock();
    let mut checked = Vec::new();
    for bounds in Bounds::ALL {
        let it = runner::check(if is_large { bounds.larger() } else { bounds }, None);
        let (states, depth, seconds) = (it.unique_states, it.depth, it.took.as_secs_f64());
        writeln!(out, "{}: {states} states, depth {depth}, {seconds:.1} s", it.bounds)?;
        for (property, steps) in &it.broken {
            writeln!(out, "  NOT {property}:\n    {}", steps.join("\n    "))?;
        }
        checked.push(it);
    }
    let mut refuted = Vec::new();
    for mutation in Mutation::ALL {
        let it = runner::refute(mutation);
        writeln!(out, "a rule removed, {}: {}", mutation.title(), runner::why(&it))?;
        refuted.push((mutation, it));
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let command = format!("cargo run -p leasehold-model -- {}", arguments.join(" "));
    let results = runner::results(&command, &checked, &refuted);
    for (what, times) in results.faults.iter().chain(&results.transitions) {
        writeln!(out, "{times:>10}  {what}")?;
    }
    let missing = runner::missing(&results);
    if !missing.is_empty() {
        writeln!(out, "never occurred: {}", missing.join("; "))?;
    }
    if let Some(file) = file {
        results.write(&file)?;
    }
    let is_good = results.violations == 0
        && missing.is_empty()
        && results.mutations.iter().all(|it| it.caught);
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
