//! Whether more units were in use at once than the customer is entitled to, from the engines' own
//! intervals alone.
//!
//! Every engine's times come from one clock, so intervals of different engines can be compared.
//! An interval is half open: a unit that one engine gives up in a millisecond may be in use by
//! another in the same one.

use std::collections::BTreeMap;

use serde::Serialize;

/// An engine might use these units from `from_ms` until before `until_ms`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interval {
    /// Feature and units.
    pub lines: Vec<(String, u64)>,
    pub from_ms: u64,
    pub until_ms: u64,
}

/// What a record proves.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Calls that were licensed at their start.
    pub calls: usize,
    /// How often a call lost its license before it ended.
    pub lost: usize,
    pub intervals: Vec<Interval>,
}

/// What the intervals say of one feature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FeatureUse {
    pub feature: String,
    pub entitled: u64,
    /// The most units that were in use at once.
    pub most_in_use: u64,
    /// How long more were in use than entitled.
    pub over_issued_ms: u64,
    /// When that began, on the engines' clock.
    pub over_issued_from_ms: Option<u64>,
}

/// Adds up overlapping intervals per feature; a feature that nobody is entitled to counts as 0.
#[must_use]
pub fn judge(intervals: &[Interval], entitled: &BTreeMap<String, u64>) -> Vec<FeatureUse> {
    let mut changes = changes(intervals);
    for feature in entitled.keys() {
        changes.entry(feature).or_default();
    }
    let judged = changes.into_iter().map(|(feature, changes)| {
        sweep(feature, entitled.get(feature).copied().unwrap_or(0), &changes)
    });
    judged.collect()
}

/// Whether nothing was over-issued.
#[must_use]
pub fn is_clean(uses: &[FeatureUse]) -> bool {
    uses.iter().all(|used| used.over_issued_ms == 0)
}

impl Verdict {
    /// The most units of `feature` that were in use at the same time.
    #[must_use]
    pub fn most_in_use(&self, feature: &str) -> u64 {
        let uses = judge(&self.intervals, &BTreeMap::new());
        uses.iter().find(|used| used.feature == feature).map_or(0, |used| used.most_in_use)
    }

    /// The longest time between two moments in which fewer than `units` of `feature` were in use.
    #[must_use]
    pub fn longest_below(&self, feature: &str, units: u64, from_ms: u64, until_ms: u64) -> u64 {
        let (mut in_use, mut longest, mut below_since) = (0, 0, Some(from_ms));
        let changes = changes(&self.intervals);
        for (at_ms, change) in changes.get(feature).into_iter().flatten() {
            in_use += change;
            let at_ms = (*at_ms).clamp(from_ms, until_ms);
            if in_use >= i128::from(units) {
                longest = longest.max(below_since.take().map_or(0, |since| at_ms - since));
            } else {
                below_since.get_or_insert(at_ms);
            }
        }
        longest.max(below_since.map_or(0, |since| until_ms - since))
    }

    /// Uses that began in a span of time.
    #[must_use]
    pub fn began_between(&self, from_ms: u64, until_ms: u64) -> usize {
        let is_within = |it: &&Interval| (from_ms..until_ms).contains(&it.from_ms);
        self.intervals.iter().filter(is_within).count()
    }
}

/// By how many units the use of each feature changes at which time.
fn changes(intervals: &[Interval]) -> BTreeMap<&str, BTreeMap<u64, i128>> {
    let mut changes: BTreeMap<&str, BTreeMap<u64, i128>> = BTreeMap::new();
    for Interval { lines, from_ms, until_ms } in intervals {
        if from_ms >= until_ms {
            continue;
        }
        for (feature, units) in lines {
            let of_feature = changes.entry(feature).or_default();
            *of_feature.entry(*from_ms).or_default() += i128::from(*units);
            *of_feature.entry(*until_ms).or_default() -= i128::from(*units);
        }
    }
    changes
}

/// `changes`: by how many units the use changes at which time; changes of one time are one.
fn sweep(feature: &str, entitled: u64, changes: &BTreeMap<u64, i128>) -> FeatureUse {
    let mut found = FeatureUse {
        feature: feature.to_owned(),
        entitled,
        most_in_use: 0,
        over_issued_ms: 0,
        over_issued_from_ms: None,
    };
    let mut in_use = 0;
    let mut since_ms = 0;
    for (at_ms, change) in changes {
        if in_use > i128::from(entitled) {
            found.over_issued_ms += at_ms - since_ms;
            found.over_issued_from_ms.get_or_insert(since_ms);
        }
        in_use += change;
        since_ms = *at_ms;
        found.most_in_use = found.most_in_use.max(u64::try_from(in_use).unwrap_or(u64::MAX));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(feature: &str, units: u64, from_ms: u64, until_ms: u64) -> Interval {
        Interval { lines: vec![(feature.to_owned(), units)], from_ms, until_ms }
    }

    fn entitled(pairs: &[(&str, u64)]) -> BTreeMap<String, u64> {
        pairs.iter().map(|(feature, units)| ((*feature).to_owned(), *units)).collect()
    }

    #[test]
    fn an_over_issue_of_one_unit_for_one_millisecond_is_caught() {
        let intervals =
            [interval("cpa", 1, 0, 100), interval("cpa", 1, 50, 200), interval("cpa", 1, 99, 300)];
        let uses = judge(&intervals, &entitled(&[("cpa", 2)]));
        assert_eq!(uses.len(), 1);
        assert_eq!((uses[0].most_in_use, uses[0].over_issued_ms), (3, 1));
        assert_eq!(uses[0].over_issued_from_ms, Some(99));
        assert!(!is_clean(&uses));
    }

    #[test]
    fn a_unit_may_change_hands_within_a_millisecond() {
        let intervals = [interval("cpa", 2, 0, 100), interval("cpa", 2, 100, 200)];
        let uses = judge(&intervals, &entitled(&[("cpa", 2)]));
        assert_eq!((uses[0].most_in_use, uses[0].over_issued_ms), (2, 0));
        assert!(is_clean(&uses));
    }

    #[test]
    fn features_are_counted_apart_and_several_lines_each() {
        let both = Interval {
            lines: vec![("asr.tier1".to_owned(), 3), ("cpa".to_owned(), 1)],
            from_ms: 10,
            until_ms: 20,
        };
        let intervals = [both, interval("cpa", 1, 15, 30)];
        let uses = judge(&intervals, &entitled(&[("asr.tier1", 3), ("cpa", 1)]));
        assert_eq!((uses[0].feature.as_str(), uses[0].most_in_use), ("asr.tier1", 3));
        assert_eq!(uses[0].over_issued_ms, 0);
        assert_eq!((uses[1].feature.as_str(), uses[1].over_issued_ms), ("cpa", 5));
    }

    #[test]
    fn the_longest_time_below_a_level_counts_both_ends() {
        let intervals = vec![interval("cpa", 1, 5, 10), interval("cpa", 1, 17, 20)];
        let verdict = Verdict { calls: 2, lost: 0, intervals };
        assert_eq!(verdict.longest_below("cpa", 1, 0, 20), 7);
        assert_eq!(verdict.longest_below("cpa", 1, 0, 40), 20);
        assert_eq!((verdict.most_in_use("cpa"), verdict.began_between(5, 17)), (1, 1));
    }

    #[test]
    fn a_feature_that_nobody_is_entitled_to_is_over_issued() {
        let uses = judge(&[interval("asr.none", 1, 5, 6)], &BTreeMap::new());
        assert_eq!((uses[0].entitled, uses[0].over_issued_ms), (0, 1));
    }

    #[test]
    fn empty_intervals_and_unused_features_count_nothing() {
        let intervals = [interval("cpa", 9, 7, 7), interval("cpa", 9, 8, 3)];
        let uses = judge(&intervals, &entitled(&[("cpa", 1), ("tts.emma", 4)]));
        assert_eq!(uses.len(), 2);
        assert!(uses.iter().all(|used| used.most_in_use == 0));
        assert!(is_clean(&uses));
    }

    #[test]
    fn two_separate_over_issues_add_up_and_the_first_is_told() {
        let intervals =
            [interval("cpa", 2, 10, 13), interval("cpa", 1, 0, 50), interval("cpa", 1, 40, 45)];
        let uses = judge(&intervals, &entitled(&[("cpa", 1)]));
        assert_eq!((uses[0].over_issued_ms, uses[0].over_issued_from_ms), (8, Some(10)));
        assert_eq!(uses[0].most_in_use, 3);
    }
}
