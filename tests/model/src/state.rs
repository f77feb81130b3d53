//! What a moment of the model consists of.

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use leasehold_core::id::{AllotmentId, CheckoutId, Epoch, NodeId, PoolId};
use leasehold_core::ledger::{AllotmentState, FrozenLease, Ledger, Replica};

use crate::bounds::Budget;
use crate::clocks::{AGE_MAX, Age, TIMINGS, noted_at};

/// A node by its place; its id is one more.
pub(crate) type Node = usize;
pub(crate) type EngineIndex = usize;

pub(crate) const NODES: usize = 2;
pub(crate) const ENGINES: usize = 2;

pub(crate) fn node_id(node: Node) -> NodeId {
    NodeId(node as u64 + 1)
}

pub(crate) fn place_of(node: NodeId) -> Node {
    usize::from(node == node_id(1))
}

/// The one pool.
pub(crate) const POOL: PoolId = PoolId(0);

#[derive(Clone, Debug)]
pub struct State {
    /// True time. States that differ in nothing else are one state.
    pub(crate) tick: u32,
    /// What is committed, and when that was: the replica of a third voter, which never leads.
    pub(crate) truth: Arc<Replica>,
    /// What each node has applied, with its own notes; none while it is down or cut off, as it
    /// starts from the ledger as it finds it then.
    pub(crate) replicas: [Option<Arc<Replica>>; NODES],
    pub(crate) rest: Rest,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Rest {
    pub leader: Option<Node>,
    /// A leader that was replaced, or is cut off, and does not know.
    pub deposed: Option<Node>,
    pub is_cut: [bool; NODES],
    pub desks: [Option<Desk>; NODES],
    pub engines: [Engine; ENGINES],
    pub wire: BTreeSet<Message>,
    pub budget: Budget,
    /// A desk covered a checkout that it had handed over: it has one more unit of that allotment.
    pub is_covered_where_it_left: bool,
    /// A command, applied once more at once, changed something.
    pub is_repeat_applied: bool,
    /// A number of the ledger went backwards.
    pub went_back: bool,
}

/// A desk, as small as it can be: one pool, one unit per checkout.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Desk {
    pub epoch: Epoch,
    pub last_seq: u64,
    /// Beats without an answer: number, and how long ago they were sent.
    pub beats: Vec<(u64, Age)>,
    /// How long ago the newest acknowledged beat was sent.
    pub right: Age,
    /// The open allotment and its units, as the desk knows them.
    pub till: Option<(AllotmentId, u64)>,
    pub book: Vec<Entry>,
    pub claims: Vec<Claim>,
    pub operation: u64,
    /// An operation is under way.
    pub is_operating: bool,
    /// Units that moved here for a covered checkout, and how long ago.
    pub superseded: Vec<(AllotmentId, Age)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Entry {
    pub checkout: CheckoutId,
    pub allotment: AllotmentId,
    /// Since it was granted or renewed.
    pub age: Age,
    /// The ledger was asked to move it.
    pub is_departing: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Claim {
    pub engine: EngineIndex,
    pub receipt: Receipt,
    pub phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    ToAsk,
    Asked,
    /// It lives elsewhere: its node is asked, or it is covered.
    HandingOver,
    Arriving,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Receipt {
    pub checkout: CheckoutId,
    pub node: Node,
    pub epoch: Epoch,
    pub allotment: AllotmentId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Engine {
    Idle,
    /// `age` is that of its request.
    Asking {
        age: Age,
    },
    /// `age` is that of the request whose answer it counts from, `asked` that of one under way.
    Held {
        receipt: Receipt,
        age: Age,
        asked: Option<Age>,
    },
    Done,
}

/// On its way: it arrives at any later time, or never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Message {
    Beat {
        node: Node,
        epoch: Epoch,
        seq: u64,
    },
    Acknowledged {
        node: Node,
        epoch: Epoch,
        seq: u64,
    },
    /// A proposal of the leader.
    Freeze {
        node: Node,
        epoch: Epoch,
        seq: u64,
    },
    Reclaim {
        node: Node,
        epoch: Epoch,
        operation: u64,
        receipt: Receipt,
    },
    HandOver {
        node: Node,
        epoch: Epoch,
        operation: u64,
        receipt: Receipt,
        to: Node,
    },
    Granted {
        engine: EngineIndex,
        receipt: Receipt,
    },
    Renewed {
        engine: EngineIndex,
        receipt: Receipt,
    },
}

impl Desk {
    pub(crate) fn open(epoch: Epoch) -> Self {
        Self {
            epoch,
            last_seq: 0,
            beats: Vec::new(),
            right: AGE_MAX,
            till: None,
            book: Vec::new(),
            claims: Vec::new(),
            operation: 0,
            is_operating: false,
            superseded: Vec::new(),
        }
    }

    pub(crate) fn free(&self) -> u64 {
        let Some((till, units)) = self.till else { return 0 };
        let lent = self.book.iter().filter(|entry| entry.allotment == till).count() as u64;
        units.saturating_sub(lent)
    }

    pub(crate) fn entry(&mut self, checkout: CheckoutId) -> Option<&mut Entry> {
        self.book.iter_mut().find(|entry| entry.checkout == checkout)
    }

    pub(crate) fn knows(&self, checkout: CheckoutId) -> bool {
        self.book.iter().any(|entry| entry.checkout == checkout)
    }
}

impl Engine {
    pub(crate) fn held(&self) -> Option<Receipt> {
        match self {
            Engine::Held { receipt, .. } => Some(*receipt),
            Engine::Idle | Engine::Asking { .. } | Engine::Done => None,
        }
    }
}

impl State {
    pub(crate) fn ledger(&self) -> &Ledger {
        &self.truth.ledger
    }

    /// Whether `epoch` is the live lease of `node`.
    pub(crate) fn is_leased(&self, node: Node, epoch: Epoch) -> bool {
        let lease = self.ledger().node(node_id(node)).and_then(|node| node.lease.as_ref());
        lease.is_some_and(|lease| lease.live && lease.epoch == epoch)
    }

    pub(crate) fn has_same_truth(&self, other: &Self) -> bool {
        self.digest(&self.truth) == other.digest(&other.truth)
    }

    /// The desk of this node if it still is that of `epoch`.
    pub(crate) fn desk_of(&mut self, node: Node, epoch: Epoch) -> Option<&mut Desk> {
        self.rest.desks[node].as_mut().filter(|desk| desk.epoch == epoch)
    }

    /// Everything of a replica that can make a difference later, with moments as ages.
    fn digest(&self, replica: &Replica) -> Vec<u64> {
        let ledger = &replica.ledger;
        let now = noted_at(self.tick);
        let mut digest = Vec::with_capacity(64);
        digest.extend(ledger.pools().values().map(|pool| pool.reserve.cast_unsigned()));
        for (node, lease) in ledger.leases() {
            let noted = replica.notes.beat(node, lease.epoch).map(|(_, at)| now.since(at));
            let waited = noted.map_or(u64::MAX, |ms| ms.min(TIMINGS.end_lease_after_ms()));
            let seen = [node.0, lease.epoch.0, lease.seq, u64::from(lease.live), lease.operation];
            digest.extend(seen);
            digest.extend([u64::from(lease.process.0[0]), waited]);
        }
        for (id, allotment) in ledger.allotments() {
            let state = match allotment.state {
                AllotmentState::Live => 0,
                AllotmentState::Frozen(FrozenLease::Ended) => 1,
                AllotmentState::Frozen(FrozenLease::MayRun) => 2,
            };
            let bound = allotment.bound.map_or([0, 0], |it| [low(it.checkout), it.origin.0]);
            let from = replica.notes.frozen(*id);
            let waited = from.map_or(0, |at| now.since(at).min(TIMINGS.thaw_after_ms()));
            let ahead = from.map_or(0, |at| at.since(now));
            digest.extend([
                id.0,
                allotment.node.0,
                allotment.epoch.0,
                allotment.units.get(),
                state,
            ]);
            digest.extend([bound[0], bound[1], waited, ahead]);
        }
        // Allotments and moves are told apart, whatever their number.
        digest.push(u64::MAX);
        for ((from, checkout), to) in ledger.moves() {
            digest.extend([from.0, low(*checkout), to.0]);
        }
        digest
    }

    /// What the third voter knows, and what each node knows if that is something else.
    fn digests(&self) -> (Vec<u64>, [Option<Vec<u64>>; NODES]) {
        let truth = self.digest(&self.truth);
        let differing = [0, 1].map(|node: Node| {
            let replica = self.replicas[node].as_ref()?;
            if Arc::ptr_eq(replica, &self.truth) {
                return None;
            }
            Some(self.digest(replica)).filter(|digest| *digest != truth)
        });
        (truth, differing)
    }
}

fn low(checkout: CheckoutId) -> u64 {
    u64::from(checkout.0[15])
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.rest.hash(hasher);
        self.digests().hash(hasher);
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.rest == other.rest && self.digests() == other.digests()
    }
}
