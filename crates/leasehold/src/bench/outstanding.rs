//! What many outstanding checkouts cost: memory, and time for each further one.

use std::time::{Duration, Instant};

use anyhow::Context;
use leasehold_client::{Connection, new_request_id};
use serde::Serialize;

use super::load::{Worker, granted};
use super::node::EmbeddedNode;
use super::report::BUILD;
use super::samples::median;
use super::{FEATURE, connections};
use crate::cli::{lines, table};

/// The growth of a desk from few to many outstanding checkouts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Growth {
    pub build: &'static str,
    pub levels: Vec<Level>,
    /// What one outstanding checkout adds to the memory of the process, request ids and all.
    pub bytes_per_checkout: f64,
}

/// What was seen when so many checkouts were outstanding.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Level {
    pub outstanding: usize,
    /// The median call's time by its items, transport included.
    pub us_per_checkout: f64,
    /// Of the whole process: the node, its client and the libraries.
    pub resident_mb: f64,
}

/// Items of a call that fills: as many as a call may have.
const FILL: usize = leasehold_core::limits::ITEMS_PER_CALL_MAX;
/// Items of a call that is measured, and how many of these a level gets.
const MEASURED_ITEMS: usize = 16;
const MEASURED_CALLS: usize = 500;
/// None of them may end meanwhile.
const TTL_MS: u64 = 600_000;
/// A tenth of the lowest level, so that a level is what it says.
const LEVELS_FROM: usize = 100;

/// Checks out `most` units, one by one, and measures at each power of ten.
///
/// # Errors
/// If the node can't be started or does not lend them.
pub async fn grow(most: usize, mut progress: impl FnMut(&str)) -> anyhow::Result<Growth> {
    let units = 2 * most as u64 + 100_000;
    let node = EmbeddedNode::start(false, units, Some(TTL_MS)).await?;
    let connection = connections(&node.endpoint(), &node.security(), 1)?.remove(0);
    let measured = levels(most, &connection, &mut progress).await;
    node.stop().await;
    measured
}

async fn levels(
    most: usize,
    connection: &Connection,
    progress: &mut impl FnMut(&str),
) -> anyhow::Result<Growth> {
    let mut fill = worker(connection, FILL)?;
    let mut probe = worker(connection, MEASURED_ITEMS)?;
    // Buffers, pools and code: what is there once, whatever is outstanding.
    measure(&mut probe).await?;
    let resident_before = resident_bytes()?;
    let mut outstanding = 0;
    let mut levels = Vec::new();
    let goals = std::iter::successors(Some(LEVELS_FROM), |goal| Some(goal * 10));
    for goal in goals.take_while(|goal| *goal < most).chain([most]) {
        progress(&format!("{goal} outstanding"));
        while outstanding < goal {
            fill.items = FILL.min(goal - outstanding);
            for answer in fill.check_out().await? {
                granted(answer)?;
            }
            outstanding += fill.items;
        }
        let resident_mb = megabytes(resident_bytes()?);
        let us_per_checkout = measure(&mut probe).await?;
        levels.push(Level { outstanding, us_per_checkout, resident_mb });
    }
    let grown = levels.last().map_or(0.0, |level| level.resident_mb) - megabytes(resident_before);
    let bytes_per_checkout = grown * 1e6 / f64::from(u32::try_from(most)?);
    Ok(Growth { build: BUILD, levels, bytes_per_checkout })
}

fn worker(connection: &Connection, items: usize) -> anyhow::Result<Worker> {
    Ok(Worker {
        connection: connection.clone(),
        feature: FEATURE.to_owned(),
        items,
        name: new_request_id()?,
        requests: 0,
    })
}

async fn measure(probe: &mut Worker) -> anyhow::Result<f64> {
    let mut took = Vec::with_capacity(MEASURED_CALLS);
    for _ in 0..MEASURED_CALLS {
        let began = Instant::now();
        let answers = probe.check_out().await?;
        took.push(began.elapsed());
        probe.check_in(answers).await?;
    }
    let items = f64::from(u32::try_from(probe.items)?);
    Ok(median(took.iter().map(Duration::as_secs_f64)) * 1e6 / items)
}

fn resident_bytes() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    Ok(1_024 * kilobytes.context("/proc/self/status does not say how much memory is resident")?)
}

fn megabytes(bytes: u64) -> f64 {
    // Kilobytes of a process fit in 32 bits.
    f64::from(u32::try_from(bytes / 1_024).unwrap_or(u32::MAX)) * 1_024.0 / 1e6
}

impl Growth {
    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let head = ["OUTSTANDING", "µs/CHECKOUT", "RESIDENT MB"];
        let mut table = table(&head, &head);
        for level in &self.levels {
            table.add_row([
                level.outstanding.to_string(),
                format!("{:.2}", level.us_per_checkout),
                format!("{:.0}", level.resident_mb),
            ]);
        }
        format!(
            "build        {}\n\
             measured     calls of {MEASURED_ITEMS} items, one at a time, in plain text\n\
             memory       {:.0} bytes for each outstanding checkout\n\n{}",
            self.build,
            self.bytes_per_checkout,
            lines(&table)
        )
    }
}
