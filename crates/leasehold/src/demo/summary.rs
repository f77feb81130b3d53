//! What the demo found, from the engines' own records, and whether that is good.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::engines::{Counts, GrantedCheckout};
use super::verdict::{self, FeatureUse, Interval};
use crate::cli::{lines, table};

/// A node that was killed and started again; times on the engines' clock.
#[derive(Clone, Debug, Serialize)]
pub struct Outage {
    pub node: String,
    pub killed_ms: u64,
    pub started_ms: u64,
    /// Calls that ran when it was killed.
    pub calls_running: usize,
}

/// Everything that the verdict rests on.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    pub took_ms: u64,
    pub engines: usize,
    pub calls_asked: u64,
    pub calls_served: u64,
    pub calls_lost: u64,
    pub calls_that_outlived_a_lifetime: u64,
    pub denied: BTreeMap<String, u64>,
    pub denied_by_feature: BTreeMap<String, u64>,
    /// Of checkouts that no outage delayed, in microseconds.
    pub checkout_p50_us: u64,
    pub checkout_p99_us: u64,
    /// The longest that a checkout waited for a node to come back.
    pub longest_wait_in_outage_ms: u64,
    pub outages: Vec<Outage>,
    /// From the first kill to the first checkout that was granted after it; `null`: none was.
    pub without_service_ms: Option<u64>,
    pub features: Vec<FeatureUse>,
    /// Units that could not be checked out again in the end, by feature.
    pub not_free_again: BTreeMap<String, u64>,
    pub is_good: bool,
}

/// What was observed.
#[derive(Debug)]
pub(super) struct Observed<'a> {
    pub(super) took: Duration,
    pub(super) engines: usize,
    pub(super) counts: &'a Counts,
    /// When units were in use by calls.
    pub(super) calls: &'a [Interval],
    /// The same, and by the final check.
    pub(super) all: &'a [Interval],
    pub(super) entitled: &'a BTreeMap<String, u64>,
    pub(super) outages: Vec<Outage>,
    pub(super) not_free_again: BTreeMap<String, u64>,
}

impl Summary {
    pub(super) fn of(observed: Observed<'_>) -> Self {
        let Observed { took, engines, counts, calls, all, entitled, outages, not_free_again } =
            observed;
        let service_ms = outages.first().map(|outage| first_grant_after(outage, &counts.granted));
        let is_delayed = |checkout: &GrantedCheckout| {
            outages.iter().any(|outage| {
                let end_ms = first_grant_after(outage, &counts.granted).unwrap_or(u64::MAX);
                checkout.granted_ms >= outage.killed_ms && checkout.asked_ms <= end_ms
            })
        };
        let (delayed, prompt): (Vec<_>, Vec<_>) =
            counts.granted.iter().partition(|c| is_delayed(c));
        let mut prompt_us: Vec<u64> =
            prompt.iter().map(|checkout: &&GrantedCheckout| micros(checkout.took)).collect();
        prompt_us.sort_unstable();
        let mut features = verdict::judge(all, entitled);
        let is_clean = verdict::is_clean(&features);
        // The final check uses everything at once, which says nothing about the calls.
        let by_calls = verdict::judge(calls, entitled);
        for used in &mut features {
            let by_calls = by_calls.iter().find(|by_calls| by_calls.feature == used.feature);
            used.most_in_use = by_calls.map_or(0, |by_calls| by_calls.most_in_use);
        }
        let is_good = counts.lost == 0
            && counts.ended > 0
            && is_clean
            && not_free_again.is_empty()
            && service_ms.is_none_or(|first| first.is_some());
        Self {
            took_ms: micros(took) / 1_000,
            engines,
            calls_asked: counts.asked,
            calls_served: counts.ended,
            calls_lost: counts.lost,
            calls_that_outlived_a_lifetime: counts.outlived_a_lifetime,
            denied: counts.denied.clone(),
            denied_by_feature: counts.denied_by_feature.clone(),
            checkout_p50_us: percentile(&prompt_us, 50),
            checkout_p99_us: percentile(&prompt_us, 99),
            longest_wait_in_outage_ms: delayed
                .iter()
                .map(|checkout| micros(checkout.took) / 1_000)
                .max()
                .unwrap_or(0),
            without_service_ms: service_ms
                .flatten()
                .and_then(|first| Some(first - outages.first()?.killed_ms)),
            outages,
            features,
            not_free_again,
            is_good,
        }
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let denied: u64 = self.denied.values().sum();
        let running: usize = self.outages.iter().map(|outage| outage.calls_running).sum();
        let service = match (self.without_service_ms, self.outages.is_empty()) {
            (Some(ms), _) => format!(
                "{} for new calls, from the kill to the next checkout; none for running calls",
                seconds(ms)
            ),
            (None, false) => "NO checkout was granted after the kill".to_owned(),
            (None, true) => "none".to_owned(),
        };
        format!(
            "Summary, after {} with {} engines\n\
             \n  calls                 {} asked for: {} served, {denied} denied\
             \n  running calls lost    {}; {running} ran when the node was killed, {} ran longer \
                                       than a checkout lives\
             \n  denied                {}\
             \n  a checkout took       p50 {}, p99 {}; in the outage up to {}\
             \n  time without service  {service}\
             \n  free again at the end {}\
             \n\nMost units in use at once, added up from what each engine noted:\n\n{}\n{}\n",
            seconds(self.took_ms),
            self.engines,
            self.calls_asked,
            self.calls_served,
            self.calls_lost,
            self.calls_that_outlived_a_lifetime,
            counted(&self.denied, &self.denied_by_feature),
            milliseconds(self.checkout_p50_us),
            milliseconds(self.checkout_p99_us),
            seconds(self.longest_wait_in_outage_ms),
            self.free_again(),
            self.features(),
            self.verdict()
        )
    }

    fn free_again(&self) -> String {
        if self.not_free_again.is_empty() {
            return "every unit of every feature could be checked out once more".to_owned();
        }
        let missing = self.not_free_again.iter();
        let missing = missing.map(|(feature, units)| format!("{units} of {feature}"));
        format!("NOT: {} could not be checked out at once", missing.collect::<Vec<_>>().join(", "))
    }

    fn features(&self) -> String {
        let numbers = ["MOST IN USE", "ENTITLED", "OVER-ISSUED"];
        let head = [&["FEATURE"][..], &numbers].concat();
        let mut table = table(&head, &numbers);
        for used in &self.features {
            table.add_row([
                used.feature.clone(),
                used.most_in_use.to_string(),
                used.entitled.to_string(),
                format!("{} ms", used.over_issued_ms),
            ]);
        }
        let indented = lines(&table);
        indented.lines().map(|line| format!("  {line}\n")).collect()
    }

    fn verdict(&self) -> String {
        if self.is_good {
            return "Verdict: good. No running call was lost, no unit was over-issued.".to_owned();
        }
        let over: u64 = self.features.iter().map(|used| used.over_issued_ms).sum();
        let mut wrong = Vec::new();
        if self.calls_served == 0 {
            wrong.push("no call was served".to_owned());
        }
        if self.calls_lost > 0 {
            wrong.push(format!("{} running calls lost their license", self.calls_lost));
        }
        if over > 0 {
            wrong.push(format!("units were over-issued for {over} ms"));
        }
        if !self.not_free_again.is_empty() {
            wrong.push("units did not become free again".to_owned());
        }
        if self.without_service_ms.is_none() && !self.outages.is_empty() {
            wrong.push("service did not come back".to_owned());
        }
        format!("Verdict: BAD: {}.", wrong.join("; "))
    }
}

/// Grants that were under way when the node was killed do not count.
fn first_grant_after(outage: &Outage, granted: &[GrantedCheckout]) -> Option<u64> {
    let times = granted.iter().map(|checkout| checkout.granted_ms);
    times.filter(|granted_ms| *granted_ms > outage.started_ms).min()
}

fn counted(denied: &BTreeMap<String, u64>, by_feature: &BTreeMap<String, u64>) -> String {
    if denied.is_empty() {
        return "none".to_owned();
    }
    let list = |map: &BTreeMap<String, u64>| {
        let parts: Vec<_> = map.iter().map(|(name, count)| format!("{count} {name}")).collect();
        parts.join(", ")
    };
    if by_feature.is_empty() {
        return list(denied);
    }
    format!("{} (by feature: {})", list(denied), list(by_feature))
}

fn percentile(sorted: &[u64], per_cent: usize) -> u64 {
    let rank = (sorted.len() * per_cent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn milliseconds(us: u64) -> String {
    format!("{}.{:02} ms", us / 1_000, us % 1_000 / 10)
}

fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1_000, ms % 1_000 / 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(asked_ms: u64, granted_ms: u64) -> GrantedCheckout {
        let took = Duration::from_millis(granted_ms - asked_ms);
        GrantedCheckout { asked_ms, granted_ms, took }
    }

    fn summary(counts: &Counts, intervals: &[Interval], missing: &[(&str, u64)]) -> Summary {
        let entitled = BTreeMap::from([("cpa".to_owned(), 1)]);
        let outage = Outage {
            node: "east-1".to_owned(),
            killed_ms: 10_000,
            started_ms: 13_000,
            calls_running: 4,
        };
        let missing = missing.iter().map(|(feature, units)| ((*feature).to_owned(), *units));
        Summary::of(Observed {
            took: Duration::from_secs(60),
            engines: 3,
            counts,
            calls: intervals,
            all: intervals,
            entitled: &entitled,
            outages: vec![outage],
            not_free_again: missing.collect(),
        })
    }

    fn good_counts() -> Counts {
        let quick = (0..99).map(|n| granted(n * 50, n * 50 + 2));
        let waited = [granted(9_999, 10_001), granted(11_000, 13_900), granted(20_000, 20_007)];
        let granted = quick.chain(waited).collect();
        Counts { asked: 103, ended: 102, granted, ..Counts::default() }
    }

    #[test]
    fn checkouts_that_waited_for_the_node_are_told_apart_from_the_others() {
        let summary = summary(&good_counts(), &[], &[]);
        assert_eq!(summary.without_service_ms, Some(3_900));
        assert_eq!(summary.longest_wait_in_outage_ms, 2_900);
        assert_eq!((summary.checkout_p50_us, summary.checkout_p99_us), (2_000, 2_000));
        assert!(summary.is_good, "{}", summary.text());
        assert!(summary.text().ends_with("no unit was over-issued.\n"), "{}", summary.text());
    }

    #[test]
    fn a_lost_call_an_over_issue_and_units_that_stay_away_are_each_bad() {
        let lost = Counts { lost: 1, ..good_counts() };
        let text = summary(&lost, &[], &[]).text();
        assert!(text.contains("BAD: 1 running calls lost their license"), "{text}");

        let twice = [0, 5].map(|from_ms| Interval {
            lines: vec![("cpa".to_owned(), 1)],
            from_ms,
            until_ms: 6,
        });
        let text = summary(&good_counts(), &twice, &[]).text();
        assert!(text.contains("BAD: units were over-issued for 1 ms"), "{text}");

        let text = summary(&good_counts(), &[], &[("cpa", 1)]).text();
        assert!(text.contains("BAD: units did not become free again"), "{text}");

        let nothing = Counts { granted: vec![granted(0, 1)], ..good_counts() };
        let text = summary(&nothing, &[], &[]).text();
        assert!(text.contains("BAD: service did not come back"), "{text}");
    }
}
