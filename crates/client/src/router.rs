//! Which node to ask: the own site first, none that just failed, and one probe for a node that
//! failed before, so that a dead node costs one call its deadline and not all of them.

use std::collections::BTreeMap;

/// A node's place in the configured list.
pub(crate) type NodeIndex = usize;

/// Where the next attempt goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Node(NodeIndex),
    /// No node is to be asked before then.
    WaitUntil(u64),
}

#[derive(Debug)]
pub(crate) struct Router {
    nodes: Vec<Node>,
    /// Indices of `nodes`, the best first.
    order: Vec<NodeIndex>,
    probe_ms: u64,
    dice: Dice,
}

#[derive(Clone, Debug, Default)]
struct Node {
    failures: u32,
    avoid_until_ms: u64,
    failed_at_ms: u64,
}

/// The first backoff is drawn from 1 to twice this: a restart on the same machine takes about that.
const BACKOFF_BASE_MS: u64 = 50;
/// A node that is back is found again within this; ten thousand engines then knock once each in
/// that time, spread evenly.
const BACKOFF_MAX_MS: u64 = 2_000;
/// A node that can't serve now is left alone for at least this.
const LEAVE_MS_MIN: u64 = 250;

impl Router {
    /// `is_near` tells for each node whether it is in the own site. `seed` spreads engines over
    /// the nodes of a site. A probe that is not answered within `probe_ms` no longer counts.
    pub(crate) fn new(is_near: &[bool], probe_ms: u64, seed: u64) -> Self {
        let mut dice = Dice(seed);
        let mut order: Vec<NodeIndex> = (0..is_near.len()).collect();
        for last in (1..order.len()).rev() {
            let other = usize::try_from(dice.below(last as u64 + 1)).unwrap_or(last);
            order.swap(last, other);
        }
        order.sort_by_key(|node| !is_near[*node]);
        Self { nodes: vec![Node::default(); is_near.len()], order, probe_ms, dice }
    }

    /// Picks a node: `preferred` if it may be asked, else the best that may. `denied` are nodes
    /// that said no to this very question, and until when asking them again makes no sense.
    pub(crate) fn target(
        &mut self,
        now_ms: u64,
        preferred: Option<NodeIndex>,
        denied: &BTreeMap<NodeIndex, u64>,
    ) -> Target {
        let ready_at = |node: &NodeIndex| {
            let denied_until_ms = denied.get(node).copied().unwrap_or(0);
            self.nodes[*node].avoid_until_ms.max(denied_until_ms)
        };
        let mut candidates = preferred.iter().chain(&self.order);
        if let Some(node) = candidates.find(|node| ready_at(node) <= now_ms).copied() {
            self.ask(now_ms, node);
            return Target::Node(node);
        }
        Target::WaitUntil(self.order.iter().map(ready_at).min().unwrap_or(now_ms + self.probe_ms))
    }

    fn ask(&mut self, now_ms: u64, node: NodeIndex) {
        let node = &mut self.nodes[node];
        if node.failures > 0 {
            node.avoid_until_ms = now_ms + self.probe_ms;
        }
    }

    /// An attempt sent at `sent_ms` failed. Attempts sent before the last failure tell nothing new.
    pub(crate) fn on_failure(&mut self, now_ms: u64, node: NodeIndex, sent_ms: u64) {
        let window_ms = {
            let node = &mut self.nodes[node];
            if node.failures > 0 && sent_ms < node.failed_at_ms {
                return;
            }
            node.failures = node.failures.saturating_add(1);
            node.failed_at_ms = now_ms;
            (BACKOFF_BASE_MS << node.failures.min(10)).min(BACKOFF_MAX_MS)
        };
        self.nodes[node].avoid_until_ms = now_ms + 1 + self.dice.below(window_ms);
    }

    /// The node answered. Tells whether it had failed before.
    pub(crate) fn on_success(&mut self, node: NodeIndex) -> bool {
        let node = &mut self.nodes[node];
        let has_recovered = node.failures > 0;
        if has_recovered {
            node.failures = 0;
            node.avoid_until_ms = 0;
        }
        has_recovered
    }

    /// The node said that it can't serve now.
    pub(crate) fn leave(&mut self, now_ms: u64, node: NodeIndex, retry_after_ms: u64) {
        let node = &mut self.nodes[node];
        node.avoid_until_ms = node.avoid_until_ms.max(now_ms + retry_after_ms.max(LEAVE_MS_MIN));
    }

    /// A random duration from half of `duration_ms` to all of it.
    pub(crate) fn jitter(&mut self, duration_ms: u64) -> u64 {
        duration_ms - self.dice.below(duration_ms / 2 + 1)
    }
}

/// splitmix64 (Steele, Lea and Flood, 2014): spreads load, keeps no secret.
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: BTreeMap<NodeIndex, u64> = BTreeMap::new();

    #[test]
    fn nodes_of_the_own_site_come_first_and_share_the_engines() {
        let mut firsts = [0; 4];
        for seed in 0..200 {
            let mut router = Router::new(&[false, true, false, true], 1_000, seed);
            match router.target(0, None, &NONE) {
                Target::Node(node) => firsts[node] += 1,
                Target::WaitUntil(_) => panic!("every node may be asked"),
            }
        }
        assert_eq!((firsts[0], firsts[2]), (0, 0));
        assert!(firsts[1] > 50 && firsts[3] > 50, "{firsts:?}");
    }

    #[test]
    fn a_node_that_failed_is_avoided_then_probed_once_and_trusted_again_when_it_answers() {
        let mut router = Router::new(&[true, false], 1_000, 1);
        router.on_failure(0, 0, 0);
        assert_eq!(router.target(0, Some(0), &NONE), Target::Node(1));
        let later = BACKOFF_MAX_MS + 1;
        assert_eq!(router.target(later, None, &NONE), Target::Node(0), "the probe");
        assert_eq!(router.target(later, None, &NONE), Target::Node(1), "no second probe");
        assert!(router.on_success(0));
        assert_eq!(router.target(later, None, &NONE), Target::Node(0));
    }

    #[test]
    fn backoff_grows_to_its_bound_and_a_lone_node_is_waited_for() {
        let mut router = Router::new(&[true], 1_000, 7);
        let mut now_ms = 0;
        let mut longest = 0;
        for _ in 0..100 {
            router.on_failure(now_ms, 0, now_ms);
            match router.target(now_ms, None, &NONE) {
                Target::WaitUntil(until_ms) => {
                    longest = longest.max(until_ms - now_ms);
                    now_ms = until_ms;
                }
                Target::Node(_) => panic!("a node that just failed was asked at once"),
            }
        }
        assert!((1_000..=BACKOFF_MAX_MS).contains(&longest), "{longest}");
    }

    #[test]
    fn failures_of_attempts_sent_before_the_last_failure_count_once() {
        let mut router = Router::new(&[true], 1_000, 3);
        for _ in 0..30 {
            router.on_failure(500, 0, 400);
        }
        assert_eq!(router.nodes[0].failures, 1);
    }

    #[test]
    fn a_node_that_said_no_is_asked_again_only_when_that_makes_sense() {
        let mut router = Router::new(&[true, false], 1_000, 1);
        let denied = BTreeMap::from([(0, 300)]);
        assert_eq!(router.target(100, Some(0), &denied), Target::Node(1));
        router.leave(100, 1, 500);
        assert_eq!(router.target(100, Some(0), &denied), Target::WaitUntil(300));
        assert_eq!(router.target(300, Some(0), &denied), Target::Node(0));
    }
}
