//! One `leasehold serve` as a child process, which ends with the test.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::wait::until;

/// Longer than a node's own deadline for stopping.
const STOP_DEADLINE: Duration = Duration::from_secs(25);
/// Until a node that can't start has said so: it opens RocksDB at most.
const REFUSAL_DEADLINE: Duration = Duration::from_secs(20);

/// Exit codes of `leasehold serve`, as its help documents them.
pub mod exit {
    /// It has failed, and said why.
    pub const FAILED: i32 = 1;
    /// It was removed from its cluster.
    pub const EXPELLED: i32 = 4;
}

/// A running node; dropped, it is killed.
#[derive(Debug)]
pub struct NodeProcess {
    child: Child,
}

/// How a node that could not start has ended.
#[derive(Debug)]
pub struct Refusal {
    pub code: Option<i32>,
    pub stderr: String,
}

/// The `leasehold` that was built beside this test or program.
///
/// # Panics
/// If it was not built.
#[must_use]
pub fn program() -> PathBuf {
    let own = std::env::current_exe().expect("a running program has a path");
    // target/<profile>/deps/<test>, or target/<profile>/<program>.
    let places = own.ancestors().skip(1).take(2).map(|directory| directory.join("leasehold"));
    let program = places.into_iter().find(|place| place.is_file());
    program.unwrap_or_else(|| panic!("no leasehold beside {}: run `cargo build`", own.display()))
}

/// Lets a node start that must not, and returns what it says.
///
/// # Panics
/// If it does not end by itself.
pub async fn refuse(config: &Path) -> Refusal {
    let mut command = program_command(config);
    let ended = tokio::time::timeout(REFUSAL_DEADLINE, command.kill_on_drop(true).output()).await;
    let output = ended.expect("a node that can't start must end").expect("it can be run");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Refusal { code: output.status.code(), stderr }
}

/// `leasehold serve`, to which more arguments may be added.
#[must_use]
pub fn program_command(config: &Path) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(program());
    command.args(["serve", "--config"]).arg(config).stdin(Stdio::null());
    command
}

impl NodeProcess {
    /// Starts a node, whose output is added to `log`. `launcher` is the beginning of a command that
    /// becomes the node, or nothing.
    ///
    /// # Panics
    /// If the program or the log can't be opened.
    #[must_use]
    pub fn spawn(launcher: &[String], config: &Path, log: &Path) -> Self {
        let log = OpenOptions::new().create(true).append(true).open(log).expect("a log file");
        let program = program().into_os_string();
        let mut words = launcher.iter().map(OsString::from).chain([program]);
        let child = Command::new(words.next().expect("a program"))
            .args(words)
            .args(["serve", "--config"])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("the program can be run");
        Self { child }
    }

    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a crash would: nothing is flushed, nobody is told.
    ///
    /// # Panics
    /// If the system refuses.
    pub fn kill_9(&mut self) {
        self.child.kill().expect("an own child can be killed");
        self.child.wait().expect("an own child can be waited for");
    }

    /// Asks it to stop, and waits until it has.
    ///
    /// # Panics
    /// If it does not.
    pub async fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended(STOP_DEADLINE).await
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    /// If it has not within `within`.
    pub async fn ended(&mut self, within: Duration) -> ExitStatus {
        until("the node ends", within, async || self.has_ended()).await
    }

    /// How it has ended, if it has.
    ///
    /// # Panics
    /// If the system can't tell.
    #[must_use]
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("an own child can be waited for")
    }

    /// Whether it runs still.
    #[must_use]
    pub fn is_running(&mut self) -> bool {
        self.has_ended().is_none()
    }

    /// Freezes it, as a virtual machine or a swapping host would.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Ends a pause.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Has it read its certificates again.
    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("an own child can be signalled");
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
