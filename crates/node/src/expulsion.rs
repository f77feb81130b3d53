//! The cluster says that this node has no place in it any more: the node ends by itself.

use std::sync::Arc;

use tokio::sync::watch;

/// Told once, by whoever hears it first; cheap to clone.
#[derive(Clone, Debug)]
pub struct Expulsion(Arc<watch::Sender<Option<String>>>);

impl Default for Expulsion {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

impl Expulsion {
    pub(crate) fn tell(&self, reason: &str) {
        self.0.send_if_modified(|known| {
            let is_first = known.is_none();
            known.get_or_insert_with(|| reason.to_owned());
            is_first
        });
    }

    /// Completes with the reason if this node is expelled, never otherwise.
    pub(crate) async fn told(&self) -> String {
        let mut told = self.0.subscribe();
        // The sender is this very value: it outlives the wait.
        match told.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone()) {
            Some(reason) => reason,
            None => std::future::pending().await,
        }
    }
}
