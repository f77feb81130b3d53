//! The relations between an entitlement's fields; each refusal has its row in the tests.

use std::collections::BTreeSet;

use super::{Entitlement, FORMAT, InvalidEntitlement, LicenseSet, SetKind};
use crate::limits::{FEATURES_PER_SET_MAX, SETS_MAX, UNITS_PER_POOL_MAX};

/// The vendor promises its customers that a cluster may always go this long without contact.
pub const CONTACT_DAYS_MIN: u32 = 60;
/// One line of a table.
pub const CUSTOMER_CHARACTERS_MAX: usize = 120;
/// A day: the longest duration that any timing of a cluster may have.
pub const AUTONOMY_S_MAX: u64 = 86_400;

// A feature's units over all sets always fit: no sum of checked numbers can overflow.
const _: () =
    assert!(UNITS_PER_POOL_MAX < i64::MAX as u64 / (SETS_MAX * FEATURES_PER_SET_MAX) as u64);

impl Entitlement {
    /// Checks everything that can be checked without knowing the cluster and its clock.
    ///
    /// # Errors
    /// The first field that is wrong, its value and what was expected.
    pub fn validate(&self) -> Result<(), InvalidEntitlement> {
        if self.format != FORMAT {
            return Err(InvalidEntitlement::Format { format: self.format });
        }
        if self.serial == 0 {
            return Err(InvalidEntitlement::SerialZero);
        }
        check_customer(&self.customer)?;
        if self.contact_days < CONTACT_DAYS_MIN {
            return Err(InvalidEntitlement::ContactDays {
                days: self.contact_days,
                least: CONTACT_DAYS_MIN,
            });
        }
        if self.sets.len() > SETS_MAX {
            return Err(InvalidEntitlement::TooManySets { count: self.sets.len(), most: SETS_MAX });
        }
        let mut names = BTreeSet::new();
        for set in &self.sets {
            if !names.insert(&set.name) {
                return Err(InvalidEntitlement::DuplicateSet { set: set.name.clone() });
            }
            check_dates(set)?;
            check_sites(set)?;
            check_autonomy(set)?;
            check_features(set)?;
        }
        Ok(())
    }
}

fn check_customer(customer: &str) -> Result<(), InvalidEntitlement> {
    let characters = customer.chars().count();
    if !(1..=CUSTOMER_CHARACTERS_MAX).contains(&characters) {
        return Err(InvalidEntitlement::CustomerLength {
            characters,
            most: CUSTOMER_CHARACTERS_MAX,
        });
    }
    match customer.chars().find(|character| !is_printable(*character)) {
        Some(character) => Err(InvalidEntitlement::CustomerNotPrintable {
            character: character.escape_unicode().to_string(),
        }),
        None => Ok(()),
    }
}

/// Neither a control character nor one of those that, unseen, reorder or split what follows.
fn is_printable(character: char) -> bool {
    !character.is_control()
        && !matches!(
            character,
            '\u{ad}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
        )
}

fn check_dates(set: &LicenseSet) -> Result<(), InvalidEntitlement> {
    if set.contract_end < set.starts {
        return Err(InvalidEntitlement::EndBeforeStart {
            set: set.name.clone(),
            starts: set.starts,
            contract_end: set.contract_end,
        });
    }
    Ok(())
}

fn check_sites(set: &LicenseSet) -> Result<(), InvalidEntitlement> {
    match (set.kind, set.covers.first()) {
        (SetKind::Backup, None) => {
            return Err(InvalidEntitlement::BackupWithoutCovers { set: set.name.clone() });
        }
        (SetKind::Production, Some(site)) => {
            return Err(InvalidEntitlement::ProductionWithCovers {
                set: set.name.clone(),
                site: site.clone(),
            });
        }
        (SetKind::Backup, Some(_)) | (SetKind::Production, None) => {}
    }
    let mut covered = BTreeSet::new();
    for site in &set.covers {
        let (set_name, site_name) = (|| set.name.clone(), || site.clone());
        if !covered.insert(site) {
            return Err(InvalidEntitlement::DuplicateCover { set: set_name(), site: site_name() });
        }
        if set.home.as_ref() == Some(site) {
            return Err(InvalidEntitlement::HomeIsCovered { set: set_name(), site: site_name() });
        }
    }
    Ok(())
}

fn check_autonomy(set: &LicenseSet) -> Result<(), InvalidEntitlement> {
    let Some(autonomy_s) = set.autonomy_s else { return Ok(()) };
    let set_name = || set.name.clone();
    if set.kind == SetKind::Backup || set.home.is_none() {
        return Err(InvalidEntitlement::AutonomyWithoutHome { set: set_name(), autonomy_s });
    }
    if !(1..=AUTONOMY_S_MAX).contains(&autonomy_s) {
        let most = AUTONOMY_S_MAX;
        return Err(InvalidEntitlement::Autonomy { set: set_name(), autonomy_s, most });
    }
    Ok(())
}

fn check_features(set: &LicenseSet) -> Result<(), InvalidEntitlement> {
    let set_name = || set.name.clone();
    match set.features.len() {
        0 => return Err(InvalidEntitlement::NoFeatures { set: set_name() }),
        1..=FEATURES_PER_SET_MAX => {}
        count => {
            let most = FEATURES_PER_SET_MAX;
            return Err(InvalidEntitlement::TooManyFeatures { set: set_name(), count, most });
        }
    }
    let mut seen = BTreeSet::new();
    for line in &set.features {
        let feature = || line.feature.clone();
        if !seen.insert(&line.feature) {
            return Err(InvalidEntitlement::DuplicateFeature {
                set: set_name(),
                feature: feature(),
            });
        }
        if !(1..=UNITS_PER_POOL_MAX).contains(&line.units) {
            return Err(InvalidEntitlement::Units {
                set: set_name(),
                feature: feature(),
                units: line.units,
                most: UNITS_PER_POOL_MAX,
            });
        }
    }
    Ok(())
}
