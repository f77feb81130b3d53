//! One run: everything there is, and the loop over its events.

use std::collections::{BTreeMap, BTreeSet};

use leasehold_core::desk::DeskConfig;
use leasehold_core::entitlement::Date;
use leasehold_core::id::{
    AllotmentId, CheckoutId, Epoch, FeatureId, NodeId, PoolId, ProcessId, SiteName,
};
use leasehold_core::ledger::Ledger;
use leasehold_core::receipt::ReceiptKey;
use leasehold_core::time::Moment;

use crate::clock::{LocalClock, MS, NOON_TO_MIDNIGHT_MS, SECOND, Time};
use crate::dice::Dice;
use crate::engine::{Engine, Stage};
use crate::event::{CallId, EngineIndex, Event, MachineIndex, Probe, ProcessIndex, Queue};
use crate::health::Health;
use crate::market::Market;
use crate::mutation::Mutation;
use crate::network::{Cuts, Place};
use crate::plan::{Class, Plan};
use crate::process::Process;
use crate::raft::Raft;
use crate::tally::Tally;

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: Time,
    pub(crate) queue: Queue,
    pub(crate) dice: Dice,
    pub(crate) plan: Plan,
    pub(crate) tally: Tally,
    pub(crate) raft: Raft,
    pub(crate) machines: Vec<Machine>,
    pub(crate) processes: Vec<Process>,
    pub(crate) engines: Vec<Engine>,
    pub(crate) cuts: Cuts,
    /// When the newest message from one place to another arrives.
    pub(crate) newest: BTreeMap<(Place, Place), Time>,
    pub(crate) is_healed: bool,
    pub(crate) market: Market,
    pub(crate) features: Vec<FeatureId>,
    pub(crate) vain_features: Vec<FeatureId>,
    pub(crate) late_build: Date,
    pub(crate) receipt_key: ReceiptKey,
    pub(crate) mutation: Option<Mutation>,
    pub(crate) forged_catalogs: u64,
    /// Names under which a mutated ledger knows checkouts.
    pub(crate) aliases: BTreeMap<CheckoutId, CheckoutId>,
    pub(crate) old_snapshot: Option<Ledger>,
    pub(crate) violation: Option<String>,
    /// Lines of the trace, if one is kept.
    pub(crate) lines: Option<Vec<String>>,
    pub(crate) losses: Vec<String>,
    /// The most units of a pool in use beyond those lent out.
    pub(crate) over_issued: u64,
    /// When a checkout last moved, in the ledger.
    pub(crate) moved_at: BTreeMap<CheckoutId, Time>,
    /// What was taken out of which allotment, for whom.
    pub(crate) reclaimed: BTreeSet<(CheckoutId, AllotmentId)>,
    /// Epochs whose leases the ledger knows to be over.
    pub(crate) over: BTreeSet<Epoch>,
    /// Since when a pool has been lent beyond its units.
    pub(crate) cut_since: BTreeMap<PoolId, Time>,
    /// When frozen units could last be reclaimed that could not before.
    pub(crate) settled_at: Time,
    /// When units last became free.
    pub(crate) freed_at: Time,
    /// When a grant came that no engine took or gave back.
    pub(crate) forgotten_at: Time,
    pub(crate) is_finished: bool,
    last_call: CallId,
}

/// A computer: its clock and its disk outlive its processes.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) node: NodeId,
    pub(crate) site: SiteName,
    pub(crate) clock: LocalClock,
    pub(crate) process: Option<ProcessIndex>,
    /// What the process before wrote: how much of the log was applied, and the ledger then.
    pub(crate) disk: (usize, Ledger),
    pub(crate) last_process: Option<ProcessId>,
    /// Another machine has taken over its node id.
    pub(crate) is_retired: bool,
    pub(crate) is_removed: bool,
    /// What its clocks have done since its desk last looked at them.
    pub(crate) unseen: Unseen,
    /// It applies nothing before.
    pub(crate) applies_at: Time,
    pub(crate) health: Health,
}

/// A wall clock that is set back hides that the steady clock stood still, if the desk looks only
/// before the first and after the second of them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Unseen {
    pub(crate) stood_still: bool,
    pub(crate) was_set_back: bool,
}

impl World {
    pub(crate) fn new(seed: u64, mutation: Option<Mutation>, is_traced: bool) -> Self {
        let mut dice = Dice::new(seed);
        let plan = Plan::new(seed, &mut dice);
        let market = Market::new(&plan);
        let mut world = Self {
            now: 0,
            queue: Queue::default(),
            dice,
            tally: Tally::default(),
            raft: Raft::default(),
            machines: Vec::new(),
            processes: Vec::new(),
            engines: Vec::new(),
            cuts: Cuts::default(),
            newest: BTreeMap::new(),
            is_healed: false,
            features: market.features(),
            vain_features: market.vain_features(),
            late_build: market.late_build(),
            receipt_key: market.receipt_key(),
            market,
            mutation,
            forged_catalogs: 0,
            aliases: BTreeMap::new(),
            old_snapshot: None,
            violation: None,
            lines: is_traced.then(Vec::new),
            losses: Vec::new(),
            over_issued: 0,
            moved_at: BTreeMap::new(),
            reclaimed: BTreeSet::new(),
            over: BTreeSet::new(),
            cut_since: BTreeMap::new(),
            settled_at: 0,
            freed_at: 0,
            forgotten_at: 0,
            is_finished: false,
            last_call: 0,
            plan,
        };
        world.build();
        world
    }

    fn build(&mut self) {
        for index in 0..self.plan.machines {
            let site = self.market.site(index % self.plan.sites);
            let node = NodeId(index as u64 + 1);
            self.add_machine(node, site);
        }
        // One more engine than planned asks for everything in the end.
        for engine in 0..=self.plan.engines {
            self.add_engine(engine);
        }
        let founding = self.market.founding(&self.plan, &self.machines, &mut self.dice);
        self.append(founding, None);
        self.commit_next();
        for machine in 0..self.machines.len() {
            self.start_process(machine, None);
        }
        self.queue.push(0, Event::RaftTick);
        for (at, fault) in std::mem::take(&mut self.plan.faults) {
            self.queue.push(at, Event::Fault(fault));
        }
        self.queue.push(self.plan.heal_at, Event::Probe(Probe::Heal));
    }

    pub(crate) fn add_machine(&mut self, node: NodeId, site: SiteName) -> MachineIndex {
        let limit = i64::try_from(self.plan.timings.clock_drift_ppm).unwrap_or(0);
        let mut clock = self.draw_clock(limit);
        if let Some(at) = self.plan.midnight_at {
            let early_ms = NOON_TO_MIDNIGHT_MS.saturating_sub(at / MS);
            clock.step_wall(i64::try_from(early_ms).unwrap_or(0));
        }
        self.machines.push(Machine {
            node,
            site,
            clock,
            process: None,
            disk: (0, Ledger::default()),
            last_process: None,
            is_retired: false,
            is_removed: false,
            unseen: Unseen::default(),
            applies_at: 0,
            health: Health::default(),
        });
        self.machines.len() - 1
    }

    fn draw_clock(&mut self, limit_ppm: i64) -> LocalClock {
        let span = u64::try_from(limit_ppm).unwrap_or(0);
        let drawn = i64::try_from(self.dice.below(2 * span + 1)).unwrap_or(0) - limit_ppm;
        let rate_ppm = match (self.plan.has_extreme_clocks, drawn < 0) {
            (false, _) => drawn,
            (true, true) => -limit_ppm,
            (true, false) => limit_ppm,
        };
        match rate_ppm {
            it if it >= limit_ppm => self.tally.count("fault clock as fast as may be"),
            it if it <= -limit_ppm => self.tally.count("fault clock as slow as may be"),
            _ => {}
        }
        LocalClock::new(rate_ppm, self.dice.below(1_000_000 * SECOND))
    }

    fn add_engine(&mut self, engine: EngineIndex) {
        let limit = i64::try_from(self.plan.timings.clock_drift_ppm).unwrap_or(0);
        let clock = self.draw_clock(limit);
        let site = self.market.site(engine % self.plan.sites);
        let mut nodes: Vec<(bool, u64, NodeId)> = Vec::new();
        for machine in &self.machines {
            nodes.push((machine.site != site, self.dice.below(1_000), machine.node));
        }
        nodes.sort();
        let until = self.dice.below(2 * self.plan.timings.lease_ms * MS);
        self.engines.push(Engine {
            clock,
            avoid_until: vec![Moment::default(); nodes.len()],
            nodes: nodes.into_iter().map(|(_, _, node)| node).collect(),
            stage: Stage::Idle { until },
            calls: BTreeMap::new(),
            takes_late_answers: self.dice.chance(300),
            wake_at: None,
            lapsed: None,
            is_done: engine == self.plan.engines,
            is_tardy: self.plan.class != Class::Single && self.dice.chance(200),
            mishap_at: None,
        });
        self.set_engine_wake(engine);
    }

    /// Starts a process on a machine, from what is on its disk.
    pub(crate) fn start_process(&mut self, machine: MachineIndex, gone: Option<ProcessId>) {
        let process = self.processes.len();
        let at = &self.machines[machine];
        let config = DeskConfig { node: at.node, site: at.site.clone() };
        let id = ProcessId(self.dice.bytes16());
        let mut started = Process::new(machine, config, id);
        let at = &mut self.machines[machine];
        at.clock.thaw(self.now);
        at.unseen = Unseen::default();
        started.gone = gone;
        started.applied = at.disk.0;
        started.replica.install(at.disk.1.clone(), at.clock.moment(self.now));
        at.process = Some(process);
        at.last_process = Some(id);
        self.processes.push(started);
        self.trace(|| format!("process {process} starts on machine {machine}"));
        self.queue.push(self.now, Event::DeskLooks { process });
    }

    /// The process that runs under a node id: the newest, if there are two.
    pub(crate) fn process_of(&self, node: NodeId) -> Option<ProcessIndex> {
        let machine = self.machines.iter().rev().find(|machine| machine.node == node)?;
        machine.process
    }

    /// The machine that an engine finds under the address of its node number `node`. Of two
    /// machines with one node id the older keeps half of its engines while it runs.
    pub(crate) fn machine_for(&self, engine: EngineIndex, node: usize) -> MachineIndex {
        let node = self.engines[engine].nodes[node];
        let mut found: Vec<MachineIndex> =
            (0..self.machines.len()).filter(|index| self.machines[*index].node == node).collect();
        let newest = found.pop().unwrap_or(0);
        match found.pop() {
            Some(older) if engine.is_multiple_of(2) && self.machines[older].process.is_some() => {
                older
            }
            Some(_) | None => newest,
        }
    }

    pub(crate) fn new_call(&mut self) -> CallId {
        self.last_call += 1;
        self.last_call
    }

    /// Runs to the end, or to the first violation.
    pub(crate) fn run(&mut self) {
        while self.violation.is_none() {
            let Some((at, event)) = self.queue.pop() else { return };
            self.now = at;
            if !self.is_put_off(at, &event) {
                self.handle(event);
            }
            if self.is_finished {
                return;
            }
        }
    }

    /// What happens to a paused process waits; what happens to one that is gone does not happen.
    fn is_put_off(&mut self, at: Time, event: &Event) -> bool {
        let process = match event {
            Event::AtMachine { machine, .. } => self.machines[*machine].process,
            Event::AtProcess { process, .. }
            | Event::CallOver { process, .. }
            | Event::ProcessWake { process }
            | Event::Apply { process, .. }
            | Event::DeskLooks { process }
            | Event::Stop { process, .. }
            | Event::Proposed { process, .. } => Some(*process),
            Event::AtEngine { .. }
            | Event::EngineCallOver { .. }
            | Event::EngineWake { .. }
            | Event::Resume { .. }
            | Event::RaftTick
            | Event::Commit { .. }
            | Event::Fault(_)
            | Event::Restart { .. }
            | Event::Retire { .. }
            | Event::Probe(_) => None,
        };
        let Some(process) = process else { return false };
        if !self.processes[process].is_running {
            return true;
        }
        let is_paused = self.processes[process].paused_until > at;
        if is_paused {
            self.processes[process].backlog.push(event.clone());
        }
        is_paused
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::AtMachine { machine, from, message } => match self.machines[machine].process {
                Some(process) => self.on_from_engine(process, from, message),
                None => self.refuse(from, message.call, machine),
            },
            Event::AtProcess { process, message } => self.on_from_peer(process, message),
            Event::AtEngine { engine, call, reply } => self.on_reply(engine, call, reply),
            Event::CallOver { process, call } => self.on_call_over(process, call),
            Event::EngineCallOver { engine, call } => self.on_engine_call_over(engine, call),
            Event::ProcessWake { process } => self.on_process_wake(process),
            Event::EngineWake { engine } => self.on_engine_wake(engine),
            Event::Resume { process } => {
                self.resume(process);
                self.look_at_health();
            }
            Event::RaftTick => self.on_raft_tick(),
            Event::Commit { term, index } => self.on_commit(term, index),
            Event::Apply { process, up_to, by_snapshot } => {
                self.on_apply(process, up_to, by_snapshot);
            }
            Event::DeskLooks { process } => self.on_desk_looks(process),
            Event::Proposed { process, term, token, index } => {
                self.on_proposed(process, term, token, index);
            }
            Event::Fault(fault) => {
                self.on_fault(&fault);
                self.look_at_health();
            }
            Event::Stop { process, down } => {
                self.stop(process, down);
                self.look_at_health();
            }
            Event::Restart { machine } => self.on_restart(machine),
            Event::Retire { machine } => self.crash(machine),
            Event::Probe(probe) => self.on_probe(probe),
        }
    }

    pub(crate) fn violate(&mut self, what: String) {
        if self.mutation.is_some_and(|mutation| !mutation.is_shown_by(&what)) {
            return;
        }
        self.trace(|| format!("VIOLATION {what}"));
        self.violation.get_or_insert(what);
    }

    pub(crate) fn trace(&mut self, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:>12} µs  {}", self.now, line()));
        }
    }
}

/// One line for the trace; receipts and envelopes are of no interest there.
pub(crate) fn shown(what: &impl std::fmt::Debug) -> String {
    let mut text = format!("{what:?}");
    for name in ["receipt: [", "receipt: Some([", "envelope: ["] {
        while let Some(at) = text.find(name) {
            let from = at + name.len();
            let to = text[from..].find(']').map_or(text.len(), |length| from + length + 1);
            text.replace_range(from - 1..to, "..");
        }
    }
    text
}
