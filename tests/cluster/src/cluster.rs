//! A cluster of processes in one temporary directory.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use leasehold_client::{ClientConfig, Deadlines, Endpoint, Security, TlsFiles};
use leasehold_core::entitlement::{Entitlement, FeatureLine, LicenseSet, SetKind, SigningKey};
use leasehold_core::id::ClusterId;
use leasehold_core::time::Timings;
use leasehold_node::certs::{DevelopmentCertificates, Validity, write_development_certificates};
use leasehold_proto::v1;
use leasehold_proto::v1::admin_client::AdminClient;
use leasehold_proto::v1::licensing_client::LicensingClient;
use tempfile::TempDir;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint as Address, Identity};

use crate::http::get;
use crate::layout::{Layout, Ports};
use crate::process::NodeProcess;
use crate::wait::until;

/// Nodes whose certificates are made at once.
const NODES_MAX: u64 = 5;
/// For what a busy machine does within a second or two.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a cluster is to be like.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub timings: Timings,
    /// As [`Layout::has_plain_engines`].
    pub has_plain_engines: bool,
}

/// Nodes, and the vendor's key. Dropped, it ends every process; after a failure the directory with
/// all logs stays.
#[derive(Debug)]
pub struct Cluster {
    // Before `home`: processes end before their directories do.
    running: BTreeMap<u64, NodeProcess>,
    layouts: BTreeMap<u64, Layout>,
    shape: Shape,
    id: Option<ClusterId>,
    serial: u64,
    home: Option<TempDir>,
}

impl Shape {
    /// As an operator finds it.
    #[must_use]
    pub fn standard() -> Self {
        Self { timings: Timings::default(), has_plain_engines: false }
    }

    /// Leases of 3 s and checkouts of 8 s, for tests that wait for their ends. About the shortest
    /// that `validate()` lets pass with an election that a busy machine of two cores can hold.
    #[must_use]
    pub fn quick() -> Self {
        let timings = Timings {
            lease_ms: 3_200,
            heartbeat_ms: 300,
            checkout_ttl_ms: 8_000,
            margin_ms: 100,
            election_max_ms: 600,
            ..Timings::default()
        };
        Self { timings, ..Self::standard() }
    }
}

impl Cluster {
    /// A cluster that nobody has founded and of which no node runs.
    ///
    /// # Panics
    /// If the certificates can't be written.
    #[must_use]
    pub fn prepare(shape: Shape) -> Self {
        let home = tempfile::Builder::new().prefix("leasehold-test-").tempdir();
        let home = home.expect("a temporary directory");
        let what = DevelopmentCertificates {
            nodes: (1..=NODES_MAX).map(|id| format!("node-{id}")).collect(),
            hosts: Vec::new(),
            validity: Validity::days(1),
        };
        write_development_certificates(&home.path().join("certs"), &what).expect("certificates");
        let (running, layouts) = (BTreeMap::new(), BTreeMap::new());
        Self { running, layouts, shape, id: None, serial: 0, home: Some(home) }
    }

    /// `count` nodes that form a cluster with units of these features, ready to lend.
    ///
    /// # Panics
    /// If they do not.
    pub async fn start(shape: Shape, count: u64, features: &[(&str, u64)]) -> Self {
        let mut cluster = Self::prepare(shape);
        cluster.start_node(1);
        cluster.found().await;
        for id in 2..=count {
            cluster.start_node(id);
        }
        for id in 2..=count {
            cluster.join(id, 1).await;
        }
        cluster.install(features).await;
        cluster.wait_for_voters(usize::try_from(count).expect("few nodes")).await;
        for id in 1..=count {
            cluster.wait_until_ready(id).await;
        }
        cluster
    }

    /// # Panics
    /// If the directory was given away.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.home.as_ref().expect("it is there until the drop").path().join(name)
    }

    /// The layout of node `id`, made with the first question.
    pub fn layout(&mut self, id: u64) -> Layout {
        if let Some(layout) = self.layouts.get(&id) {
            return layout.clone();
        }
        let layout = Layout {
            id,
            directory: self.path(&format!("node-{id}")),
            certificates: self.path("certs"),
            ports: Ports::free(),
            timings: self.shape.timings,
            has_plain_engines: self.shape.has_plain_engines,
        };
        layout.write();
        self.layouts.insert(id, layout.clone());
        layout
    }

    /// Starts node `id`, for the first time or again.
    pub fn start_node(&mut self, id: u64) {
        let layout = self.layout(id);
        self.running.insert(id, NodeProcess::spawn(&layout.config(), &layout.log()));
    }

    /// # Panics
    /// If node `id` does not run.
    pub fn process(&mut self, id: u64) -> &mut NodeProcess {
        self.running.get_mut(&id).unwrap_or_else(|| panic!("node {id} does not run"))
    }

    pub fn kill_9(&mut self, id: u64) {
        self.process(id).kill_9();
        self.running.remove(&id);
    }

    /// Stops node `id` as a service manager does.
    ///
    /// # Panics
    /// If it does not end, or not well.
    pub async fn stop(&mut self, id: u64) {
        let status = self.process(id).stop().await;
        self.running.remove(&id);
        assert!(status.success(), "node {id} stopped with {status}");
    }

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
        let via = self.layout(via).ports.peers.to_string();
        let mut admin = self.admin(id).await;
        until("the node joins", PATIENCE, async || {
            let joined = admin.join_cluster(v1::JoinClusterRequest { via: via.clone() }).await;
            match joined {
                Ok(_) => Some(()),
                Err(status) if status.code() == tonic::Code::Unavailable => None,
                Err(status) => panic!("node {id} may not join: {status}"),
            }
        })
        .await;
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
        let http = self.layout(id).ports.http;
        until(&format!("node {id} is ready"), PATIENCE, async || {
            get(http, "/readyz").await.filter(|(status, _)| *status == 200)
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

    /// The pool of `feature`, as node `id` knows it.
    ///
    /// # Panics
    /// If it does not answer, or does not know the feature.
    pub async fn pool(&mut self, id: u64, feature: &str) -> v1::PoolStatus {
        let status = self.admin(id).await.status(v1::StatusRequest {}).await;
        let pools = status.expect("an answer").into_inner().pools;
        pools.into_iter().find(|pool| pool.feature == feature).expect("the feature's pool")
    }

    /// The units that the ledger lends to node `lent_to`, as node `id` knows them.
    ///
    /// # Panics
    /// If it does not answer, or does not know the node.
    pub async fn units_lent(&mut self, id: u64, lent_to: u64) -> u64 {
        let status = self.admin(id).await.status(v1::StatusRequest {}).await;
        let nodes = status.expect("an answer").into_inner().nodes;
        let node = nodes.into_iter().find(|node| node.node_id == lent_to);
        node.expect("a member").units_lent
    }

    /// The operator's connection to node `id`, which may have just been started.
    ///
    /// # Panics
    /// If it does not come about.
    pub async fn admin(&mut self, id: u64) -> AdminClient<Channel> {
        let address = self.layout(id).ports.admin.to_string();
        let tls = self.tls("admin");
        AdminClient::new(connect(&address, Some(tls)).await)
    }

    /// The plain API of node `id`, without the SDK.
    ///
    /// # Panics
    /// If no connection comes about.
    pub async fn licensing(&mut self, id: u64) -> LicensingClient<Channel> {
        let address = self.layout(id).ports.engines.to_string();
        let tls = (!self.shape.has_plain_engines).then(|| self.tls("engine"));
        LicensingClient::new(connect(&address, tls).await)
    }

    /// An engine's configuration: these nodes, those of `site` first.
    pub fn engine_config(&mut self, ids: &[u64], site: &str) -> ClientConfig {
        let endpoint = |id: &u64| {
            let layout = self.layout(*id);
            Endpoint { address: layout.ports.engines.to_string(), site: layout.site() }
        };
        let endpoints = ids.iter().map(endpoint).collect();
        let certs = self.path("certs");
        let identity = Some((certs.join("engine.pem"), certs.join("engine-key.pem")));
        let files = TlsFiles { ca: certs.join("ca.pem"), identity, server_name: None };
        let security =
            if self.shape.has_plain_engines { Security::Plain } else { Security::Tls(files) };
        ClientConfig { endpoints, site: site.to_owned(), security, deadlines: Deadlines::default() }
    }

    /// What a holder of the development certificate `name` connects with.
    ///
    /// # Panics
    /// If there is no such certificate.
    #[must_use]
    pub fn tls(&self, name: &str) -> ClientTlsConfig {
        let read = |file: String| {
            let path = self.path("certs").join(file);
            std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        let identity =
            Identity::from_pem(read(format!("{name}.pem")), read(format!("{name}-key.pem")));
        ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(read("ca.pem".to_owned())))
            .identity(identity)
    }
}

/// The vendor's key: these clusters trust only this one.
#[must_use]
pub fn vendor() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

/// Connects as soon as somebody listens.
async fn connect(address: &str, tls: Option<ClientTlsConfig>) -> Channel {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let mut endpoint = Address::from_shared(format!("{scheme}://{address}")).expect("an address");
    if let Some(tls) = tls {
        endpoint = endpoint.tls_config(tls).expect("good certificates");
    }
    // An election and a commit at the most.
    let endpoint = endpoint.timeout(Duration::from_secs(20));
    until(&format!("a connection to {address}"), PATIENCE, async || endpoint.connect().await.ok())
        .await
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.running.clear();
        if std::thread::panicking() {
            keep(self.home.take());
        }
    }
}

#[expect(clippy::print_stderr, reason = "whoever looks into a failure needs the place")]
fn keep(home: Option<TempDir>) {
    if let Some(home) = home {
        eprintln!("logs and data are kept in {}", home.keep().display());
    }
}
