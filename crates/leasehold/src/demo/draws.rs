//! How long a draw takes: an engine beside the others asks for units of a feature that its node
//! does not keep at hand, so that the node must have the leader lend them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use leasehold_client::{Client, ClientConfig};
use serde::Serialize;
use tokio::task::JoinSet;

use super::engines::Engines;
use super::offer::BATCH;

/// One engine for each site, idle most of the time.
#[derive(Debug)]
pub(super) struct Draws {
    clients: Vec<Client>,
    engines_clock: leasehold_clock::Clock,
    noted: Arc<Mutex<Vec<Draw>>>,
    asked: JoinSet<()>,
}

/// A checkout that had to be drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Draw {
    /// Where it was asked for, by the site's place in the list.
    pub site: usize,
    pub asked_ms: u64,
    /// From the question to the grant, with all attempts.
    pub took_ms: u64,
    /// Asked for in the moment in which a node was killed.
    pub at_a_kill: bool,
}

/// More than a node keeps of a feature that nobody uses.
const UNITS: u64 = 5;
/// Until a node has given back what was drawn before: twice the time for which it expects the same
/// again, and some beats.
pub(super) const PAUSE: Duration = Duration::from_secs(8);
/// An engine that is told no asks again after this.
const AGAIN: Duration = Duration::from_millis(50);
/// A draw that takes longer has failed.
const DEADLINE: Duration = Duration::from_secs(20);

impl Draws {
    /// `configs`: as for the engines, by site.
    pub(super) fn new(engines: &Engines, configs: &[ClientConfig]) -> anyhow::Result<Self> {
        let clients = configs.iter().enumerate().map(|(site, it)| engines.beside(site, it));
        Ok(Self {
            clients: clients.collect::<anyhow::Result<_>>()?,
            engines_clock: engines.clock.clone(),
            noted: Arc::default(),
            asked: JoinSet::new(),
        })
    }

    /// Has a draw made at a site, in the background.
    pub(super) fn ask(&mut self, site: usize, at_a_kill: bool) {
        let (client, noted) = (self.clients[site].clone(), Arc::clone(&self.noted));
        let (asked_ms, began) = (self.engines_clock.now(), Instant::now());
        self.asked.spawn(async move {
            let [while_well, after_a_kill] = BATCH;
            let feature = if at_a_kill { after_a_kill } else { while_well };
            while began.elapsed() < DEADLINE {
                if let Ok(guard) = client.checkout(&[(feature, UNITS)]).await {
                    let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                    lock(&noted).push(Draw { site, asked_ms, took_ms, at_a_kill });
                    // Whether a node acknowledged it shows when all units are free in the end.
                    let _ = guard.checkin().await;
                    return;
                }
                tokio::time::sleep(AGAIN).await;
            }
        });
    }

    /// Those that were granted by now.
    pub(super) fn noted(&self) -> Vec<Draw> {
        lock(&self.noted).clone()
    }

    /// Waits until nothing is asked for any more.
    pub(super) async fn finish(&mut self) {
        while self.asked.join_next().await.is_some() {}
        for client in &self.clients {
            client.flush().await;
        }
    }
}

fn lock(noted: &Mutex<Vec<Draw>>) -> MutexGuard<'_, Vec<Draw>> {
    noted.lock().unwrap_or_else(PoisonError::into_inner)
}
