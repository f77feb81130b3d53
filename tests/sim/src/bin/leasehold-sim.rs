//! Replays seeds: `leasehold-sim --seeds 0..2000`, `leasehold-sim --seed 7 --trace`.

use std::io::{self, Write};
use std::process::ExitCode;

use leasehold_sim::{run_many, run_traced};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match Wish::parse(&arguments) {
        Some(wish) => perform(&wish),
        None => writeln!(io::stderr(), "{USAGE}").map(|()| ExitCode::from(2)),
    };
    // A reader that closed the pipe has seen enough.
    result.unwrap_or(ExitCode::FAILURE)
}

const USAGE: &str = "usage: leasehold-sim --seeds FIRST..END | --seed NUMBER [--trace]";

enum Wish {
    One { seed: u64, is_traced: bool },
    Many { first: u64, end: u64 },
}

impl Wish {
    fn parse(arguments: &[String]) -> Option<Self> {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        match arguments[..] {
            ["--seed", seed] => Some(Self::One { seed: seed.parse().ok()?, is_traced: false }),
            ["--seed", seed, "--trace"] => {
                Some(Self::One { seed: seed.parse().ok()?, is_traced: true })
            }
            ["--seeds", range] => {
                let (first, end) = range.split_once("..")?;
                Some(Self::Many { first: first.parse().ok()?, end: end.parse().ok()? })
            }
            _ => None,
        }
    }
}

fn perform(wish: &Wish) -> io::Result<ExitCode> {
    let mut out = io::stdout().lock();
    let (tally, failures) = match *wish {
        Wish::One { seed, is_traced } => {
            let report = run_traced(seed, None);
            if is_traced {
                for line in &report.trace {
                    writeln!(out, "{line}")?;
                }
            }
            for loss in &report.losses {
                writeln!(out, "lost: {loss}")?;
            }
            let failed = report.violation.is_some();
            (report.tally.clone(), if failed { vec![report] } else { Vec::new() })
        }
        Wish::Many { first, end } => {
            let summary = run_many(first..end);
            writeln!(out, "{} seeds", summary.seeds)?;
            (summary.tally, summary.failures)
        }
    };
    for (what, times) in tally.iter() {
        writeln!(out, "{times:>10}  {what}")?;
    }
    for report in &failures {
        let violation = report.violation.as_deref().unwrap_or_default();
        writeln!(out, "seed {}: {violation}", report.seed)?;
    }
    Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
