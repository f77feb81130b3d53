//! A small actor kernel on tokio: bounded mailboxes, supervision, ordered shutdown.
//!
//! An actor is a bounded mailbox, a handle with typed async methods around its [`Mailbox`], and a
//! task that owns the [`Inbox`]. The kernel decides nothing about what actors do.
//!
//! ```text
//!  XHandle ── ask / try_send ──▶ Mailbox ══▶ Inbox ──▶ XTask::run(stop)
//!                                                        ▲ supervised, by name, in a Stage
//!                                 System::run ───────────┘ first failure or signal: stop stages
//! ```
//!
//! * Nothing queues without end: a full mailbox refuses at once.
//! * Every ask ends: with the answer, or `Overloaded`, `Stopped` or `TimedOut`.
//! * An actor that may not fail ([`Stage::spawn`]) takes the process down in order when it does;
//!   an edge actor ([`Stage::spawn_restarted`]) is started anew with backoff, for ever: a courier
//!   that fails must never stop licensing.
//! * There is no registry and no global state: several systems run in one process.
//!
//! Metrics go to the recorder that is installed when a mailbox is made, so install it first.

mod backoff;
mod end;
mod mailbox;
mod supervise;
mod system;

pub use backoff::Backoff;
pub use end::{ActorFailed, BoxError};
pub use mailbox::{AskError, Inbox, Mailbox, Reply, SendError, mailbox};
pub use supervise::{Actor, ActorState, Stage};
pub use system::System;
/// Told to each actor; cancelled when it is to stop.
pub use tokio_util::sync::CancellationToken;

/// Says what the kernel's metrics mean, to the recorder that is installed.
pub fn describe_metrics() {
    metrics::describe_gauge!(
        "leasehold_actor_mailbox_depth",
        "Requests that wait in an actor's mailbox."
    );
    metrics::describe_histogram!(
        "leasehold_actor_wait_duration_seconds",
        "Time that requests waited in an actor's mailbox; one in 64 is measured."
    );
    metrics::describe_histogram!(
        "leasehold_actor_handle_duration_seconds",
        "Time that an actor took to handle a request; one in 64 is measured."
    );
    metrics::describe_counter!(
        "leasehold_actor_restarts_total",
        "Edge actors that failed and were started again."
    );
}
