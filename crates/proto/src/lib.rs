//! The generated gRPC code of `proto/`.
//!
//! [`v1`] is what engines and operators speak, [`internal::v1`] what nodes speak among
//! themselves. Whoever serves or calls an API parses its messages at the edge; nothing here
//! decides.

/// The engine's API and the operator's API.
#[allow(
    clippy::all,
    clippy::wildcard_enum_match_arm,
    clippy::needless_pass_by_value,
    clippy::large_futures,
    unreachable_pub,
    unused_qualifications,
    rust_2018_idioms
)]
pub mod v1 {
    tonic::include_proto!("leasehold.v1");
}

/// What nodes speak among themselves.
pub mod internal {
    #[allow(
        clippy::all,
        clippy::wildcard_enum_match_arm,
        clippy::needless_pass_by_value,
        clippy::large_futures,
        unreachable_pub,
        unused_qualifications,
        rust_2018_idioms
    )]
    pub mod v1 {
        tonic::include_proto!("leasehold.internal.v1");
    }
}

/// Describes every message and service, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/leasehold.binpb"));

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::v1::{CheckoutItem, CheckoutLine, CheckoutRequest, Reason};

    #[test]
    fn a_checkout_has_the_bytes_that_engines_in_the_field_send() {
        let request = CheckoutRequest {
            items: vec![CheckoutItem {
                request_id: vec![7; 16].into(),
                lines: vec![CheckoutLine { feature: "asr.tier1".to_owned(), units: 300 }],
                wait_ms: 1_000,
                engine_build_date: "2026-11-25".to_owned(),
            }],
            engine_instance: vec![9; 16].into(),
            sdk_version: "1".to_owned(),
        };
        let golden = [
            &b"\x0a\x31\x0a\x10"[..],
            &[7; 16],
            b"\x12\x0e\x0a\x09asr.tier1\x10\xac\x02",
            b"\x18\xe8\x07",
            b"\x22\x0a2026-11-25",
            b"\x12\x10",
            &[9; 16],
            b"\x1a\x011",
        ]
        .concat();
        assert_eq!(request.encode_to_vec(), golden);
        assert_eq!(CheckoutRequest::decode(&golden[..]).unwrap(), request);
    }

    #[test]
    fn reasons_keep_their_numbers() {
        let numbers = [
            (Reason::Unspecified, 0),
            (Reason::Exhausted, 1),
            (Reason::NoEntitlement, 2),
            (Reason::NotEntitled, 3),
            (Reason::Quota, 4),
            (Reason::ContractEnded, 5),
            (Reason::MaintenanceEnded, 6),
            (Reason::ContactLapsed, 7),
            (Reason::CutOff, 8),
            (Reason::Draining, 9),
            (Reason::Quarantined, 10),
            (Reason::NotReady, 11),
            (Reason::ReceiptInvalid, 12),
            (Reason::ReceiptExpired, 13),
            (Reason::RequestReused, 14),
            (Reason::BadRequest, 15),
        ];
        for (reason, number) in numbers {
            assert_eq!(i32::from(reason), number, "{reason:?}");
        }
    }
}
