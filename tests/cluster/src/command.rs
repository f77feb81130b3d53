//! Programs of the system.

use std::process::{Command, Stdio};

/// Runs `line`, words separated by blanks, to its end.
///
/// # Errors
/// The command and what it said, if it could not be run or failed.
pub fn run(line: &str) -> Result<String, String> {
    let mut words = line.split_whitespace();
    let program = words.next().unwrap_or_default();
    let output = Command::new(program).args(words).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("`{line}` can't be run: {error}"))?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    if output.status.success() { Ok(said) } else { Err(format!("`{line}` failed: {said}")) }
}
