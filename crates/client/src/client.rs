//! The handle that engines hold; clones share one task.

use std::sync::Arc;

use leasehold_clock::Clock;
use leasehold_proto::v1::CheckoutLine;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use crate::book::{Book, Patience, Terms};
use crate::config::{ClientConfig, InvalidConfig};
use crate::connection::{Connection, random};
use crate::error::CheckoutError;
use crate::guard::Guard;
use crate::observer::Observer;
use crate::router::Router;
use crate::task::{ClientRequest, ClientTask, REQUESTS_MAX};

/// Checks licenses out and keeps them. Cheap to clone.
///
/// Its task ends when all clones and guards are gone and their check-ins were tried.
#[derive(Clone, Debug)]
pub struct Client {
    requests: mpsc::Sender<ClientRequest>,
}

/// What a checkout may ask for beside features.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckoutOptions {
    /// How long to wait for units that are in use, 0 to 60000 ms.
    pub wait_ms: u64,
    /// When the engine's software was built, `YYYY-MM-DD`.
    pub build_date: Option<String>,
}

/// Licenses by what they are doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientStatus {
    /// Waiting for their first answer.
    pub asking: usize,
    pub active: usize,
    pub lapsed: usize,
    /// Being checked in.
    pub ending: usize,
}

impl Client {
    /// Starts a client. Connections are opened with the first call. Needs a tokio runtime.
    ///
    /// # Errors
    /// If a setting is wrong or a TLS file cannot be used.
    pub fn connect(config: &ClientConfig) -> Result<Self, InvalidConfig> {
        Self::connect_with(config, Clock::default(), None)
    }

    /// As [`Client::connect`], with a clock of the caller's and an observer of every use.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub fn connect_with(
        config: &ClientConfig,
        clock: Clock,
        observer: Option<Arc<dyn Observer>>,
    ) -> Result<Self, InvalidConfig> {
        let connections = Connection::to_all(config)?;
        let is_near = |site: &str| !config.site.is_empty() && site == config.site;
        let nearness: Vec<bool> =
            config.endpoints.iter().map(|endpoint| is_near(&endpoint.site)).collect();
        let deadlines = config.deadlines;
        let probe_ms = deadlines.call_ms;
        let router = Router::new(&nearness, probe_ms, u64::from_be_bytes(random()?));
        let patience = Patience { call_ms: deadlines.call_ms, checkout_ms: deadlines.checkout_ms };
        let book = Book::new(patience, router, u128::from_be_bytes(random()?));
        let (requests, receiver) = mpsc::channel(REQUESTS_MAX);
        let task = ClientTask::new(book, connections, clock, observer, receiver);
        tokio::spawn(task.run());
        Ok(Self { requests })
    }

    /// Takes units of all these features out, or of none.
    ///
    /// # Errors
    /// If a node denied it or none answered in time.
    pub async fn checkout(&self, features: &[(&str, u64)]) -> Result<Guard, CheckoutError> {
        self.checkout_with(features, CheckoutOptions::default()).await
    }

    /// As [`Client::checkout`], with options.
    ///
    /// # Errors
    /// As [`Client::checkout`].
    pub async fn checkout_with(
        &self,
        features: &[(&str, u64)],
        options: CheckoutOptions,
    ) -> Result<Guard, CheckoutError> {
        let line = |(feature, units): &(&str, u64)| CheckoutLine {
            feature: (*feature).to_owned(),
            units: *units,
        };
        let terms = Terms {
            lines: features.iter().map(line).collect(),
            wait_ms: options.wait_ms,
            build_date: options.build_date.unwrap_or_default(),
        };
        let (answer, answered) = oneshot::channel();
        match self.requests.try_send(ClientRequest::Checkout { terms, answer }) {
            Ok(()) => answered.await.unwrap_or(Err(CheckoutError::Stopped)),
            Err(TrySendError::Full(_)) => Err(CheckoutError::Overloaded { most: REQUESTS_MAX }),
            Err(TrySendError::Closed(_)) => Err(CheckoutError::Stopped),
        }
    }

    /// Waits until every check-in was acknowledged, denied or given up: to be called before the
    /// engine's process ends. Guards that are still held are not waited for.
    pub async fn flush(&self) {
        let (answer, answered) = oneshot::channel();
        if self.requests.send(ClientRequest::Flush { answer }).await.is_ok() {
            // An error means that the task has ended, and with it every check-in.
            let _ = answered.await;
        }
    }

    /// What the client's licenses are doing; all zero when its task has ended.
    pub async fn status(&self) -> ClientStatus {
        let (answer, answered) = oneshot::channel();
        if self.requests.send(ClientRequest::Status { answer }).await.is_err() {
            return ClientStatus::default();
        }
        answered.await.unwrap_or_default()
    }
}
