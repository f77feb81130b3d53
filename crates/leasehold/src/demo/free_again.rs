//! The last question: is every unit free again? One engine takes them all out at once.

use std::collections::BTreeMap;
use std::time::Duration;

use leasehold_client::ClientConfig;

use super::SITES;
use super::engines::Engines;
use super::offer::HOME;

/// Nothing is frozen any more; what other nodes keep at hand is recalled well within this.
const FREE_AGAIN_MS: u64 = 10_000;
/// Between two attempts to take all units of a feature out.
const RETRY: Duration = Duration::from_millis(250);

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
    let deadline_ms = engines.clock.now() + FREE_AGAIN_MS;
    let mut guards = Vec::new();
    let mut missing = BTreeMap::new();
    for (feature, units) in entitled {
        let all = [(feature.as_str(), *units)];
        loop {
            match client.checkout(&all).await {
                Ok(guard) => break guards.push(guard),
                Err(_) if engines.clock.now() < deadline_ms => tokio::time::sleep(RETRY).await,
                Err(_) => {
                    missing.insert(feature.clone(), *units);
                    break;
                }
            }
        }
    }
    drop(guards);
    client.flush().await;
    Ok(missing)
}
