//! What an engine is told when it gets no license.

use std::fmt;

use leasehold_proto::v1::{Denied, Reason};

/// A definite answer of a node: nothing was lent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// [`Reason::Unspecified`] also stands for a reason that this SDK does not know yet.
    pub reason: Reason,
    /// Ask again after this many milliseconds; 0: asking again does not help.
    pub retry_after_ms: u64,
    /// The feature that was denied, if the reason is about one.
    pub feature: Option<String>,
    /// Units of the feature in use in the cluster, as far as the node knows.
    pub units_in_use: u64,
    /// Units of the feature that the cluster is entitled to.
    pub units_entitled: u64,
}

impl From<Denied> for Denial {
    fn from(denied: Denied) -> Self {
        Self {
            reason: denied.reason(),
            retry_after_ms: denied.retry_after_ms,
            units_in_use: denied.units_in_use,
            units_entitled: denied.units_entitled,
            feature: Some(denied.feature).filter(|feature| !feature.is_empty()),
        }
    }
}

impl Denial {
    pub(crate) fn unspecified() -> Self {
        Self {
            reason: Reason::Unspecified,
            retry_after_ms: 1_000,
            feature: None,
            units_in_use: 0,
            units_entitled: 0,
        }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(meaning(self.reason))?;
        if let Some(feature) = &self.feature {
            write!(f, ": feature `{feature}`")?;
        }
        if self.units_entitled > 0 {
            write!(f, ", {} of {} units in use", self.units_in_use, self.units_entitled)?;
        }
        if self.retry_after_ms > 0 {
            write!(f, "; try again in {} ms", self.retry_after_ms)?;
        }
        Ok(())
    }
}

fn meaning(reason: Reason) -> &'static str {
    match reason {
        Reason::Unspecified => "the node gave a reason that this SDK does not know",
        Reason::Exhausted => "every unit is in use",
        Reason::NoEntitlement => "the cluster has no entitlement: install one",
        Reason::NotEntitled => "the entitlement does not hold this feature here",
        Reason::Quota => "the limit set by the operator is reached",
        Reason::ContractEnded => "the contract has ended",
        Reason::MaintenanceEnded => "the engine was built after software maintenance ended",
        Reason::ContactLapsed => "the vendor has not been reached for too long",
        Reason::CutOff => "the node can't reach the leader",
        Reason::Draining => "the node is being stopped",
        Reason::Quarantined => "the node must be looked at by an operator",
        Reason::NotReady => "the node is not ready yet",
        Reason::ReceiptInvalid => "the receipt is not of this cluster, or was altered",
        Reason::ReceiptExpired => "the receipt's checkout has ended",
        Reason::RequestReused => "the request id was used before with other content",
        Reason::BadRequest => "the request is outside the limits",
    }
}

/// Why a checkout gave no guard.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckoutError {
    /// A node decided. Of reasons that another node may not have, it is the last one heard before
    /// the deadline.
    #[error("checkout denied: {0}")]
    Denied(Denial),
    /// No node gave an answer before the deadline.
    #[error("no license server gave an answer in {tried_for_ms} ms; the last error: {last}")]
    Unavailable { tried_for_ms: u64, last: String },
    /// The engine asks faster than the client can send.
    #[error("more than {most} checkouts wait for an answer: ask again when some were answered")]
    Overloaded { most: usize },
    #[error("the client has been stopped")]
    Stopped,
}

/// Why a check-in was not acknowledged. The units are free when the receipt's lifetime ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckinError {
    #[error("check-in denied: {0}")]
    Denied(Denial),
    #[error("no license server acknowledged the check-in; the last error: {last}")]
    Unavailable { last: String },
    #[error("the client has been stopped")]
    Stopped,
}
