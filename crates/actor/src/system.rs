//! The whole of a process's actors: runs until one fails or a signal comes, then stops in order.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::supervise::Report;
use crate::{ActorFailed, ActorState, Stage};

/// Stages of actors. Invariant: when [`System::run`] returns, every actor has been told to stop
/// after those of all earlier stages had ended or been aborted.
#[derive(Debug)]
pub struct System {
    stages: Vec<Stage>,
    report: Report,
    failures: mpsc::Receiver<ActorFailed>,
}

impl Default for System {
    fn default() -> Self {
        Self::new()
    }
}

impl System {
    #[must_use]
    pub fn new() -> Self {
        // One place: the first failure is the one to report.
        let (sender, failures) = mpsc::channel(1);
        let states = Arc::new(watch::Sender::new(BTreeMap::new()));
        Self { stages: Vec::new(), report: Report { failures: sender, states }, failures }
    }

    /// Adds a stage. Stages stop in the order in which they were added.
    pub fn stage(&mut self, name: &'static str) -> Stage {
        let stage = Stage {
            name,
            stop: CancellationToken::new(),
            abort: CancellationToken::new(),
            tasks: TaskTracker::new(),
            report: self.report.clone(),
        };
        self.stages.push(stage.clone());
        stage
    }

    /// The state of every actor by its name.
    #[must_use]
    pub fn observe(&self) -> watch::Receiver<BTreeMap<&'static str, ActorState>> {
        self.report.states.subscribe()
    }

    /// Runs until `signal` completes or an actor that must not fail did; then stops stage by
    /// stage, within `deadline` altogether.
    ///
    /// # Errors
    /// The first failure of an actor that must not fail, before or during the stop.
    pub async fn run(
        mut self,
        signal: impl Future<Output = ()>,
        deadline: Duration,
    ) -> Result<(), ActorFailed> {
        let failed = tokio::select! {
            biased;
            failed = self.failures.recv() => failed,
            () = signal => None,
        };
        tracing::info!(?deadline, failed = failed.is_some(), "stopping");
        self.stop_stages(deadline).await;
        match failed.or_else(|| self.failures.try_recv().ok()) {
            Some(failed) => Err(failed),
            None => Ok(()),
        }
    }

    async fn stop_stages(&self, deadline: Duration) {
        let end = Instant::now() + deadline;
        for (index, stage) in self.stages.iter().enumerate() {
            let is_last = index + 1 == self.stages.len();
            let left = end.saturating_duration_since(Instant::now());
            // A stage that hangs leaves half of the time to those after it.
            stage.stop_within(if is_last { left } else { left / 2 }).await;
        }
    }
}

impl Stage {
    async fn stop_within(&self, allowed: Duration) {
        tracing::debug!(stage = self.name, ?allowed, "stopping");
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(allowed, self.tasks.wait()).await.is_err() {
            self.abort.cancel();
            self.tasks.wait().await;
        }
    }
}
