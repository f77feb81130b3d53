//! Whether the replicas agree: each beat says what its sender had applied, and is compared with
//! what this process had at that version.
//!
//! Replicas that apply the same commands are the same. If one is not (a disk that lies, a defect, a
//! foreign entry in its log), its version and digest differ from then on, as each digest is made of
//! the one before. None of this is replicated: what comes of a comparison differs from process to
//! process, and must never enter `apply`.
//!
//! Who is wrong nobody can know. A majority decides: whoever differs from more members than it
//! agrees with is the odd one. Where there is no majority all are: they lend nothing, and an
//! operator decides.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Ledger;
use super::command::Beat;
use super::digest::Checkpoint;
use crate::id::NodeId;

/// Versions whose digests are remembered: beats come once a second and are a few seconds old at
/// most, with hundreds of commands a second.
const REMEMBERED: usize = 4_096;

/// What this process has seen of the others' digests.
#[derive(Clone, Debug, Default)]
pub struct Agreement {
    /// This replica's own, of versions without a gap.
    own: VecDeque<Checkpoint>,
    /// Of each node with a live lease, its newest digest that could be compared.
    heard: BTreeMap<NodeId, Heard>,
    /// Beats that differed, since the process started.
    differed: BTreeMap<NodeId, u64>,
}

#[derive(Clone, Copy, Debug)]
struct Heard {
    version: u64,
    agrees: bool,
}

/// A node whose replica was not this one's at `version`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Divergence {
    pub node: NodeId,
    pub version: u64,
}

impl Agreement {
    /// The nodes that differ, by the newest that each has said of itself.
    pub fn divergences(&self) -> impl Iterator<Item = Divergence> {
        let differing = self.heard.iter().filter(|(_, heard)| !heard.agrees);
        differing.map(|(node, heard)| Divergence { node: *node, version: heard.version })
    }

    /// Beats of each node that differed, since the process started.
    #[must_use]
    pub fn differed(&self) -> &BTreeMap<NodeId, u64> {
        &self.differed
    }

    /// Those in the minority, as the replica of node `own` sees it; all, if there is no majority.
    #[must_use]
    pub fn odd_ones(&self, own: NodeId) -> BTreeSet<NodeId> {
        let others = self.heard.iter().filter(|(node, _)| **node != own);
        let (like, unlike): (Vec<_>, Vec<_>) = others.partition(|(_, heard)| heard.agrees);
        let like: BTreeSet<NodeId> = like.into_iter().map(|(node, _)| *node).chain([own]).collect();
        let unlike: BTreeSet<NodeId> = unlike.into_iter().map(|(node, _)| *node).collect();
        match like.len().cmp(&unlike.len()) {
            std::cmp::Ordering::Less => like,
            std::cmp::Ordering::Equal => like.union(&unlike).copied().collect(),
            std::cmp::Ordering::Greater => unlike,
        }
    }

    /// Whether the replica of node `own`, which is this one, is in the minority.
    #[must_use]
    pub fn is_odd(&self, own: NodeId) -> bool {
        self.odd_ones(own).contains(&own)
    }

    /// What this replica has come to: one version after the last.
    pub(super) fn note(&mut self, checkpoint: Checkpoint) {
        if self
            .own
            .back()
            .is_some_and(|last| last.version.checked_add(1) != Some(checkpoint.version))
        {
            // The ledger was replaced: what it was before says nothing about what it is.
            self.own.clear();
        }
        if self.own.len() >= REMEMBERED {
            self.own.pop_front();
        }
        self.own.push_back(checkpoint);
    }

    /// After a ledger was installed in this replica's place.
    pub(super) fn restart(&mut self, checkpoint: Checkpoint) {
        self.own.clear();
        self.heard.clear();
        self.note(checkpoint);
    }

    /// Beats were applied: those that renewed a lease are compared.
    pub(super) fn compare(&mut self, ledger: &Ledger, beats: &[Beat], renewed: &[bool]) {
        let live = |node: &NodeId| {
            let member = ledger.node(*node).filter(|member| !member.removed);
            member.and_then(|member| member.lease.as_ref()).is_some_and(|lease| lease.live)
        };
        self.heard.retain(|node, _| live(node));
        for (beat, _) in beats.iter().zip(renewed).filter(|(_, renewed)| **renewed) {
            let Some(theirs) = beat.applied else { continue };
            let Some(agrees) = self.agrees(theirs) else { continue };
            if self.heard.get(&beat.node).is_some_and(|heard| heard.version > theirs.version) {
                // A beat that was overtaken.
                continue;
            }
            self.heard.insert(beat.node, Heard { version: theirs.version, agrees });
            if !agrees {
                let count = self.differed.entry(beat.node).or_default();
                *count = count.saturating_add(1);
            }
        }
    }

    /// `None`: it can't be compared any more.
    fn agrees(&self, theirs: Checkpoint) -> Option<bool> {
        let (oldest, newest) = (self.own.front()?, self.own.back()?);
        if theirs.version >= newest.version {
            // The newest is the one that this very beat made: nobody had that when it was sent.
            return Some(false);
        }
        let ago = theirs.version.checked_sub(oldest.version)?;
        let own = self.own.get(usize::try_from(ago).ok()?)?;
        Some(own.digest == theirs.digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Digest;
    use crate::ledger::Replica;
    use crate::ledger::command::{Command, Outcome};
    use crate::ledger::tests::fixture::{self, cluster, drawn, newest_epoch, opened, set};
    use crate::time::Moment;

    #[test]
    fn replicas_that_applied_the_same_agree() {
        let mut replicas = replicas(3);
        for round in 1..20 {
            beat_all(&mut replicas, round);
        }
        for (replica, own) in replicas.iter().zip(1..) {
            assert_eq!(replica.agreement.divergences().count(), 0);
            assert!(replica.agreement.odd_ones(NodeId(own)).is_empty());
            assert_eq!(replica.agreement.heard.len(), 3, "all were compared");
        }
    }

    #[test]
    fn the_one_that_differs_from_two_is_named_by_all_and_knows_it() {
        let mut replicas = replicas(3);
        beat_all(&mut replicas, 1);
        corrupt(&mut replicas[1]);
        let diverged_at = replicas[1].ledger.version();
        beat_all(&mut replicas, 2);
        beat_all(&mut replicas, 3);
        let odd = BTreeSet::from([NodeId(2)]);
        for (replica, own) in replicas.iter().zip(1..) {
            assert_eq!(replica.agreement.odd_ones(NodeId(own)), odd, "node {own}");
        }
        let seen: Vec<Divergence> = replicas[0].agreement.divergences().collect();
        assert_eq!(seen, [Divergence { node: NodeId(2), version: diverged_at + 1 }]);
        assert_eq!(replicas[0].agreement.differed()[&NodeId(2)], 2);
        assert!(
            replicas[1].agreement.is_odd(NodeId(2)) && !replicas[0].agreement.is_odd(NodeId(1))
        );
    }

    #[test]
    fn of_two_that_differ_both_are_odd() {
        let mut replicas = replicas(2);
        corrupt(&mut replicas[0]);
        beat_all(&mut replicas, 1);
        beat_all(&mut replicas, 2);
        let both = BTreeSet::from([NodeId(1), NodeId(2)]);
        for (replica, own) in replicas.iter().zip(1..) {
            assert_eq!(replica.agreement.odd_ones(NodeId(own)), both);
        }
    }

    /// It applied a command that nobody else has: its versions run ahead of the others'.
    #[test]
    fn a_replica_that_has_applied_more_than_there_is_differs() {
        let mut replicas = replicas(3);
        let extra = [Command::Unfence { node: NodeId(1) }, Command::Unfence { node: NodeId(1) }];
        replicas[2].apply(Moment(0), &extra);
        beat_all(&mut replicas, 1);
        beat_all(&mut replicas, 2);
        for (replica, own) in replicas.iter().zip(1..) {
            assert_eq!(replica.agreement.odd_ones(NodeId(own)), BTreeSet::from([NodeId(3)]));
        }
    }

    #[test]
    fn what_is_older_than_what_is_remembered_and_what_has_no_lease_are_not_compared() {
        let mut replicas = replicas(3);
        let before = replicas[1].ledger.checkpoint();
        for round in 1..=u64::try_from(REMEMBERED).unwrap() {
            replicas[0].apply(Moment(0), &[Command::Beat { beats: vec![], wall_ms: 0 }]);
            assert!(replicas[0].agreement.own.len() <= REMEMBERED, "{round}");
        }
        let epoch = newest_epoch(&replicas[0].ledger, 2);
        let wrong = Checkpoint { digest: Digest([7; 16]), ..before };
        let late = beat(2, epoch, 9, wrong);
        replicas[0].apply(Moment(0), &[late]);
        assert!(replicas[0].agreement.heard.is_empty(), "too old");
        corrupt(&mut replicas[1]);
        beat_all(&mut replicas, 1);
        fixture::freeze(&mut replicas[0].ledger, 2);
        beat_all(&mut replicas, 2);
        assert!(!replicas[0].agreement.heard.contains_key(&NodeId(2)), "its lease has ended");
    }

    #[test]
    fn a_replica_that_took_a_snapshot_of_the_others_agrees_again() {
        let mut replicas = replicas(3);
        corrupt(&mut replicas[1]);
        beat_all(&mut replicas, 1);
        beat_all(&mut replicas, 2);
        assert!(replicas[1].agreement.is_odd(NodeId(2)));
        let sound = replicas[0].ledger.clone();
        replicas[1].install(sound, Moment(0));
        beat_all(&mut replicas, 3);
        beat_all(&mut replicas, 4);
        for (replica, own) in replicas.iter().zip(1..) {
            assert!(replica.agreement.odd_ones(NodeId(own)).is_empty(), "node {own}");
        }
    }

    fn replicas(count: u64) -> Vec<Replica> {
        let nodes: Vec<_> = (1..=count).map(|node| (node, "east")).collect();
        let mut ledger = cluster(&nodes, vec![set("all", &[("cpa", 20)])]);
        for node in 1..=count {
            opened(&mut ledger, node, 1);
        }
        let mut replica = Replica::default();
        replica.install(ledger, Moment(0));
        vec![replica; usize::try_from(count).unwrap()]
    }

    /// A bit of its memory or its disk has flipped: a draw came out otherwise.
    fn corrupt(replica: &mut Replica) {
        let mut other = replica.ledger.clone();
        drawn(&mut other, 1, fixture::FIRST, 1);
        other.version = replica.ledger.version;
        replica.ledger = other;
    }

    /// Each node's beat, in one entry for all replicas.
    fn beat_all(replicas: &mut [Replica], seq: u64) {
        let beats = replicas.iter().zip(1..).map(|(replica, node)| {
            let epoch = newest_epoch(&replica.ledger, node);
            Beat { node: NodeId(node), epoch, seq, applied: Some(replica.ledger.checkpoint()) }
        });
        let entry = [Command::Beat { beats: beats.collect(), wall_ms: 1 }];
        for replica in replicas {
            let outcomes = replica.apply(Moment(0), &entry);
            assert!(matches!(outcomes[..], [Outcome::Beaten(_)]));
        }
    }

    fn beat(node: u64, epoch: crate::id::Epoch, seq: u64, applied: Checkpoint) -> Command {
        let beat = Beat { node: NodeId(node), epoch, seq, applied: Some(applied) };
        Command::Beat { beats: vec![beat], wall_ms: 1 }
    }
}
