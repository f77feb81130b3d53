//! Writes docs/proof.md: `leasehold-proof`, in the root of the repository. `--tests LOG` first
//! takes in what a `make test` has printed.

use std::fs;
use std::io::{Write, stderr};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use leasehold_proof::{Page, tests_run};

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let root = Path::new(".");
    match arguments[..] {
        [] => {}
        ["--tests", log] => {
            let text = fs::read_to_string(log).with_context(|| log.to_owned())?;
            for it in tests_run::results(&text).with_context(|| log.to_owned())? {
                it.write(&root.join("docs/proof/results").join(format!("{}.json", it.layer)))?;
            }
        }
        _ => {
            writeln!(stderr(), "usage: leasehold-proof [--tests LOG]")?;
            return Ok(ExitCode::from(2));
        }
    }
    fs::write(root.join("docs/proof.md"), Page::read(root)?.text())?;
    Ok(ExitCode::SUCCESS)
}
