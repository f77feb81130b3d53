//! The entitlement in force and the pools it makes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Ledger;
use super::command::{ActionRefusal, Outcome, Refusal};
use super::event::EventKind;
use crate::entitlement::{Date, Entitlement, LicenseSet, SetKind};
use crate::id::{FeatureId, NodeId, PoolId, SetName, SiteName};
use crate::limits::POOLS_MAX;
use crate::units::Units;

/// The entitlement in force, with the document as the vendor signed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    pub envelope: Vec<u8>,
    pub entitlement: Entitlement,
}

/// One feature of one set: the thing that is counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    pub terms: PoolTerms,
    /// Units lent to no node; negative while a cut waits for running calls to end.
    pub reserve: i64,
}

/// What the entitlement says of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolTerms {
    pub set: SetName,
    pub feature: FeatureId,
    pub kind: SetKind,
    /// The one site that draws from it; any site may if none is named.
    pub home: Option<SiteName>,
    pub entitled: Units,
    /// Engines built after this day are not served.
    pub maintenance_until: Date,
    /// Why nothing new is lent from it, if so.
    pub closed: Option<Closed>,
}

/// Why a pool lends nothing new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Closed {
    #[error("its contract has not started")]
    NotStarted,
    #[error("its contract has ended")]
    ContractEnded,
    /// A newer entitlement no longer names it.
    #[error("the entitlement does not name it")]
    NotEntitled,
    /// A backup set that is not active.
    #[error("it stands by")]
    Standby,
}

impl PoolTerms {
    /// Whether nodes of `site` may draw from it.
    #[must_use]
    pub fn is_served_at(&self, site: &SiteName) -> bool {
        self.closed.is_none() && self.home.as_ref().is_none_or(|home| home == site)
    }
}

impl Ledger {
    pub(super) fn install_entitlement(&mut self, envelope: &[u8]) -> Result<Outcome, Refusal> {
        let founding = self.founding.as_ref().ok_or(Refusal::NotFounded)?;
        if let Some(installed) = self.entitlement.as_ref()
            && installed.envelope == envelope
        {
            return Ok(Outcome::Installed { serial: installed.entitlement.serial });
        }
        let entitlement = Entitlement::open(
            envelope,
            &founding.trusted_keys,
            founding.cluster,
            self.entitlement_serial(),
        )
        .map_err(|error| Refusal::Entitlement { reason: error.to_string() })?;
        let known = self.known_pools();
        let lines = entitlement.sets.iter().flat_map(|set| {
            set.features.iter().map(|line| (set.name.clone(), line.feature.clone()))
        });
        let new = lines.filter(|line| !known.contains_key(line)).count();
        if known.len().saturating_add(new) > POOLS_MAX {
            return Err(Refusal::TooManyPools { most: POOLS_MAX });
        }
        let serial = entitlement.serial;
        self.set_pools(&entitlement, &known);
        self.entitlement = Some(Installed { envelope: envelope.to_vec(), entitlement });
        self.catalog_version += 1;
        self.record(EventKind::EntitlementInstalled { serial });
        Ok(Outcome::Installed { serial })
    }

    /// The leader's calendar day: opens and closes sets by their contracts' dates. It follows the
    /// clock both ways, so a clock once set wrong ends no contract for good.
    pub(super) fn set_day(&mut self, day: Date) -> Outcome {
        self.today = Some(day);
        self.close_by_date();
        Outcome::Done
    }

    fn close_by_date(&mut self) {
        let Some(installed) = &self.entitlement else { return };
        let mut changed = Vec::new();
        for set in &installed.entitlement.sets {
            let closed = closed_by(set, self.today);
            for pool in self.pools.values_mut().filter(|pool| pool.terms.set == set.name) {
                if pool.terms.closed != Some(Closed::NotEntitled) && pool.terms.closed != closed {
                    pool.terms.closed = closed;
                    changed.push((set.name.clone(), closed));
                }
            }
        }
        changed.dedup();
        if changed.is_empty() {
            return;
        }
        self.catalog_version += 1;
        for (set, closed) in changed {
            self.record(EventKind::SetChanged { set, closed });
        }
    }

    /// The serial of the entitlement in force.
    #[must_use]
    pub fn entitlement_serial(&self) -> Option<u64> {
        self.entitlement.as_ref().map(|installed| installed.entitlement.serial)
    }

    #[must_use]
    pub fn installed(&self) -> Option<&Installed> {
        self.entitlement.as_ref()
    }

    fn known_pools(&self) -> BTreeMap<(SetName, FeatureId), PoolId> {
        let named = self.pools.iter().map(|(id, pool)| {
            let terms = &pool.terms;
            ((terms.set.clone(), terms.feature.clone()), *id)
        });
        named.collect()
    }

    fn set_pools(
        &mut self,
        entitlement: &Entitlement,
        known: &BTreeMap<(SetName, FeatureId), PoolId>,
    ) {
        for pool in self.pools.values_mut() {
            pool.set_entitled(Units::ZERO);
            pool.terms.closed = Some(Closed::NotEntitled);
        }
        for set in &entitlement.sets {
            for line in &set.features {
                let key = (set.name.clone(), line.feature.clone());
                // There are POOLS_MAX at most.
                let next = PoolId(u32::try_from(self.pools.len()).unwrap_or(u32::MAX));
                let id = known.get(&key).copied().unwrap_or(next);
                let terms = terms_of(set, &line.feature, self.today);
                // No entitlement that was opened has more.
                let units = Units::new(line.units).unwrap_or(Units::MAX);
                match self.pools.get_mut(&id) {
                    Some(pool) => {
                        let entitled = pool.terms.entitled;
                        pool.terms = PoolTerms { entitled, ..terms };
                        pool.set_entitled(units);
                    }
                    None => {
                        let mut pool = Pool { terms, reserve: 0 };
                        pool.set_entitled(units);
                        self.pools.insert(id, pool);
                    }
                }
            }
        }
    }

    /// Whether `node` may draw from `pool` now.
    pub(super) fn may_draw(&self, node: NodeId, pool: PoolId) -> Result<bool, ActionRefusal> {
        let pool = self.pools.get(&pool).ok_or(ActionRefusal::UnknownPool)?;
        Ok(self.site_of(node).is_some_and(|site| pool.terms.is_served_at(site)))
    }

    /// Units of the reserve that can be lent: 0 while a cut waits.
    #[must_use]
    pub fn reserve(&self, pool: PoolId) -> Units {
        self.pools.get(&pool).map_or(Units::ZERO, |pool| Units::of_reserve(pool.reserve))
    }

    // A reserve is the units entitled less those lent, each of them at most UNITS_PER_POOL_MAX in
    // whatever passes `Ledger::check`, and so does each step of these three: none can overflow.

    pub(super) fn add_to_reserve(&mut self, pool: PoolId, units: Units) {
        if let Some(pool) = self.pools.get_mut(&pool) {
            pool.reserve += units.signed();
        }
    }

    pub(super) fn take_from_reserve(&mut self, pool: PoolId, units: Units) {
        if let Some(pool) = self.pools.get_mut(&pool) {
            pool.reserve -= units.signed();
        }
    }
}

impl Pool {
    fn set_entitled(&mut self, units: Units) {
        self.reserve += units.signed() - self.terms.entitled.signed();
        self.terms.entitled = units;
    }
}

fn terms_of(set: &LicenseSet, feature: &FeatureId, today: Option<Date>) -> PoolTerms {
    PoolTerms {
        set: set.name.clone(),
        feature: feature.clone(),
        kind: set.kind,
        home: set.home.clone(),
        entitled: Units::ZERO,
        maintenance_until: set.maintenance_until,
        closed: closed_by(set, today),
    }
}

fn closed_by(set: &LicenseSet, today: Option<Date>) -> Option<Closed> {
    if today.is_some_and(|today| today < set.starts) {
        return Some(Closed::NotStarted);
    }
    if today.is_some_and(|today| today > set.contract_end) {
        return Some(Closed::ContractEnded);
    }
    match set.kind {
        SetKind::Production => None,
        SetKind::Backup => Some(Closed::Standby),
    }
}
