//! How things are written to disk and sent: a version byte, then MessagePack with field names.
//!
//! Names cost a few bytes and allow fields to be added: an older program skips what it does not
//! know, a newer one fills in a default. What can't be read that way gets a new version, and a
//! program refuses versions it does not know: it must never guess at an entry it has to apply.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) const VERSION: u8 = 1;

pub(crate) fn encode<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    let mut bytes = vec![VERSION];
    write_named(&mut bytes, value)?;
    Ok(bytes)
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8], what: &'static str) -> io::Result<T> {
    match bytes.split_first() {
        Some((&VERSION, content)) => rmp_serde::from_slice(content)
            .map_err(|error| invalid(format!("{what} can't be decoded: {error}"))),
        Some((version, _)) => Err(invalid(format!(
            "{what} has version {version}, this program knows {VERSION}: install the version of \
             leasehold that wrote it, or a later one"
        ))),
        None => Err(invalid(format!("{what} is empty"))),
    }
}

/// How many bytes [`encode`] would give.
pub(crate) fn encoded_bytes<T: Serialize>(value: &T) -> io::Result<usize> {
    let mut counter = Counter(1);
    write_named(&mut counter, value)?;
    Ok(counter.0)
}

fn write_named<T: Serialize>(output: &mut impl io::Write, value: &T) -> io::Result<()> {
    rmp_serde::encode::write_named(output, value).map_err(|error| invalid(error.to_string()))
}

pub(crate) fn invalid(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

struct Counter(usize);

impl io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use leasehold_core::id::{Epoch, NodeId};
    use leasehold_core::ledger::command::Command;
    use openraft::EntryPayload;
    use openraft::vote::RaftLeaderId;

    use super::*;
    use crate::types::{Batch, Entry, LogId, Vote};

    fn entry() -> Entry {
        let freeze = Command::Freeze { node: NodeId(2), epoch: Epoch(3), seq: 4 };
        let leader = openraft::alias::LeaderIdOf::<crate::types::TypeConfig>::new(5, 6);
        Entry {
            log_id: LogId::new(leader.to_committed(), 7),
            payload: EntryPayload::Normal(Batch(vec![freeze])),
        }
    }

    #[test]
    fn the_bytes_of_an_entry_never_change() {
        let bytes = encode(&entry()).unwrap();
        assert_eq!(bytes, GOLDEN_ENTRY, "{}", bytes.escape_ascii());
        assert_eq!(decode::<Entry>(&bytes, "entry").unwrap(), entry());
        assert_eq!(encoded_bytes(&entry()).unwrap(), bytes.len());
    }

    #[test]
    fn the_bytes_of_a_vote_never_change() {
        let vote = Vote::new_committed(8, 9);
        let bytes = encode(&vote).unwrap();
        assert_eq!(bytes, GOLDEN_VOTE, "{}", bytes.escape_ascii());
        assert_eq!(decode::<Vote>(&bytes, "vote").unwrap(), vote);
    }

    #[test]
    fn an_unknown_version_is_refused() {
        let message = decode::<Vote>(&[2, 0], "vote").unwrap_err().to_string();
        assert!(message.contains("vote has version 2, this program knows 1"), "{message}");
        decode::<Vote>(&[], "vote").unwrap_err();
    }

    const GOLDEN_ENTRY: &[u8] = b"\x01\x82\xa6log_id\x82\xa9leader_id\x82\xa4term\x05\
        \xa7node_id\x06\xa5index\x07\xa7payload\x81\xa6Normal\x91\x81\xa6Freeze\x83\
        \xa4node\x02\xa5epoch\x03\xa3seq\x04";
    const GOLDEN_VOTE: &[u8] =
        b"\x01\x82\xa9leader_id\x82\xa4term\x08\xa7node_id\t\xa9committed\xc3";
}
