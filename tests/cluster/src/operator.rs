//! What an operator does with a cluster, and what it shows.

use std::time::Duration;

use leasehold_core::entitlement::{Entitlement, FeatureLine, LicenseSet, SetKind, SigningKey};
use leasehold_core::id::ClusterId;
use leasehold_proto::v1;
use leasehold_proto::v1::admin_client::AdminClient;
use tonic::transport::Channel;

use crate::cluster::{Cluster, PATIENCE};
use crate::http::get;
use crate::process::exit;
use crate::shape::Wires;
use crate::wait::until;

/// A node that was removed is told so, or finds out by asking others, and ends.
const FAREWELL: Duration = Duration::from_secs(20);

impl Cluster {
    /// # Panics
    /// If node 1 does not found a cluster.
    pub async fn found(&mut self) {
        let trusted_keys = vec![vendor().verifying_key().to_bytes().to_vec().into()];
        let wanted = &self.shape.timings;
        let timings = v1::Timings {
            lease_ms: wanted.lease_ms,
            heartbeat_ms: wanted.heartbeat_ms,
            checkout_ttl_ms: wanted.checkout_ttl_ms,
            clock_drift_ppm: wanted.clock_drift_ppm,
            margin_ms: wanted.margin_ms,
            election_max_ms: wanted.election_max_ms,
        };
        let request = v1::InitClusterRequest { timings: Some(timings), trusted_keys };
        let founded = self.admin(1).await.init_cluster(request).await;
        let id = founded.expect("a cluster").into_inner().cluster_id;
        self.id = Some(ClusterId(id[..].try_into().expect("16 bytes")));
    }

    /// # Panics
    /// If node `id` is not let in through node `via`.
    pub async fn join(&mut self, id: u64, via: u64) {
        let joined = self.try_join(id, via).await;
        joined.unwrap_or_else(|status| panic!("node {id} may not join: {status}"));
    }

    /// Lets node `id` try to join through node `via`, once both can be asked.
    ///
    /// # Errors
    /// What the cluster refused.
    pub async fn try_join(&mut self, id: u64, via: u64) -> Result<(), tonic::Status> {
        let via = self.layout(via).ports.peers.to_string();
        let mut admin = self.admin(id).await;
        until("an answer to the attempt to join", PATIENCE, async || {
            let joined = admin.join_cluster(v1::JoinClusterRequest { via: via.clone() }).await;
            match joined {
                Err(status) if status.code() == tonic::Code::Unavailable => None,
                other => Some(other.map(drop)),
            }
        })
        .await
    }

    /// Takes node `id` out through node `via`.
    ///
    /// # Panics
    /// If it is not taken out soon.
    pub async fn remove(&mut self, id: u64, via: u64) {
        let mut admin = self.admin(via).await;
        until(&format!("node {id} is removed"), PATIENCE, async || {
            admin.remove_node(v1::RemoveNodeRequest { node_id: id }).await.ok()
        })
        .await;
    }

    /// Waits until node `id`, which was removed, has ended by itself, and forgets its process.
    ///
    /// # Panics
    /// If it goes on, or ends with an exit code that does not say so.
    pub async fn farewell(&mut self, id: u64) {
        let status = self.process(id).ended(FAREWELL).await;
        assert_eq!(status.code(), Some(exit::EXPELLED), "node {id} was removed: {status}");
        self.discard(id);
    }

    /// Installs an entitlement with these units.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn install(&mut self, features: &[(&str, u64)]) {
        self.serial += 1;
        let entitlement = self.entitlement(features).seal(&vendor());
        let request = v1::InstallEntitlementRequest { entitlement: entitlement.into() };
        let via = *self.running.keys().next().expect("a running node");
        self.admin(via).await.install_entitlement(request).await.expect("a good entitlement");
    }

    /// What [`Cluster::install`] seals.
    ///
    /// # Panics
    /// If the cluster is not founded, or a feature's name is none.
    #[must_use]
    pub fn entitlement(&self, features: &[(&str, u64)]) -> Entitlement {
        let line = |(feature, units): &(&str, u64)| FeatureLine {
            feature: feature.parse().expect("a feature"),
            units: *units,
        };
        Entitlement {
            format: 1,
            cluster: self.id.expect("a founded cluster"),
            serial: self.serial,
            issued: "2026-01-01".parse().expect("a date"),
            customer: "Test".to_owned(),
            contact_days: 60,
            sets: vec![LicenseSet {
                name: "production".parse().expect("a name"),
                kind: SetKind::Production,
                home: None,
                covers: Vec::new(),
                starts: "2026-01-01".parse().expect("a date"),
                contract_end: "2999-12-31".parse().expect("a date"),
                maintenance_until: "2999-12-31".parse().expect("a date"),
                autonomy_s: None,
                features: features.iter().map(line).collect(),
            }],
        }
    }

    /// # Panics
    /// If there are not soon so many voters.
    pub async fn wait_for_voters(&mut self, count: usize) {
        let via = *self.running.keys().next().expect("a running node");
        self.wait_for_voters_at(via, count).await;
    }

    /// # Panics
    /// If node `via` does not soon know of so many voters.
    pub async fn wait_for_voters_at(&mut self, via: u64, count: usize) {
        let mut admin = self.admin(via).await;
        until(&format!("{count} nodes vote"), PATIENCE, async || {
            let status = admin.status(v1::StatusRequest {}).await.ok()?.into_inner();
            let is_voter = |node: &&v1::NodeStatus| {
                matches!(node.role(), v1::NodeRole::Leader | v1::NodeRole::Voter)
            };
            (status.nodes.iter().filter(is_voter).count() == count).then_some(())
        })
        .await;
    }

    /// # Panics
    /// If node `id` is not ready soon.
    pub async fn wait_until_ready(&mut self, id: u64) {
        if self.shape.wires == Wires::Namespaces {
            return self.wait_until_live(id).await;
        }
        let http = self.layout(id).ports.http;
        until(&format!("node {id} is ready"), PATIENCE, async || {
            get(http, "/readyz").await.filter(|(status, _)| *status == 200)
        })
        .await;
    }

    /// The node has a lease, by its own word to its operators.
    async fn wait_until_live(&mut self, id: u64) {
        let mut admin = self.admin(id).await;
        until(&format!("node {id} has a lease"), PATIENCE, async || {
            is_live(&mut admin, id).await.then_some(())
        })
        .await;
    }

    /// The leader that node `id` knows.
    ///
    /// # Panics
    /// If it does not know one soon.
    pub async fn leader(&mut self, id: u64) -> u64 {
        let mut admin = self.admin(id).await;
        let running: Vec<u64> = self.running.keys().copied().collect();
        until("a leader is known", PATIENCE, async || {
            let status = admin.status(v1::StatusRequest {}).await.ok()?.into_inner();
            status.leader.filter(|leader| running.contains(leader))
        })
        .await
    }

    /// What node `id` knows of the cluster.
    ///
    /// # Panics
    /// If it does not answer.
    pub async fn status(&mut self, id: u64) -> v1::StatusResponse {
        let status = self.admin(id).await.status(v1::StatusRequest {}).await;
        status.expect("an answer").into_inner()
    }

    /// The pool of `feature`, as node `id` knows it.
    ///
    /// # Panics
    /// If it does not answer, or does not know the feature.
    pub async fn pool(&mut self, id: u64, feature: &str) -> v1::PoolStatus {
        let pools = self.status(id).await.pools;
        pools.into_iter().find(|pool| pool.feature == feature).expect("the feature's pool")
    }

    /// The units that the ledger lends to node `lent_to`, as node `id` knows them.
    ///
    /// # Panics
    /// If it does not answer, or does not know the node.
    pub async fn units_lent(&mut self, id: u64, lent_to: u64) -> u64 {
        let nodes = self.status(id).await.nodes;
        let node = nodes.into_iter().find(|node| node.node_id == lent_to);
        node.expect("a member").units_lent
    }
}

/// Whether node `id` knows a leader and has a lease, by its own word to its operators. One that is
/// on its way out knows no leader.
pub(crate) async fn is_live(admin: &mut AdminClient<Channel>, id: u64) -> bool {
    let Ok(status) = admin.status(v1::StatusRequest {}).await else { return false };
    let status = status.into_inner();
    let own = status.nodes.iter().find(|node| node.node_id == id);
    status.leader.is_some() && own.is_some_and(|own| own.lease() == v1::LeaseState::Live)
}

/// The vendor's key: these clusters trust only this one.
#[must_use]
pub fn vendor() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}
