//! Runs seeds: one with a trace, or many on all cores.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

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
    pub trace: Vec<String>,
}

/// What came of many seeds.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    pub seeds: u64,
    pub tally: Tally,
    /// The failures, lowest seed first.
    pub failures: Vec<Report>,
}

/// Seeds take turns in standing for a class of runs (see `Plan`): every fourth is of one class.
const CLASSES: u64 = 4;
/// After as many failures the rest of the seeds is not run.
const FAILURES_MAX: usize = 20;

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
        trace: world.lines.unwrap_or_default(),
    }
}

/// Runs all seeds, on all cores.
#[must_use]
pub fn run_many(seeds: Range<u64>) -> Summary {
    run_all(seeds, 1, None)
}

/// Runs hostile seeds until one of them notices that a rule is missing.
#[must_use]
pub fn run_mutated(seeds: Range<u64>, mutation: Mutation) -> Summary {
    run_all(seeds, CLASSES, Some(mutation))
}

fn run_all(seeds: Range<u64>, step: u64, mutation: Option<Mutation>) -> Summary {
    let next = AtomicU64::new(seeds.start);
    let is_over = AtomicBool::new(false);
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        let mut summary = Summary::default();
        while !is_over.load(Ordering::Relaxed) {
            let seed = next.fetch_add(step, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            let report = run(seed, mutation);
            summary.seeds += 1;
            summary.tally.merge(&report.tally);
            if report.violation.is_some() {
                summary.failures.push(report);
                if mutation.is_some() || summary.failures.len() >= FAILURES_MAX {
                    is_over.store(true, Ordering::Relaxed);
                }
            }
        }
        summary
    };
    let mut total = Summary::default();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            let Ok(summary) = thread.join() else { continue };
            total.seeds += summary.seeds;
            total.tally.merge(&summary.tally);
            total.failures.extend(summary.failures);
        }
    });
    total.failures.sort_by_key(|report| report.seed);
    total
}
