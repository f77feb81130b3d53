//! Engines that check out and check in as fast as they are answered.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use leasehold_client::{Connection, Reason, new_request_id};
use leasehold_proto::v1;
use leasehold_proto::v1::{checkin_answer, checkout_answer};
use tokio::task::JoinSet;

use super::samples::Samples;

/// How many workers, and how many items each of their calls has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    pub concurrency: usize,
    pub items: usize,
}

/// What one run showed.
#[derive(Clone, Debug, Default)]
pub(super) struct Measured {
    /// Items that were checked out, and checked in again, within a second.
    pub(super) checkouts_per_s: f64,
    /// Of the `Checkout` calls.
    pub(super) calls: Samples,
}

/// A checkout that finds no unit at the node waits this long for the ledger's.
const WAIT_MS: u64 = 2_000;

impl Load {
    pub(super) async fn measure(
        &self,
        connections: &[Connection],
        feature: &str,
        warm_up: Duration,
        run: Duration,
    ) -> anyhow::Result<Measured> {
        let from = Instant::now() + warm_up;
        let until = from + run;
        let mut workers = JoinSet::new();
        for worker in 0..self.concurrency {
            let connection = connections[worker % connections.len()].clone();
            let worker = Worker {
                connection,
                feature: feature.to_owned(),
                items: self.items,
                name: new_request_id()?,
                requests: 0,
            };
            workers.spawn(worker.run(from, until));
        }
        let mut cycles = 0;
        let mut calls = Samples::default();
        while let Some(done) = workers.join_next().await {
            let (its_cycles, its_calls) = done.context("a worker has panicked")??;
            cycles += its_cycles;
            calls.append(its_calls);
        }
        let items = u32::try_from(cycles * self.items).unwrap_or(u32::MAX);
        Ok(Measured { checkouts_per_s: f64::from(items) / run.as_secs_f64(), calls })
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { concurrency, items } = self;
        let items = if *items == 1 { "1 item".to_owned() } else { format!("{items} items") };
        write!(f, "{items} a call, {concurrency} at a time")
    }
}

/// A checkout as `connection` answers it, checked in again.
pub(super) async fn granted_once(
    connection: &Connection,
    feature: &str,
) -> anyhow::Result<v1::CheckoutAnswer> {
    let mut worker = Worker {
        connection: connection.clone(),
        feature: feature.to_owned(),
        items: 1,
        name: new_request_id()?,
        requests: 0,
    };
    let answers = worker.check_out().await?;
    let granted = answers.first().cloned().context("the node gave no answer")?;
    worker.check_in(answers).await?;
    Ok(granted)
}

pub(super) struct Worker {
    pub(super) connection: Connection,
    pub(super) feature: String,
    pub(super) items: usize,
    /// Random; with a number in its second half, the id of each request.
    pub(super) name: [u8; 16],
    pub(super) requests: u64,
}

impl Worker {
    /// Goes on until `until`; what ends after `from` and before that is counted.
    async fn run(mut self, from: Instant, until: Instant) -> anyhow::Result<(usize, Samples)> {
        let mut cycles = 0;
        let mut calls = Samples::default();
        loop {
            let began = Instant::now();
            if began >= until {
                return Ok((cycles, calls));
            }
            let answers = self.check_out().await?;
            let took = began.elapsed();
            self.check_in(answers).await?;
            let ended = Instant::now();
            if began >= from {
                calls.add(took);
            }
            if ended >= from && ended < until {
                cycles += 1;
            }
        }
    }

    pub(super) async fn check_out(&mut self) -> anyhow::Result<Vec<v1::CheckoutAnswer>> {
        let items = (0..self.items).map(|_| self.next_item()).collect();
        Ok(self.connection.checkout(items).await?)
    }

    pub(super) async fn check_in(&self, answers: Vec<v1::CheckoutAnswer>) -> anyhow::Result<()> {
        let items = answers.into_iter().map(|answer| {
            let receipt = granted(answer)?.receipt;
            Ok(v1::CheckinItem { receipt, ..v1::CheckinItem::default() })
        });
        let answers = self.connection.checkin(items.collect::<anyhow::Result<_>>()?).await?;
        for answer in answers {
            if !matches!(answer.answer, Some(checkin_answer::Answer::Accepted(_))) {
                bail!("a check-in was denied: {answer:?}");
            }
        }
        Ok(())
    }

    fn next_item(&mut self) -> v1::CheckoutItem {
        self.requests += 1;
        let mut id = self.name;
        id[8..].copy_from_slice(&self.requests.to_be_bytes());
        v1::CheckoutItem {
            request_id: id.to_vec().into(),
            lines: vec![v1::CheckoutLine { feature: self.feature.clone(), units: 1 }],
            wait_ms: WAIT_MS,
            engine_build_date: String::new(),
        }
    }
}

/// A denial would be quicker than a grant: it ends the measurement.
pub(super) fn granted(answer: v1::CheckoutAnswer) -> anyhow::Result<v1::Granted> {
    match answer.answer {
        Some(checkout_answer::Answer::Granted(granted)) => Ok(granted),
        Some(checkout_answer::Answer::Denied(denied)) => {
            let reason = Reason::try_from(denied.reason).unwrap_or(Reason::Unspecified);
            bail!(
                "a checkout was denied ({}): the node must be able to lend one unit for each item \
                 of each call at a time",
                reason.as_str_name().trim_start_matches("REASON_")
            )
        }
        None => bail!("the node gave an answer that is not known here"),
    }
}
