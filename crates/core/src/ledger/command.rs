//! What can be asked of the ledger, and what it answers. Both are stored or sent: add, never change.

use serde::{Deserialize, Serialize};

use super::digest::Checkpoint;
use crate::entitlement::Date;
use crate::id::SiteName;
use crate::id::{AllotmentId, CheckoutId, ClusterId, Epoch, NodeId, NodeName, PoolId, ProcessId};
use crate::time::Timings;
use crate::units::Units;

/// One change of the ledger. Several may share one log entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// The first command of a cluster.
    Found(Founding),
    /// Makes a node known; a node must be known before it opens a lease.
    Admit { node: NodeId, site: SiteName, name: NodeName },
    /// Replaces the entitlement by a newer one. The envelope is kept as the vendor signed it.
    InstallEntitlement { envelope: Vec<u8> },
    /// Opens a new epoch of a node's lease, and freezes what its earlier ones hold.
    ///
    /// `after` is the node's newest epoch as the asker knows it (0 for none): a compare-and-set,
    /// so that a late duplicate opens and ends nothing. `gone` is the process that the lock of the
    /// data directory proves to have ended.
    Open { node: NodeId, process: ProcessId, after: Epoch, gone: Option<ProcessId> },
    /// Renews leases; the leader gathers the beats of all nodes into one entry. `wall_ms` is the
    /// leader's Unix time: it stamps events for people and enters no decision.
    Beat { beats: Vec<Beat>, wall_ms: i64 },
    /// What a node does with its allotments. `operation` is one more than the last one applied.
    Operate { node: NodeId, epoch: Epoch, operation: u64, actions: Vec<Action> },
    /// Ends a lease, unless a beat later than `seq` was applied.
    Freeze { node: NodeId, epoch: Epoch, seq: u64 },
    /// The operator ends a lease, and keeps the node from opening another. If he says that the
    /// machine is off, what it lent may move at once; else only when the lease would have ended.
    /// `epoch` is the node's newest (0 for none), whether it has ended or not.
    Fence { node: NodeId, epoch: Epoch, powered_off: bool },
    /// The lease of allotments that were frozen while it might still run has surely ended.
    Lapse { allotments: Vec<AllotmentId> },
    /// Returns frozen units to the reserve, once every checkout under them must have ended.
    Thaw { allotments: Vec<AllotmentId> },
    /// Takes a node out of the cluster: its allotments freeze like a dead one's.
    Remove { node: NodeId },
    /// The leader's calendar day has changed: contracts may start or end.
    Day { day: Date },
    /// The holder ends its lease itself: it is stopping, and lends and renews nothing any more.
    /// Of what it drew, only the units `used` by checkouts freeze: the others go back to the reserve.
    Close { node: NodeId, epoch: Epoch, used: Vec<LoanLine> },
    /// The operator lets a fenced node open leases again.
    Unfence { node: NodeId },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Founding {
    pub cluster: ClusterId,
    pub timings: Timings,
    /// Authenticates receipts; drawn at random by the founder.
    pub receipt_key: [u8; 32],
    /// The vendor's Ed25519 keys that entitlements may be signed with.
    pub trusted_keys: Vec<[u8; 32]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    pub node: NodeId,
    pub epoch: Epoch,
    pub seq: u64,
    /// What the sender's replica had come to, to be compared. Enters no decision of the ledger.
    pub applied: Option<Checkpoint>,
}

/// One step of an operation; the steps of one operation are applied in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Moves up to `units` from the reserve to the node's allotment.
    Draw { pool: PoolId, units: Units },
    /// Gives units back to the reserve (or, if they are bound, to where they were taken from).
    Return { allotment: AllotmentId, units: Units },
    /// Takes over a checkout of an ended lease: all its lines, or none.
    Reclaim { checkout: CheckoutId, lines: Vec<LoanLine> },
    /// Gives a running checkout to another node: all its lines, or none.
    HandOver { checkout: CheckoutId, to: NodeId, lines: Vec<LoanLine> },
    /// Forgets where handed-over checkouts went, once their old receipts must have died.
    Forget { checkouts: Vec<CheckoutId> },
}

/// Units of one allotment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoanLine {
    pub allotment: AllotmentId,
    pub units: Units,
}

/// What one command did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Applied as asked.
    Done,
    /// A lease was opened, or had been opened for the same process.
    Opened { epoch: Epoch },
    /// For each beat, in order: whether the lease lives.
    Beaten(Vec<bool>),
    /// For each action, in order: what became of it. A repeated operation gets the same answer.
    Operated(Vec<ActionOutcome>),
    /// The entitlement with this serial is now in force.
    Installed { serial: u64 },
    /// Nothing was changed.
    Refused(Refusal),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ActionOutcome {
    Done,
    /// `units` of those asked for came from the reserve.
    Drawn {
        units: Units,
    },
    /// The checkout lives at this node: ask it to hand the checkout over.
    LiveAt {
        node: NodeId,
    },
    Refused(ActionRefusal),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum ActionRefusal {
    #[error("no such pool")]
    UnknownPool,
    #[error("nodes of this site may not draw from this pool now")]
    NotServedHere,
    #[error("no such allotment: it has thawed")]
    UnknownAllotment,
    #[error("the allotment belongs to another node or lease")]
    NotYours,
    #[error("the allotment holds fewer units")]
    TooFewUnits,
    #[error("the checkout has ended")]
    CheckoutEnded,
    #[error("the allotment was frozen while its holder might still lend: ask again later")]
    LeaseMayRun,
    #[error("the other node has no live lease")]
    NoLease,
    #[error("a number of units must be above zero, and lines name different allotments")]
    Malformed,
    #[error("more lines of one checkout than a receipt holds")]
    TooManyLines,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    #[error("the cluster has not been founded: run `leasehold cluster init`")]
    NotFounded,
    #[error("the cluster has already been founded as {cluster}")]
    AlreadyFounded { cluster: ClusterId },
    #[error("timings refused: {reason}")]
    InvalidTimings { reason: String },
    #[error("node {node} is not a member of this cluster")]
    UnknownNode { node: NodeId },
    #[error("node {node} has been removed; its id is never used again")]
    RemovedNode { node: NodeId },
    #[error("node {node} is already a member, in site {site}")]
    NodeExists { node: NodeId, site: SiteName },
    #[error("entitlement refused: {reason}")]
    Entitlement { reason: String },
    #[error("the node's newest epoch is {epoch}, opened by process {process}")]
    EpochIs { epoch: Epoch, process: ProcessId },
    #[error("epoch {epoch} has ended")]
    LeaseEnded { epoch: Epoch },
    #[error(
        "node {node} is fenced: it lends nothing until it is let in by `leasehold node unfence \
         {node}`"
    )]
    Fenced { node: NodeId },
    #[error("a beat later than {seq} was applied")]
    Renewed { seq: u64 },
    #[error("operation {expected} is the next one")]
    OutOfOrder { expected: u64 },
    #[error("more than {most} actions in one operation")]
    TooManyActions { most: usize },
    #[error("more than {most} trusted keys")]
    TooManyKeys { most: usize },
    #[error("more than {most} pools, with those of earlier entitlements")]
    TooManyPools { most: usize },
}
