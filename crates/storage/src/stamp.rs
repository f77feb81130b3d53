//! The stamp says whose a data directory is. It is text, so that a person can read it:
//!
//! ```text
//! leasehold data directory
//! format 1
//! node 3
//! cluster 000102030405060708090a0b0c0d0e0f
//! checksum 1c291ca3
//! ```
//!
//! A node that belongs to no cluster yet has `cluster none`. The format comes first, so that a
//! later version may change all that follows.

use std::path::Path;

use leasehold_core::id::{ClusterId, NodeId};

use crate::error::OpenError;
use crate::files;

pub(crate) const FORMAT: u32 = 1;
const TITLE: &str = "leasehold data directory";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) node: NodeId,
    pub(crate) cluster: Option<ClusterId>,
}

impl Stamp {
    pub(crate) fn read(directory: &Path) -> Result<Option<Self>, OpenError> {
        let bytes = files::read_if_there(&directory.join("stamp"))
            .map_err(|source| OpenError::io(directory, "reading the stamp", source))?;
        let Some(bytes) = bytes else { return Ok(None) };
        parse(&bytes).map(Some).map_err(|flaw| match flaw {
            Flaw::Newer(found) => {
                OpenError::NewerFormat { path: directory.to_owned(), found, known: FORMAT }
            }
            Flaw::Damaged(reason) => {
                OpenError::DamagedStamp { path: directory.to_owned(), reason: reason.to_owned() }
            }
        })
    }

    pub(crate) fn write(&self, directory: &Path) -> Result<(), OpenError> {
        files::replace(&directory.join("stamp"), &[self.to_text().as_bytes()])
            .map_err(|source| OpenError::io(directory, "writing the stamp", source))
    }

    fn to_text(self) -> String {
        let cluster = self.cluster.map_or_else(|| "none".to_owned(), |id| id.to_string());
        let body = format!("{TITLE}\nformat {FORMAT}\nnode {}\ncluster {cluster}\n", self.node);
        let checksum = crc32c::crc32c(body.as_bytes());
        format!("{body}checksum {checksum:08x}\n")
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Flaw {
    Newer(u32),
    Damaged(&'static str),
}

fn parse(bytes: &[u8]) -> Result<Stamp, Flaw> {
    let text = std::str::from_utf8(bytes).map_err(|_| Flaw::Damaged("it is not text"))?;
    let mut lines = text.lines();
    if lines.next() != Some(TITLE) {
        return Err(Flaw::Damaged("its first line is unknown"));
    }
    let format = field(lines.next(), "format ").and_then(|number| number.parse().ok());
    match format {
        None => return Err(Flaw::Damaged("its format can't be read")),
        Some(newer) if newer > FORMAT => return Err(Flaw::Newer(newer)),
        Some(_) => {}
    }
    let node = field(lines.next(), "node ").and_then(|number| number.parse().ok()).map(NodeId);
    let node = node.ok_or(Flaw::Damaged("its node id can't be read"))?;
    let cluster = match field(lines.next(), "cluster ") {
        Some("none") => None,
        Some(id) => Some(id.parse().map_err(|_| Flaw::Damaged("its cluster id can't be read"))?),
        None => return Err(Flaw::Damaged("its cluster id is missing")),
    };
    let stamp = Stamp { node, cluster };
    if stamp.to_text() != text {
        return Err(Flaw::Damaged("its checksum does not match"));
    }
    Ok(stamp)
}

fn field<'a>(line: Option<&'a str>, name: &str) -> Option<&'a str> {
    line?.strip_prefix(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_stamp_never_changes() {
        let cluster = ClusterId([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
        let stamp = Stamp { node: NodeId(3), cluster: Some(cluster) };
        let text = "leasehold data directory\nformat 1\nnode 3\n\
                    cluster 000102030405060708090a0b0c0d0e0f\nchecksum ";
        assert!(stamp.to_text().starts_with(text), "{}", stamp.to_text());
        assert_eq!(parse(stamp.to_text().as_bytes()), Ok(stamp));

        let fresh = Stamp { node: NodeId(3), cluster: None };
        assert_eq!(parse(fresh.to_text().as_bytes()), Ok(fresh));
    }

    #[test]
    fn any_changed_byte_is_noticed() {
        let good = Stamp { node: NodeId(12), cluster: None }.to_text().into_bytes();
        for position in 0..good.len() {
            let mut bad = good.clone();
            bad[position] ^= 0x01;
            assert!(parse(&bad).is_err(), "byte {position} of {}", good.escape_ascii());
        }
        for length in 0..good.len() {
            assert!(parse(&good[..length]).is_err(), "cut to {length}");
        }
    }

    #[test]
    fn a_later_format_is_told_apart_from_damage() {
        let later = b"leasehold data directory\nformat 2\nsomething new\n";
        assert_eq!(parse(later), Err(Flaw::Newer(2)));
    }
}
