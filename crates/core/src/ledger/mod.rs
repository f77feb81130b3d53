//! The ledger: which node may lend how many units of which pool. Replicated by a log.
//!
//! [`Ledger::apply`] is total and deterministic: it knows no clock, no randomness and no hash
//! order, and a refusal is a value. Who may propose what, and when, is the steward's business; the
//! ledger only guarantees that no sequence of commands, however late or repeated, breaks
//!
//! * **conservation**: per pool, `reserve + Σ live + Σ frozen = entitled units`;
//! * **identity**: epochs and allotments are numbered once and never reused.
//!
//! ```text
//!             Draw                 Freeze, Open, Close              Thaw
//!  reserve ──────────▶ live allotment ──────────────▶ frozen ────────────────▶ reserve
//!     ▲       Return        │  ▲                        │
//!     └─────────────────────┘  └────────────────────────┘
//!                            Reclaim: one checkout's units, bound to it
//! ```

mod agreement;
pub mod command;
mod digest;
pub mod event;
mod invariant;
mod lease;
mod moves;
mod operate;
mod pools;
mod replica;
#[cfg(test)]
pub(crate) mod tests;
mod view;

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::entitlement::Date;
use crate::id::{
    AllotmentId, CheckoutId, Digest, Epoch, NodeId, NodeName, PoolId, ProcessId, SiteName,
};
use crate::limits::TRUSTED_KEYS_MAX;
use crate::units::Units;
pub use agreement::{Agreement, Divergence};
use command::{ActionOutcome, Command, Founding, Outcome, Refusal};
pub use digest::Checkpoint;
use event::{Event, EventKind};
pub use invariant::{Violation, check_transition};
pub use pools::{Closed, Installed, Pool, PoolTerms};
pub use replica::{Notes, Replica};
pub use view::{Catalog, Held, NodeView, PoolTotals};

/// The replicated state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    founding: Option<Founding>,
    /// Commands applied; orders the views that nodes receive.
    version: u64,
    /// Of all commands applied and what came of them, to be compared with other replicas'.
    digest: Digest,
    /// The last number given to an epoch or an allotment.
    last_number: u64,
    entitlement: Option<Installed>,
    /// Rises with everything that changes the catalog.
    catalog_version: u64,
    /// The leader's calendar day; enters contracts' dates and nothing else.
    today: Option<Date>,
    pools: BTreeMap<PoolId, Pool>,
    nodes: BTreeMap<NodeId, Node>,
    allotments: BTreeMap<AllotmentId, Allotment>,
    /// Where a checkout under an allotment went. Kept while the allotment is.
    moved: BTreeMap<(AllotmentId, CheckoutId), AllotmentId>,
    events: VecDeque<Event>,
    /// Unix time of the last beat, for the event log only.
    wall_ms: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    pub site: SiteName,
    pub name: NodeName,
    pub removed: bool,
    pub lease: Option<Lease>,
    /// An operator keeps it from opening leases.
    #[serde(default)]
    pub fenced: bool,
}

/// A node's newest lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    pub epoch: Epoch,
    pub process: ProcessId,
    /// The newest beat applied.
    pub seq: u64,
    pub live: bool,
    /// The newest operation applied, with its answer for those who ask again.
    pub operation: u64,
    pub(crate) answer: Vec<ActionOutcome>,
}

/// Units of a pool lent to one node for one epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allotment {
    pub node: NodeId,
    pub epoch: Epoch,
    pub pool: PoolId,
    pub units: Units,
    pub state: AllotmentState,
    /// Set when the units belong to one checkout that was reclaimed or handed over.
    pub bound: Option<Bound>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AllotmentState {
    Live,
    Frozen(FrozenLease),
}

/// What is known of the lease that an allotment was frozen with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FrozenLease {
    /// It had ended, or the process that held it was gone: its checkouts may move, and once they
    /// all must have ended the units thaw.
    Ended,
    /// Its process may still be lending, and lend a unit anew that a checkout was moved with:
    /// nothing moves before the lease has surely ended.
    MayRun,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    pub checkout: CheckoutId,
    /// The allotment that the units were first taken from.
    pub origin: AllotmentId,
}

impl Ledger {
    /// Applies one command. Never fails: what can't be done is refused in the outcome.
    pub fn apply(&mut self, command: &Command) -> Outcome {
        self.version += 1;
        let outcome = self.try_apply(command).unwrap_or_else(Outcome::Refused);
        self.digest = digest::next(self.digest, self.version, command, &outcome);
        debug_assert_eq!(self.check(), Ok(()), "after {command:?}");
        outcome
    }

    fn try_apply(&mut self, command: &Command) -> Result<Outcome, Refusal> {
        if let Command::Found(founding) = command {
            return self.found(founding);
        }
        if self.founding.is_none() {
            return Err(Refusal::NotFounded);
        }
        match command {
            Command::Found(founding) => self.found(founding),
            Command::Admit { node, site, name } => self.admit(*node, site, name),
            Command::Remove { node } => self.remove(*node),
            Command::InstallEntitlement { envelope } => self.install_entitlement(envelope),
            Command::Day { day } => Ok(self.set_day(*day)),
            Command::Open { node, process, after, gone } => {
                self.open(*node, *process, *after, *gone)
            }
            Command::Beat { beats, wall_ms } => Ok(self.beat(beats, *wall_ms)),
            Command::Operate { node, epoch, operation, actions } => {
                self.operate(*node, *epoch, *operation, actions)
            }
            Command::Freeze { node, epoch, seq } => self.freeze(*node, *epoch, *seq),
            Command::Close { node, epoch, used } => self.close(*node, *epoch, used),
            Command::Fence { node, epoch, powered_off } => self.fence(*node, *epoch, *powered_off),
            Command::Unfence { node } => self.unfence(*node),
            Command::Lapse { allotments } => {
                self.lapse(allotments);
                Ok(Outcome::Done)
            }
            Command::Thaw { allotments } => {
                self.thaw(allotments);
                Ok(Outcome::Done)
            }
        }
    }

    fn found(&mut self, founding: &Founding) -> Result<Outcome, Refusal> {
        if let Some(existing) = &self.founding {
            return Err(Refusal::AlreadyFounded { cluster: existing.cluster });
        }
        if founding.trusted_keys.len() > TRUSTED_KEYS_MAX {
            return Err(Refusal::TooManyKeys { most: TRUSTED_KEYS_MAX });
        }
        founding
            .timings
            .validate()
            .map_err(|invalid| Refusal::InvalidTimings { reason: invalid.to_string() })?;
        self.founding = Some(founding.clone());
        self.catalog_version += 1;
        self.record(EventKind::Founded { cluster: founding.cluster });
        Ok(Outcome::Done)
    }

    fn admit(
        &mut self,
        node: NodeId,
        site: &SiteName,
        name: &NodeName,
    ) -> Result<Outcome, Refusal> {
        if let Some(existing) = self.nodes.get(&node) {
            if existing.removed {
                return Err(Refusal::RemovedNode { node });
            }
            return Err(Refusal::NodeExists { node, site: existing.site.clone() });
        }
        let (site_of_node, name) = (site.clone(), name.clone());
        let admitted =
            Node { site: site_of_node, name, removed: false, lease: None, fenced: false };
        self.nodes.insert(node, admitted);
        self.record(EventKind::Admitted { node, site: site.clone() });
        Ok(Outcome::Done)
    }

    fn remove(&mut self, node: NodeId) -> Result<Outcome, Refusal> {
        let member = self.member_mut(node)?;
        member.removed = true;
        self.end_lease(node, FrozenLease::MayRun);
        self.record(EventKind::Removed { node });
        Ok(Outcome::Done)
    }

    fn member_mut(&mut self, node: NodeId) -> Result<&mut Node, Refusal> {
        let member = self.nodes.get_mut(&node).ok_or(Refusal::UnknownNode { node })?;
        if member.removed {
            return Err(Refusal::RemovedNode { node });
        }
        Ok(member)
    }

    /// The live lease of `node` if it is that of `epoch`.
    fn lease_mut(&mut self, node: NodeId, epoch: Epoch) -> Result<&mut Lease, Refusal> {
        let lease = self.member_mut(node)?.lease.as_mut();
        lease
            .filter(|lease| lease.live && lease.epoch == epoch)
            .ok_or(Refusal::LeaseEnded { epoch })
    }

    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    fn record(&mut self, kind: EventKind) {
        event::push(&mut self.events, self.version, self.wall_ms, kind);
    }
}
