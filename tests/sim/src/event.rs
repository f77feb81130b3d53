//! What happens, and when: one queue, ordered by true time and then by insertion.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use leasehold_core::desk::message::{
    BeatAnswer, CheckoutItem, Denial, HandOver, Operated, Operation,
};
use leasehold_core::id::{NodeId, PoolId};
use leasehold_core::steward::message::{BeatRequest, OpenAnswer, OpenRequest};

use crate::clock::Time;
use crate::fault::Fault;

/// A process's place in the list of all that ever ran.
pub(crate) type ProcessIndex = usize;
/// A machine's place: it outlives its processes.
pub(crate) type MachineIndex = usize;
pub(crate) type EngineIndex = usize;
pub(crate) type CallId = u64;

#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A message arrives at whatever process runs on the machine.
    AtMachine {
        machine: MachineIndex,
        from: EngineIndex,
        message: FromEngine,
    },
    AtProcess {
        process: ProcessIndex,
        message: FromPeer,
    },
    AtEngine {
        engine: EngineIndex,
        call: CallId,
        reply: EngineReply,
    },
    /// A process stops waiting for the answer to a call.
    CallOver {
        process: ProcessIndex,
        call: CallId,
    },
    EngineCallOver {
        engine: EngineIndex,
        call: CallId,
    },
    ProcessWake {
        process: ProcessIndex,
    },
    EngineWake {
        engine: EngineIndex,
    },
    /// A paused process goes on, with what has arrived meanwhile.
    Resume {
        process: ProcessIndex,
    },
    RaftTick,
    Commit {
        term: u64,
        index: usize,
    },
    Apply {
        process: ProcessIndex,
        up_to: usize,
        by_snapshot: bool,
    },
    /// The desk looks at the local ledger.
    DeskLooks {
        process: ProcessIndex,
    },
    /// The proposer hears of its proposal; `is_known`: it was applied, with these outcomes.
    Proposed {
        process: ProcessIndex,
        term: u64,
        token: u64,
        index: Option<usize>,
    },
    Fault(Fault),
    Restart {
        machine: MachineIndex,
    },
    /// A drained process gives up its lease and ends.
    Stop {
        process: ProcessIndex,
        down: Time,
    },
    /// The older of two machines with one node id stops for good.
    Retire {
        machine: MachineIndex,
    },
    Probe(Probe),
}

/// Steps of the end of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Probe {
    /// Every fault is healed, and nothing new is asked for.
    Heal,
    /// No node is fenced any more.
    LetAllIn,
    /// Every unit that no engine uses can be drawn again.
    Account,
    /// Somebody asks for all of them.
    AskForAll {
        pass: usize,
    },
    Judge {
        pass: usize,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct FromEngine {
    pub(crate) call: CallId,
    pub(crate) asked: Asked,
}

#[derive(Clone, Debug)]
pub(crate) enum Asked {
    Checkout(CheckoutItem),
    Renew { receipt: Vec<u8>, age_ms: u64 },
    Checkin { receipt: Vec<u8> },
}

#[derive(Clone, Debug)]
pub(crate) enum EngineReply {
    Granted {
        receipt: Vec<u8>,
        valid_for_ms: u64,
    },
    Renewed {
        receipt: Option<Vec<u8>>,
        valid_for_ms: u64,
    },
    Accepted,
    Denied(Denial),
    /// Nobody listens there.
    Refused,
}

#[derive(Clone, Debug)]
pub(crate) enum FromPeer {
    Question { from: ProcessIndex, call: CallId, question: Question },
    Answer { call: CallId, answer: PeerAnswer },
}

#[derive(Clone, Debug)]
pub(crate) enum Question {
    Open(OpenRequest),
    Beat(BeatRequest),
    Operate { node: NodeId, operation: Operation },
    HandOver { receipt: Vec<u8>, to: NodeId },
    Recall { pools: Vec<(PoolId, u64)> },
    Checkin { receipt: Vec<u8> },
}

#[derive(Clone, Debug)]
pub(crate) enum PeerAnswer {
    Open(OpenAnswer),
    Beat(BeatAnswer),
    Operated(Operated),
    HandOver(HandOver),
    Recalled(Vec<(PoolId, u64)>),
    Unknown,
}

#[derive(Debug, Default)]
pub(crate) struct Queue {
    heap: BinaryHeap<Scheduled>,
    count: u64,
}

#[derive(Debug)]
struct Scheduled {
    at: Time,
    number: u64,
    event: Event,
}

impl Queue {
    pub(crate) fn push(&mut self, at: Time, event: Event) {
        self.count += 1;
        self.heap.push(Scheduled { at, number: self.count, event });
    }

    pub(crate) fn pop(&mut self) -> Option<(Time, Event)> {
        self.heap.pop().map(|scheduled| (scheduled.at, scheduled.event))
    }
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    /// The earliest is the greatest: the heap gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}
