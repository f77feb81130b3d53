//! Runs seeds, replays one, looks for seeds that notice a missing rule; writes what came of it.

use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::Result;
use leasehold_proof::Results;
use leasehold_sim::{Mutation, Summary, hunt, results, run_many, run_traced};

const USAGE: &str = "usage:
  leasehold-sim --seeds FIRST..END [--minutes LIMIT] [--results FILE]
  leasehold-sim --seed NUMBER [--trace] [--without RULE]
  leasehold-sim --mutations [--results FILE]
RULE is a number of the list that `leasehold-sim --mutations` prints.";

/// A mutation that lives on for so many seeds has survived.
const SEEDS_MAX: u64 = 2_000;
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

enum Wish {
    One { seed: u64, is_traced: bool, without: Option<Mutation> },
    Many { seeds: Range<u64>, minutes: Option<u64>, results: Option<PathBuf> },
    Mutations { results: Option<PathBuf> },
}

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match Wish::parse(&arguments) {
        Some(Wish::One { seed, is_traced, without }) => replay(seed, is_traced, without),
        Some(Wish::Many { seeds, minutes, results }) => {
            run_range(&seeds, minutes, results.as_deref())
        }
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
                let (minutes, rest) = match rest {
                    ["--minutes", minutes, rest @ ..] => (Some(minutes.parse().ok()?), rest),
                    rest => (None, rest),
                };
                Some(Self::Many { seeds, minutes, results: results_file(rest)? })
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

fn run_range(range: &Range<u64>, minutes: Option<u64>, file: Option<&Path>) -> Result<ExitCode> {
    let began = Instant::now();
    let limit = minutes.map(|minutes| format!(" --minutes {minutes}")).unwrap_or_default();
    let begun =
        begin("simulation", &format!("--seeds {}..{}{limit}", range.start, range.end), file);
    let longest = minutes.map_or(Duration::MAX, |minutes| Duration::from_secs(60 * minutes));
    let told = Mutex::new(began);
    let summary = run_many(range.clone(), &|report, done, failed| {
        if report.violation.is_some() {
            tell(&report.story());
        }
        if let Ok(mut told) = told.try_lock()
            && told.elapsed() >= PROGRESS_EVERY
        {
            *told = Instant::now();
            let count = range.end - range.start;
            let left_s = began.elapsed().as_secs() * (count - done) / done;
            tell(&format!("{done} of {count} seeds, {failed} of them failed, {left_s} s left"));
        }
        began.elapsed() < longest
    });
    if let Some((mut begun, file)) = begun {
        begun.seconds = began.elapsed().as_secs();
        results::simulation(begun, &summary).write(file)?;
    }
    print(&summary)
}

fn tell(line: &str) {
    // Nobody may be listening.
    let _ = writeln!(io::stderr(), "{line}");
}

/// The head of a results file, of the version that begins to run now.
fn begin<'a>(layer: &str, arguments: &str, file: Option<&'a Path>) -> Option<(Results, &'a Path)> {
    let file = file?;
    let program = "cargo run -p leasehold-sim --";
    let command = format!("{program} {arguments} --results {}", file.display());
    Some((Results::of(layer, &command, Duration::ZERO), file))
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
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn hunt_all(file: Option<&Path>) -> Result<ExitCode> {
    let began = Instant::now();
    let begun = begin("mutations", "--mutations", file);
    let mut found = Vec::new();
    let mut out = io::stdout().lock();
    for (index, mutation) in Mutation::ALL.iter().enumerate() {
        let report = hunt(*mutation, SEEDS_MAX);
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
    if let Some((mut begun, file)) = begun {
        begun.seconds = began.elapsed().as_secs();
        results::mutations(begun, &found, SEEDS_MAX).write(file)?;
    }
    let all_caught = found.iter().all(|(_, report)| report.is_some());
    Ok(if all_caught { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
