//! What was measured, beside what is asked of it.

use comfy_table::Table;
use serde::Serialize;

use super::load::Measured;
use super::samples::{Latency, Samples, median};
use super::{Load, Plan};
use crate::cli::{lines, table};

/// The result; field names are those of the JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// How this program was built: a figure without it says little.
    pub build: &'static str,
    /// `null`: a node of its own, beside an echo.
    pub endpoint: Option<String>,
    pub tls: bool,
    pub cores: usize,
    pub rounds: usize,
    pub seconds_per_run: f64,
    pub connections: usize,
    pub runs: Vec<Run>,
    /// Empty without an echo.
    pub targets: Vec<Target>,
}

/// One load against the node, and against the echo if there is one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Run {
    pub concurrency: usize,
    pub items_per_call: usize,
    pub node: Side,
    pub echo: Option<Side>,
    /// The node's checkouts a second by the echo's: the median of the rounds.
    pub throughput_ratio: Option<f64>,
    /// The node's median latency by the echo's: the median of the rounds.
    pub p50_ratio: Option<f64>,
}

/// What one side did.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Side {
    /// Items, each checked out and checked in again; the median of the rounds.
    pub checkouts_per_s: f64,
    /// Of the calls that check out, over all rounds.
    #[serde(flatten)]
    pub latency: Latency,
}

/// One thing that is asked of the node.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Target {
    pub what: String,
    pub measured: f64,
    pub expected: String,
    pub met: bool,
}

/// Of the echo's throughput, for calls of one item.
const SINGLE_LEAST: f64 = 0.8;
/// Of the echo's throughput, for calls of many items: licensing is paid by item, transport by call.
const BATCHED_LEAST: f64 = 0.4;
/// Of the echo's median latency, with one call at a time.
const ALONE_P50_MOST: f64 = 1.3;

/// The profile of this build.
pub(super) const BUILD: &str =
    if cfg!(debug_assertions) { "dev (with debug assertions)" } else { "release" };

impl Run {
    pub(super) fn alone(load: &Load, rounds: &[Measured]) -> Self {
        Self {
            concurrency: load.concurrency,
            items_per_call: load.items,
            node: Side::of(rounds),
            echo: None,
            throughput_ratio: None,
            p50_ratio: None,
        }
    }

    pub(super) fn beside_echo(load: &Load, rounds: &[(Measured, Measured)]) -> Self {
        let (node, echo): (Vec<Measured>, Vec<Measured>) = rounds.iter().cloned().unzip();
        let p50 = |side: &Measured| side.calls.clone().latency().p50_us;
        let throughput =
            rounds.iter().map(|(node, echo)| node.checkouts_per_s / echo.checkouts_per_s);
        let p50s = rounds.iter().map(|(node, echo)| p50(node) / p50(echo));
        Self {
            echo: Some(Side::of(&echo)),
            throughput_ratio: Some(median(throughput)),
            p50_ratio: Some(median(p50s)),
            ..Self::alone(load, &node)
        }
    }

    fn target(&self) -> Option<Target> {
        let (name, measured, bound, is_least) = match (self.concurrency, self.items_per_call) {
            (1, 1) => {
                ("median latency of one call at a time", self.p50_ratio?, ALONE_P50_MOST, false)
            }
            (_, 1) => ("checkouts/s, one item a call", self.throughput_ratio?, SINGLE_LEAST, true),
            (_, _) => {
                ("checkouts/s, many items a call", self.throughput_ratio?, BATCHED_LEAST, true)
            }
        };
        Some(Target {
            what: format!("{name}, by the echo's"),
            measured,
            expected: format!("at {} {bound}", if is_least { "least" } else { "most" }),
            met: if is_least { measured >= bound } else { measured <= bound },
        })
    }
}

impl Side {
    fn of(rounds: &[Measured]) -> Self {
        let mut calls = Samples::default();
        rounds.iter().for_each(|round| calls.append(round.calls.clone()));
        let checkouts_per_s = median(rounds.iter().map(|round| round.checkouts_per_s));
        Self { checkouts_per_s, latency: calls.latency() }
    }
}

impl Report {
    pub(super) fn new(plan: &Plan, endpoint: Option<String>, tls: bool, runs: Vec<Run>) -> Self {
        Self {
            build: BUILD,
            endpoint,
            tls,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            rounds: plan.rounds,
            seconds_per_run: plan.run.as_secs_f64(),
            connections: plan.connections,
            targets: runs.iter().filter_map(Run::target).collect(),
            runs,
        }
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let side = match &self.endpoint {
            Some(endpoint) => format!("the node at {endpoint}; without an echo beside it"),
            None => "a node and a bare echo of the same messages, both in this process".to_owned(),
        };
        let mut text = format!(
            "build        {}\n\
             measured     {side}, {}\n\
             runs         {} rounds of {} s each, {} connections, {} cores; clients run on them too\n\
             checkout     each with its check-in; latency is that of the checkout's call\n\n{}",
            self.build,
            if self.tls { "over TLS" } else { "in plain text" },
            self.rounds,
            self.seconds_per_run,
            self.connections,
            self.cores,
            lines(&self.runs()),
        );
        if !self.targets.is_empty() {
            text += &format!("\n{}", lines(&self.targets()));
        }
        text
    }

    fn runs(&self) -> Table {
        let numbers = [
            "AT A TIME",
            "ITEMS",
            "CHECKOUTS/S",
            "P50 µs",
            "P90 µs",
            "P99 µs",
            "P99.9 µs",
            "MAX µs",
        ];
        let head = [&["SIDE"][..], &numbers].concat();
        let mut table = table(&head, &numbers);
        for run in &self.runs {
            for (name, side) in [("node", Some(&run.node)), ("echo", run.echo.as_ref())] {
                let Some(Side { checkouts_per_s, latency }) = side else { continue };
                let Latency { p50_us, p90_us, p99_us, p999_us, max_us } = latency;
                let whole = |value: &f64| format!("{value:.0}");
                let durations = [p50_us, p90_us, p99_us, p999_us, max_us].map(whole);
                let about = [
                    name.to_owned(),
                    run.concurrency.to_string(),
                    run.items_per_call.to_string(),
                    whole(checkouts_per_s),
                ];
                table.add_row([&about[..], &durations].concat());
            }
        }
        table
    }

    fn targets(&self) -> Table {
        let mut table = table(&["RATIO", "MEASURED", "EXPECTED", "VERDICT"], &["MEASURED"]);
        for target in &self.targets {
            table.add_row([
                target.what.clone(),
                format!("{:.2}", target.measured),
                target.expected.clone(),
                if target.met { "pass" } else { "FAIL" }.to_owned(),
            ]);
        }
        table
    }
}
