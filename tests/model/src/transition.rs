//! How often each transition occurred on the way through all states.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! transitions {
    ($($name:ident: $title:literal,)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Transition {
            $($name,)*
        }

        const TITLES: &[&str] = &[$($title,)*];
    };
}

transitions! {
    BeatSent: "beat sent",
    BeatApplied: "beat applied",
    BeatAcknowledged: "beat acknowledged",
    LeaseEnded: "lease ended",
    LeaseEndedByNewLeader: "lease ended after the leader had changed",
    FreezeRefused: "freeze refused, a beat came first",
    Thawed: "allotments thawed",
    Lapsed: "allotments lapsed",
    Fenced: "node fenced",
    LeaseOpened: "epoch opened anew",
    Drawn: "units drawn",
    Returned: "units returned",
    Granted: "desk granted",
    Renewed: "desk renewed",
    CheckedIn: "checked in",
    Expired: "desk let expire",
    GrantHeard: "engine heard of its grant",
    RenewalHeard: "engine heard of its renewal",
    Shown: "receipt shown at another node",
    Reclaimed: "checkout reclaimed",
    ReclaimedAgain: "checkout reclaimed from the node that had reclaimed it",
    LiveElsewhere: "reclaim while it lives",
    ReclaimRefused: "reclaim refused",
    HandedOver: "checkout handed over",
    HandOverRefused: "hand-over refused",
    TakenIn: "desk took in a moved checkout",
    Covered: "desk covered",
    Forgotten: "moves forgotten",
    Superseded: "covered checkout arrived after all",
    Crashed: "node killed",
    Restarted: "node restarted, predecessor known to be gone",
    RestartedUnproven: "node restarted, predecessor not known to be gone",
    CutOff: "node cut off",
    Healed: "node heard again",
    LeaderChanged: "leader changed",
    LeaderElected: "leader elected where none was",
}

/// Counts of all transitions; shared by the threads of a check.
#[derive(Debug)]
pub(crate) struct Seen(Vec<AtomicU64>);

impl Default for Seen {
    fn default() -> Self {
        Self(TITLES.iter().map(|_| AtomicU64::new(0)).collect())
    }
}

impl Seen {
    pub(crate) fn count(&self, transition: Transition) {
        self.0[transition as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        TITLES.iter().zip(&self.0).map(|(title, count)| (*title, count.load(Ordering::Relaxed)))
    }
}
