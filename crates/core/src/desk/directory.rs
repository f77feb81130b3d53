//! Which pools serve a feature at this node's site, and why none may.

use std::collections::BTreeMap;

use super::message::{Denial, Reason};
use crate::entitlement::{Date, SetKind};
use crate::id::{FeatureId, PoolId, SiteName};
use crate::ledger::{Catalog, Closed, PoolTerms};

#[derive(Clone, Debug, Default)]
pub(super) struct Directory {
    entitled: bool,
    features: BTreeMap<FeatureId, Vec<Serving>>,
}

/// A pool that has the feature and whose home, if any, is this site.
#[derive(Clone, Debug)]
struct Serving {
    pool: PoolId,
    terms: PoolTerms,
}

impl Directory {
    pub(super) fn new(catalog: &Catalog, site: &SiteName) -> Self {
        let mut features: BTreeMap<FeatureId, Vec<Serving>> = BTreeMap::new();
        for (pool, terms) in &catalog.pools {
            if terms.home.as_ref().is_none_or(|home| home == site) {
                let serving = Serving { pool: *pool, terms: terms.clone() };
                features.entry(terms.feature.clone()).or_default().push(serving);
            }
        }
        for servings in features.values_mut() {
            servings.sort_by_key(|serving| (preference(&serving.terms), serving.pool));
        }
        Self { entitled: catalog.entitled, features }
    }

    /// Pools that may serve this engine, the preferred one first.
    pub(super) fn open_pools(
        &self,
        feature: &FeatureId,
        engine_build: Option<Date>,
    ) -> impl Iterator<Item = PoolId> {
        let servings = self.features.get(feature).map(Vec::as_slice).unwrap_or_default();
        servings
            .iter()
            .filter(move |serving| refusal(&serving.terms, engine_build).is_none())
            .map(|serving| serving.pool)
    }

    /// Units entitled of the pools that may serve this engine.
    pub(super) fn entitled(&self, feature: &FeatureId, engine_build: Option<Date>) -> u64 {
        let servings = self.features.get(feature).map(Vec::as_slice).unwrap_or_default();
        let open = servings.iter().filter(|it| refusal(&it.terms, engine_build).is_none());
        open.map(|serving| serving.terms.entitled.get()).sum()
    }

    /// Why no pool may serve this engine, if so.
    pub(super) fn refusal(&self, feature: &FeatureId, build: Option<Date>) -> Option<Denial> {
        if !self.entitled {
            return Some(Reason::NoEntitlement.into());
        }
        let servings = self.features.get(feature).map(Vec::as_slice).unwrap_or_default();
        let mut worst = Some(Reason::NotEntitled);
        for serving in servings {
            match refusal(&serving.terms, build) {
                None => return None,
                // The most telling reason: a date says more than "not entitled".
                Some(Reason::NotEntitled) => {}
                reason => worst = reason,
            }
        }
        let entitled = servings.iter().map(|serving| serving.terms.entitled.get()).sum();
        worst.map(|reason| Denial {
            feature: Some(feature.clone()),
            units_entitled: entitled,
            ..reason.into()
        })
    }

    /// The feature of a pool that serves now.
    pub(super) fn open_feature_of(&self, pool: PoolId) -> Option<&FeatureId> {
        let is_open =
            |serving: &Serving| serving.pool == pool && refusal(&serving.terms, None).is_none();
        self.features
            .iter()
            .find(|(_, servings)| servings.iter().any(is_open))
            .map(|(feature, _)| feature)
    }

    pub(super) fn feature_of(&self, pool: PoolId) -> Option<&FeatureId> {
        self.features
            .iter()
            .find(|(_, servings)| servings.iter().any(|serving| serving.pool == pool))
            .map(|(feature, _)| feature)
    }
}

/// Home production, then floating production, then backup.
fn preference(terms: &PoolTerms) -> u8 {
    match (terms.kind, terms.home.is_some()) {
        (SetKind::Production, true) => 0,
        (SetKind::Production, false) => 1,
        (SetKind::Backup, _) => 2,
    }
}

fn refusal(terms: &PoolTerms, engine_build: Option<Date>) -> Option<Reason> {
    match terms.closed {
        Some(Closed::ContractEnded) => return Some(Reason::ContractEnded),
        Some(Closed::NotStarted | Closed::NotEntitled | Closed::Standby) => {
            return Some(Reason::NotEntitled);
        }
        None => {}
    }
    if engine_build.is_some_and(|build| build > terms.maintenance_until) {
        return Some(Reason::MaintenanceEnded);
    }
    None
}
