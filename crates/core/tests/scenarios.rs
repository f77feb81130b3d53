//! Scenarios as text: each file in `scenarios/` drives a ledger, a steward, desks and engines in
//! one process on one manual clock, and says what is expected after `=>`.
//!
//! `UPDATE=1 cargo test -p leasehold-core --test scenarios` writes what happens into the files;
//! the diff is then reviewed like code. `scenario/script.rs` lists the commands.

#[cfg(test)]
mod scenario;

use std::fs;
use std::path::{Path, PathBuf};

use scenario::script;

#[test]
fn each_scenario_goes_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<PathBuf> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "no scenario in {}", folder.display());
    let is_update = std::env::var_os("UPDATE").is_some();
    let mut wrong = Vec::new();
    for file in files {
        let written = fs::read_to_string(&file).unwrap();
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let happened = script::play(&name, &written);
        if happened == written {
            continue;
        }
        if is_update {
            fs::write(&file, happened).unwrap();
        } else {
            wrong.push(first_difference(&name, &written, &happened));
        }
    }
    assert!(
        wrong.is_empty(),
        "{}\nif that is right, run again with UPDATE=1 and review the diff",
        wrong.join("\n")
    );
}

fn first_difference(name: &str, written: &str, happened: &str) -> String {
    let ends = || std::iter::repeat("(end)");
    let lines = written.lines().chain(ends()).zip(happened.lines().chain(ends()));
    let differing = lines.enumerate().find(|(_, (written, happened))| written != happened);
    let (index, (written, happened)) = differing.expect("the texts differ");
    format!("{name}:{}\n  written:  {written}\n  happened: {happened}", index + 1)
}
