//! The stamp says whose a data directory is, and where its node stands. It is text, so that a person
//! can read it:
//!
//! ```text
//! leasehold data directory
//! format 2
//! node 3
//! incarnation f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff
//! lock 8123 1764550000.123456789
//! standing member
//! cluster 000102030405060708090a0b0c0d0e0f
//! generation a0a1a2a3a4a5a6a7a8a9aaabacadaeaf
//! checksum 1c291ca3
//! ```
//!
//! The format comes first, so that a later version may change all that follows. What `standing`
//! does not have, `cluster` or `generation`, is `none`.

use std::path::Path;

use leasehold_core::id::{ClusterId, Generation, Incarnation, NodeId};

use crate::error::OpenError;
use crate::files;

pub(crate) const FORMAT: u32 = 2;
const TITLE: &str = "leasehold data directory";

/// Where a node stands: which cluster it belongs to, if any, and whether that is settled.
///
/// ```text
///           init                         the founding is in the log
///  Fresh ──────────▶ Founding ───────────────────────────────────────▶ Member
///    │ ▲                                                                 ▲
///    │ └─ refused ─┐                                                     │
///    └────────────▶ Joining ─────────────────────────────────────────────┘
///          join                the leader's answer, or its first entries
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It belongs to no cluster, and never tried to.
    Fresh,
    /// It founds this cluster; whatever interrupts that, it founds no other.
    Founding {
        cluster: ClusterId,
        generation: Generation,
    },
    /// It has asked to join, or is about to. Whether it was admitted it does not know: it answers
    /// that cluster's call back and entries, and neither votes nor founds.
    Joining {
        cluster: ClusterId,
    },
    Member {
        cluster: ClusterId,
        generation: Generation,
    },
}

impl Standing {
    #[must_use]
    pub fn cluster(&self) -> Option<ClusterId> {
        match self {
            Self::Fresh => None,
            Self::Founding { cluster, .. }
            | Self::Joining { cluster }
            | Self::Member { cluster, .. } => Some(*cluster),
        }
    }

    /// The cluster and the generation that its messages carry, once it has them.
    #[must_use]
    pub fn generation(&self) -> Option<(ClusterId, Generation)> {
        match self {
            Self::Fresh | Self::Joining { .. } => None,
            Self::Founding { cluster, generation } | Self::Member { cluster, generation } => {
                Some((*cluster, *generation))
            }
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Founding { .. } => "founding",
            Self::Joining { .. } => "joining",
            Self::Member { .. } => "member",
        }
    }

    fn of(name: &str, cluster: Option<ClusterId>, generation: Option<Generation>) -> Option<Self> {
        match (name, cluster, generation) {
            ("fresh", None, None) => Some(Self::Fresh),
            ("founding", Some(cluster), Some(generation)) => {
                Some(Self::Founding { cluster, generation })
            }
            ("joining", Some(cluster), None) => Some(Self::Joining { cluster }),
            ("member", Some(cluster), Some(generation)) => {
                Some(Self::Member { cluster, generation })
            }
            _ => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) node: NodeId,
    pub(crate) incarnation: Incarnation,
    /// The lock file that the directory was last used under: a copy's is another.
    pub(crate) lock: String,
    pub(crate) standing: Standing,
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
            Flaw::Older(found) => {
                OpenError::OlderFormat { path: directory.to_owned(), found, known: FORMAT }
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

    fn to_text(&self) -> String {
        let Self { node, incarnation, lock, standing } = self;
        let cluster = or_none(standing.cluster());
        let generation = or_none(standing.generation().map(|(_, generation)| generation));
        let standing = standing.name();
        let body = format!(
            "{TITLE}\nformat {FORMAT}\nnode {node}\nincarnation {incarnation}\nlock {lock}\n\
             standing {standing}\ncluster {cluster}\ngeneration {generation}\n"
        );
        let checksum = crc32c::crc32c(body.as_bytes());
        format!("{body}checksum {checksum:08x}\n")
    }
}

fn or_none(id: Option<impl std::fmt::Display>) -> String {
    id.map_or_else(|| "none".to_owned(), |id| id.to_string())
}

#[derive(Debug, PartialEq, Eq)]
enum Flaw {
    Newer(u32),
    Older(u32),
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
        Some(older) if older < FORMAT => return Err(Flaw::Older(older)),
        Some(_) => {}
    }
    let node = field(lines.next(), "node ").and_then(|number| number.parse().ok()).map(NodeId);
    let node = node.ok_or(Flaw::Damaged("its node id can't be read"))?;
    let incarnation = field(lines.next(), "incarnation ").and_then(|id| id.parse().ok());
    let incarnation = incarnation.ok_or(Flaw::Damaged("its incarnation can't be read"))?;
    let lock = field(lines.next(), "lock ").ok_or(Flaw::Damaged("its lock is missing"))?.to_owned();
    let name = field(lines.next(), "standing ").ok_or(Flaw::Damaged("its standing is missing"))?;
    let cluster = optional(field(lines.next(), "cluster "))
        .ok_or(Flaw::Damaged("its cluster id can't be read"))?;
    let generation = optional(field(lines.next(), "generation "))
        .ok_or(Flaw::Damaged("its generation can't be read"))?;
    let standing = Standing::of(name, cluster, generation)
        .ok_or(Flaw::Damaged("its standing does not go with its cluster"))?;
    let stamp = Stamp { node, incarnation, lock, standing };
    if stamp.to_text() != text {
        return Err(Flaw::Damaged("its checksum does not match"));
    }
    Ok(stamp)
}

fn field<'a>(line: Option<&'a str>, name: &str) -> Option<&'a str> {
    line?.strip_prefix(name)
}

/// `Some(None)` for `none`, `None` for what can't be read.
fn optional<T: std::str::FromStr>(text: Option<&str>) -> Option<Option<T>> {
    match text? {
        "none" => Some(None),
        id => id.parse().ok().map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: ClusterId = ClusterId([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
    const GENERATION: Generation = Generation([0xAA; 16]);

    fn stamp(standing: Standing) -> Stamp {
        let incarnation = Incarnation([0xF0; 16]);
        Stamp { node: NodeId(3), incarnation, lock: "81 17.5".to_owned(), standing }
    }

    #[test]
    fn the_text_of_a_stamp_never_changes() {
        let member = stamp(Standing::Member { cluster: CLUSTER, generation: GENERATION });
        let text = "leasehold data directory\nformat 2\nnode 3\n\
                    incarnation f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0\nlock 81 17.5\nstanding member\n\
                    cluster 000102030405060708090a0b0c0d0e0f\n\
                    generation aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\nchecksum ";
        assert!(member.to_text().starts_with(text), "{}", member.to_text());
    }

    #[test]
    fn every_standing_is_read_back() {
        for standing in [
            Standing::Fresh,
            Standing::Founding { cluster: CLUSTER, generation: GENERATION },
            Standing::Joining { cluster: CLUSTER },
            Standing::Member { cluster: CLUSTER, generation: GENERATION },
        ] {
            assert_eq!(parse(stamp(standing).to_text().as_bytes()), Ok(stamp(standing)));
        }
    }

    #[test]
    fn any_changed_byte_is_noticed() {
        let good = stamp(Standing::Joining { cluster: CLUSTER }).to_text().into_bytes();
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
    fn other_formats_are_told_apart_from_damage() {
        let later = b"leasehold data directory\nformat 3\nsomething new\n";
        assert_eq!(parse(later), Err(Flaw::Newer(3)));
        let earlier = b"leasehold data directory\nformat 1\nnode 3\ncluster none\n";
        assert_eq!(parse(earlier), Err(Flaw::Older(1)));
    }
}
