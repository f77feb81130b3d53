//! The last question: is every unit free again? One engine takes them all out at once.

use std::collections::BTreeMap;

use leasehold_client::{CheckoutOptions, Client, ClientConfig, Guard};

use super::SITES;
use super::engines::Engines;
use super::offer::HOME;

/// Nothing is frozen any more; what other nodes keep at hand is recalled well within this.
const WAIT_MS: u64 = 10_000;
/// Once more for each feature, for an answer that was lost.
const ATTEMPTS: usize = 2;

/// Checks all units of each feature out at once, at the site whose node may draw from every set;
/// tells of which features that did not work.
pub(super) async fn take_all(
    engines: &Engines,
    configs: &[ClientConfig],
    entitled: &BTreeMap<String, u64>,
) -> anyhow::Result<BTreeMap<String, u64>> {
    let home = SITES.iter().position(|site| *site == HOME).unwrap_or(0);
    // The sites' first numbers belong to those who measure draws.
    let client = engines.beside(configs.len(), &configs[home])?;
    let mut guards = Vec::new();
    let mut missing = BTreeMap::new();
    for (feature, units) in entitled {
        match take(&client, feature, *units).await {
            Some(guard) => guards.push(guard),
            None => {
                missing.insert(feature.clone(), *units);
            }
        }
    }
    drop(guards);
    client.flush().await;
    Ok(missing)
}

async fn take(client: &Client, feature: &str, units: u64) -> Option<Guard> {
    for _ in 0..ATTEMPTS {
        let options = CheckoutOptions { wait_ms: WAIT_MS, ..CheckoutOptions::default() };
        if let Ok(guard) = client.checkout_with(&[(feature, units)], options).await {
            return Some(guard);
        }
    }
    None
}
