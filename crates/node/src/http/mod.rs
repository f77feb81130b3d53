//! HTTP for machines: `/metrics` for Prometheus, `/livez` and `/readyz` for whatever watches the
//! process. It serves no people and changes nothing.
//!
//! `/livez` says that the process runs and answers: a node whose core failed has ended already,
//! and restarting one that merely waits for a leader would help nobody. `/readyz` says whether
//! engines should come here; it names what is missing, and with `?verbose` every check.

mod readiness;
mod telemetry;
#[cfg(test)]
mod tests;

use std::time::Duration;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio_util::sync::CancellationToken;

use crate::tls::{Connection, Limits, Listener};
pub use readiness::{Check, Readiness};
pub use telemetry::{InstallError, Telemetry};

/// What the pages show.
#[derive(Clone, Debug)]
pub struct Pages {
    pub telemetry: Telemetry,
    pub readiness: Readiness,
}

/// Serves the pages until `stop`, then lets requests under way finish. Meant to be restarted if
/// it panics; the listener is then bound still.
pub async fn serve(listener: Listener, pages: Pages, stop: CancellationToken) {
    let telemetry = pages.telemetry.clone();
    let mut server = Server {
        router: router(pages),
        builder: connection_builder(),
        graceful: GracefulShutdown::new(),
    };
    let mut incoming = listener.incoming();
    let mut upkeep = tokio::time::interval(UPKEEP_INTERVAL);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            _ = upkeep.tick() => telemetry.upkeep(),
            connection = incoming.next() => match connection {
                Some(connection) => server.serve(connection),
                None => break,
            }
        }
    }
    drop(incoming);
    server.graceful.shutdown().await;
}

/// A few scrapers and probes; more is a mistake or an attack.
#[must_use]
pub fn limits() -> Limits {
    Limits { connections_max: 256, handshakes_max: 64, ..Limits::default() }
}

/// Histograms keep each sample until they are folded: 5 s of a busy node are a few megabytes.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);
/// A request's head fits in one packet; a client that needs longer only holds a connection.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);

struct Server {
    router: Router,
    builder: Builder<TokioExecutor>,
    graceful: GracefulShutdown,
}

impl Server {
    fn serve(&mut self, connection: Connection) {
        let service = TowerToHyperService::new(self.router.clone());
        let served = self.builder.serve_connection(TokioIo::new(connection), service);
        let served = self.graceful.watch(served.into_owned());
        tokio::spawn(async move {
            if let Err(error) = served.await {
                tracing::debug!(%error, "an HTTP connection ended early");
            }
        });
    }
}

fn connection_builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_DEADLINE);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(HEAD_DEADLINE);
    builder
}

fn router(pages: Pages) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get("ok\n"))
        .route("/readyz", get(readyz))
        .fallback(not_found)
        .with_state(pages)
}

async fn metrics(State(pages): State<Pages>) -> Response {
    let format = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (format, pages.telemetry.render()).into_response()
}

async fn readyz(State(pages): State<Pages>, RawQuery(query): RawQuery) -> Response {
    let is_verbose = query.is_some_and(|query| query.split('&').any(|key| key == "verbose"));
    let (is_ready, text) = pages.readiness.report(is_verbose);
    let counter = if is_ready {
        metrics::counter!("leasehold_server_health_success_total")
    } else {
        metrics::counter!("leasehold_server_health_failures_total")
    };
    counter.increment(1);
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, text).into_response()
}

async fn not_found() -> Response {
    (StatusCode::NOT_FOUND, "not found: there are /metrics, /livez and /readyz[?verbose]\n")
        .into_response()
}

/// The recorder of the test process, which can have only one.
#[cfg(test)]
pub(crate) fn test_telemetry() -> &'static Telemetry {
    static INSTALLED: std::sync::OnceLock<Telemetry> = std::sync::OnceLock::new();
    INSTALLED.get_or_init(|| Telemetry::install().expect("the first and only recorder"))
}
