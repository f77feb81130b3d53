//! The program as a person starts it: real processes, their exit codes and what they leave behind.
#![allow(clippy::unwrap_used)] // clippy.toml allows it in tests, but not in their helpers.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

const PROGRAM: &str = env!("CARGO_BIN_EXE_leasehold");

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("LEASEHOLD_")) {
        command.env_remove(name);
    }
    command.args(arguments).output().unwrap()
}

fn assert_refused(arguments: &[&str], code: i32, words: &[&str]) {
    let output = run(arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
    for word in words {
        assert!(error.contains(word), "{arguments:?} does not say `{word}`: {error}");
    }
}

#[test]
fn what_cannot_be_done_ends_with_its_exit_code_and_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).display().to_string();
    std::fs::write(at("bad.toml"), "[node]\nid = 1\nsitee = \"east\"\n").unwrap();
    assert_refused(&["serve", "--config", &at("none.toml")], 1, &["none.toml", "--config"]);
    assert_refused(&["serve", "--config", &at("bad.toml")], 1, &["bad.toml", "sitee", "line 3"]);
    assert_refused(&["status"], 2, &["--ca", "--plain-text"]);
    assert_refused(&["checkout", "cpa"], 2, &["--ca", "--plain-text"]);
    let nowhere = ["status", "--plain-text", "--admin", "127.0.0.1:1"];
    assert_refused(&nowhere, 3, &["127.0.0.1:1", "does the node run"]);
    let nowhere = ["checkout", "cpa", "--plain-text", "--engines", "127.0.0.1:1"];
    assert_refused(&nowhere, 3, &["127.0.0.1:1", "engines' port"]);
    assert_refused(&["status", "--plain-text", "--admin", "here"], 2, &["`here`", "HOST:PORT"]);
}

#[test]
fn development_certificates_are_written_once() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("certs").display().to_string();
    let output = run(&["certs", "dev", "--out", &out, "--node", "east-1", "--output", "json"]);
    assert!(output.status.success());
    let written: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(written["schema"], 1);
    assert_eq!(written["names"], serde_json::json!(["ca", "admin", "engine", "east-1"]));
    assert_refused(&["certs", "dev", "--out", &out, "--node", "east-1"], 1, &["exists"]);
}

#[test]
fn an_interrupted_demo_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let mut demo = Command::new(PROGRAM)
        .args(["demo", "--engines", "2"])
        .env("TMPDIR", directory.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let founded =
        lines.by_ref().find(|line| line.as_ref().unwrap().contains("first checkout is granted"));
    assert!(founded.is_some(), "the demo ended before its cluster was founded");
    let nodes = nodes_of(directory.path());
    assert_eq!(nodes.len(), 3);
    interrupt(&demo);
    assert_eq!(demo.wait().unwrap().code(), Some(130));
    assert_eq!(directory.path().read_dir().unwrap().count(), 0, "files were left");
    let left: Vec<&String> =
        nodes.iter().filter(|node| Path::new("/proc").join(node).exists()).collect();
    assert!(left.is_empty(), "nodes were left running: {left:?}");
    assert!(lines.any(|line| line.unwrap().starts_with("Interrupted")));
}

fn interrupt(child: &Child) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
}

/// The processes that run nodes whose files are in `directory`.
fn nodes_of(directory: &Path) -> Vec<String> {
    let directory = directory.to_str().unwrap();
    let processes = Path::new("/proc").read_dir().unwrap().map(Result::unwrap);
    let ids = processes.map(|entry| entry.file_name().into_string().unwrap());
    let is_node = |id: &String| {
        let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        line.contains("\0serve\0") && line.contains(directory)
    };
    ids.filter(is_node).collect()
}
