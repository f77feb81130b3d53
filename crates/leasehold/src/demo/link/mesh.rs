//! The ways between the parties of a cluster: nodes, and engines where they go through a proxy.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::callers::process_at;
use super::proxy::{Link, Proxy};
use super::way::Way;

/// Parties are numbers that the owner gives out, such as node ids. Dropped, it ends its proxies.
#[derive(Debug, Default)]
pub struct Mesh {
    shared: Arc<Mutex<Shared>>,
    proxies: Vec<Proxy>,
}

#[derive(Debug, Default)]
struct Shared {
    ways: BTreeMap<(u64, u64), Way>,
    /// By process id.
    parties: BTreeMap<u32, u64>,
}

impl Mesh {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Listens for party `to`, whose callers are told apart by their processes: see
    /// [`Mesh::runs_as`].
    ///
    /// # Errors
    /// If the address can't be listened on.
    pub async fn lead_to(
        &mut self,
        to: u64,
        listen: SocketAddr,
        target: SocketAddr,
    ) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let link_of = move |caller| {
            let processes: Vec<u32> = lock(&shared).parties.keys().copied().collect();
            let process = process_at(caller, &processes)?;
            let mut shared = lock(&shared);
            let from = *shared.parties.get(&process)?;
            Some(shared.link(from, to))
        };
        self.proxies.push(Proxy::start(listen, target, link_of).await?);
        Ok(())
    }

    /// Listens for callers of party `to` that are all party `from`.
    ///
    /// # Errors
    /// If the address can't be listened on.
    pub async fn lead_from_to(
        &mut self,
        from: u64,
        to: u64,
        listen: SocketAddr,
        target: SocketAddr,
    ) -> io::Result<()> {
        let link = lock(&self.shared).link(from, to);
        self.proxies.push(Proxy::start(listen, target, move |_| Some(link.clone())).await?);
        Ok(())
    }

    /// The process that is `party` from now on; it is to be told after each start of a node.
    pub fn runs_as(&self, party: u64, process: u32) {
        let mut shared = lock(&self.shared);
        shared.parties.retain(|_, known| *known != party);
        shared.parties.insert(process, party);
    }

    /// How `to` hears `from`.
    #[must_use]
    pub fn way(&self, from: u64, to: u64) -> Way {
        lock(&self.shared).way(from, to)
    }

    /// Both parties are so far from each other that a question and its answer take `round_trip`.
    pub fn set_round_trip(&self, one: u64, other: u64, round_trip: Duration) {
        for way in [self.way(one, other), self.way(other, one)] {
            way.change(|condition| condition.delay = round_trip / 2);
        }
    }

    /// Neither hears the other.
    pub fn part(&self, one: u64, other: u64) {
        self.cut(one, other);
        self.cut(other, one);
    }

    /// `to` does not hear `from` any more.
    pub fn cut(&self, from: u64, to: u64) {
        self.way(from, to).change(|condition| condition.is_cut = true);
    }

    /// Everybody hears everybody again, as fast as their bytes arrive; delays stay.
    pub fn heal(&self) {
        for way in lock(&self.shared).ways.values() {
            way.change(|condition| (condition.is_cut, condition.byte_every) = (false, None));
        }
    }
}

impl Shared {
    fn way(&mut self, from: u64, to: u64) -> Way {
        self.ways.entry((from, to)).or_default().clone()
    }

    fn link(&mut self, from: u64, to: u64) -> Link {
        Link { forth: self.way(from, to), back: self.way(to, from) }
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
