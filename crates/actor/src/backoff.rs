//! How long a failed edge actor rests before it is started again.

use std::time::Duration;

/// Doubling rests between `least` and `most`, from the start again after a run of `most`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    pub least: Duration,
    pub most: Duration,
}

impl Default for Backoff {
    /// A second is unnoticed by operators; a minute keeps a lasting failure from filling the log.
    fn default() -> Self {
        Self { least: Duration::from_secs(1), most: Duration::from_secs(60) }
    }
}

impl Backoff {
    /// The rest after a run that lasted `ran_for`, which began after `last_rest`.
    pub(crate) fn rest(&self, last_rest: Duration, ran_for: Duration) -> Duration {
        if ran_for >= self.most {
            return self.least;
        }
        last_rest.saturating_mul(2).clamp(self.least, self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_double_up_to_the_most_and_start_over_after_a_long_run() {
        let seconds = Duration::from_secs;
        let backoff = Backoff { least: seconds(1), most: seconds(5) };
        let mut rest = Duration::ZERO;
        let rests: Vec<u64> = [0, 0, 4, 0, 5, 0]
            .map(|ran_for| {
                rest = backoff.rest(rest, seconds(ran_for));
                rest.as_secs()
            })
            .to_vec();
        assert_eq!(rests, [1, 2, 4, 5, 1, 2]);
    }
}
