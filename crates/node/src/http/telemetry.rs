//! The process's metrics: where they are gathered and how Prometheus reads them.

use metrics_exporter_prometheus::{
    BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
use metrics_process::Collector;

/// Everything that was recorded through the `metrics` crate, and the process's own numbers; cheap
/// to clone.
#[derive(Clone, Debug)]
pub struct Telemetry {
    handle: PrometheusHandle,
    process: Collector,
}

#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    #[error("the buckets of a histogram are not valid")]
    Buckets(#[from] BuildError),
    #[error("another recorder of metrics is installed in this process already")]
    Installed,
}

impl Telemetry {
    /// Makes this the recorder of the process. To be called before anything makes a metric, for a
    /// metric that was made before is lost.
    ///
    /// # Errors
    /// If there is one already.
    pub fn install() -> Result<Self, InstallError> {
        let recorder = recorder()?;
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder).map_err(|_| InstallError::Installed)?;
        let telemetry = Self { handle, process: Collector::default() };
        telemetry.process.describe();
        leasehold_actor::describe_metrics();
        crate::tls::describe_metrics();
        metrics::describe_gauge!("leasehold_ready", "1 if engines should come to this node.");
        Ok(telemetry)
    }

    /// All metrics, in Prometheus's text format.
    #[must_use]
    pub fn render(&self) -> String {
        self.process.collect();
        self.handle.render()
    }

    /// Folds samples into their histograms; must be called every few seconds.
    pub(super) fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

/// From the desk's microseconds to the longest wait in a queue.
const SECONDS: [f64; 16] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 5.0, 30.0,
];
/// From a small request to a large snapshot.
const BYTES: [f64; 8] =
    [256.0, 1_024.0, 4_096.0, 16_384.0, 65_536.0, 1_048_576.0, 16_777_216.0, 268_435_456.0];
/// For what is counted, such as the entries of a batch. Without buckets a histogram would come
/// out as a summary, which can't be added up over nodes.
const COUNTS: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 64.0, 256.0, 1_024.0];

fn recorder() -> Result<PrometheusRecorder, BuildError> {
    let suffix = |unit: &str| Matcher::Suffix(unit.to_owned());
    Ok(PrometheusBuilder::new()
        .set_buckets_for_metric(suffix("_seconds"), &SECONDS)?
        .set_buckets_for_metric(suffix("_bytes"), &BYTES)?
        .set_buckets(&COUNTS)?
        .build_recorder())
}
