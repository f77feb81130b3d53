//! Chaos: one fault after another on real processes under load, all drawn from a seed.
//!
//! ```text
//!  Plan ── seed ──▶ Fault ── inflict ──▶ Cluster ◀── Engines ──▶ Record
//!                     ▲                                             │
//!                     └── recovered: every member lends, a draw works ── judged: Verdict
//! ```
//!
//! After each fault the cluster has to recover before the next one, and everything that engines
//! have noted until then is judged: no unit too many at any time, no call lost. A violation is a
//! panic that names the seed; the cluster's directory with all logs then stays.

mod damage;
mod fault;
mod load;
mod members;
mod network;
mod processes;
mod results;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use leasehold::demo::{Dice, judge};

pub use fault::Fault;

use crate::chaos::load::Load;
use crate::cluster::Cluster;
use crate::disk::Disk;
use crate::shape::{Shape, Wires};
use crate::wait::until;

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

/// What was done, and what it showed.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// How often each fault was inflicted.
    pub faults: BTreeMap<Fault, u64>,
    pub calls: usize,
    /// Calls lost where none may be.
    pub lost: usize,
    /// Calls lost where the design promises nothing: no majority for longer than a checkout lives.
    pub lost_without_promise: usize,
    pub over_issued_units: u64,
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
    dice: Dice,
    // Before `cluster`, whose directory can't be removed while they are mounted in it.
    disks: BTreeMap<u64, Disk>,
    cluster: Cluster,
    load: Load,
    /// Nodes that belong to the cluster, whether they run or not.
    members: BTreeSet<u64>,
    next_id: u64,
    outcome: Outcome,
    lost_before: usize,
    /// The members' counters when they were last read.
    counters: BTreeMap<(u64, &'static str), u64>,
    /// The last event that was counted.
    events_until: u64,
    began: Instant,
}

/// Runs `plan`, and tells on standard output what happens.
///
/// # Panics
/// At the first violation, and if the cluster does not recover from a fault.
pub async fn run(plan: Plan) -> Outcome {
    let mut chaos = Chaos::start(plan).await;
    while chaos.began.elapsed() < chaos.plan.time
        && chaos.outcome.faults.values().sum::<u64>() < chaos.plan.faults as u64
    {
        chaos.round().await;
    }
    chaos.finish().await
}

impl Chaos {
    async fn start(plan: Plan) -> Self {
        // Snapshots are taken all the time, so that there are files to be harmed.
        let shape =
            Shape { wires: plan.wires, snapshot_every: Some(200), ids: IDS_MOST, ..Shape::quick() };
        let members: BTreeSet<u64> = (1..=3).collect();
        let mut cluster = Cluster::prepare(shape);
        let mut disks = BTreeMap::new();
        if plan.has_disks {
            for id in &members {
                disks.insert(*id, mount_disk(&mut cluster, *id));
            }
        }
        cluster.begin(3, &ENTITLED).await;
        let mut chaos = Self {
            dice: Dice::new(plan.seed),
            load: Load::default(),
            cluster,
            disks,
            members,
            next_id: 4,
            outcome: Outcome::default(),
            lost_before: 0,
            counters: BTreeMap::new(),
            events_until: 0,
            began: Instant::now(),
            plan,
        };
        chaos.renew_load().await;
        let record = chaos.load.record().clone();
        let busy = chaos.plan.engines / 2;
        until("half of the engines are in calls", RECOVERY, async || {
            (record.calls() >= busy).then_some(())
        })
        .await;
        chaos.say(&format!("three nodes, {} engines", chaos.plan.engines));
        chaos
    }

    /// One fault, from the draw to the verdict.
    async fn round(&mut self) {
        let calm = Duration::from_millis(self.dice.below(CALM_MS));
        tokio::time::sleep(calm).await;
        let fault = self.draw_fault();
        let number = self.outcome.faults.values().sum::<u64>() + 1;
        let promise = self.inflict(fault).await;
        *self.outcome.faults.entry(fault).or_default() += 1;
        let recovered = self.recover(fault).await;
        if !promise {
            // What this fault ends must not be blamed on the next one.
            let lifetime_ms = self.cluster.shape.timings.checkout_ttl_ms;
            tokio::time::sleep(Duration::from_millis(lifetime_ms)).await;
        }
        let lost = self.load.record().lost() - self.lost_before;
        self.lost_before += lost;
        let running = self.load.running();
        self.say(&format!(
            "{number:>3} {fault}: recovered after {:.1} s, {running} calls run, {} in all",
            recovered.as_secs_f64(),
            self.load.record().calls(),
        ));
        self.gather().await;
        self.note_events().await;
        self.judge(fault);
        if lost > 0 && promise {
            self.outcome.lost += lost;
            panic!("{lost} calls were lost by fault {number}, {fault}, of seed {}", self.plan.seed);
        }
        self.outcome.lost_without_promise += lost;
    }

    /// Waits until every member lends and the leader gives units out.
    async fn recover(&mut self, fault: Fault) -> Duration {
        let began = Instant::now();
        for id in self.members.clone() {
            assert!(
                self.cluster.process(id).is_running(),
                "node {id} has ended by itself, by {fault} of seed {}",
                self.plan.seed
            );
            self.cluster.wait_until_ready(id).await;
            let units = 1 + self.dice.below(50);
            self.cluster.draw(id, "cpa", units).await;
        }
        let recovered = began.elapsed();
        assert!(recovered <= RECOVERY, "it took {recovered:?} to recover from {fault}");
        self.outcome.slowest_recovery = self.outcome.slowest_recovery.max(recovered);
        recovered
    }

    fn judge(&mut self, fault: Fault) {
        let entitled = ENTITLED.iter().map(|(name, units)| ((*name).to_owned(), *units)).collect();
        for used in judge(&self.load.record().intervals(), &entitled) {
            let over = used.most_in_use.saturating_sub(used.entitled);
            self.outcome.over_issued_units = self.outcome.over_issued_units.max(over);
            assert!(
                over == 0,
                "{used:?}: found after {fault} of seed {}; the engines' clock says {}",
                self.plan.seed,
                leasehold_clock::Clock::Steady.now()
            );
        }
    }

    /// The engines hang up; then every unit of every feature must be there.
    async fn finish(mut self) -> Outcome {
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
        self.gather().await;
        self.note_events().await;
        self.outcome.calls = self.load.record().calls();
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
        let time = least_ms + self.dice.below(most_ms - least_ms + 1);
        tokio::time::sleep(Duration::from_millis(time)).await;
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
