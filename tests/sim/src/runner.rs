//! Runs seeds: one with a trace, or many on all cores; and looks for seeds that notice a mutation.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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

/// Told of each report, with how many seeds were run by then, and how many of them failed; tells
/// whether to go on.
pub(crate) type Progress<'a> = &'a (dyn Fn(&Report, u64, u64) -> bool + Sync);

/// After as many failures the rest of the seeds is not run.
const FAILURES_MAX: u64 = 20;

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
    fn add(&mut self, report: Report) {
        self.seeds += 1;
        self.tally.merge(&report.tally);
        self.over_issued = self.over_issued.max(report.over_issued);
        self.lasted += report.lasted;
        if report.violation.is_some() {
            self.failures.push(report);
        }
    }

    fn merge(&mut self, other: Summary) {
        self.seeds += other.seeds;
        self.tally.merge(&other.tally);
        self.over_issued = self.over_issued.max(other.over_issued);
        self.lasted += other.lasted;
        self.failures.extend(other.failures);
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

/// Runs seeds in turn, on all cores, to the last of them or until it is told to stop.
#[must_use]
pub fn run_many(seeds: Range<u64>, on_progress: Progress<'_>) -> Summary {
    let next = AtomicU64::new(seeds.start);
    let (done, failed) = (AtomicU64::new(0), AtomicU64::new(0));
    let is_over = AtomicBool::new(false);
    let work = || {
        let mut summary = Summary::default();
        while !is_over.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            let report = run(seed, None);
            let failures = u64::from(report.violation.is_some());
            let failures = failed.fetch_add(failures, Ordering::Relaxed) + failures;
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            let goes_on = on_progress(&report, done, failures);
            summary.add(report);
            if !goes_on || failures >= FAILURES_MAX {
                is_over.store(true, Ordering::Relaxed);
            }
        }
        summary
    };
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let mut total = Summary::default();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            total.merge(thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
    });
    total.failures.sort_by_key(|report| report.seed);
    total
}

/// Runs seeds in turn until one of them notices that a rule is missing.
#[must_use]
pub fn hunt(mutation: Mutation, most: u64) -> Option<Report> {
    (0..most).map(|seed| run(seed, Some(mutation))).find(|report| report.violation.is_some())
}
