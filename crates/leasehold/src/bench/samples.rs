//! Durations of calls, and what is said of them.

use std::time::Duration;

use serde::Serialize;

/// Every duration: a few seconds of calls are some hundred thousand, so that percentiles can be
/// exact.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples {
    nanoseconds: Vec<u64>,
}

/// Percentiles in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Latency {
    pub p50_us: f64,
    pub p90_us: f64,
    pub p99_us: f64,
    #[serde(rename = "p99_9_us")]
    pub p999_us: f64,
    pub max_us: f64,
}

impl Samples {
    pub(super) fn add(&mut self, duration: Duration) {
        self.nanoseconds.push(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(super) fn append(&mut self, mut others: Self) {
        self.nanoseconds.append(&mut others.nanoseconds);
    }

    /// All zeros if nothing was measured.
    pub(super) fn latency(mut self) -> Latency {
        self.nanoseconds.sort_unstable();
        let at = |per_mille: usize| {
            let last = self.nanoseconds.len().saturating_sub(1);
            let rank = (self.nanoseconds.len() * per_mille).div_ceil(1_000).saturating_sub(1);
            let value = self.nanoseconds.get(rank.min(last)).copied().unwrap_or(0);
            (Duration::from_nanos(value).as_secs_f64() * 1e9).round() / 1e3
        };
        Latency {
            p50_us: at(500),
            p90_us: at(900),
            p99_us: at(990),
            p999_us: at(999),
            max_us: at(1_000),
        }
    }
}

/// The middle one, or the upper of the two in the middle; 0 of none.
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_measured_values_and_the_largest_is_the_maximum() {
        let mut samples = Samples::default();
        for microseconds in (1..=1_000).rev() {
            samples.add(Duration::from_micros(microseconds));
        }
        let latency = samples.latency();
        assert_eq!(latency.p50_us, 500.0);
        assert_eq!(latency.p90_us, 900.0);
        assert_eq!(latency.p99_us, 990.0);
        assert_eq!(latency.p999_us, 999.0);
        assert_eq!(latency.max_us, 1_000.0);
        assert_eq!(Samples::default().latency(), Latency::default());
    }

    #[test]
    fn one_slow_round_does_not_move_the_median() {
        assert_eq!(median([0.8, 0.1, 0.9]), 0.8);
        assert_eq!(median([]), 0.0);
    }
}
