//! What the demo's customer has bought, and what its callers ask for.

use std::collections::BTreeMap;

use anyhow::Context;
use leasehold_core::entitlement::{
    CONTACT_DAYS_MIN, Date, Entitlement, FORMAT, FeatureLine, LicenseSet, SetKind, SigningKey,
};
use leasehold_core::id::ClusterId;

use super::dice::Dice;

/// One feature: how much of it is bought, and how many of 100 calls ask for it.
struct Offer {
    feature: &'static str,
    /// Units for each 1000 engines, which have as many calls at a time.
    units_per_mille: u64,
    calls_per_cent: u32,
}

/// The site that has a production set of its own; all others share the floating one.
pub(super) const HOME: &str = "west";
/// What is in the home's set: `(feature, units for each 1000 engines)`. Less than its own engines
/// need at times: they come to the floating set for the rest.
const HOMED: (&str, u64) = (SCARCE, 30);
/// Of this there is too little, so that there is something to deny. Its units move from node to
/// node all the time.
pub(super) const SCARCE: &str = "asr.tier4";
/// Used by nobody but whoever measures draws: while all is well, and when a node was killed. One
/// for each, as a node keeps units of what was drawn lately.
pub(super) const BATCH: [&str; 2] = ["asr.batch", "tts.batch"];
const BATCH_UNITS: u64 = 40;

const fn offer(feature: &'static str, units_per_mille: u64, calls_per_cent: u32) -> Offer {
    Offer { feature, units_per_mille, calls_per_cent }
}

/// A call needs one of these. Each has about twice what is in use on average, as the units of
/// calls that ended before a killed node's lease did stay frozen for up to 31 s.
const RECOGNIZERS: [Offer; 4] = [
    offer("asr.tier1", 1_100, 45),
    offer("asr.tier2", 650, 25),
    offer("asr.tier3", 500, 18),
    offer(SCARCE, 110, 12),
];
/// And one of these.
const VOICES: [Offer; 3] =
    [offer("tts.chris", 1_100, 45), offer("tts.emma", 900, 35), offer("tts.lena", 550, 20)];
/// And some of them this: call progress analysis.
const PROGRESS: Offer = offer("cpa", 750, 30);

fn all() -> impl Iterator<Item = &'static Offer> {
    RECOGNIZERS.iter().chain(&VOICES).chain(std::iter::once(&PROGRESS))
}

/// Units that the customer is entitled to, by feature.
#[must_use]
pub fn entitled(engines: usize) -> BTreeMap<String, u64> {
    let mut entitled = floating(engines);
    let (feature, units) = homed(engines);
    *entitled.entry(feature).or_default() += units;
    entitled
}

fn floating(engines: usize) -> BTreeMap<String, u64> {
    let units = |offer: &Offer| (engines as u64 * offer.units_per_mille / 1_000).max(1);
    let shared = all().map(|offer| (offer.feature.to_owned(), units(offer)));
    shared.chain(BATCH.map(|feature| (feature.to_owned(), BATCH_UNITS))).collect()
}

fn homed(engines: usize) -> (String, u64) {
    let (feature, units_per_mille) = HOMED;
    (feature.to_owned(), (engines as u64 * units_per_mille / 1_000).max(1))
}

/// What the next call asks for: a recognizer and a voice, and sometimes call progress analysis.
pub(super) fn next_call(dice: &mut Dice) -> Vec<(&'static str, u64)> {
    let mut lines = vec![(pick(&RECOGNIZERS, dice), 1), (pick(&VOICES, dice), 1)];
    if dice.below(100) < u64::from(PROGRESS.calls_per_cent) {
        lines.push((PROGRESS.feature, 1));
    }
    lines
}

fn pick(offers: &'static [Offer], dice: &mut Dice) -> &'static str {
    let mut left = dice.below(100);
    for offer in offers {
        let share = u64::from(offer.calls_per_cent);
        if left < share {
            return offer.feature;
        }
        left -= share;
    }
    offers[0].feature
}

/// The signed entitlement that holds [`entitled`]: a floating production set, and one of `west`.
///
/// # Errors
/// If this machine's date is out of range.
pub fn entitlement(
    cluster: ClusterId,
    engines: usize,
    key: &SigningKey,
) -> anyhow::Result<Vec<u8>> {
    let entitlement = Entitlement {
        format: FORMAT,
        cluster,
        serial: 1,
        issued: in_days(0)?,
        customer: "Demo".to_owned(),
        contact_days: CONTACT_DAYS_MIN,
        sets: vec![
            production("production", None, floating(engines))?,
            production(HOME, Some(HOME), std::iter::once(homed(engines)))?,
        ],
    };
    entitlement.validate().context("the demo's entitlement is refused")?;
    Ok(entitlement.seal(key))
}

fn production(
    name: &str,
    home: Option<&str>,
    features: impl IntoIterator<Item = (String, u64)>,
) -> anyhow::Result<LicenseSet> {
    let features = features
        .into_iter()
        .map(|(feature, units)| Ok(FeatureLine { feature: feature.parse()?, units }));
    Ok(LicenseSet {
        name: name.parse()?,
        kind: SetKind::Production,
        home: home.map(str::parse).transpose()?,
        covers: Vec::new(),
        starts: in_days(-1)?,
        contract_end: in_days(365)?,
        maintenance_until: in_days(365)?,
        autonomy_s: None,
        features: features.collect::<anyhow::Result<_>>()?,
    })
}

fn in_days(days: i64) -> anyhow::Result<Date> {
    let now_ms = jiff::Timestamp::now().as_millisecond();
    Date::of_unix_ms(now_ms + days * DAY_MS).context("this machine's date is out of range")
}

const DAY_MS: i64 = 86_400_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_entitlement_is_one_that_a_cluster_accepts() {
        let (cluster, key) = (ClusterId([3; 16]), SigningKey::from_bytes(&[7; 32]));
        let trusted = [key.verifying_key().to_bytes()];
        for engines in [1, 200, 5_000] {
            let envelope = entitlement(cluster, engines, &key).unwrap();
            let opened = Entitlement::open(&envelope, &trusted, cluster, None).unwrap();
            let mut units: BTreeMap<String, u64> = BTreeMap::new();
            for line in opened.sets.iter().flat_map(|set| &set.features) {
                *units.entry(line.feature.to_string()).or_default() += line.units;
            }
            assert_eq!(units, entitled(engines), "the verdict judges by what was bought");
        }
    }

    #[test]
    fn calls_ask_for_a_recognizer_and_a_voice_in_the_bought_proportions() {
        let mut dice = Dice::new(1);
        let mut asked: BTreeMap<&str, u64> = BTreeMap::new();
        for _ in 0..10_000 {
            let lines = next_call(&mut dice);
            assert!(lines[0].0.starts_with("asr.") && lines[1].0.starts_with("tts."));
            lines.iter().for_each(|(feature, units)| *asked.entry(feature).or_default() += units);
        }
        assert_eq!(asked.len(), 8);
        assert!((4_200..4_800).contains(&asked["asr.tier1"]), "{asked:?}");
        assert!((2_700..3_300).contains(&asked["cpa"]), "{asked:?}");
    }
}
