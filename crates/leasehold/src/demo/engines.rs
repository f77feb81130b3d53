//! Simulated speech engines: each has an SDK client of its own and calls that arrive at random.
//!
//! A call takes a recognizer and a voice out together, runs for a while and checks in. It is lost
//! if its license lapses before it ends.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use leasehold_client::{CheckoutError, Client, ClientConfig, Guard};
use leasehold_clock::Clock;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::dice::Dice;
use super::offer::{SCARCE, next_call};
use super::record::Record;
use crate::cli::commands::reason_name;

/// How long calls last: many outlive a checkout's lifetime of 30 s.
pub(super) const CALL_LEAST: Duration = Duration::from_secs(2);
pub(super) const CALL_MOST: Duration = Duration::from_secs(60);
/// The mean of such durations: an engine has one call at a time on average, and begins with one.
/// Calls arrive whether or not another one runs.
const ARRIVAL_MEAN: Duration = Duration::from_secs(17);
/// The first calls arrive within this, since each opens a connection.
const FIRST_WITHIN_MS: u64 = 3_000;

/// Engines at work, in one process and on one clock.
#[derive(Debug)]
pub struct Engines {
    pub record: Arc<Record>,
    pub tally: Arc<Tally>,
    pub clock: Clock,
    count: usize,
    sites: usize,
    stop: CancellationToken,
    engines: JoinSet<()>,
}

/// What became of the calls.
#[derive(Debug, Default)]
pub struct Tally {
    counts: Mutex<Counts>,
}

#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub asked: u64,
    pub denied: BTreeMap<String, u64>,
    pub denied_by_feature: BTreeMap<String, u64>,
    pub ended: u64,
    /// Of these, calls that ran longer than a checkout lives without a renewal.
    pub outlived_a_lifetime: u64,
    pub lost: u64,
    pub granted: Vec<GrantedCheckout>,
}

/// A checkout as its engine saw it, on the engines' clock.
#[derive(Clone, Copy, Debug)]
pub struct GrantedCheckout {
    /// The engine's own site, by its place in the list of sites.
    pub site: usize,
    /// Of a feature that there is too little of.
    pub is_scarce: bool,
    pub asked_ms: u64,
    pub granted_ms: u64,
    /// Finer than the difference.
    pub took: Duration,
}

impl Engines {
    /// Starts `count` engines, spread over sites; their calls begin at once. `configs` holds what
    /// an engine of each site is given.
    ///
    /// # Errors
    /// If the SDK refuses a configuration.
    pub fn start(count: usize, configs: &[ClientConfig], seed: u64) -> anyhow::Result<Self> {
        let (record, tally) = (Arc::new(Record::default()), Arc::new(Tally::default()));
        let (clock, stop) = (Clock::default(), CancellationToken::new());
        let mut engines = JoinSet::new();
        for (number, (site, config)) in configs.iter().enumerate().cycle().take(count).enumerate() {
            let witness = record.witness(number);
            let client = Client::connect_with(config, clock.clone(), Some(witness))?;
            let (tally, clock, stop) = (Arc::clone(&tally), clock.clone(), stop.clone());
            let engine = Engine { client, site, tally, clock, stop };
            engines.spawn(engine.run(Dice::new(seed.wrapping_add(number as u64))));
        }
        Ok(Self { record, tally, clock, count, sites: configs.len(), stop, engines })
    }

    /// Calls that run now.
    #[must_use]
    pub fn running(&self) -> usize {
        self.record.running_of(self.clock.now(), |engine| engine < self.count)
    }

    /// Of these, the calls of a site's own engines, wherever their licenses are.
    #[must_use]
    pub fn running_at(&self, site: usize) -> usize {
        let is_there = |engine: usize| engine < self.count && engine % self.sites == site;
        self.record.running_of(self.clock.now(), is_there)
    }

    /// A client beside the engines whose uses go into the same record.
    ///
    /// # Errors
    /// If the SDK refuses the configuration.
    pub fn beside(&self, number: usize, config: &ClientConfig) -> anyhow::Result<Client> {
        let witness = self.record.witness(self.count + number);
        Ok(Client::connect_with(config, self.clock.clone(), Some(witness))?)
    }

    /// Hangs every call up; no new one begins.
    pub fn hang_up(&self) {
        self.stop.cancel();
    }

    /// Waits until each call has ended and its check-in is dealt with.
    pub async fn finish(&mut self) {
        while self.engines.join_next().await.is_some() {}
    }
}

impl Tally {
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone, Debug)]
struct Engine {
    client: Client,
    site: usize,
    tally: Arc<Tally>,
    clock: Clock,
    stop: CancellationToken,
}

impl Engine {
    async fn run(self, mut dice: Dice) {
        let mut calls = JoinSet::new();
        let first = Duration::from_millis(dice.below(FIRST_WITHIN_MS));
        let mut next_at = tokio::time::Instant::now() + first;
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                () = tokio::time::sleep_until(next_at) => {}
                Some(_) = calls.join_next() => continue,
            }
            next_at += dice.until_next(ARRIVAL_MEAN);
            let lines = next_call(&mut dice);
            let lasts = dice.log_uniform(CALL_LEAST, CALL_MOST);
            calls.spawn(self.clone().call(lines, lasts));
        }
        while calls.join_next().await.is_some() {}
        self.client.flush().await;
    }

    async fn call(self, lines: Vec<(&'static str, u64)>, lasts: Duration) {
        self.tally.lock().asked += 1;
        let (asked_ms, began) = (self.clock.now(), Instant::now());
        match self.client.checkout(&lines).await {
            Ok(guard) => {
                let (took, granted_ms) = (began.elapsed(), self.clock.now());
                self.tally.lock().granted.push(GrantedCheckout {
                    site: self.site,
                    is_scarce: lines.iter().any(|(feature, _)| *feature == SCARCE),
                    asked_ms,
                    granted_ms,
                    took,
                });
                let recognizer = lines.first().map(|(feature, _)| *feature);
                self.talk(guard, recognizer, granted_ms, lasts).await;
            }
            Err(error) => self.note_denial(&error),
        }
    }

    async fn talk(
        &self,
        guard: Guard,
        recognizer: Option<&'static str>,
        granted_ms: u64,
        lasts: Duration,
    ) {
        let is_lost = tokio::select! {
            biased;
            _ = guard.lapsed() => true,
            () = self.stop.cancelled() => guard.deadline_ms().is_none(),
            () = tokio::time::sleep(lasts) => guard.deadline_ms().is_none(),
        };
        if let Some(recognizer) = recognizer {
            guard.usage(recognizer, 1, 0);
        }
        let lasted_ms = self.clock.now() - granted_ms;
        {
            let mut counts = self.tally.lock();
            counts.ended += 1;
            counts.lost += u64::from(is_lost);
            counts.outlived_a_lifetime += u64::from(lasted_ms > CHECKOUT_TTL_MS);
        }
        // Whether a node acknowledged it shows when all units are free again in the end.
        let _ = guard.checkin().await;
    }

    fn note_denial(&self, error: &CheckoutError) {
        let mut counts = self.tally.lock();
        let reason = match error {
            CheckoutError::Denied(denial) => {
                if let Some(feature) = &denial.feature {
                    *counts.denied_by_feature.entry(feature.clone()).or_default() += 1;
                }
                reason_name(denial.reason)
            }
            CheckoutError::Unavailable { .. } => "no server answered".to_owned(),
            CheckoutError::Overloaded { .. } | CheckoutError::Stopped => error.to_string(),
        };
        *counts.denied.entry(reason).or_default() += 1;
    }
}

/// The cluster's default, which the demo uses.
const CHECKOUT_TTL_MS: u64 = 30_000;
