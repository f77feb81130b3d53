//! Runs seeds: one with a trace, or many on all cores; and looks for seeds that notice a mutation.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use leasehold_proof::revision;

use crate::clock::Time;
use crate::mutation::Mutation;
use crate::tally::Tally;
use crate::world::World;

/// What came of one seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub seed: u64,
    /// What was broken, if anything.
    pub violation: Option<String>,
    pub tally: Tally,
    /// Running calls that ended for want of a renewal, each with its story.
    pub losses: Vec<String>,
    /// The most units of a pool in use beyond those lent out.
    pub over_issued: u64,
    /// How long the run lasted in true time, in microseconds.
    pub lasted: Time,
    pub trace: Vec<String>,
}

/// What came of many seeds.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    pub seeds: u64,
    pub tally: Tally,
    pub over_issued: u64,
    pub lasted: Time,
    /// The failures, lowest seed first.
    pub failures: Vec<Report>,
}

/// Told of each report, and what has come of all seeds so far.
pub(crate) type Progress<'a> = &'a (dyn Fn(&Report, &Summary) + Sync);

/// A mutation that lives on for so many seeds has survived: far more than any needs.
pub const SEEDS_MAX: u64 = 2_000;
/// After as many failures the rest of the seeds is not run.
const FAILURES_MAX: usize = 20;

impl Report {
    /// What failed, in which version, and how to see it again.
    #[must_use]
    pub fn story(&self) -> String {
        let Report { seed, violation, .. } = self;
        let violation = violation.as_deref().unwrap_or_default();
        format!(
            "seed {seed} at {}: {violation}\n  replay: cargo run -p leasehold-sim -- --seed {seed} \
             --trace",
            revision()
        )
    }
}

impl Summary {
    fn add(&mut self, report: &Report) {
        self.seeds += 1;
        self.tally.merge(&report.tally);
        self.over_issued = self.over_issued.max(report.over_issued);
        self.lasted += report.lasted;
        if report.violation.is_some() {
            self.failures.push(report.clone());
            self.failures.sort_by_key(|report| report.seed);
        }
    }
}

#[must_use]
pub fn run(seed: u64, mutation: Option<Mutation>) -> Report {
    run_world(seed, mutation, false)
}

#[must_use]
pub fn run_traced(seed: u64, mutation: Option<Mutation>) -> Report {
    run_world(seed, mutation, true)
}

fn run_world(seed: u64, mutation: Option<Mutation>, is_traced: bool) -> Report {
    let mut world = World::new(seed, mutation, is_traced);
    // A machine's own assertions count as well.
    let panicked = catch_unwind(AssertUnwindSafe(|| world.run())).err();
    // Of a mutation only safety is asked.
    let panicked = panicked.filter(|_| mutation.is_none()).map(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        format!("panic: {}", text.unwrap_or_default())
    });
    Report {
        seed,
        violation: panicked.or(world.violation),
        tally: world.tally,
        losses: world.losses,
        over_issued: world.over_issued,
        lasted: world.now,
        trace: world.lines.unwrap_or_default(),
    }
}

/// Runs seeds in turn, on all cores.
#[must_use]
pub fn run_many(seeds: Range<u64>, on_progress: Progress<'_>) -> Summary {
    let next = AtomicU64::new(seeds.start);
    let summary = Mutex::new(Summary::default());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            let report = run(seed, None);
            let mut summary = summary.lock().unwrap_or_else(PoisonError::into_inner);
            summary.add(&report);
            on_progress(&report, &summary);
            if summary.failures.len() >= FAILURES_MAX {
                break;
            }
        }
    };
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        (0..workers).for_each(|_| {
            scope.spawn(work);
        });
    });
    summary.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Runs seeds in turn, at most [`SEEDS_MAX`], until one of them notices that a rule is missing.
#[must_use]
pub fn hunt(mutation: Mutation) -> Option<Report> {
    (0..SEEDS_MAX).map(|seed| run(seed, Some(mutation))).find(|report| report.violation.is_some())
}
