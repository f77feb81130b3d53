//! The running digest: all that a ledger was told and has answered, in 16 bytes.
//!
//! Each digest is made of the one before, the version, the command and its outcome, written as
//! JSON: fields in the order of their declaration and no map among them, so that equal values are
//! equal bytes on every machine. A field that is added later is left out while it has its default
//! (`skip_serializing_if`), or nodes of two versions would differ without a reason.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::command::{Command, Outcome};
use crate::id::Digest;

/// What a replica has come to after so many commands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    pub version: u64,
    pub digest: Digest,
}

/// A beat's entry of some nodes fits without growing.
const USUAL_BYTES: usize = 1_024;

/// The digest after `command` was applied as number `version`.
pub(super) fn next(before: Digest, version: u64, command: &Command, outcome: &Outcome) -> Digest {
    let mut bytes = Vec::with_capacity(USUAL_BYTES);
    bytes.extend_from_slice(&before.0);
    bytes.extend_from_slice(&version.to_be_bytes());
    let written = serde_json::to_writer(&mut bytes, &(command, outcome));
    debug_assert!(written.is_ok(), "plain data without maps is always JSON");
    let mut digest = Digest::default();
    for (to, from) in digest.0.iter_mut().zip(Sha256::digest(&bytes)) {
        *to = from;
    }
    digest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Ledger;
    use crate::ledger::command::Refusal;
    use crate::ledger::tests::fixture::*;

    /// Nodes of different versions compare their digests: these bytes never change.
    #[test]
    fn the_digest_of_a_history_never_changes() {
        let mut ledger = cluster(&[(1, "east")], vec![]);
        let epoch = opened(&mut ledger, 1, 1);
        ledger.apply(&beat(1, epoch, 1));
        ledger.apply(&operate(1, epoch, 9, &[draw(FIRST, 1)]));
        assert_eq!(ledger.checkpoint().digest.to_string(), GOLDEN);
    }

    const GOLDEN: &str = "88ae7f28c4c1844f88adb5e799dddabd";

    #[test]
    fn each_part_makes_a_difference() {
        let (command, outcome) = (beat(1, crate::id::Epoch(1), 1), Outcome::Beaten(vec![true]));
        let digest = next(Digest::default(), 7, &command, &outcome);
        let refused = Outcome::Refused(Refusal::NotFounded);
        let others = [
            next(digest, 7, &command, &outcome),
            next(Digest::default(), 8, &command, &outcome),
            next(Digest::default(), 7, &beat(1, crate::id::Epoch(1), 2), &outcome),
            next(Digest::default(), 7, &command, &refused),
        ];
        for other in others {
            assert_ne!(other, digest);
        }
        assert_eq!(next(Digest::default(), 7, &command, &outcome), digest);
    }

    #[test]
    fn a_refused_command_is_part_of_the_history() {
        let mut ledger = Ledger::default();
        let before = ledger.checkpoint();
        ledger.apply(&Command::Unfence { node: crate::id::NodeId(1) });
        let after = ledger.checkpoint();
        assert!(after.version == before.version + 1 && after.digest != before.digest);
    }
}
