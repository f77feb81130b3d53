//! `leasehold sets`: the license sets of the entitlement in force.

use clap::Args;
use leasehold_proto::v1;
use serde::Serialize;

use super::admin::AdminOptions;
use super::print::{lines, table};
use super::status::{kind, set_state};
use super::{Failure, Output};

#[derive(Debug, Args)]
pub(super) struct SetsOptions {
    #[command(flatten)]
    connection: AdminOptions,
}

#[derive(Debug, Serialize)]
pub(super) struct Set {
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) state: &'static str,
    /// `null`: it floats.
    pub(super) home: Option<String>,
    pub(super) covers: Vec<String>,
    pub(super) contract_start: String,
    pub(super) contract_end: String,
    pub(super) maintenance_until: String,
    pub(super) features: Vec<Feature>,
}

#[derive(Debug, Serialize)]
pub(super) struct Feature {
    pub(super) feature: String,
    pub(super) units: u64,
}

#[derive(Debug, Serialize)]
struct Sets {
    sets: Vec<Set>,
}

pub(super) async fn run(options: &SetsOptions, output: Output) -> Result<(), Failure> {
    let target = options.connection.target()?;
    let listed = target.answer(target.client().list_sets(v1::ListSetsRequest {})).await?;
    let sets = Sets { sets: listed.sets.into_iter().map(Set::from).collect() };
    output.print(&sets, |sets| text(&sets.sets))
}

impl From<v1::LicenseSet> for Set {
    fn from(set: v1::LicenseSet) -> Self {
        let feature = |line: v1::SetFeature| Feature { feature: line.feature, units: line.units };
        Self {
            kind: kind(set.kind()),
            state: set_state(set.state()),
            name: set.name,
            home: Some(set.home).filter(|home| !home.is_empty()),
            covers: set.covers,
            contract_start: set.contract_start,
            contract_end: set.contract_end,
            maintenance_until: set.maintenance_until,
            features: set.features.into_iter().map(feature).collect(),
        }
    }
}

/// One row for each feature; what is said of the set stands in its first.
pub(super) fn text(sets: &[Set]) -> String {
    if sets.is_empty() {
        return "no license sets: install an entitlement with `leasehold entitlement install \
                FILE`\n"
            .to_owned();
    }
    let head = [
        "SET",
        "KIND",
        "STATE",
        "HOME",
        "COVERS",
        "CONTRACT",
        "MAINTENANCE UNTIL",
        "FEATURE",
        "UNITS",
    ];
    let mut table = table(&head, &["UNITS"]);
    for set in sets {
        let mut about = vec![
            set.name.clone(),
            set.kind.to_owned(),
            set.state.to_owned(),
            set.home.clone().unwrap_or_else(|| "floating".to_owned()),
            if set.covers.is_empty() { "-".to_owned() } else { set.covers.join(", ") },
            format!("{} to {}", set.contract_start, set.contract_end),
            set.maintenance_until.clone(),
        ];
        for line in &set.features {
            let row = [about.clone(), vec![line.feature.clone(), line.units.to_string()]].concat();
            table.add_row(row);
            about.iter_mut().for_each(String::clear);
        }
    }
    lines(&table)
}
