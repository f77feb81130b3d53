//! Every limit on what the outside may ask, in one place, each with its reason.

/// A feature's name fits a receipt's neighbour fields, log lines and metric labels.
pub const FEATURE_BYTES_MAX: usize = 64;
/// Names of sites and license sets.
pub const NAME_BYTES_MAX: usize = 48;
/// Names of nodes stand in tables and metric labels; a host name's part is not longer.
pub const NODE_NAME_BYTES_MAX: usize = 63;
/// Features in one all-or-nothing checkout: a call needs ASR, TTS and CPA; twice that is roomy.
pub const FEATURES_PER_CHECKOUT_MAX: usize = 6;
/// Lines of one receipt: one feature may be served by several pools.
pub const LINES_PER_RECEIPT_MAX: usize = 8;
/// A receipt's whole size; promised to engines.
pub const RECEIPT_BYTES_MAX: usize = 256;
/// Items in one `Checkout`, `Renew` or `Checkin`: an SDK renews a whole engine's calls at once.
pub const ITEMS_PER_CALL_MAX: usize = 1024;
/// Units one checkout may take of one feature; far above any engine, far below overflow.
pub const UNITS_PER_LINE_MAX: u64 = 1_000_000;
/// Units of one pool: sums over [`POOLS_MAX`] pools stay below `i64::MAX`.
pub const UNITS_PER_POOL_MAX: u64 = 1_000_000_000_000;
/// Pools that one cluster ever has, as none is ever forgotten: those of two of the largest
/// entitlements that have no set in common.
pub const POOLS_MAX: usize = 2 * SETS_MAX * FEATURES_PER_SET_MAX;
/// Keys of the vendor in one cluster: those of today and of tomorrow, of some issuers.
pub const TRUSTED_KEYS_MAX: usize = 16;
/// Versions, epochs and the like count up from 0: at a million a second this one is reached in
/// 146,000 years. Only bytes that no ledger wrote name a higher one.
pub const COUNT_MAX: u64 = 1 << 62;
/// License sets in an entitlement.
pub const SETS_MAX: usize = 256;
/// Feature lines in one license set.
pub const FEATURES_PER_SET_MAX: usize = 256;
/// An entitlement's envelope.
pub const ENTITLEMENT_BYTES_MAX: usize = 1 << 20;
/// Longest wait in a queue that an engine may ask for: a caller hangs up long before.
pub const WAIT_MS_MAX: u64 = 60_000;
/// Waiting checkouts at one desk; past it the desk answers at once, without a queue.
pub const WAITING_MAX: usize = 10_000;
/// Checkouts one desk holds: 1 M must fit in 200 MB.
pub const CHECKOUTS_MAX: usize = 4_000_000;
/// Actions of one operation: bounds a log entry to tens of KiB.
pub const ACTIONS_PER_OPERATION_MAX: usize = 512;
/// Events the ledger keeps for `leasehold events`.
pub const EVENTS_MAX: usize = 1_000;
