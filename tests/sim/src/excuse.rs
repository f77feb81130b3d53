//! Why a renewal failed, and why a call was lost: an engine that renews in time never loses a
//! running call while a majority lives and its units are recoverable.
//!
//! Each failed attempt must have an excuse in true time, which only the simulator knows: that a
//! message was lost, that the node asked could not lend, that the units could be had from nobody.
//! A call that ends must not have been within reach of any node for long enough to be asked.

use leasehold_core::id::NodeId;
use leasehold_core::ledger::command::{
    Action, ActionOutcome, ActionRefusal, Command, LoanLine, Outcome,
};
use leasehold_core::receipt::Receipt;

use crate::clock::{MS, SECOND, Time};
use crate::engine::{EngineCall, Held, Stage};
use crate::event::{EngineIndex, MachineIndex};
use crate::network::{Fate, Place};
use crate::plan::CALL_DEADLINE;
use crate::world::World;

/// A failed attempt to renew.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    pub(crate) said: String,
    pub(crate) node: NodeId,
    pub(crate) excuse: &'static str,
    took: Time,
}

/// A desk answers a claim within this, done or not.
const CLAIM: Time = SECOND;
/// A node that does not answer costs a claim as much.
const HAND_OVER: Time = 700 * MS;
/// What was handed over arrives with a beat: sent soon, and gathered with others.
const ARRIVAL: Time = 80 * MS;
/// A lease that ended shortly before an attempt: nodes must first hear of it.
const NEWS: Time = 300 * MS;
/// How the violation begins that one running call was lost, against the promise.
pub(crate) const LOST: &str = "a running call was lost";
const UNTRIED: &str = "nothing was tried";
const UNANSWERED: &str = "there was no time left for an answer";
const MOVING: &str = "the checkout was moving between nodes";
const SLOW: &str = "the network was slower than a claim allows";

impl World {
    /// Takes down a failed attempt to renew: something must have stood in its way.
    pub(crate) fn judge_attempt(&mut self, engine: EngineIndex, ended: &EngineCall, said: &str) {
        self.look_at_health();
        let excuse = self.excuse(engine, ended);
        let node = self.machines[ended.machine].node;
        if excuse.is_none() {
            let took_ms = (self.now - ended.sent_at) / MS;
            self.violate(format!(
                "engine {engine} was not renewed by node {node}: {said} after {took_ms} ms, and \
                 nothing stood in the way"
            ));
        }
        let excuse = excuse.unwrap_or("none");
        self.tally.count(&format!("renewal failed: {excuse}"));
        let took = self.now - ended.sent_at;
        if let Stage::Held(held) = &mut self.engines[engine].stage {
            held.troubles.push(Trouble { said: said.to_owned(), node, excuse, took });
        }
    }

    fn excuse(&self, engine: EngineIndex, ended: &EngineCall) -> Option<&'static str> {
        if ended.is_forged {
            return Some("the engine showed a forged receipt");
        }
        match ended.fate {
            Fate::Lost => return Some("its message was lost"),
            Fate::Late => return Some("its message was late"),
            Fate::CutOff => return Some("the engine was cut off from the node"),
            Fate::Delivered => {}
        }
        let (machine, from) = (ended.machine, ended.sent_at);
        let is_old = self.is_healed && from < self.plan.heal_at + SECOND;
        self.unfit_since(machine, from)
            .or_else(|| self.claim_excuse(engine, machine, from))
            .or_else(|| is_old.then_some("messages of before the healing were still on their way"))
    }

    /// Why a node in good health could not have the units of an engine's checkout.
    fn claim_excuse(
        &self,
        engine: EngineIndex,
        machine: MachineIndex,
        from: Time,
    ) -> Option<&'static str> {
        let Stage::Held(held) = &self.engines[engine].stage else { return None };
        let receipt = Receipt::open(&held.receipt, &self.receipt_key).ok()?;
        let moved_at = self.moved_at.get(&receipt.checkout).copied();
        if moved_at.is_some_and(|at| at + CLAIM > from) {
            return Some(MOVING);
        }
        match self.would_reclaim(self.machines[machine].node, &receipt)? {
            ActionOutcome::Done if self.settled_at + NEWS > from => {
                Some("the lease of its node had just ended")
            }
            ActionOutcome::Done if self.is_too_slow(2, 0) => Some(SLOW),
            ActionOutcome::LiveAt { node } => self.hand_over_excuse(node, machine, from, &receipt),
            ActionOutcome::Refused(ActionRefusal::LeaseMayRun) => {
                Some("the lease of its node might still run")
            }
            // A late copy of a renewal had shown the receipt of the unit's user before.
            ActionOutcome::Refused(ActionRefusal::TooFewUnits)
                if !self.is_coverable(machine, &receipt) =>
            {
                Some("its units had moved with an older receipt, and no unit was free")
            }
            ActionOutcome::Done | ActionOutcome::Drawn { .. } | ActionOutcome::Refused(_) => None,
        }
    }

    fn hand_over_excuse(
        &self,
        holder: NodeId,
        machine: MachineIndex,
        from: Time,
        receipt: &Receipt,
    ) -> Option<&'static str> {
        let at = self.machines.iter().rposition(|it| it.node == holder);
        if at == Some(machine) {
            // It may be about to leave for another node.
            return self.is_too_slow(3, 0).then_some(SLOW);
        }
        let is_reached = at.is_some_and(|at| {
            let (here, there) = (Place::Machine(machine), Place::Machine(at));
            self.unfit_since(at, from).is_none() && self.cuts.cut_until(here, there) < from
        });
        if is_reached && !self.is_too_slow(5, ARRIVAL) {
            return None;
        }
        if is_reached || self.is_too_slow(3, HAND_OVER) {
            return Some(SLOW);
        }
        if self.is_coverable(machine, receipt) {
            return (self.freed_at >= from).then_some("units became free while it was asked");
        }
        Some("its node lived, could not be reached, and no unit was free")
    }

    /// Whether a claim may take longer than its engine is let wait, on a clock that may be fast:
    /// one after another so many operations of its own node or of another, and `more`.
    fn is_too_slow(&self, operations: u64, more: Time) -> bool {
        let network = &self.plan.network;
        let operation = 2 * network.peer_delay.1 + network.commit_delay.1 + 10 * MS;
        let longest = operations * operation + more + 2 * network.peer_delay.1;
        self.plan.timings.stretch(longest) > CLAIM
    }

    /// What the ledger would answer if this node asked for a checkout now.
    fn would_reclaim(&self, node: NodeId, receipt: &Receipt) -> Option<ActionOutcome> {
        let mut ledger = self.raft.reference.clone();
        let lease = ledger.node(node)?.lease.as_ref().filter(|lease| lease.live)?;
        let (epoch, operation) = (lease.epoch, lease.operation + 1);
        let lines = receipt.lines.iter();
        let lines = lines.map(|it| LoanLine { allotment: it.allotment, units: it.units }).collect();
        let actions = vec![Action::Reclaim { checkout: receipt.checkout, lines }];
        match ledger.apply(&Command::Operate { node, epoch, operation, actions }) {
            Outcome::Operated(mut outcomes) => outcomes.pop(),
            Outcome::Done
            | Outcome::Opened { .. }
            | Outcome::Beaten(_)
            | Outcome::Installed { .. }
            | Outcome::Refused(_) => None,
        }
    }

    /// Whether free units would do in the place of a checkout's own.
    fn is_coverable(&self, machine: MachineIndex, receipt: &Receipt) -> bool {
        let ledger = &self.raft.reference;
        let site = &self.machines[machine].site;
        receipt.lines.iter().all(|line| {
            let Some(pool) = ledger.pools().get(&line.pool) else { return false };
            let is_known = pool.terms.home.as_ref().is_none_or(|home| home == site);
            let serving = ledger.pools().iter().filter(|(_, other)| {
                other.terms.feature == pool.terms.feature && other.terms.is_served_at(site)
            });
            let free: u64 = serving.map(|(id, _)| ledger.reserve(*id).get()).sum();
            let same = receipt.lines.iter().filter(|it| it.pool == line.pool);
            is_known && free >= same.map(|it| it.units.get()).sum()
        })
    }

    /// A call that was renewed in time has ended: says why, or finds that nothing explains it.
    pub(crate) fn count_loss(&mut self, engine: EngineIndex, held: &Held, cause: &str) {
        self.tally.count("call lost");
        self.look_at_health();
        let outstanding = held.call.and_then(|call| self.engines[engine].calls.get(&call)).cloned();
        if let Some(call) = outstanding {
            let excuse = self.excuse(engine, &call).unwrap_or(UNANSWERED);
            let node = self.machines[call.machine].node;
            let took = self.now - call.sent_at;
            let trouble = Trouble { said: "nothing yet".to_owned(), node, excuse, took };
            if let Stage::Held(held) = &mut self.engines[engine].stage {
                held.troubles.push(trouble);
            }
        }
        let Stage::Held(held) = &self.engines[engine].stage else { return };
        let excuse = held.troubles.iter().max_by_key(|trouble| trouble.took);
        let is_late = held.is_late;
        let untried = if is_late { "the engine renewed late" } else { UNTRIED };
        let excuse = excuse.map_or(untried, |trouble| trouble.excuse);
        let excuse = if excuse == UNANSWERED { untried } else { excuse };
        let tried = held
            .troubles
            .iter()
            .map(|it| format!("{} from node {} ({})", it.said, it.node, it.excuse));
        let tried: Vec<String> = tried.collect();
        let at_ms = self.now / MS;
        let story = format!("engine {engine} at {at_ms} ms, {cause}: {}", tried.join(", "));
        self.tally.count(&format!("call lost: {excuse}"));
        if excuse == UNTRIED {
            self.violate(format!("{LOST} that nothing stood in the way of: {story}"));
        }
        if let Some((node, ms)) = self.within_reach(engine).filter(|_| !is_late) {
            self.violate(format!(
                "{LOST} that node {node} could have renewed for {ms} ms: {story}"
            ));
        }
        self.losses.push(story);
    }

    /// A node that could have renewed an engine's checkout for long enough to be asked in turn.
    fn within_reach(&self, engine: EngineIndex) -> Option<(NodeId, Time)> {
        let nodes = self.engines[engine].nodes.len();
        // Each node may cost a call its deadline, and this one a claim.
        let needed = nodes as Time * (CALL_DEADLINE + 100 * MS) + CLAIM;
        (0..nodes).find_map(|slot| {
            let machine = self.machine_for(engine, slot);
            let (fit, _) = self.fit_since(machine).ok()?;
            let cut = self.cuts.cut_until(Place::Engine(engine), Place::Machine(machine));
            let mishap = self.engines[engine].mishap_at.unwrap_or(0);
            let since = fit.max(cut).max(mishap).max(self.settled_at);
            let is_long = since + needed <= self.now;
            let is_possible = is_long && self.claim_excuse(engine, machine, since).is_none();
            is_possible.then(|| (self.machines[machine].node, (self.now - since) / MS))
        })
    }
}
