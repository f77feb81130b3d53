//! A cluster of processes in one temporary directory.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use leasehold::demo::Mesh;
use leasehold_client::ClientConfig;
use leasehold_core::id::ClusterId;
use leasehold_node::certs::{DevelopmentCertificates, Validity, write_development_certificates};
use tempfile::TempDir;

use crate::layout::{Layout, Ports, free_port};
use crate::process::NodeProcess;
use crate::shape::Shape;

/// For what a busy machine does within a second or two.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Nodes, and the vendor's key. Dropped, it ends every process; after a failure the directory with
/// all logs stays.
#[derive(Debug)]
pub struct Cluster {
    // Before `home`: processes end before their directories do.
    pub(crate) running: BTreeMap<u64, NodeProcess>,
    layouts: BTreeMap<u64, Layout>,
    pub(crate) shape: Shape,
    mesh: Option<Mesh>,
    pub(crate) id: Option<ClusterId>,
    pub(crate) serial: u64,
    home: Option<TempDir>,
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
            nodes: (1..=shape.ids).map(|id| format!("node-{id}")).collect(),
            hosts: Vec::new(),
            validity: Validity::days(1),
        };
        write_development_certificates(&home.path().join("certs"), &what).expect("certificates");
        let (running, layouts) = (BTreeMap::new(), BTreeMap::new());
        Self { running, layouts, shape, mesh: None, id: None, serial: 0, home: Some(home) }
    }

    /// `count` nodes that form a cluster with units of these features, ready to lend.
    ///
    /// # Panics
    /// If they do not.
    pub async fn start(shape: Shape, count: u64, features: &[(&str, u64)]) -> Self {
        let mut cluster = Self::prepare(shape);
        if shape.has_mesh {
            cluster.string_mesh().await;
        }
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
            peer_address: self.shape.has_mesh.then(free_port),
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
        let process = NodeProcess::spawn(&layout.config(), &layout.log());
        if let Some(mesh) = &self.mesh {
            mesh.runs_as(id, process.id());
        }
        self.running.insert(id, process);
    }

    /// Puts a proxy before the peers' port of each node that there is or may be.
    async fn string_mesh(&mut self) {
        let mut mesh = Mesh::new();
        for id in 1..=self.shape.ids {
            let Layout { ports, peer_address, .. } = self.layout(id);
            let address = peer_address.expect("a node of a mesh has one");
            mesh.lead_to(id, address, ports.peers).await.expect("a free port");
        }
        self.mesh = Some(mesh);
    }

    /// The ways between nodes, whose parties have the nodes' ids.
    ///
    /// # Panics
    /// If the shape has no mesh.
    #[must_use]
    pub fn mesh(&self) -> &Mesh {
        self.mesh.as_ref().expect("a shape with a mesh")
    }

    /// As [`Cluster::engine_config`], through ways that lead from `party` to each node.
    ///
    /// # Panics
    /// If the shape has no mesh.
    pub async fn engine_config_of(&mut self, party: u64, ids: &[u64], site: &str) -> ClientConfig {
        let mut config = self.engine_config(ids, site);
        let mesh = self.mesh.as_mut().expect("a shape with a mesh");
        for (endpoint, id) in config.endpoints.iter_mut().zip(ids) {
            let address = free_port();
            let target = endpoint.address.parse().expect("an address");
            mesh.lead_from_to(party, *id, address, target).await.expect("a free port");
            endpoint.address = address.to_string();
        }
        config
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
