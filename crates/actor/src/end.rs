//! The ways in which an actor's task ends.

use tokio::task::JoinError;

/// What an actor's `run` may fail with.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// An actor that must not fail did. The process has to end: only a restart gives a known state.
#[derive(Debug, thiserror::Error)]
pub enum ActorFailed {
    #[error("{actor} panicked: {message}")]
    Panicked { actor: &'static str, message: String },
    #[error("{actor} failed")]
    Failed { actor: &'static str, source: BoxError },
    #[error("{actor} ended although nothing had told it to")]
    Ended { actor: &'static str },
}

impl ActorFailed {
    /// Why a run that nothing had told to stop is over.
    pub(crate) fn of(actor: &'static str, ended: Result<Result<(), BoxError>, JoinError>) -> Self {
        match ended {
            Ok(Ok(())) => Self::Ended { actor },
            Ok(Err(source)) => Self::Failed { actor, source },
            Err(error) => Self::Panicked { actor, message: panic_message(error) },
        }
    }

    /// The error with its causes on one line, for logs and observable state.
    pub(crate) fn one_line(&self) -> String {
        let mut line = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            line = format!("{line}: {error}");
            cause = error.source();
        }
        line
    }
}

fn panic_message(error: JoinError) -> String {
    let Ok(panic) = error.try_into_panic() else {
        return "its task was cancelled from outside".to_owned();
    };
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".to_owned())
}
