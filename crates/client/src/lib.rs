//! The SDK for speech engines: `client.checkout(&[("asr.tier1", 1)]).await?` gives a [`Guard`]
//! that keeps the license for as long as it lives, and checks it in when it is dropped.
//!
//! ```text
//!   Client, Guard ──requests──▶ task ──calls──▶ connection to each node
//!        ▲                       │ ▲                   │
//!        └──── state, answers ───┘ └──── completions ──┘
//!                                │
//!                               book: decides (no I/O, time is an argument)
//! ```
//!
//! What it promises, whatever nodes and networks do:
//! * A license counts only until the deadline that the engine counted from the *sending* of the
//!   attempt that was answered, on a clock that runs through suspend, less 1 %.
//! * A late answer extends nothing; a receipt past its deadline is dead and is never renewed. The
//!   guard is then [`GuardState::Lapsed`], the client checks the same features out anew for as
//!   long as the guard lives, and the time in between is reported as overrun.
//! * Renewals go out at a third of the lifetime, all that are due at a node in one message. When
//!   a node fails or says that it can't serve, they move to another, of the own site first.
//! * Every call has a deadline. A retry of a checkout repeats its request id.
//!
//! It does not judge what a lapse means for a call: the engine may finish the call, and must
//! start nothing new with that license.

mod book;
mod client;
mod config;
mod connection;
mod error;
mod guard;
mod observer;
mod router;
mod task;

pub use client::{CheckoutOptions, Client, ClientStatus};
pub use config::{ClientConfig, Deadlines, Endpoint, InvalidConfig, Security, TlsFiles};
pub use connection::{CallError, Connection, new_request_id};
pub use error::{CheckinError, CheckoutError, Denial};
pub use guard::{Guard, GuardState};
pub use leasehold_proto::v1::Reason;
pub use observer::{Observer, Use};
