//! What others may know of the ledger: a node's own loans, the catalog of pools, totals.

use std::collections::BTreeMap;

use super::command::Founding;
use super::digest::Checkpoint;
use super::event::Event;
use super::{Allotment, AllotmentState, Lease, Ledger, Node, Pool, PoolTerms};
use crate::entitlement::Date;
use crate::id::{AllotmentId, CheckoutId, ClusterId, Epoch, NodeId, PoolId, SiteName};
use crate::time::Timings;
use crate::units::Units;

/// What the ledger says one node holds: the whole truth after `version` commands.
///
/// A desk acts on views alone, and ignores one older than the newest it saw.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NodeView {
    /// Commands applied when the view was taken.
    pub version: u64,
    /// The node's newest epoch (0 before the first).
    pub newest_epoch: Epoch,
    /// Whether that epoch's lease lives.
    pub live: bool,
    /// The newest operation applied in that epoch.
    pub operation: u64,
    /// The live allotments of that epoch.
    pub held: Vec<Held>,
    /// Pools that are lent beyond their units after a cut: lend no more of them, return what is
    /// free.
    pub overdrawn: Vec<PoolId>,
    /// The catalog that goes with this view.
    pub catalog_version: u64,
    /// An operator keeps this node from lending: opening a lease would be refused.
    pub fenced: bool,
    /// All live leases: units under an epoch that is not among them can be reclaimed.
    pub live_epochs: BTreeMap<NodeId, Epoch>,
}

/// A live allotment, as its node sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Held {
    pub allotment: AllotmentId,
    pub pool: PoolId,
    pub units: Units,
    /// Set when the units belong to one checkout that moved here.
    pub bound: Option<CheckoutId>,
}

/// What a desk needs to know beside its loans. Changes rarely.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Catalog {
    pub version: u64,
    pub cluster: ClusterId,
    pub timings: Timings,
    pub receipt_key: [u8; 32],
    /// Whether an entitlement is installed.
    pub entitled: bool,
    pub pools: BTreeMap<PoolId, PoolTerms>,
}

/// Where the units of one pool are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolTotals {
    pub entitled: Units,
    /// Negative while a cut waits for running calls to end.
    pub reserve: i64,
    pub live: Units,
    pub frozen: Units,
}

impl Ledger {
    #[must_use]
    pub fn view(&self, node: NodeId) -> NodeView {
        let member = self.nodes.get(&node);
        let fenced = member.is_some_and(|member| member.fenced);
        let Some(lease) = member.and_then(|member| member.lease.as_ref()) else {
            return NodeView { version: self.version, fenced, ..NodeView::default() };
        };
        let held = self.live_of(node).map(|(id, allotment)| Held {
            allotment: *id,
            pool: allotment.pool,
            units: allotment.units,
            bound: allotment.bound.map(|bound| bound.checkout),
        });
        let overdrawn = self.pools.iter().filter(|(_, pool)| pool.reserve < 0).map(|(id, _)| *id);
        let live = self.leases().filter(|(_, lease)| lease.live);
        NodeView {
            version: self.version,
            newest_epoch: lease.epoch,
            live: lease.live,
            operation: lease.operation,
            held: held.collect(),
            overdrawn: overdrawn.collect(),
            catalog_version: self.catalog_version,
            fenced,
            live_epochs: live.map(|(node, lease)| (node, lease.epoch)).collect(),
        }
    }

    #[must_use]
    pub fn catalog(&self) -> Catalog {
        let founding = self.founding.as_ref();
        Catalog {
            version: self.catalog_version,
            cluster: founding.map(|founding| founding.cluster).unwrap_or_default(),
            timings: self.timings().unwrap_or_default(),
            receipt_key: founding.map(|founding| founding.receipt_key).unwrap_or_default(),
            entitled: self.entitlement.is_some(),
            pools: self.pools.iter().map(|(id, pool)| (*id, pool.terms.clone())).collect(),
        }
    }

    /// Rises with everything that changes the catalog.
    #[must_use]
    pub fn catalog_version(&self) -> u64 {
        self.catalog_version
    }

    #[must_use]
    pub fn founding(&self) -> Option<&Founding> {
        self.founding.as_ref()
    }

    #[must_use]
    pub fn timings(&self) -> Option<Timings> {
        self.founding.as_ref().map(|founding| founding.timings)
    }

    /// The calendar day that contracts are judged by.
    #[must_use]
    pub fn today(&self) -> Option<Date> {
        self.today
    }

    /// Commands applied.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// What this replica has come to.
    #[must_use]
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint { version: self.version, digest: self.digest }
    }

    #[must_use]
    pub fn node(&self, node: NodeId) -> Option<&Node> {
        self.nodes.get(&node)
    }

    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.nodes.iter().map(|(id, node)| (*id, node))
    }

    /// The newest lease of every node that opened one.
    pub fn leases(&self) -> impl Iterator<Item = (NodeId, &Lease)> {
        self.nodes().filter_map(|(id, node)| node.lease.as_ref().map(|lease| (id, lease)))
    }

    #[must_use]
    pub fn site_of(&self, node: NodeId) -> Option<&SiteName> {
        self.nodes.get(&node).map(|node| &node.site)
    }

    #[must_use]
    pub fn allotment(&self, id: AllotmentId) -> Option<&Allotment> {
        self.allotments.get(&id)
    }

    pub fn allotments(&self) -> impl Iterator<Item = (&AllotmentId, &Allotment)> {
        self.allotments.iter()
    }

    /// Where checkouts went that left their allotment.
    pub fn moves(&self) -> impl Iterator<Item = (&(AllotmentId, CheckoutId), &AllotmentId)> {
        self.moved.iter()
    }

    #[must_use]
    pub fn pools(&self) -> &BTreeMap<PoolId, Pool> {
        &self.pools
    }

    /// The events kept, oldest first.
    pub fn events(&self) -> impl DoubleEndedIterator<Item = &Event> {
        self.events.iter()
    }

    #[must_use]
    pub fn totals(&self) -> BTreeMap<PoolId, PoolTotals> {
        let mut totals: BTreeMap<PoolId, PoolTotals> = self
            .pools
            .iter()
            .map(|(id, pool)| {
                let (entitled, reserve) = (pool.terms.entitled, pool.reserve);
                (*id, PoolTotals { entitled, reserve, live: Units::ZERO, frozen: Units::ZERO })
            })
            .collect();
        for allotment in self.allotments.values() {
            let total = totals.entry(allotment.pool).or_default();
            let sum = match allotment.state {
                AllotmentState::Live => &mut total.live,
                AllotmentState::Frozen(_) => &mut total.frozen,
            };
            // More than a pool can have is lent in no state that passes `Ledger::check`.
            *sum = sum.checked_add(allotment.units).unwrap_or(Units::MAX);
        }
        totals
    }

    fn live_of(&self, node: NodeId) -> impl Iterator<Item = (&AllotmentId, &Allotment)> {
        self.allotments.iter().filter(move |(_, allotment)| {
            allotment.node == node && allotment.state == AllotmentState::Live
        })
    }
}
