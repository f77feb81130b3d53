//! Stages of actors, and the task beside each actor that watches it.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::{ActorFailed, Backoff, BoxError};

/// Actors that stop together; cheap to clone, also for actors that start further actors.
#[derive(Clone, Debug)]
pub struct Stage {
    pub(crate) name: &'static str,
    /// Tells the actors to stop; each has a child of it.
    pub(crate) stop: CancellationToken,
    /// Ends the actors that did not.
    pub(crate) abort: CancellationToken,
    pub(crate) tasks: TaskTracker,
    pub(crate) report: Report,
}

/// A running actor. Dropping it changes nothing.
#[derive(Debug)]
pub struct Actor {
    stop: CancellationToken,
    watcher: JoinHandle<()>,
}

/// What the kernel knows of an actor, by name in [`crate::System::observe`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActorState {
    Running { incarnation: u32 },
    Resting { incarnation: u32, cause: String },
    Ended,
}

/// Where the watchers tell what happened.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) failures: mpsc::Sender<ActorFailed>,
    pub(crate) states: Arc<watch::Sender<BTreeMap<&'static str, ActorState>>>,
}

impl Actor {
    /// Tells the actor to stop, and waits until it has: for actors that live shorter than their
    /// stage, such as those of a leader.
    pub async fn stop(self) {
        self.stop.cancel();
        // The watcher has no way to fail but the runtime's end.
        let _ = self.watcher.await;
    }
}

impl Stage {
    /// Runs an actor that must not fail: an error or a panic at any time, or an end before it is
    /// told to stop, ends the system.
    pub fn spawn<F>(
        &self,
        name: &'static str,
        actor: impl FnOnce(CancellationToken) -> F + Send + 'static,
    ) -> Actor
    where
        F: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        let stage = self.clone();
        self.watch(name, |stop| async move {
            if let Err(failed) = stage.run_once(name, 1, &stop, actor).await {
                tracing::error!(actor = name, "{}", failed.one_line());
                // Full: another actor failed first, and its failure is the one to report.
                let _ = stage.report.failures.try_send(failed);
            }
        })
    }

    /// Runs an edge actor: whenever it ends before it is told to stop, it rests and starts anew.
    pub fn spawn_restarted<F>(
        &self,
        name: &'static str,
        backoff: Backoff,
        mut actor: impl FnMut(CancellationToken) -> F + Send + 'static,
    ) -> Actor
    where
        F: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        let stage = self.clone();
        self.watch(name, |stop| async move {
            let mut rest = Duration::ZERO;
            for incarnation in 1.. {
                let began = Instant::now();
                let run = stage.run_once(name, incarnation, &stop, &mut actor);
                let Err(failed) = run.await else { return };
                if stop.is_cancelled() {
                    tracing::warn!(actor = name, "while stopping: {}", failed.one_line());
                    return;
                }
                rest = backoff.rest(rest, began.elapsed());
                stage.rest(name, incarnation, &failed, rest, &stop).await;
                if stop.is_cancelled() {
                    return;
                }
            }
        })
    }

    fn watch<W>(&self, name: &'static str, watcher: impl FnOnce(CancellationToken) -> W) -> Actor
    where
        W: Future<Output = ()> + Send + 'static,
    {
        let stop = self.stop.child_token();
        let (watcher, report) = (watcher(stop.clone()), self.report.clone());
        // Decided here, not in the task: what was spawned before the stop does run and clean up.
        let starts = !stop.is_cancelled();
        let watcher = self.tasks.spawn(async move {
            if starts {
                watcher.await;
            }
            report.set(name, ActorState::Ended);
        });
        Actor { stop, watcher }
    }

    /// One run of an actor in a task of its own, so that a panic ends nothing else.
    async fn run_once<F>(
        &self,
        name: &'static str,
        incarnation: u32,
        stop: &CancellationToken,
        actor: impl FnOnce(CancellationToken) -> F,
    ) -> Result<(), ActorFailed>
    where
        F: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        self.report.set(name, ActorState::Running { incarnation });
        let span = tracing::info_span!("actor", name, incarnation);
        let mut task = tokio::spawn(actor(stop.clone()).instrument(span));
        let ended = tokio::select! {
            biased;
            ended = &mut task => ended,
            () = self.abort.cancelled() => {
                // Not awaited: a task that blocks its thread can't be aborted.
                task.abort();
                tracing::warn!(actor = name, stage = self.name, "did not stop in time: aborted");
                return Ok(());
            }
        };
        match ended {
            Ok(Ok(())) if stop.is_cancelled() => Ok(()),
            ended => Err(ActorFailed::of(name, ended)),
        }
    }

    async fn rest(
        &self,
        name: &'static str,
        incarnation: u32,
        failed: &ActorFailed,
        rest: Duration,
        stop: &CancellationToken,
    ) {
        let cause = failed.one_line();
        tracing::warn!(actor = name, incarnation, ?rest, "{cause}: starting it again");
        metrics::counter!("leasehold_actor_restarts_total", "actor" => name).increment(1);
        self.report.set(name, ActorState::Resting { incarnation, cause });
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = tokio::time::sleep(rest) => {}
        }
    }
}

impl Report {
    fn set(&self, name: &'static str, state: ActorState) {
        self.states.send_modify(|states| {
            states.insert(name, state);
        });
    }
}
