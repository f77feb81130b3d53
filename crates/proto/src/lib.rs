//! The generated gRPC code of `proto/`, and its conversions to and from the types of the core.
//!
//! [`v1`] is what engines and operators speak, [`internal::v1`] what nodes speak among
//! themselves. Conversions parse at the edge: what passes them can't be wrong in form. They
//! decide nothing about licenses.

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
