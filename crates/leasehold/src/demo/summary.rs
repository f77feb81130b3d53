//! What the demo found, from the engines' own records, and whether that is good.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::draws::Draw;
use super::engines::{Counts, GrantedCheckout};
use super::look::MovedCalls;
use super::offer::SCARCE;
use super::story::Outage;
use super::verdict::{self, FeatureUse, Interval};
use crate::cli::{lines, table};

/// Everything that the verdict rests on.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    pub took_ms: u64,
    pub engines: usize,
    pub sites: usize,
    /// Between two sites; `null`: no delay.
    pub round_trip_ms: Option<u64>,
    pub calls_asked: u64,
    pub calls_granted: usize,
    pub calls_lost: u64,
    pub calls_that_outlived_a_lifetime: u64,
    pub denied: BTreeMap<String, u64>,
    pub denied_by_feature: BTreeMap<String, u64>,
    /// Of all checkouts, those in outages too, in microseconds.
    pub checkout_p50_us: u64,
    pub checkout_p99_us: u64,
    pub checkout_longest_us: u64,
    /// The same while all was well: after the first seconds and before the first kill, for features
    /// that are not scarce.
    pub usual_p50_us: u64,
    pub usual_p99_us: u64,
    /// As the nodes count them.
    pub moved: MovedCalls,
    /// Of draws by nodes that do not lead, while all were well.
    pub draws: usize,
    pub draw_p50_ms: u64,
    pub draw_longest_ms: u64,
    pub outages: Vec<OutageSummary>,
    pub features: Vec<FeatureUse>,
    /// Units that could not be checked out again in the end, by feature.
    pub not_free_again: BTreeMap<String, u64>,
    pub is_good: bool,
}

/// What a kill did.
#[derive(Clone, Debug, Serialize)]
pub struct OutageSummary {
    #[serde(flatten)]
    pub outage: Outage,
    /// By how many the units in checkouts at the other sites' nodes rose.
    pub units_moved: u64,
    /// The longest time without a new checkout at the other sites, until the node was started.
    pub pause_elsewhere_ms: u64,
    /// The same in as long a time before the kill.
    pub pause_before_ms: u64,
    /// From the kill to the first new checkout of the site's own engines; `null`: none was granted.
    pub first_checkout_ms: Option<u64>,
    /// From the kill to the first draw by another node; `null`: none was granted.
    pub first_draw_ms: Option<u64>,
}

/// What was observed.
#[derive(Debug)]
pub(super) struct Observed<'a> {
    pub(super) took: Duration,
    pub(super) engines: usize,
    pub(super) sites: usize,
    pub(super) round_trip: Option<Duration>,
    pub(super) counts: &'a Counts,
    /// When units were in use by calls.
    pub(super) calls: &'a [Interval],
    /// The same, and by the final check.
    pub(super) all: &'a [Interval],
    pub(super) entitled: &'a BTreeMap<String, u64>,
    pub(super) outages: Vec<Outage>,
    pub(super) moved: MovedCalls,
    pub(super) draws: &'a [Draw],
    pub(super) not_free_again: BTreeMap<String, u64>,
}

/// All engines begin at once, at nodes that have nothing at hand yet.
const WARM_UP_MS: u64 = 5_000;

impl Summary {
    pub(super) fn of(observed: Observed<'_>) -> Self {
        let Observed { counts, draws, not_free_again, .. } = observed;
        let granted = &counts.granted;
        let took_us = sorted(granted.iter().map(|checkout| micros(checkout.took)));
        let warm_ms = granted.iter().map(|it| it.asked_ms).min().unwrap_or(0) + WARM_UP_MS;
        let ill_ms = observed.outages.iter().map(|it| it.killed_ms).min().unwrap_or(u64::MAX);
        let is_usual = |it: &&GrantedCheckout| {
            !it.is_scarce && it.asked_ms >= warm_ms && it.granted_ms < ill_ms
        };
        let usual = granted.iter().filter(is_usual);
        let usual_us = sorted(usual.map(|checkout| micros(checkout.took)));
        let draws_ms = draws.iter().filter(|draw| !draw.at_a_kill).map(|draw| draw.took_ms);
        let draws_ms = sorted(draws_ms);
        let outages: Vec<OutageSummary> = observed
            .outages
            .into_iter()
            .map(|outage| OutageSummary::of(outage, granted, draws))
            .collect();
        let features = features(observed.calls, observed.all, observed.entitled);
        let is_good = counts.lost == 0
            && counts.ended > 0
            && verdict::is_clean(&features)
            && not_free_again.is_empty()
            && outages.iter().all(OutageSummary::is_good);
        Self {
            took_ms: micros(observed.took) / 1_000,
            engines: observed.engines,
            sites: observed.sites,
            round_trip_ms: observed.round_trip.map(|round_trip| micros(round_trip) / 1_000),
            calls_asked: counts.asked,
            calls_granted: granted.len(),
            calls_lost: counts.lost,
            calls_that_outlived_a_lifetime: counts.outlived_a_lifetime,
            denied: counts.denied.clone(),
            denied_by_feature: counts.denied_by_feature.clone(),
            checkout_p50_us: percentile(&took_us, 50),
            checkout_p99_us: percentile(&took_us, 99),
            checkout_longest_us: percentile(&took_us, 100),
            usual_p50_us: percentile(&usual_us, 50),
            usual_p99_us: percentile(&usual_us, 99),
            moved: observed.moved,
            draws: draws_ms.len(),
            draw_p50_ms: percentile(&draws_ms, 50),
            draw_longest_ms: percentile(&draws_ms, 100),
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
        let MovedCalls { reclaimed, covered, handed_over } = self.moved;
        format!(
            "\nSummary, after {} with {} engines at {} sites{}\n\
             \n  calls                  {} asked for: {} granted, {denied} denied\
             \n  running calls lost     {}; {} ran longer than a checkout lives\
             \n  units over-issued      {}\
             \n  denied                 {}\
             \n  a checkout took        p50 {}, p99 {}, the longest {}; outages included\
             \n    in health            p50 {}, p99 {}; not at the start, nor of {SCARCE}, which is scarce\
             \n  a draw took            p50 {}, the longest {}, of {} by nodes that do not lead\
             \n  calls that moved       {}: {reclaimed} with their units, out of the dead node's ended \
                                        lease; {covered} onto\
             \n                         other units, before it had ended; {handed_over} out of the \
                                        hands of a node that lived\
             \n  free again at the end  {}\
             \n\n{}\
             \nMost units in use at once, added up from what each engine noted:\n\n{}\n{}\n",
            seconds(self.took_ms),
            self.engines,
            self.sites,
            self.round_trip_ms.map_or(String::new(), |ms| format!(", {ms} ms from each other")),
            self.calls_asked,
            self.calls_granted,
            self.calls_lost,
            self.calls_that_outlived_a_lifetime,
            self.over_issued(),
            counted(&self.denied, &self.denied_by_feature),
            milliseconds(self.checkout_p50_us),
            milliseconds(self.checkout_p99_us),
            milliseconds(self.checkout_longest_us),
            milliseconds(self.usual_p50_us),
            milliseconds(self.usual_p99_us),
            self.in_round_trips(self.draw_p50_ms),
            self.in_round_trips(self.draw_longest_ms),
            self.draws,
            reclaimed + covered + handed_over,
            self.free_again(),
            self.kills(),
            self.features(),
            self.verdict()
        )
    }

    fn in_round_trips(&self, took_ms: u64) -> String {
        match self.round_trip_ms {
            Some(round_trip_ms) => {
                let tenths = took_ms * 10 / round_trip_ms.max(1);
                format!("{took_ms} ms ({}.{} round trips)", tenths / 10, tenths % 10)
            }
            None => format!("{took_ms} ms"),
        }
    }

    /// One column for each kill.
    fn kills(&self) -> String {
        let line = |what: &str, value: &dyn Fn(&OutageSummary) -> String| {
            let values: String =
                self.outages.iter().map(|outage| format!("  {:>20}", value(outage))).collect();
            format!("  {what:<52}{values}\n")
        };
        let at = |ms: Option<u64>| ms.map_or("NEVER".to_owned(), short);
        [
            line("KILLED", &|it| format!("{}, {}", it.outage.node, it.role())),
            line("calls that ran", &|it| it.outage.calls_running.to_string()),
            line("  of its own site's engines", &|it| it.outage.calls_at_its_site.to_string()),
            line("started again after", &|it| seconds(it.outage.away_ms())),
            line("its engines' first new call, at another site, after", &|it| {
                at(it.first_checkout_ms)
            }),
            line("first draw by another node, after", &|it| at(it.first_draw_ms)),
            line("other sites: longest time without a new call", &|it| {
                short(it.pause_elsewhere_ms)
            }),
            line("  in as long a time before the kill", &|it| short(it.pause_before_ms)),
            line("units in use at its node", &|it| it.outage.units_in_use.to_string()),
            line("units in use at the other sites, and the most after it", &|it| {
                let Outage { units_in_use_elsewhere, most_in_use_elsewhere, .. } = it.outage;
                format!("{units_in_use_elsewhere} -> {most_in_use_elsewhere}")
            }),
            line("  moved there, about", &|it| it.units_moved.to_string()),
        ]
        .concat()
    }

    fn over_issued(&self) -> String {
        let over: Vec<String> = self
            .features
            .iter()
            .filter(|used| used.over_issued_ms > 0)
            .map(|used| format!("{} for {} ms", used.feature, used.over_issued_ms))
            .collect();
        if over.is_empty() { "0".to_owned() } else { over.join(", ") }
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
        if self.calls_granted == 0 {
            wrong.push("no call was granted".to_owned());
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
        for outage in self.outages.iter().filter(|outage| !outage.is_good()) {
            wrong.push(format!("service did not come back after {} died", outage.outage.node));
        }
        format!("Verdict: BAD: {}.", wrong.join("; "))
    }
}

impl OutageSummary {
    fn of(outage: Outage, granted: &[GrantedCheckout], draws: &[Draw]) -> Self {
        let Outage { site, killed_ms, started_ms, .. } = outage;
        let grants_elsewhere = sorted(
            granted
                .iter()
                .filter(|checkout| checkout.site != site)
                .map(|checkout| checkout.granted_ms),
        );
        let of_its_engines = granted.iter().filter(|it| it.site == site && it.asked_ms > killed_ms);
        let at_the_kill = draws
            .iter()
            .filter(|it| it.at_a_kill && (killed_ms..=started_ms).contains(&it.asked_ms));
        Self {
            units_moved: outage.most_in_use_elsewhere.saturating_sub(outage.units_in_use_elsewhere),
            pause_elsewhere_ms: longest_pause(&grants_elsewhere, killed_ms, started_ms),
            pause_before_ms: longest_pause(
                &grants_elsewhere,
                killed_ms.saturating_sub(outage.away_ms()),
                killed_ms,
            ),
            first_checkout_ms: of_its_engines.map(|it| it.granted_ms - killed_ms).min(),
            first_draw_ms: at_the_kill.map(|it| it.asked_ms - killed_ms + it.took_ms).min(),
            outage,
        }
    }

    fn is_good(&self) -> bool {
        self.first_checkout_ms.is_some() && self.first_draw_ms.is_some()
    }

    fn role(&self) -> &'static str {
        if self.outage.was_leader { "leader" } else { "follower" }
    }
}

/// Between `from_ms` and `until_ms`; `times` are sorted.
fn longest_pause(times: &[u64], from_ms: u64, until_ms: u64) -> u64 {
    let within = times.iter().copied().filter(|at_ms| (from_ms..until_ms).contains(at_ms));
    let ends = within.chain(std::iter::once(until_ms));
    let mut longest = 0;
    let mut last_ms = from_ms;
    for at_ms in ends {
        longest = longest.max(at_ms - last_ms);
        last_ms = at_ms;
    }
    longest
}

/// The final check uses everything at once, which says nothing about the calls.
fn features(
    calls: &[Interval],
    all: &[Interval],
    entitled: &BTreeMap<String, u64>,
) -> Vec<FeatureUse> {
    let mut features = verdict::judge(all, entitled);
    let by_calls = verdict::judge(calls, entitled);
    for used in &mut features {
        let by_calls = by_calls.iter().find(|by_calls| by_calls.feature == used.feature);
        used.most_in_use = by_calls.map_or(0, |by_calls| by_calls.most_in_use);
    }
    features
}

fn sorted(values: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    values
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

fn short(ms: u64) -> String {
    if ms < 1_000 { format!("{ms} ms") } else { seconds(ms) }
}

fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1_000, ms % 1_000 / 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(site: usize, asked_ms: u64, granted_ms: u64) -> GrantedCheckout {
        let took = Duration::from_millis(granted_ms - asked_ms);
        GrantedCheckout { site, is_scarce: false, asked_ms, granted_ms, took }
    }

    fn outage() -> Outage {
        Outage {
            node: "east-1".to_owned(),
            site: 0,
            was_leader: true,
            killed_ms: 10_000,
            started_ms: 13_000,
            calls_running: 4,
            calls_at_its_site: 1,
            units_in_use: 15,
            units_in_use_elsewhere: 20,
            most_in_use_elsewhere: 32,
        }
    }

    fn draw(asked_ms: u64, took_ms: u64, at_a_kill: bool) -> Draw {
        Draw { site: 1, asked_ms, took_ms, at_a_kill }
    }

    fn summary(counts: &Counts, intervals: &[Interval], missing: &[(&str, u64)]) -> Summary {
        let entitled = BTreeMap::from([("cpa".to_owned(), 1)]);
        let missing = missing.iter().map(|(feature, units)| ((*feature).to_owned(), *units));
        let draws = [draw(5_000, 7, false), draw(10_003, 1_900, true), draw(90_000, 1, true)];
        Summary::of(Observed {
            took: Duration::from_secs(60),
            engines: 3,
            sites: 2,
            round_trip: Some(Duration::from_millis(3)),
            counts,
            calls: intervals,
            all: intervals,
            entitled: &entitled,
            outages: vec![outage()],
            moved: MovedCalls::default(),
            draws: &draws,
            not_free_again: missing.collect(),
        })
    }

    fn good_counts() -> Counts {
        let quick = (0..150).map(|n| granted(1, n * 100, n * 100 + 2));
        let its_own = [granted(0, 9_999, 10_050), granted(0, 10_200, 11_400)];
        let granted: Vec<GrantedCheckout> =
            quick.filter(|it| !(11_000..11_700).contains(&it.asked_ms)).chain(its_own).collect();
        Counts { asked: 150, ended: 145, granted, ..Counts::default() }
    }

    #[test]
    fn an_outage_is_measured_at_the_other_sites_and_for_the_engines_of_its_own() {
        let summary = summary(&good_counts(), &[], &[]);
        let outage = &summary.outages[0];
        assert_eq!((outage.pause_elsewhere_ms, outage.pause_before_ms), (800, 100));
        assert_eq!(outage.first_checkout_ms, Some(1_400), "one that was asked for after the kill");
        assert_eq!(outage.first_draw_ms, Some(1_903));
        assert_eq!(outage.units_moved, 12);
        assert_eq!((summary.draws, summary.draw_longest_ms), (1, 7));
        assert_eq!((summary.checkout_p50_us, summary.checkout_longest_us), (2_000, 1_200_000));
        assert_eq!(summary.usual_p99_us, 2_000, "before the kill");
        assert_eq!(summary.in_round_trips(summary.draw_longest_ms), "7 ms (2.3 round trips)");
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

        let nothing = Counts { granted: vec![granted(0, 0, 1)], ..good_counts() };
        let text = summary(&nothing, &[], &[]).text();
        assert!(text.contains("BAD: service did not come back after east-1 died"), "{text}");
    }
}
