//! From the engine's wire format to the core's types, and back.

use leasehold_core::desk::message::{Answer, CheckoutItem, Denial, FeatureUnits, Reason};
use leasehold_core::entitlement::Date;
use leasehold_core::id::{FeatureId, RequestId};
use leasehold_core::limits::ITEMS_PER_CALL_MAX;
use leasehold_core::time::Moment;
use leasehold_proto::v1;
use tonic::Status;

/// Bytes of an SDK's version text; it labels nothing, it only must not be free text.
const SDK_VERSION_BYTES_MAX: usize = 32;

/// Checks what the three calls have in common.
pub(super) fn require_call(
    items: usize,
    engine_instance: &[u8],
    sdk_version: &str,
) -> Result<(), Status> {
    if items == 0 || items > ITEMS_PER_CALL_MAX {
        return Err(Status::invalid_argument(format!(
            "items: {items} were sent, expected 1 to {ITEMS_PER_CALL_MAX}; split the call"
        )));
    }
    if !matches!(engine_instance.len(), 0 | 16) {
        return Err(Status::invalid_argument(format!(
            "engine_instance: {} bytes, expected 16 random bytes or none",
            engine_instance.len()
        )));
    }
    let is_version = |byte: u8| byte.is_ascii_alphanumeric() || b".+-".contains(&byte);
    if sdk_version.len() > SDK_VERSION_BYTES_MAX || !sdk_version.bytes().all(is_version) {
        return Err(Status::invalid_argument(format!(
            "sdk_version: expected at most {SDK_VERSION_BYTES_MAX} of 0-9 A-Z a-z . + -"
        )));
    }
    Ok(())
}

/// One item, or why it can't be one.
pub(super) fn checkout_item(item: v1::CheckoutItem) -> Result<CheckoutItem, Denial> {
    let bad = || Denial::from(Reason::BadRequest);
    let request = <[u8; 16]>::try_from(&item.request_id[..]).map_err(|_| bad())?;
    let engine_build = match item.engine_build_date.as_str() {
        "" => None,
        text => Some(text.parse::<Date>().map_err(|_| bad())?),
    };
    let lines = item.lines.into_iter().map(|line| {
        let feature: FeatureId = line.feature.parse().map_err(|_| bad())?;
        Ok(FeatureUnits { feature, units: line.units })
    });
    Ok(CheckoutItem {
        request: RequestId(request),
        lines: lines.collect::<Result<_, Denial>>()?,
        wait_ms: item.wait_ms,
        engine_build,
    })
}

pub(super) fn checkout_answer(answer: Answer, now: Moment) -> v1::CheckoutAnswer {
    use v1::checkout_answer::Answer as Wire;
    let wire = match answer {
        Answer::Granted { receipt, life } => {
            Wire::Granted(v1::Granted { receipt: receipt.into(), valid_for_ms: life.left_ms(now) })
        }
        other @ (Answer::Renewed { .. }
        | Answer::Accepted
        | Answer::Denied(_)
        | Answer::HandOver(_)) => Wire::Denied(denied(denial_of(other))),
    };
    v1::CheckoutAnswer { answer: Some(wire) }
}

pub(super) fn renew_answer(answer: Answer, now: Moment) -> v1::RenewAnswer {
    use v1::renew_answer::Answer as Wire;
    let wire = match answer {
        Answer::Renewed { receipt, life } => Wire::Renewed(v1::Renewed {
            receipt: receipt.unwrap_or_default().into(),
            valid_for_ms: life.left_ms(now),
        }),
        other @ (Answer::Granted { .. }
        | Answer::Accepted
        | Answer::Denied(_)
        | Answer::HandOver(_)) => Wire::Denied(denied(denial_of(other))),
    };
    v1::RenewAnswer { answer: Some(wire) }
}

pub(super) fn checkin_answer(answer: Answer) -> v1::CheckinAnswer {
    use v1::checkin_answer::Answer as Wire;
    let wire = match answer {
        Answer::Accepted => Wire::Accepted(v1::Accepted {}),
        other @ (Answer::Granted { .. }
        | Answer::Renewed { .. }
        | Answer::Denied(_)
        | Answer::HandOver(_)) => Wire::Denied(denied(denial_of(other))),
    };
    v1::CheckinAnswer { answer: Some(wire) }
}

fn denial_of(answer: Answer) -> Denial {
    match answer {
        Answer::Denied(denial) => denial,
        // An answer of another kind would be a defect of the desk: the engine asks again.
        Answer::Granted { .. }
        | Answer::Renewed { .. }
        | Answer::Accepted
        | Answer::HandOver(_) => Reason::NotReady.into(),
    }
}

fn denied(denial: Denial) -> v1::Denied {
    v1::Denied {
        reason: wire_reason(denial.reason).into(),
        retry_after_ms: denial.retry_after_ms,
        feature: denial.feature.map(String::from).unwrap_or_default(),
        units_in_use: denial.units_in_use,
        units_entitled: denial.units_entitled,
    }
}

fn wire_reason(reason: Reason) -> v1::Reason {
    match reason {
        Reason::Exhausted => v1::Reason::Exhausted,
        Reason::NoEntitlement => v1::Reason::NoEntitlement,
        Reason::NotEntitled => v1::Reason::NotEntitled,
        Reason::ContractEnded => v1::Reason::ContractEnded,
        Reason::MaintenanceEnded => v1::Reason::MaintenanceEnded,
        Reason::CutOff => v1::Reason::CutOff,
        Reason::Draining => v1::Reason::Draining,
        Reason::NotReady => v1::Reason::NotReady,
        Reason::ReceiptInvalid => v1::Reason::ReceiptInvalid,
        Reason::ReceiptExpired => v1::Reason::ReceiptExpired,
        Reason::RequestReused => v1::Reason::RequestReused,
        Reason::BadRequest => v1::Reason::BadRequest,
    }
}
