//! Runs seeds, replays one, looks for seeds that notice a missing rule; writes what came of it.

use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use leasehold_proof::Results;
use leasehold_sim::{
    Mutation, SEEDS_MAX, Summary, hunt, missing, results, run_many, run_traced, unknown,
};

const USAGE: &str = "usage:
  leasehold-sim --seeds FIRST..END [--results FILE]
  leasehold-sim --seed NUMBER [--trace] [--without RULE]
  leasehold-sim --mutations [--results FILE]
RULE is a number of the list that `leasehold-sim --mutations` prints.";

const PROGRESS_EVERY: Duration = Duration::from_secs(10);

enum Wish {
    One { seed: u64, is_traced: bool, without: Option<Mutation> },
    Many { seeds: Range<u64>, results: Option<PathBuf> },
    Mutations { results: Option<PathBuf> },
}

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match Wish::parse(&arguments) {
        Some(Wish::One { seed, is_traced, without }) => replay(seed, is_traced, without),
        Some(Wish::Many { seeds, results }) => run_range(&seeds, results.as_deref()),
        Some(Wish::Mutations { results }) => hunt_all(results.as_deref()),
        None => {
            writeln!(io::stderr(), "{USAGE}")?;
            Ok(ExitCode::from(2))
        }
    }
}

impl Wish {
    fn parse(arguments: &[&str]) -> Option<Self> {
        match arguments {
            ["--seed", seed, rest @ ..] => {
                let is_traced = rest.first() == Some(&"--trace");
                let without = match rest.get(usize::from(is_traced)..)? {
                    [] => None,
                    ["--without", rule] => {
                        Some(*Mutation::ALL.get(rule.parse::<usize>().ok()?.checked_sub(1)?)?)
                    }
                    _ => return None,
                };
                Some(Self::One { seed: seed.parse().ok()?, is_traced, without })
            }
            ["--seeds", range, rest @ ..] => {
                let (first, end) = range.split_once("..")?;
                let seeds = first.parse().ok()?..end.parse().ok()?;
                Some(Self::Many { seeds, results: results_file(rest)? })
            }
            ["--mutations", rest @ ..] => Some(Self::Mutations { results: results_file(rest)? }),
            _ => None,
        }
    }
}

fn results_file(arguments: &[&str]) -> Option<Option<PathBuf>> {
    match arguments {
        [] => Some(None),
        ["--results", file] => Some(Some(PathBuf::from(file))),
        _ => None,
    }
}

fn replay(seed: u64, is_traced: bool, without: Option<Mutation>) -> Result<ExitCode> {
    let mut out = io::stdout().lock();
    let report = run_traced(seed, without);
    if is_traced {
        for line in &report.trace {
            writeln!(out, "{line}")?;
        }
    }
    for loss in &report.losses {
        writeln!(out, "lost: {loss}")?;
    }
    for (what, times) in report.tally.iter() {
        writeln!(out, "{times:>10}  {what}")?;
    }
    if report.violation.is_none() {
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(out, "{}", report.story())?;
    Ok(ExitCode::FAILURE)
}

fn run_range(range: &Range<u64>, file: Option<&Path>) -> Result<ExitCode> {
    let head = Head::now("simulation", file);
    let write = |summary: &Summary| {
        let end = range.start + summary.seeds;
        head.write(&format!("--seeds {}..{end}", range.start), |begun| {
            results::simulation(begun, summary)
        })
    };
    let told = Mutex::new(Instant::now());
    let summary = run_many(range.clone(), &|report, summary| {
        if report.violation.is_some() {
            tell(&report.story());
        }
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.elapsed() < PROGRESS_EVERY {
            return;
        }
        *told = Instant::now();
        let (done, count, failed) =
            (summary.seeds, range.end - range.start, summary.failures.len());
        let left_s = head.began.elapsed().as_secs() * (count - done) / done;
        tell(&format!("{done} of {count} seeds, {failed} of them failed, {left_s} s left"));
        // Whoever stops a long run has what it has shown by then.
        if let Err(error) = write(summary) {
            tell(&format!("{error:#}"));
        }
    });
    write(&summary)?;
    print(&summary)
}

fn tell(line: &str) {
    // Nobody may be listening.
    let _ = writeln!(io::stderr(), "{line}");
}

/// The head of a results file, of the version that begins to run now.
struct Head<'a> {
    began: Instant,
    layer: Results,
    file: Option<&'a Path>,
}

impl<'a> Head<'a> {
    fn now(layer: &str, file: Option<&'a Path>) -> Self {
        Self { began: Instant::now(), layer: Results::of(layer, "", Duration::ZERO), file }
    }

    /// Writes the file, if one is asked for: `arguments` made what `fill` adds.
    fn write(&self, arguments: &str, fill: impl Fn(Results) -> Results) -> Result<()> {
        let Some(file) = self.file else { return Ok(()) };
        let program = "cargo run -p leasehold-sim --";
        let begun = Results {
            command: format!("{program} {arguments} --results {}", file.display()),
            seconds: self.began.elapsed().as_secs(),
            ..self.layer.clone()
        };
        fill(begun).write(file)
    }
}

fn print(summary: &Summary) -> Result<ExitCode> {
    let mut out = io::stdout().lock();
    for (what, times) in summary.tally.iter() {
        writeln!(out, "{times:>10}  {what}")?;
    }
    for report in &summary.failures {
        writeln!(out, "{}", report.story())?;
    }
    let (seeds, failed) = (summary.seeds, summary.failures.len());
    writeln!(out, "{seeds} seeds, {failed} of them failed")?;
    let (missing, unknown) = (missing(summary), unknown(summary));
    for (kinds, flaw) in [(missing.join("; "), "never seen"), (unknown.join("; "), "not known")] {
        if !kinds.is_empty() {
            writeln!(out, "{flaw}: {kinds}")?;
        }
    }
    let is_good = failed == 0 && missing.is_empty() && unknown.is_empty();
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn hunt_all(file: Option<&Path>) -> Result<ExitCode> {
    let head = Head::now("mutations", file);
    let mut found = Vec::new();
    let mut out = io::stdout().lock();
    for (index, mutation) in Mutation::ALL.iter().enumerate() {
        let report = hunt(*mutation);
        let (number, name) = (index + 1, mutation.name());
        match &report {
            Some(report) => {
                let violation = report.violation.as_deref().unwrap_or_default();
                writeln!(out, "{number:>2} {name}: seed {}: {violation}", report.seed)?;
            }
            None => writeln!(out, "{number:>2} {name}: SURVIVED {SEEDS_MAX} seeds")?,
        }
        found.push((*mutation, report));
    }
    head.write("--mutations", |begun| results::mutations(begun, &found))?;
    let all_caught = found.iter().all(|(_, report)| report.is_some());
    Ok(if all_caught { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
