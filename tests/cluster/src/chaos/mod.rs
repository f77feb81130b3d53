//! Chaos: one fault after another on real processes under load, all drawn from a seed.
//!
//! ```text
//!  Plan ── seed ──▶ Fault ── inflict ──▶ Cluster ◀── Engines ──▶ Record
//!                     ▲                                             │
//!                     └── recovered: every member lends, a draw works ── judged: Judge
//! ```
//!
//! After each fault the cluster has to recover before the next one, and everything that engines
//! have noted until then is judged: see `judge`. A violation is a panic; the
//! cluster's directory with all logs then stays.
//!
//! Each fault draws from dice of its own: the same seed makes the same faults in the same order,
//! whatever each of them has met with. Which node leads is not drawn, and may differ.

mod damage;
mod fault;
mod judge;
mod load;
mod members;
mod network;
mod processes;
mod results;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use leasehold::demo::Dice;

pub use fault::Fault;

use crate::chaos::judge::Judge;
use crate::chaos::load::Load;
use crate::cluster::Cluster;
use crate::disk::Disk;
use crate::shape::{Shape, Wires};
use crate::wait::{outlive, pass, until_begun};

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    /// No fault begins after this.
    pub time: Duration,
    /// Nor after so many.
    pub faults: usize,
    pub engines: usize,
    pub wires: Wires,
    /// Each node has a disk of its own, which can be harmed; needs root and a mount namespace.
    pub has_disks: bool,
    /// Only these are drawn.
    pub among: Vec<Fault>,
}

/// How far a run has come, for whoever has to tell where it failed.
#[derive(Debug, Default)]
pub struct Progress {
    /// The faults that have begun.
    pub faults: Cell<usize>,
    /// Where the nodes' logs are.
    pub logs: RefCell<PathBuf>,
}

/// What was done, and what it showed. There is none of a run with a violation.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// How often each fault was inflicted.
    pub faults: BTreeMap<Fault, u64>,
    pub calls: usize,
    /// Calls lost where the design promises nothing: no majority for longer than a checkout lives.
    pub lost_without_promise: usize,
    /// From the ledger's event log and the desks' counters, by their names.
    pub transitions: BTreeMap<String, u64>,
    pub took: Duration,
    pub slowest_recovery: Duration,
}

/// What is bought; the last one is scarce, so that its engines wait and are denied.
pub const ENTITLED: [(&str, u64); 4] =
    [("asr.tier1", 160), ("tts.chris", 160), ("cpa", 1_000), ("asr.tier4", 10)];
/// From the end of a fault until every member lends and draws again. A node that was away longest
/// waits for its old lease to end; the rest is for a busy machine.
const RECOVERY: Duration = Duration::from_secs(40);
/// Between two faults, so that not each hits a cluster that has just recovered: at most.
const CALM_MS: u64 = 2_000;
/// Beyond T + TTL, for the draws of the last check.
const FREE_AGAIN: Duration = Duration::from_secs(2);
/// Node ids, each used once: a run uses up one for each node that is lost or added, about one for
/// three faults, and then makes no such fault any more. Each has a certificate, and a port or a
/// namespace, made at the start.
const IDS_MOST: u64 = 120;

/// A run under way.
struct Chaos {
    plan: Plan,
    /// What the dice of faults are made from: one draw for each.
    streams: Dice,
    /// Those of the fault at hand.
    dice: Dice,
    // Before `cluster`, whose directory can't be removed while they are mounted in it.
    disks: BTreeMap<u64, Disk>,
    cluster: Cluster,
    load: Load,
    /// Nodes that belong to the cluster, whether they run or not.
    members: BTreeSet<u64>,
    next_id: u64,
    judge: Judge,
    outcome: Outcome,
    /// The members' counters when they were last read.
    counters: BTreeMap<(u64, &'static str), u64>,
    /// The last event that was counted.
    events_until: u64,
    began: Instant,
}

/// Runs `plan`, and tells on standard output what happens, and `progress` how far it has come.
///
/// # Panics
/// At the first violation, and if the cluster does not recover from a fault.
pub async fn run(plan: Plan, progress: &Progress) -> Outcome {
    let mut chaos = Chaos::start(plan, progress).await;
    for number in 1..=chaos.plan.faults {
        if chaos.began.elapsed() >= chaos.plan.time {
            break;
        }
        progress.faults.set(number);
        chaos.round(number).await;
    }
    chaos.finish().await
}

impl Chaos {
    async fn start(plan: Plan, progress: &Progress) -> Self {
        // Snapshots are taken all the time, so that there are files to be harmed.
        let shape =
            Shape { wires: plan.wires, snapshot_every: Some(200), ids: IDS_MOST, ..Shape::quick() };
        let members: BTreeSet<u64> = (1..=3).collect();
        let mut cluster = Cluster::prepare(shape);
        progress.logs.replace(cluster.path(""));
        let mut disks = BTreeMap::new();
        if plan.has_disks {
            for id in &members {
                disks.insert(*id, mount_disk(&mut cluster, *id));
            }
        }
        cluster.begin(3, &ENTITLED).await;
        let mut chaos = Self {
            streams: Dice::new(plan.seed),
            dice: Dice::new(plan.seed),
            load: Load::default(),
            cluster,
            disks,
            members,
            next_id: 4,
            judge: Judge::new(&ENTITLED),
            outcome: Outcome::default(),
            counters: BTreeMap::new(),
            events_until: 0,
            began: Instant::now(),
            plan,
        };
        chaos.renew_load().await;
        until_begun(chaos.load.record(), chaos.plan.engines / 2, RECOVERY).await;
        chaos.say(&format!("three nodes, {} engines", chaos.plan.engines));
        chaos
    }

    /// One fault, from the draw to the verdict.
    async fn round(&mut self, number: usize) {
        self.dice = Dice::new(self.streams.below(u64::MAX));
        self.pass(0, CALM_MS).await;
        let fault = self.draw_fault();
        let name = format!("fault {number}, {fault}");
        if fault.may_last_too_long() {
            // What was lost by the fault before is found before there is a window to excuse it.
            outlive(&self.cluster.shape).await;
            self.judge(&format!("before {name}"));
        }
        let promise = self.inflict(fault).await;
        *self.outcome.faults.entry(fault).or_default() += 1;
        let recovered = self.recover(&name).await;
        self.say(&format!(
            "{number:>3} {fault}: recovered after {:.1} s, {} calls run, {} in all",
            recovered.as_secs_f64(),
            self.load.running(),
            self.load.record().calls(),
        ));
        self.gather().await;
        self.note_events().await;
        if promise {
            self.judge(&format!("after {name}"));
        } else {
            self.outlive_window(&name).await;
        }
    }

    /// For one lifetime after a fault by which the design loses calls, they may lapse.
    async fn outlive_window(&mut self, name: &str) {
        let shape = self.cluster.shape;
        self.judge.promise_nothing_for(Duration::from_millis(shape.timings.checkout_ttl_ms));
        self.judge(&format!("after {name}"));
        outlive(&shape).await;
        self.judge(&format!("a lifetime after {name}"));
    }

    fn judge(&mut self, when: &str) {
        self.judge.judge(self.load.record(), when);
    }

    /// Waits until every member lends and the leader gives units out.
    async fn recover(&mut self, name: &str) -> Duration {
        let began = Instant::now();
        for id in self.members.clone() {
            assert!(self.cluster.runs(id), "node {id} has ended by itself, by {name}");
            self.cluster.wait_until_ready(id).await;
            let units = 1 + self.dice.below(50);
            self.cluster.draw(id, "cpa", units).await;
        }
        let recovered = began.elapsed();
        assert!(recovered <= RECOVERY, "it took {recovered:?} to recover from {name}");
        self.outcome.slowest_recovery = self.outcome.slowest_recovery.max(recovered);
        recovered
    }

    /// What the last fault has ended lapses; then the engines hang up, and every unit of every
    /// feature must be there.
    async fn finish(mut self) -> Outcome {
        outlive(&self.cluster.shape).await;
        self.judge("a lifetime after the last fault");
        self.say("the engines hang up, and all units are taken out once more");
        self.load.stop().await;
        let timings = self.cluster.shape.timings;
        let within = Duration::from_millis(timings.lease_ms + timings.checkout_ttl_ms) + FREE_AGAIN;
        let began = Instant::now();
        let via = *self.members.first().expect("a cluster has members");
        for (feature, units) in ENTITLED {
            self.cluster.draw(via, feature, units).await;
        }
        assert!(began.elapsed() <= within, "all units were free only after {:?}", began.elapsed());
        self.judge("after the engines had hung up");
        self.gather().await;
        self.note_events().await;
        self.outcome.calls = self.load.record().calls();
        self.outcome.lost_without_promise = self.judge.lost_without_promise();
        self.outcome.took = self.began.elapsed();
        self.outcome
    }

    fn draw_fault(&mut self) -> Fault {
        let possible: Vec<Fault> = Fault::ALL
            .into_iter()
            .filter(|fault| self.plan.among.is_empty() || self.plan.among.contains(fault))
            .filter(|fault| fault.is_possible(&self.plan, self.members.len()))
            .filter(|fault| self.next_id <= IDS_MOST || !fault.may_need_a_new_node())
            .collect();
        // What has come least often comes next, so that a short run has most of them.
        let times = |fault: &Fault| self.outcome.faults.get(fault).copied().unwrap_or(0);
        let least = possible.iter().map(times).min().unwrap_or(0);
        let rare: Vec<Fault> = possible.into_iter().filter(|it| times(it) == least).collect();
        let index = usize::try_from(self.dice.below(rare.len() as u64)).unwrap_or(0);
        rare[index]
    }

    fn pick(&mut self, among: &[u64]) -> u64 {
        let index = usize::try_from(self.dice.below(among.len() as u64)).unwrap_or(0);
        among[index]
    }

    fn pick_any(&mut self) -> u64 {
        let all: Vec<u64> = self.members.iter().copied().collect();
        self.pick(&all)
    }

    async fn leader(&mut self) -> u64 {
        let via = *self.members.first().expect("a cluster has members");
        self.cluster.leader(via).await
    }

    async fn followers(&mut self) -> Vec<u64> {
        let leader = self.leader().await;
        self.members.iter().copied().filter(|id| *id != leader).collect()
    }

    /// From `least_ms` to `most_ms`.
    async fn pass(&mut self, least_ms: u64, most_ms: u64) {
        let time_ms = least_ms + self.dice.below(most_ms - least_ms + 1);
        pass(Duration::from_millis(time_ms)).await;
    }

    #[expect(clippy::print_stdout, reason = "whoever started it watches it")]
    fn say(&self, what: &str) {
        println!("{:>5} s  {what}", self.began.elapsed().as_secs());
    }
}

/// Where node `id` will keep its data.
fn mount_disk(cluster: &mut Cluster, id: u64) -> Disk {
    let layout = cluster.layout(id);
    let below = layout.directory.join("disk");
    Disk::mount(&below, &layout.data()).expect("a disk for the node")
}
