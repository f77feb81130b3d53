//! How a command ends when it did not do what it was asked to.

use std::io::Write;
use std::process::ExitCode;

/// Exit codes; documented in `--help` and never changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Done = 0,
    /// Refused, denied or failed.
    Failed = 1,
    /// The command line is wrong; clap uses the same.
    Usage = 2,
    /// No answer of a node that could have given one.
    Unreachable = 3,
    /// `serve`: the node has no place in its cluster any more; started again it would end again.
    Expelled = 4,
    /// What shells report for a program that SIGINT ended.
    Interrupted = 130,
}

/// Why a command failed, and with which code.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    /// Nothing is said if everything was said already.
    error: Option<anyhow::Error>,
}

impl Failure {
    #[must_use]
    pub fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, error: Some(anyhow::Error::msg(message.into())) }
    }

    #[must_use]
    pub fn unreachable(message: impl Into<String>) -> Self {
        Self { exit: Exit::Unreachable, error: Some(anyhow::Error::msg(message.into())) }
    }

    #[must_use]
    pub fn failed(message: impl Into<String>) -> Self {
        Self { exit: Exit::Failed, error: Some(anyhow::Error::msg(message.into())) }
    }

    #[must_use]
    pub fn expelled(why: &impl std::fmt::Display) -> Self {
        Self { exit: Exit::Expelled, error: Some(anyhow::Error::msg(why.to_string())) }
    }

    /// What went wrong has been printed.
    #[must_use]
    pub fn silent(exit: Exit) -> Self {
        Self { exit, error: None }
    }

    #[must_use]
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// Says what went wrong, in one line, and gives the exit code.
    #[must_use]
    pub fn report(&self) -> ExitCode {
        if let Some(error) = &self.error {
            // If standard error is closed too, nobody is left to tell.
            let _ = writeln!(std::io::stderr(), "leasehold: {error:#}");
        }
        self.exit.into()
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.error {
            Some(error) => write!(f, "{error:#}"),
            None => write!(f, "exit code {}", self.exit as u8),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self { exit: Exit::Failed, error: Some(error) }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}
