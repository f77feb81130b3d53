//! Engines that make calls through the SDK until they are told to stop.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use leasehold::demo::Record;
use leasehold_client::{CheckoutError, CheckoutOptions, Client, ClientConfig, Denial};
use leasehold_clock::Clock;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Engines at work.
#[derive(Debug)]
pub struct Engines {
    record: Arc<Record>,
    engines: Arc<AtomicUsize>,
    denials: Denials,
    waits: Waits,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

/// What engines were told instead of a license, and when they heard it. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Denials(Arc<Mutex<Vec<(u64, CheckoutError)>>>);

/// How long engines waited for the checkouts that they were granted. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Waits(Arc<Mutex<Vec<Duration>>>);

/// What an engine does, over and over.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    pub features: &'static [(&'static str, u64)],
    /// Calls at the same time.
    pub calls: usize,
    /// How long a call takes: at least, at most.
    pub call_ms: (u64, u64),
    /// How long it waits for units that are in use.
    pub wait_ms: u64,
}

/// Between a denial and the next attempt.
const PATIENCE: Duration = Duration::from_millis(100);

impl Engines {
    #[must_use]
    pub fn new() -> Self {
        let stop = watch::Sender::new(false);
        Self {
            record: Arc::default(),
            engines: Arc::default(),
            denials: Denials::default(),
            waits: Waits::default(),
            stop,
            tasks: JoinSet::new(),
        }
    }

    /// Nobody yet, but with the same record: for engines that take over from these.
    #[must_use]
    pub fn successors(&self) -> Self {
        Self {
            record: Arc::clone(&self.record),
            engines: Arc::clone(&self.engines),
            denials: self.denials.clone(),
            waits: self.waits.clone(),
            ..Self::new()
        }
    }

    #[must_use]
    pub fn record(&self) -> &Arc<Record> {
        &self.record
    }

    #[must_use]
    pub fn denials(&self) -> &Denials {
        &self.denials
    }

    #[must_use]
    pub fn waits(&self) -> &Waits {
        &self.waits
    }

    /// A client whose uses are recorded, for calls that a test makes itself.
    ///
    /// # Panics
    /// If the configuration is wrong.
    #[must_use]
    pub fn client(&self, config: &ClientConfig) -> Client {
        let witness = self.record.witness(self.engines.fetch_add(1, Ordering::Relaxed));
        Client::connect_with(config, Clock::Steady, Some(witness)).expect("a valid configuration")
    }

    /// Adds engines, each with a connection of its own.
    pub fn add(&mut self, engines: usize, config: &ClientConfig, habits: Habits) {
        for _ in 0..engines {
            let client = self.client(config);
            for _ in 0..habits.calls {
                let seed = u64::try_from(self.tasks.len()).expect("few tasks");
                let caller = Caller {
                    habits,
                    seed,
                    denials: self.denials.clone(),
                    waits: self.waits.clone(),
                };
                self.tasks.spawn(caller.run(client.clone(), self.stop.subscribe()));
            }
        }
    }

    /// Lets every call end now, and waits until all have.
    ///
    /// # Panics
    /// If an engine panicked.
    pub async fn stop(&mut self) {
        self.stop.send_replace(true);
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("an engine does not panic");
        }
    }
}

impl Default for Engines {
    fn default() -> Self {
        Self::new()
    }
}

impl Denials {
    /// Denials by a node; failures to reach one are left out.
    #[must_use]
    pub fn denied(&self) -> Vec<Denial> {
        let is_denial = |(_, error): (u64, CheckoutError)| match error {
            CheckoutError::Denied(denial) => Some(denial),
            CheckoutError::Unavailable { .. }
            | CheckoutError::Overloaded { .. }
            | CheckoutError::Stopped => None,
        };
        self.all().into_iter().filter_map(is_denial).collect()
    }

    /// All of them, with the engines' time.
    #[must_use]
    pub fn all(&self) -> Vec<(u64, CheckoutError)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add(&self, error: CheckoutError) {
        let now = Clock::Steady.now();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((now, error));
    }
}

impl Waits {
    /// Those since the last question, the shortest first.
    #[must_use]
    pub fn take_sorted(&self) -> Vec<Duration> {
        let mut waits = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        waits.sort_unstable();
        waits
    }

    fn add(&self, took: Duration) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(took);
    }
}

struct Caller {
    habits: Habits,
    seed: u64,
    denials: Denials,
    waits: Waits,
}

impl Caller {
    async fn run(mut self, client: Client, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            let options = CheckoutOptions { wait_ms: self.habits.wait_ms, build_date: None };
            let asked = Instant::now();
            let pause = match client.checkout_with(self.habits.features, options).await {
                Ok(guard) => {
                    self.waits.add(asked.elapsed());
                    pause(self.call_length(), &mut stop).await;
                    drop(guard);
                    continue;
                }
                Err(error) => {
                    self.denials.add(error);
                    PATIENCE
                }
            };
            self::pause(pause, &mut stop).await;
        }
        client.flush().await;
    }

    /// Different for each call, and the same in every run: Knuth's MMIX generator.
    fn call_length(&mut self) -> Duration {
        self.seed = self
            .seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let (least, most) = self.habits.call_ms;
        Duration::from_millis(least + (self.seed >> 33) % (most - least + 1))
    }
}

async fn pause(duration: Duration, stop: &mut watch::Receiver<bool>) {
    // An error of the channel means stop, too.
    let _ = tokio::time::timeout(duration, stop.wait_for(|stopped| *stopped)).await;
}
