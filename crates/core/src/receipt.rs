//! The proof an engine holds for its checkout: opaque to it, and enough for any node to take over.
//!
//! A receipt names the checkout, the node and epoch that granted it, when it was issued on that
//! node's own clock, and every line (pool, allotment, units). It is authenticated, not secret. It
//! does not say whether the checkout still lives: the desk and the ledger decide that.
//!
//! ```text
//!  version  key id  checkout  node  epoch  issued_ms  1..=8 × (pool  allotment  units)     MAC
//!     1        1       16      8      8        8               4        8        8         16
//! ```
//!
//! Numbers are big-endian and of fixed width, so the length alone tells the number of lines and
//! nothing can be cut or added without notice. The MAC is HMAC-SHA256, its first 16 bytes, over a
//! block that names the purpose and the cluster and then over all bytes before the MAC.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::id::{AllotmentId, CheckoutId, ClusterId, Epoch, NodeId, PoolId};
use crate::limits::{LINES_PER_RECEIPT_MAX, RECEIPT_BYTES_MAX};
use crate::units::Units;

/// What a node granted, as the engine that holds the receipt may show it to any node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub checkout: CheckoutId,
    pub node: NodeId,
    pub epoch: Epoch,
    /// The granting node's steady clock: comparable with that clock and no other.
    pub issued_ms: u64,
    pub lines: ReceiptLines,
}

/// What one receipt can say: 1 to [`LINES_PER_RECEIPT_MAX`] lines, and units in each. A desk holds
/// no checkout that is not of this type, so there is none whose receipt can't be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiptLines(Box<[ReceiptLine]>);

/// Units of one pool, lent out of one allotment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiptLine {
    pub pool: PoolId,
    pub allotment: AllotmentId,
    pub units: Units,
}

/// A receipt that proves nothing here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    #[error("receipt of {bytes} bytes is too long: expected at most {most}, as it was granted")]
    TooLong { bytes: usize, most: usize },
    #[error("receipt of {bytes} bytes is cut off or padded: send it back exactly as granted")]
    Truncated { bytes: usize },
    #[error("receipt version {version} is not known here, expected {VERSION}: check out anew")]
    UnknownVersion { version: u8 },
    #[error(
        "receipt key {found} is not this cluster's, which is {expected}: the receipt is of \
         another cluster or older than a change of keys; check out anew"
    )]
    UnknownKey { found: u8, expected: u8 },
    #[error("receipt was altered, or made by another cluster: check out anew")]
    Forged,
    #[error("receipt names units that no pool has, or none: check out anew")]
    Nonsense,
}

/// Makes and checks the receipts of one cluster. Built once: the HMAC state that depends only on
/// the secret and the cluster is kept, so that a MAC costs three SHA-256 blocks for one line.
#[derive(Clone)]
pub struct ReceiptKey {
    id: u8,
    keyed: Hmac<Sha256>,
}

/// The first byte. A receipt outlives no more than one rolling upgrade, but it does outlive that.
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 1 + 1 + 16 + 8 + 8 + 8;
const LINE_BYTES: usize = 4 + 8 + 8;
/// 128 bits: a forger has 2^-128 per try, and the tries go through a licence server.
const MAC_BYTES: usize = 16;

// The size promised to engines holds for the longest receipt: 42 + 8 × 20 + 16 = 218 bytes.
const _: () = assert!(
    HEADER_BYTES + LINES_PER_RECEIPT_MAX * LINE_BYTES + MAC_BYTES <= RECEIPT_BYTES_MAX,
    "a receipt with the most lines must fit the promised size"
);

impl ReceiptLines {
    /// `None`: no line, more than fit a receipt, or one without units.
    #[must_use]
    pub fn new(lines: Vec<ReceiptLine>) -> Option<Self> {
        let fit = (1..=LINES_PER_RECEIPT_MAX).contains(&lines.len());
        let is_good = fit && lines.iter().all(|line| !line.units.is_zero());
        is_good.then(|| Self(lines.into_boxed_slice()))
    }
}

impl std::ops::Deref for ReceiptLines {
    type Target = [ReceiptLine];

    fn deref(&self) -> &[ReceiptLine] {
        &self.0
    }
}

impl Receipt {
    /// The bytes an engine holds, in one allocation.
    #[must_use]
    pub fn seal(&self, key: &ReceiptKey) -> Vec<u8> {
        let size = HEADER_BYTES + self.lines.len() * LINE_BYTES + MAC_BYTES;
        let mut bytes = Vec::with_capacity(size);
        bytes.extend_from_slice(&[VERSION, key.id]);
        bytes.extend_from_slice(&self.checkout.0);
        bytes.extend_from_slice(&self.node.0.to_be_bytes());
        bytes.extend_from_slice(&self.epoch.0.to_be_bytes());
        bytes.extend_from_slice(&self.issued_ms.to_be_bytes());
        for line in self.lines.iter() {
            bytes.extend_from_slice(&line.pool.0.to_be_bytes());
            bytes.extend_from_slice(&line.allotment.0.to_be_bytes());
            bytes.extend_from_slice(&line.units.get().to_be_bytes());
        }
        let mac = key.authenticate(&bytes).finalize().into_bytes();
        bytes.extend_from_slice(&mac[..MAC_BYTES]);
        bytes
    }

    /// Reads what an engine shows.
    ///
    /// # Errors
    /// Whatever is not, byte for byte, what [`Receipt::seal`] made under this key. The MAC is
    /// compared in constant time and before any field is believed.
    pub fn open(bytes: &[u8], key: &ReceiptKey) -> Result<Self, ReceiptError> {
        if bytes.len() > RECEIPT_BYTES_MAX {
            return Err(ReceiptError::TooLong { bytes: bytes.len(), most: RECEIPT_BYTES_MAX });
        }
        let truncated = ReceiptError::Truncated { bytes: bytes.len() };
        // The version comes first: another version may have other lengths.
        let version = *bytes.first().ok_or(truncated)?;
        if version != VERSION {
            return Err(ReceiptError::UnknownVersion { version });
        }
        let line_count = line_count(bytes.len()).ok_or(truncated)?;
        let (body, mac) = bytes.split_at(bytes.len() - MAC_BYTES);
        if body[1] != key.id {
            return Err(ReceiptError::UnknownKey { found: body[1], expected: key.id });
        }
        key.authenticate(body).verify_truncated_left(mac).map_err(|_| ReceiptError::Forged)?;
        read(&body[2..], line_count).ok_or(ReceiptError::Nonsense)
    }
}

impl ReceiptKey {
    /// The key of `cluster`, whose `secret` the ledger holds.
    #[must_use]
    pub fn new(cluster: ClusterId, secret: &[u8; 32]) -> Self {
        let mut keyed = Hmac::new_from_slice(secret).expect("HMAC takes a key of any length");
        // Exactly one SHA-256 block: it is hashed here, and not again for each receipt.
        let mut prefix = [0; 64];
        prefix[..PURPOSE.len()].copy_from_slice(PURPOSE);
        prefix[64 - 16..].copy_from_slice(&cluster.0);
        keyed.update(&prefix);
        let mut key = Self { id: 0, keyed };
        // Not a receipt's bytes, as those start with the version.
        key.id = key.authenticate(b"key id").finalize().into_bytes()[0];
        key
    }

    /// A byte of the receipt that tells a change of keys from a forgery; derived from the secret.
    #[must_use]
    pub fn id(&self) -> u8 {
        self.id
    }

    fn authenticate(&self, body: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.keyed.clone();
        mac.update(body);
        mac
    }
}

/// Keeps these MACs apart from any other use of the same secret.
const PURPOSE: &[u8; 20] = b"leasehold receipt v1";

impl fmt::Debug for ReceiptKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceiptKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// How many lines a receipt of this length has, if any receipt has this length.
fn line_count(bytes: usize) -> Option<usize> {
    let lines_bytes = bytes.checked_sub(HEADER_BYTES + MAC_BYTES)?;
    let count = lines_bytes / LINE_BYTES;
    let fits = lines_bytes % LINE_BYTES == 0 && (1..=LINES_PER_RECEIPT_MAX).contains(&count);
    fits.then_some(count)
}

fn read(mut rest: &[u8], line_count: usize) -> Option<Receipt> {
    let checkout = CheckoutId(take(&mut rest)?);
    let node = NodeId(u64::from_be_bytes(take(&mut rest)?));
    let epoch = Epoch(u64::from_be_bytes(take(&mut rest)?));
    let issued_ms = u64::from_be_bytes(take(&mut rest)?);
    let mut lines = Vec::with_capacity(line_count);
    for _ in 0..line_count {
        lines.push(ReceiptLine {
            pool: PoolId(u32::from_be_bytes(take(&mut rest)?)),
            allotment: AllotmentId(u64::from_be_bytes(take(&mut rest)?)),
            units: Units::new(u64::from_be_bytes(take(&mut rest)?)).ok()?,
        });
    }
    Some(Receipt { checkout, node, epoch, issued_ms, lines: ReceiptLines::new(lines)? })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (chunk, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*chunk)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_bytes_of_a_receipt_never_change() {
        let sealed = example(2).seal(&key());
        assert_eq!(
            hex(&sealed),
            concat!(
                "019a",
                "00000000000000030000000000000063",
                "0000000000000002",
                "0000000000000003",
                "000000000001e240",
                "0000000000000000000010000000000000000001",
                "0000000100000000000010010000000000000002",
                "69d601e83e6c156e4b31721ebbc0d944",
            )
        );
        assert_eq!(Receipt::open(&sealed, &key()), Ok(example(2)));
    }

    #[test]
    fn the_longest_receipt_fits_the_promise() {
        let sealed = example(LINES_PER_RECEIPT_MAX).seal(&key());
        assert_eq!(sealed.len(), 218);
        assert!(sealed.len() <= RECEIPT_BYTES_MAX);
        assert_eq!(Receipt::open(&sealed, &key()), Ok(example(LINES_PER_RECEIPT_MAX)));
    }

    #[test]
    fn each_refusal_says_what_is_wrong() {
        let good = example(1).seal(&key());
        let altered = |at: usize| {
            let mut bytes = good.clone();
            bytes[at] ^= 1;
            bytes
        };
        let id = key().id();
        let rows: [(&str, Vec<u8>, ReceiptError); 10] = [
            ("empty", vec![], ReceiptError::Truncated { bytes: 0 }),
            ("one byte", vec![VERSION], ReceiptError::Truncated { bytes: 1 }),
            ("last byte lost", good[..77].to_vec(), ReceiptError::Truncated { bytes: 77 }),
            ("a byte more", [&good[..], &[0]].concat(), ReceiptError::Truncated { bytes: 79 }),
            ("no line", good[..58].to_vec(), ReceiptError::Truncated { bytes: 58 }),
            ("nine lines", [&good[..], &[0; 160]].concat(), ReceiptError::Truncated { bytes: 238 }),
            ("far too long", vec![VERSION; 257], ReceiptError::TooLong { bytes: 257, most: 256 }),
            ("version", altered(0), ReceiptError::UnknownVersion { version: 0 }),
            ("key", altered(1), ReceiptError::UnknownKey { found: id ^ 1, expected: id }),
            ("units", altered(61), ReceiptError::Forged),
        ];
        for (what, bytes, expected) in rows {
            assert_eq!(Receipt::open(&bytes, &key()), Err(expected), "{what}");
        }
    }

    #[test]
    fn a_receipt_of_another_cluster_or_secret_is_refused() {
        let sealed = example(1).seal(&key());
        for other in
            [ReceiptKey::new(ClusterId([2; 16]), &[7; 32]), ReceiptKey::new(CLUSTER, &[8; 32])]
        {
            let refusal = Receipt::open(&sealed, &other).unwrap_err();
            assert_eq!(
                refusal,
                ReceiptError::UnknownKey { found: key().id(), expected: other.id() }
            );
            // Keys whose ids happen to be equal: the MAC decides.
            let same_id = ReceiptKey { id: key().id(), ..other };
            assert_eq!(Receipt::open(&sealed, &same_id), Err(ReceiptError::Forged));
        }
    }

    /// Whoever holds the cluster's key can write what he likes; a sum of such units overflowed.
    #[test]
    fn a_receipt_over_no_units_or_more_than_a_pool_has_is_refused_under_the_right_key() {
        let sealed = example(1).seal(&key());
        for units in [0, Units::MAX.get() + 1, u64::MAX] {
            let mut body = sealed[..sealed.len() - MAC_BYTES].to_vec();
            let at = body.len() - 8;
            body[at..].copy_from_slice(&units.to_be_bytes());
            let mac = key().authenticate(&body).finalize().into_bytes();
            body.extend_from_slice(&mac[..MAC_BYTES]);
            assert_eq!(Receipt::open(&body, &key()), Err(ReceiptError::Nonsense), "{units}");
        }
    }

    #[test]
    fn a_checkout_that_no_receipt_can_hold_is_none() {
        let line = example(1).lines[0];
        assert!(ReceiptLines::new(vec![line; LINES_PER_RECEIPT_MAX]).is_some());
        let without_units = ReceiptLine { units: Units::ZERO, ..line };
        for bad in [vec![], vec![line; LINES_PER_RECEIPT_MAX + 1], vec![line, without_units]] {
            assert_eq!(ReceiptLines::new(bad), None);
        }
    }

    #[test]
    fn a_key_shows_no_secret() {
        assert_eq!(format!("{:?}", key()), format!("ReceiptKey {{ id: {}, .. }}", key().id()));
    }

    proptest! {
        #[test]
        fn what_was_sealed_is_opened(receipt in receipts()) {
            prop_assert_eq!(Receipt::open(&receipt.seal(&key()), &key()), Ok(receipt));
        }

        #[test]
        fn any_changed_byte_is_refused(
            receipt in receipts(),
            at in any::<prop::sample::Index>(),
            flip in 1..=u8::MAX,
        ) {
            let mut bytes = receipt.seal(&key());
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            prop_assert!(Receipt::open(&bytes, &key()).is_err());
        }

        #[test]
        fn garbage_is_refused(mut bytes in vec(any::<u8>(), 0..300), looks_right in any::<bool>()) {
            if looks_right && bytes.len() > 1 {
                bytes[..2].copy_from_slice(&[VERSION, key().id()]);
            }
            prop_assert!(Receipt::open(&bytes, &key()).is_err());
        }
    }

    const CLUSTER: ClusterId = ClusterId([1; 16]);

    fn key() -> ReceiptKey {
        ReceiptKey::new(CLUSTER, &[7; 32])
    }

    fn example(lines: usize) -> Receipt {
        let line = |number: u32| ReceiptLine {
            pool: PoolId(number),
            allotment: AllotmentId(0x1000 + u64::from(number)),
            units: Units::from(1 + number),
        };
        let lines = (0..u32::try_from(lines).unwrap()).map(line).collect();
        Receipt {
            checkout: CheckoutId::of(Epoch(3), 99),
            node: NodeId(2),
            epoch: Epoch(3),
            issued_ms: 123_456,
            lines: ReceiptLines::new(lines).unwrap(),
        }
    }

    fn receipts() -> impl Strategy<Value = Receipt> {
        let line =
            (any::<u32>(), any::<u64>(), 1..=u32::MAX).prop_map(|(pool, allotment, units)| {
                let units = Units::from(units);
                ReceiptLine { pool: PoolId(pool), allotment: AllotmentId(allotment), units }
            });
        let header = (any::<[u8; 16]>(), any::<u64>(), any::<u64>(), any::<u64>());
        (header, vec(line, 1..=LINES_PER_RECEIPT_MAX)).prop_map(
            |((checkout, node, epoch, issued_ms), lines)| Receipt {
                checkout: CheckoutId(checkout),
                node: NodeId(node),
                epoch: Epoch(epoch),
                issued_ms,
                lines: ReceiptLines::new(lines).unwrap(),
            },
        )
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
