//! How one party is heard by another, now.

use std::time::Duration;

use tokio::sync::watch;

/// From one party to another: all connections between both use it, whoever opened them. Cheap to
/// clone; clones are the same way.
#[derive(Clone, Debug, Default)]
pub struct Way(watch::Sender<Condition>);

/// What happens to bytes on a way. The default is a good network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// How long each byte travels.
    pub delay: Duration,
    /// Nothing arrives until this is false again.
    pub is_cut: bool,
    /// So slow that each byte takes this long, one after another.
    pub byte_every: Option<Duration>,
    /// How often its connections were reset.
    pub(super) resets: u64,
}

impl Way {
    #[must_use]
    pub fn condition(&self) -> Condition {
        *self.0.borrow()
    }

    /// Changes how it is from now on, for connections that are open, too.
    pub fn change(&self, change: impl FnOnce(&mut Condition)) {
        self.0.send_modify(change);
    }

    /// Ends every connection that uses it now, as a firewall that forgot them does.
    pub fn reset(&self) {
        self.0.send_modify(|condition| condition.resets += 1);
    }

    pub(super) fn watch(&self) -> watch::Receiver<Condition> {
        self.0.subscribe()
    }
}
