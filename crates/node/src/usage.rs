//! Counts what engines did, by feature, for operators. Nothing about a call is kept.
//!
//! Labels come from the entitlement's features only: an engine can't invent time series.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use leasehold_core::desk::message::{Answer, CheckoutItem};
use leasehold_core::id::FeatureId;
use leasehold_proto::v1;
use metrics::Counter;

/// Shared by all calls.
#[derive(Clone, Default)]
pub struct Usage {
    features: Arc<ArcSwap<BTreeMap<FeatureId, FeatureCounters>>>,
}

#[derive(Clone)]
struct FeatureCounters {
    asked: Counter,
    denied: Counter,
    recognitions: Counter,
    syntheses: Counter,
}

impl Usage {
    /// Counts these features from now on; what was counted before goes on.
    pub fn set_features(&self, features: impl IntoIterator<Item = FeatureId>) {
        let counters = features.into_iter().map(|feature| {
            let counters = FeatureCounters::new(&feature);
            (feature, counters)
        });
        self.features.store(Arc::new(counters.collect()));
    }

    pub(crate) fn count_asked(&self, item: &CheckoutItem) {
        let features = self.features.load();
        for line in &item.lines {
            if let Some(counters) = features.get(&line.feature) {
                counters.asked.increment(1);
            }
        }
    }

    pub(crate) fn count_answer(&self, answer: &Answer) {
        let Answer::Denied(denial) = answer else { return };
        let reason = denial.reason.as_str();
        metrics::counter!("leasehold_denials_total", "reason" => reason).increment(1);
        let features = self.features.load();
        let feature = denial.feature.as_ref();
        if let Some(counters) = feature.and_then(|feature| features.get(feature)) {
            counters.denied.increment(1);
        }
    }

    pub(crate) fn count_overrun(&self, overrun_ms: u64) {
        if overrun_ms > 0 {
            metrics::counter!("leasehold_overrun_milliseconds_total").increment(overrun_ms);
        }
    }

    pub(crate) fn count_work(&self, work: &[v1::FeatureUsage]) {
        let features = self.features.load();
        for done in work {
            if let Some(counters) = features.get(done.feature.as_str()) {
                counters.recognitions.increment(done.recognitions);
                counters.syntheses.increment(done.syntheses);
            }
        }
    }
}

impl FeatureCounters {
    fn new(feature: &FeatureId) -> Self {
        let label = || feature.as_str().to_owned();
        Self {
            asked: metrics::counter!("leasehold_feature_checkouts_total", "feature" => label()),
            denied: metrics::counter!("leasehold_feature_denials_total", "feature" => label()),
            recognitions: metrics::counter!("leasehold_recognitions_total", "feature" => label()),
            syntheses: metrics::counter!("leasehold_syntheses_total", "feature" => label()),
        }
    }
}
