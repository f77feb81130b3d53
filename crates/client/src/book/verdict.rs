//! What a node's answer means for the engine; every reason has its row.

use leasehold_proto::v1::Reason;

/// Takes off 1 % of what a node promised, for the error of both clocks' rates (ρ).
const DRIFT_PER_CENT: u64 = 1;

/// When a license ends that was promised for `valid_for_ms` in answer to an attempt sent then.
pub(crate) fn valid_until(sent_ms: u64, valid_for_ms: u64) -> u64 {
    let counted = u128::from(valid_for_ms) * u128::from(100 - DRIFT_PER_CENT) / 100;
    sent_ms.saturating_add(u64::try_from(counted).unwrap_or(u64::MAX))
}

/// What to do after a denied checkout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CheckoutVerdict {
    /// It is the answer.
    Final,
    /// This node can't tell: ask another.
    Elsewhere,
}

pub(crate) fn of_checkout(reason: Reason) -> CheckoutVerdict {
    match reason {
        Reason::CutOff | Reason::Draining | Reason::Quarantined | Reason::NotReady => {
            CheckoutVerdict::Elsewhere
        }
        Reason::Unspecified
        | Reason::Exhausted
        | Reason::NoEntitlement
        | Reason::NotEntitled
        | Reason::Quota
        | Reason::ContractEnded
        | Reason::MaintenanceEnded
        | Reason::ContactLapsed
        | Reason::ReceiptInvalid
        | Reason::ReceiptExpired
        | Reason::RequestReused
        | Reason::BadRequest => CheckoutVerdict::Final,
    }
}

/// What to do after a denied renewal. A denial never shortens what a receipt is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RenewVerdict {
    /// The checkout has ended: nothing can be renewed, check out anew.
    Dead,
    /// Show the receipt to another node, and to this one later.
    Elsewhere,
}

pub(crate) fn of_renewal(reason: Reason) -> RenewVerdict {
    match reason {
        Reason::ReceiptExpired => RenewVerdict::Dead,
        // RECEIPT_INVALID may come from a node of another cluster that is listed by mistake; it
        // must not end a license that its own cluster would renew.
        Reason::ReceiptInvalid
        | Reason::Unspecified
        | Reason::Exhausted
        | Reason::NoEntitlement
        | Reason::NotEntitled
        | Reason::Quota
        | Reason::ContractEnded
        | Reason::MaintenanceEnded
        | Reason::ContactLapsed
        | Reason::CutOff
        | Reason::Draining
        | Reason::Quarantined
        | Reason::NotReady
        | Reason::RequestReused
        | Reason::BadRequest => RenewVerdict::Elsewhere,
    }
}

/// Whether a denied check-in may be accepted by another node, or later.
pub(crate) fn checkin_may_be_retried(reason: Reason) -> bool {
    match reason {
        Reason::CutOff
        | Reason::Draining
        | Reason::Quarantined
        | Reason::NotReady
        | Reason::Unspecified => true,
        Reason::Exhausted
        | Reason::NoEntitlement
        | Reason::NotEntitled
        | Reason::Quota
        | Reason::ContractEnded
        | Reason::MaintenanceEnded
        | Reason::ContactLapsed
        | Reason::ReceiptInvalid
        | Reason::ReceiptExpired
        | Reason::RequestReused
        | Reason::BadRequest => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_is_counted_from_the_send_less_one_per_cent() {
        assert_eq!(valid_until(1_000, 30_000), 1_000 + 29_700);
        assert_eq!(valid_until(1_000, 0), 1_000);
        assert_eq!(valid_until(7, 99), 7 + 98);
        assert_eq!(valid_until(1, u64::MAX), 1 + u64::MAX / 100 * 99 + u64::MAX % 100 * 99 / 100);
    }
}
