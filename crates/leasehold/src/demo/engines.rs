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
use super::offer::next_call;
use super::record::Record;
use crate::cli::commands::reason_name;

/// How long calls last: many outlive a checkout's lifetime of 30 s.
pub(super) const CALL_LEAST: Duration = Duration::from_secs(2);
pub(super) const CALL_MOST: Duration = Duration::from_secs(60);
/// The mean of such durations: an engine has one call at a time on average. Calls arrive whether
/// or not another one runs.
const ARRIVAL_MEAN: Duration = Duration::from_secs(17);

/// Engines at work, in one process and on one clock.
#[derive(Debug)]
pub struct Engines {
    pub record: Arc<Record>,
    pub tally: Arc<Tally>,
    pub clock: Clock,
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
    pub asked_ms: u64,
    pub granted_ms: u64,
    /// Finer than the difference.
    pub took: Duration,
}

impl Engines {
    /// Starts `count` engines; their calls begin at once.
    ///
    /// # Errors
    /// If the SDK refuses the configuration.
    pub fn start(count: usize, config: &ClientConfig, seed: u64) -> anyhow::Result<Self> {
        let (record, tally) = (Arc::new(Record::default()), Arc::new(Tally::default()));
        let (clock, stop) = (Clock::default(), CancellationToken::new());
        let mut engines = JoinSet::new();
        for number in 0..count {
            let witness = record.witness(number);
            let client = Client::connect_with(config, clock.clone(), Some(witness))?;
            let (tally, clock, stop) = (Arc::clone(&tally), clock.clone(), stop.clone());
            let engine = Engine { client, tally, clock, stop };
            engines.spawn(engine.run(Dice::new(seed.wrapping_add(number as u64))));
        }
        Ok(Self { record, tally, clock, stop, engines })
    }

    /// Hangs every call up and waits until each check-in is dealt with.
    pub async fn stop(&mut self) {
        self.stop.cancel();
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
    tally: Arc<Tally>,
    clock: Clock,
    stop: CancellationToken,
}

impl Engine {
    async fn run(self, mut dice: Dice) {
        let mut calls = JoinSet::new();
        loop {
            let next = dice.until_next(ARRIVAL_MEAN);
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                () = tokio::time::sleep(next) => {}
                Some(_) = calls.join_next() => continue,
            }
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
                self.tally.lock().granted.push(GrantedCheckout { asked_ms, granted_ms, took });
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
