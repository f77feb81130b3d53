//! What must hold after every command: checked by debug builds, by the simulator, and counted in
//! production.

use std::collections::BTreeMap;

use super::{AllotmentState, Ledger};
use crate::id::{AllotmentId, NodeId, PoolId};
use crate::limits::COUNT_MAX;
use crate::units::Units;

/// A broken invariant. Seeing one means a bug in this module.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    #[error("pool {pool}: reserve {reserve} + lent {lent} is not the {entitled} units entitled")]
    Conservation { pool: PoolId, reserve: i64, lent: Units, entitled: Units },
    #[error("more units of pool {pool} are lent than any pool has")]
    TooManyLent { pool: PoolId },
    #[error("{name} is {value}, which no ledger has counted to")]
    CountTooHigh { name: &'static str, value: u64 },
    #[error("what moved out of allotment {allotment} is said to be in an older one")]
    MoveWentBack { allotment: AllotmentId },
    #[error("allotment {allotment} is live, but its lease has ended")]
    LiveWithoutLease { allotment: AllotmentId },
    #[error("allotment {allotment} names pool {pool}, which does not exist")]
    UnknownPool { allotment: AllotmentId, pool: PoolId },
    #[error("the number {number} was given twice or went backwards")]
    NumberReused { number: u64 },
    #[error("node {node}: its epoch, beat or operation went backwards")]
    LeaseWentBack { node: NodeId },
    #[error("the entitlement's serial went back to {serial}")]
    SerialWentBack { serial: u64 },
}

impl Ledger {
    /// Checks what must hold in every state.
    ///
    /// # Errors
    /// The first invariant that is broken.
    pub fn check(&self) -> Result<(), Violation> {
        self.check_conservation()?;
        for ((from, _), to) in &self.moved {
            // Whoever follows a checkout from move to move comes to an end.
            if to <= from {
                return Err(Violation::MoveWentBack { allotment: *from });
            }
        }
        if let Some((_, lease)) = self.leases().find(|(_, it)| it.epoch.0 > self.last_number) {
            return Err(Violation::NumberReused { number: lease.epoch.0 });
        }
        for (id, allotment) in &self.allotments {
            if allotment.state == AllotmentState::Live && !self.is_leased(allotment) {
                return Err(Violation::LiveWithoutLease { allotment: *id });
            }
            if id.0 > self.last_number {
                return Err(Violation::NumberReused { number: id.0 });
            }
        }
        Ok(())
    }

    /// Checks a ledger that came from elsewhere, such as a snapshot: it holds what every ledger
    /// does, and nothing that counts up is near its end.
    ///
    /// # Errors
    /// The first of it that is broken.
    pub fn check_foreign(&self) -> Result<(), Violation> {
        self.check()?;
        self.check_counts()
    }

    /// Conservation: per pool, `reserve + Σ live + Σ frozen = entitled units`.
    fn check_conservation(&self) -> Result<(), Violation> {
        let mut lent: BTreeMap<PoolId, Units> = BTreeMap::new();
        for (id, allotment) in &self.allotments {
            if !self.pools.contains_key(&allotment.pool) {
                return Err(Violation::UnknownPool { allotment: *id, pool: allotment.pool });
            }
            let pool = allotment.pool;
            let sum = lent.entry(pool).or_default();
            *sum = sum.checked_add(allotment.units).ok_or(Violation::TooManyLent { pool })?;
        }
        for (id, pool) in &self.pools {
            let lent = lent.get(id).copied().unwrap_or_default();
            if pool.reserve.checked_add(lent.signed()) != Some(pool.terms.entitled.signed()) {
                let (reserve, entitled) = (pool.reserve, pool.terms.entitled);
                return Err(Violation::Conservation { pool: *id, reserve, lent, entitled });
            }
        }
        Ok(())
    }

    fn check_counts(&self) -> Result<(), Violation> {
        let operations = self.leases().map(|(_, lease)| ("operation", lease.operation));
        let counts = [
            ("version", self.version),
            ("last_number", self.last_number),
            ("catalog_version", self.catalog_version),
            ("event number", self.events.back().map_or(0, |event| event.number)),
        ];
        let too_high = counts.into_iter().chain(operations).find(|(_, value)| *value > COUNT_MAX);
        too_high.map_or(Ok(()), |(name, value)| Err(Violation::CountTooHigh { name, value }))
    }

    fn is_leased(&self, allotment: &super::Allotment) -> bool {
        self.nodes
            .get(&allotment.node)
            .and_then(|node| node.lease.as_ref())
            .is_some_and(|lease| lease.live && lease.epoch == allotment.epoch)
    }
}

/// Checks what must hold between a state and a later one: numbers only rise.
///
/// # Errors
/// The first invariant that is broken.
pub fn check_transition(before: &Ledger, after: &Ledger) -> Result<(), Violation> {
    if after.last_number < before.last_number {
        return Err(Violation::NumberReused { number: after.last_number });
    }
    for id in after.allotments.keys() {
        let is_new = !before.allotments.contains_key(id);
        if is_new && id.0 <= before.last_number {
            return Err(Violation::NumberReused { number: id.0 });
        }
    }
    for (node, was) in &before.nodes {
        let (Some(was), Some(is)) =
            (&was.lease, after.nodes.get(node).and_then(|node| node.lease.as_ref()))
        else {
            continue;
        };
        let same_epoch_went_back =
            is.epoch == was.epoch && (is.seq < was.seq || is.operation < was.operation);
        if is.epoch < was.epoch || same_epoch_went_back {
            return Err(Violation::LeaseWentBack { node: *node });
        }
    }
    let serial = |ledger: &Ledger| ledger.entitlement_serial().unwrap_or(0);
    if serial(after) < serial(before) {
        return Err(Violation::SerialWentBack { serial: serial(after) });
    }
    Ok(())
}
