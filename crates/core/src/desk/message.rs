//! What engines, peers and the steward ask of a desk and answer it, and what a desk asks for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::entitlement::Date;
use crate::id::{CheckoutId, Epoch, FeatureId, NodeId, PoolId, RequestId};
use crate::ledger::NodeView;
use crate::ledger::command::{Action, ActionOutcome};
use crate::time::{Moment, Timings};

/// Names a question whose answer comes later; chosen by the caller.
pub type Ticket = u64;

/// One all-or-nothing request for units of several features.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CheckoutItem {
    pub request: RequestId,
    pub lines: Vec<FeatureUnits>,
    pub wait_ms: u64,
    pub engine_build: Option<Date>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FeatureUnits {
    pub feature: FeatureId,
    pub units: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Granted {
        receipt: Vec<u8>,
        life: Life,
    },
    /// `receipt` is set when it is not the one that was shown.
    Renewed {
        receipt: Option<Vec<u8>>,
        life: Life,
    },
    Accepted,
    Denied(Denial),
    /// To another node that asked for a checkout.
    HandOver(HandOver),
}

/// The lifetime of a checkout, on the desk's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    pub from: Moment,
    pub ttl_ms: u64,
    pub clock_drift_ppm: u64,
}

impl Life {
    /// What is left at `now`, rounded down: to be asked when the answer is written, since the
    /// engine counts it from the sending of that attempt.
    #[must_use]
    pub fn left_ms(&self, now: Moment) -> u64 {
        let timings = Timings { clock_drift_ppm: self.clock_drift_ppm, ..Timings::default() };
        self.ttl_ms.saturating_sub(timings.stretch(now.since(self.from)))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    pub reason: Reason,
    /// 0: asking this node again does not help.
    pub retry_after_ms: u64,
    pub feature: Option<FeatureId>,
    pub units_in_use: u64,
    pub units_entitled: u64,
}

/// Why an item was denied; the wire's documentation tells engines what to do about each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    Exhausted,
    NoEntitlement,
    NotEntitled,
    ContractEnded,
    MaintenanceEnded,
    CutOff,
    Draining,
    NotReady,
    ReceiptInvalid,
    ReceiptExpired,
    RequestReused,
    BadRequest,
}

impl Reason {
    /// When asking the same node again may help.
    #[must_use]
    pub fn retry_after_ms(self) -> u64 {
        match self {
            Reason::Exhausted => 1_000,
            Reason::CutOff | Reason::NotReady => 250,
            Reason::Draining => 5_000,
            Reason::NoEntitlement
            | Reason::NotEntitled
            | Reason::ContractEnded
            | Reason::MaintenanceEnded
            | Reason::ReceiptInvalid
            | Reason::ReceiptExpired
            | Reason::RequestReused
            | Reason::BadRequest => 0,
        }
    }

    /// The reason's name in metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Exhausted => "exhausted",
            Reason::NoEntitlement => "no_entitlement",
            Reason::NotEntitled => "not_entitled",
            Reason::ContractEnded => "contract_ended",
            Reason::MaintenanceEnded => "maintenance_ended",
            Reason::CutOff => "cut_off",
            Reason::Draining => "draining",
            Reason::NotReady => "not_ready",
            Reason::ReceiptInvalid => "receipt_invalid",
            Reason::ReceiptExpired => "receipt_expired",
            Reason::RequestReused => "request_reused",
            Reason::BadRequest => "bad_request",
        }
    }
}

impl From<Reason> for Denial {
    fn from(reason: Reason) -> Self {
        Self {
            reason,
            retry_after_ms: reason.retry_after_ms(),
            feature: None,
            units_in_use: 0,
            units_entitled: 0,
        }
    }
}

/// What a desk says to another node that asks for one of its checkouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HandOver {
    /// The ledger has moved it: it comes with the next view.
    Coming,
    /// No such checkout runs here any more.
    Ended,
    /// It could not be moved now.
    NotNow,
}

/// What a node uses and wants, sent with every beat.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub pools: BTreeMap<PoolId, PoolUse>,
    /// Units that requests in the queue wait for, by feature.
    pub waiting: BTreeMap<FeatureId, u64>,
    /// Checkouts that run. This and what follows is for operators alone.
    #[serde(default)]
    pub running: u64,
    /// Denials since the node's process started, by feature.
    #[serde(default)]
    pub denied: BTreeMap<FeatureId, u64>,
    /// Milliseconds of overrun since then, by pool.
    #[serde(default)]
    pub overrun_ms: BTreeMap<PoolId, u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolUse {
    pub in_use: u64,
    pub free: u64,
}

/// Steps for the ledger, and wishes for the steward to turn into draws behind them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    pub epoch: Epoch,
    pub number: u64,
    pub actions: Vec<Action>,
    pub wants: Vec<Want>,
}

/// Units that a desk would like to have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Want {
    /// The pools that will do, the preferred one first. Not a feature: engines of different builds
    /// may be served by different pools of one feature.
    pub pools: Vec<PoolId>,
    /// For requests that wait now.
    pub need: u64,
    /// For requests that are likely to come.
    pub spare: u64,
}

/// The answer to an [`Operation`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operated {
    Applied {
        /// One for each action.
        outcomes: Vec<ActionOutcome>,
        /// One for each want.
        supplies: Vec<Supply>,
        view: NodeView,
    },
    /// The ledger has ended the epoch, or expects another operation.
    Refused { view: NodeView },
}

/// How a want was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Supply {
    /// All that was needed.
    Met,
    /// Units idle at other nodes were asked for: ask again shortly.
    Recalling { in_use: u64, entitled: u64 },
    /// No unit is free anywhere.
    Exhausted { in_use: u64, entitled: u64 },
    /// None of the pools serves this node now.
    NotServed,
}

/// The answer to a beat that was committed and applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BeatAnswer {
    /// Whether the lease of the beat's epoch lives.
    pub live: bool,
    pub view: NodeView,
}

/// What a desk wants done. Answers to questions come back through the method named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Answer {
        ticket: Ticket,
        answer: Answer,
    },
    /// Ask the steward to open a lease: [`super::Desk::on_opened`].
    Open {
        after: Epoch,
    },
    /// Send a beat: [`super::Desk::on_beat`]. `heard` is the newest beat seen acknowledged.
    Beat {
        epoch: Epoch,
        seq: u64,
        heard: u64,
        report: Report,
    },
    /// Ask the steward to apply an operation: [`super::Desk::on_operated`].
    Operate(Operation),
    /// Ask another node for a checkout: [`super::Desk::on_hand_over`].
    HandOver {
        from: NodeId,
        checkout: CheckoutId,
        receipt: Vec<u8>,
    },
    /// Tell another node that one of its checkouts has ended; no answer is needed.
    PassCheckin {
        to: NodeId,
        receipt: Vec<u8>,
    },
}
