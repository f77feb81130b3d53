//! Randomness for load: arrivals and durations. It keeps no secret.

use std::time::Duration;

/// splitmix64 (Steele, Lea and Flood, 2014).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// From 0 to below `bound`; 0 if that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// The time to the next of events that are independent and have this mean distance: what makes
    /// arrivals a Poisson process.
    pub(super) fn until_next(&mut self, mean: Duration) -> Duration {
        mean.mul_f64(-(1.0 - self.fraction()).ln())
    }

    /// Between both, with as much chance for each doubling: many short calls, some long ones.
    pub(super) fn log_uniform(&mut self, least: Duration, most: Duration) -> Duration {
        least.mul_f64((most.as_secs_f64() / least.as_secs_f64()).powf(self.fraction()))
    }

    /// From 0 to below 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_keep_their_bounds_and_arrivals_their_mean() {
        let mut dice = Dice::new(9);
        let (least, most) = (Duration::from_secs(2), Duration::from_secs(60));
        let mut total = Duration::ZERO;
        for _ in 0..10_000 {
            let call = dice.log_uniform(least, most);
            assert!(call >= least && call <= most, "{call:?}");
            total += dice.until_next(Duration::from_secs(1));
        }
        assert!((9_500..10_500).contains(&total.as_secs()), "{total:?}");
    }
}
