//! The files of `docs/proof/results`: one for each layer, written by the program that did the run.
//! `docs/proof/README.md` describes every field.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

/// What one layer has shown. Unknown fields are refused: a typo must not be a silent gap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Results {
    pub layer: String,
    /// How to get this file again.
    pub command: String,
    pub revision: String,
    /// The day of the run, UTC.
    pub date: String,
    pub machine: String,
    #[serde(default)]
    pub seconds: u64,
    #[serde(default)]
    pub volume: BTreeMap<String, u64>,
    /// Every fault the layer can make, with its count: 0 is "not tested".
    #[serde(default)]
    pub faults: BTreeMap<String, u64>,
    /// Every transition the layer can tell of, with its count.
    #[serde(default)]
    pub transitions: BTreeMap<String, u64>,
    #[serde(default)]
    pub checks: Vec<String>,
    #[serde(default)]
    pub violations: u64,
    /// The most units in use beyond those entitled, at any time.
    #[serde(default)]
    pub over_issued_units: u64,
    /// Running calls lost where the design promises that none is.
    #[serde(default)]
    pub lost_calls: u64,
    #[serde(default)]
    pub mutations: Vec<Mutation>,
    #[serde(default)]
    pub bugs: Vec<Bug>,
    #[serde(default)]
    pub not_covered: Vec<String>,
}

/// A rule that was removed on purpose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mutation {
    pub name: String,
    pub caught: bool,
    /// Seeds run (or states seen, in the model) until it was caught.
    pub seeds: u64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
}

/// A bug that the layer found in the project, repaired since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bug {
    pub name: String,
    /// `path/from/the/root.rs::function`, or the path of a scenario.
    pub test: String,
    pub story: String,
}

impl Results {
    /// An empty result of a run that ends now on this machine.
    #[must_use]
    pub fn of(layer: &str, command: &str, took: Duration) -> Self {
        Self {
            layer: layer.to_owned(),
            command: command.to_owned(),
            revision: revision(),
            date: today(),
            machine: machine(),
            seconds: took.as_secs(),
            ..Self::default()
        }
    }

    /// # Errors
    /// If the file can't be read, or is not what it should be.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let results: Self =
            serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        ensure!(
            results.layer == stem,
            "{}: layer `{}` is not the file's name: rename one of them",
            path.display(),
            results.layer
        );
        Ok(results)
    }

    /// # Errors
    /// If the file can't be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(path, text).with_context(|| format!("can't write {}", path.display()))
    }
}

/// The commit of the work tree, with a `+` if the tree has changes.
#[must_use]
pub fn revision() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        let text = output.status.success().then_some(output.stdout)?;
        String::from_utf8(text).ok().map(|text| text.trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short", "HEAD"]);
    // The results themselves are not what was tested.
    let changes = git(&["status", "--porcelain", "--", ".", ":!docs/proof", ":!docs/proof.md"]);
    let mark = if changes.is_some_and(|it| it.is_empty()) { "" } else { "+" };
    commit.map_or("unknown".to_owned(), |commit| commit + mark)
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let version: Vec<&str> = kernel.trim().split(['.', '-']).take(2).collect();
    format!("{cores} cores, Linux {}", version.join("."))
}

fn today() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    date_of_day(since.as_secs() / 86_400)
}

/// The proleptic Gregorian date of a day after 1970-01-01.
fn date_of_day(day: u64) -> String {
    // Years that begin in March have their leap day at the end.
    let from_march = day + 719_468;
    let (era, day_of_era) = (from_march / 146_097, from_march % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        let dates = [(0, "1970-01-01"), (59, "1970-03-01"), (11_016, "2000-02-29")];
        for (day, date) in dates.into_iter().chain([(20_782, "2026-11-25"), (20_818, "2026-12-31")])
        {
            assert_eq!(date_of_day(day), date);
        }
    }

    #[test]
    fn a_field_that_nobody_reads_is_refused() {
        let text = r#"{"layer": "x", "command": "c", "revision": "r", "date": "d", "machine": "m",
            "fault": {}}"#;
        let error = serde_json::from_str::<Results>(text).unwrap_err().to_string();
        assert!(error.contains("unknown field `fault`"), "{error}");
    }
}
