//! A cluster of processes in one temporary directory.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use leasehold_core::id::{ClusterId, NodeId};
use leasehold_node::certs::{DevelopmentCertificates, Validity, write_development_certificates};
use leasehold_ports::free_address;
use tempfile::TempDir;

use crate::layout::{Layout, Ports};
use crate::namespaces::address;
use crate::process::NodeProcess;
use crate::shape::{Shape, Wires};
use crate::wires::Strung;

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
    pub(crate) strung: Strung,
    /// Where engines of a party find a node.
    pub(crate) doors: BTreeMap<(u64, u64), SocketAddr>,
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
            nodes: (1..=shape.ids).map(|id| (NodeId(id), format!("node-{id}"))).collect(),
            hosts: match shape.wires {
                Wires::Direct | Wires::Mesh => Vec::new(),
                Wires::Namespaces => (1..=shape.ids).map(|id| address(id).to_string()).collect(),
            },
            validity: Validity::days(1),
        };
        write_development_certificates(&home.path().join("certs"), &what).expect("certificates");
        let (running, layouts) = (BTreeMap::new(), BTreeMap::new());
        let (strung, doors) = (Strung::Direct, BTreeMap::new());
        let home = Some(home);
        Self { running, layouts, shape, strung, doors, id: None, serial: 0, home }
    }

    /// `count` nodes that form a cluster with units of these features, ready to lend.
    ///
    /// # Panics
    /// If they do not.
    pub async fn start(shape: Shape, count: u64, features: &[(&str, u64)]) -> Self {
        let mut cluster = Self::prepare(shape);
        cluster.begin(count, features).await;
        cluster
    }

    /// Founds a prepared cluster, as [`Cluster::start`].
    ///
    /// # Panics
    /// If its nodes do not form one.
    pub async fn begin(&mut self, count: u64, features: &[(&str, u64)]) {
        self.string_wires().await;
        self.start_node(1);
        self.found().await;
        for id in 2..=count {
            self.start_node(id);
        }
        for id in 2..=count {
            self.join(id, 1).await;
        }
        self.install(features).await;
        self.wait_for_voters(usize::try_from(count).expect("few nodes")).await;
        for id in 1..=count {
            self.wait_until_ready(id).await;
        }
    }

    /// # Panics
    /// If the directory was given away.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.home.as_ref().expect("it is there until the drop").path().join(name)
    }

    /// The layout of node `id`, made with the first question.
    ///
    /// # Panics
    /// If there are no free ports.
    pub fn layout(&mut self, id: u64) -> Layout {
        if let Some(layout) = self.layouts.get(&id) {
            return layout.clone();
        }
        let layout = Layout {
            id,
            directory: self.path(&format!("node-{id}")),
            certificates: self.path("certs"),
            ports: match self.shape.wires {
                Wires::Direct | Wires::Mesh => Ports::free(),
                Wires::Namespaces => Ports::of(address(id)),
            },
            peer_address: (self.shape.wires == Wires::Mesh)
                .then(|| free_address().expect("a free port")),
            timings: self.shape.timings,
            snapshot_every: self.shape.snapshot_every,
            has_plain_engines: self.shape.has_plain_engines,
        };
        layout.write();
        self.layouts.insert(id, layout.clone());
        layout
    }

    /// Starts node `id`, for the first time or again.
    pub fn start_node(&mut self, id: u64) {
        let layout = self.layout(id);
        let launcher = match &self.strung {
            Strung::Direct | Strung::Mesh(_) => Vec::new(),
            Strung::Namespaces(namespaces) => namespaces.launcher(id),
        };
        let process = NodeProcess::spawn(&launcher, &layout.config(), &layout.log());
        if let Strung::Mesh(mesh) = &self.strung {
            mesh.runs_as(id, process.id());
        }
        self.running.insert(id, process);
    }

    /// # Panics
    /// If node `id` does not run.
    pub fn process(&mut self, id: u64) -> &mut NodeProcess {
        self.running.get_mut(&id).unwrap_or_else(|| panic!("node {id} does not run"))
    }

    /// Whether node `id` was started, and has not ended since.
    #[must_use]
    pub fn runs(&mut self, id: u64) -> bool {
        self.running.get_mut(&id).is_some_and(NodeProcess::is_running)
    }

    /// The nodes that were started and not discarded since.
    #[must_use]
    pub fn started(&self) -> Vec<u64> {
        self.running.keys().copied().collect()
    }

    /// Forgets the process of a node that has ended by itself, or ends it.
    pub fn discard(&mut self, id: u64) {
        self.running.remove(&id);
    }

    /// How many bytes node `id` has written into its log.
    pub(crate) fn said(&mut self, id: u64) -> u64 {
        std::fs::metadata(self.layout(id).log()).map_or(0, |log| log.len())
    }

    /// What node `id` has written into its log since that had `said` bytes.
    pub(crate) fn said_since(&mut self, id: u64, said: u64) -> String {
        let log = std::fs::read(self.layout(id).log()).unwrap_or_default();
        let since = usize::try_from(said).ok().and_then(|said| log.get(said..));
        String::from_utf8_lossy(since.unwrap_or_default()).into_owned()
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
