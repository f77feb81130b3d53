//! The gRPC services: they parse, ask an actor, and write the answer. They decide nothing.

pub mod admin;
mod events;
pub mod figures;
pub mod licensing;
mod parse;
mod status;
