//! Whether the disk still does its duty: the first failure, and how long a sync has been running.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::error::StorageError;

#[derive(Debug)]
pub(super) struct Pulse {
    failure: watch::Sender<Option<StorageError>>,
    sync_began: Mutex<Option<Instant>>,
}

impl Pulse {
    pub(super) fn new() -> Self {
        Self { failure: watch::Sender::new(None), sync_began: Mutex::new(None) }
    }

    /// Notes a failure, and gives back the first one.
    pub(super) fn fail(&self, error: StorageError) -> StorageError {
        let first = self.failure.send_if_modified(|failure| {
            let is_first = failure.is_none();
            failure.get_or_insert_with(|| error.clone());
            is_first
        });
        if first {
            tracing::error!(%error, "the log can't be written any more");
        }
        self.failure.borrow().clone().unwrap_or(error)
    }

    pub(super) fn check(&self) -> Result<(), StorageError> {
        self.failure.borrow().clone().map_or(Ok(()), Err)
    }

    pub(super) fn failed(&self) -> watch::Receiver<Option<StorageError>> {
        self.failure.subscribe()
    }

    pub(super) fn begin_sync(&self) {
        *self.sync_began.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    pub(super) fn end_sync(&self) {
        *self.sync_began.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(super) fn stalled_for(&self) -> Duration {
        let began = *self.sync_began.lock().unwrap_or_else(PoisonError::into_inner);
        began.map_or(Duration::ZERO, |began| began.elapsed())
    }
}
