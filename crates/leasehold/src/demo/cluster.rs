//! Nodes as child processes of this one, with certificates, configuration, data and logs in one
//! temporary directory.
//!
//! Invariants: a child never outlives a [`Cluster`] that is dropped; [`Cluster::stop`] does the
//! same in order and waits for it.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use leasehold_client::{Endpoint, Security};
use leasehold_core::entitlement::SigningKey;
use leasehold_core::id::{ClusterId, NodeId};
use leasehold_node::certs::{DevelopmentCertificates, Validity, write_development_certificates};
use leasehold_node::tls::TlsFiles;
use leasehold_ports::free_address;
use leasehold_proto::v1;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::distance::{Distance, Outside};
use crate::cli::AdminTarget;
use crate::cli::commands::{found, install, join, status};

/// Node processes that form, or will form, one cluster.
#[derive(Debug)]
pub struct Cluster {
    program: PathBuf,
    directory: TempDir,
    nodes: Vec<NodeProcess>,
    vendor: SigningKey,
    /// Between the sites, if they are far from each other.
    distance: Option<Distance>,
}

/// One node: what it was told, and its process while it runs.
#[derive(Debug)]
pub struct NodeProcess {
    pub name: String,
    pub site: String,
    pub engines: SocketAddr,
    pub admin: SocketAddr,
    pub peers: SocketAddr,
    pub http: SocketAddr,
    target: AdminTarget,
    child: Option<Child>,
}

/// A node binds its ports, opens its disk and answers well within a second; a machine that
/// compiles at the same time is slower.
const START_DEADLINE: Duration = Duration::from_secs(20);
/// A node that is told to stop gives itself 20 s.
const STOP_DEADLINE: Duration = Duration::from_secs(25);
const POLL: Duration = Duration::from_millis(50);
/// Of a node that ended by itself, the end of its log is shown.
const LOG_LINES_SHOWN: usize = 5;

impl Cluster {
    /// Prepares one node in each of `sites`; starts nothing. `program` is a `leasehold`. With a
    /// `round_trip` the sites are that far from each other.
    ///
    /// # Errors
    /// If the files can't be written, or no ports are free.
    pub async fn prepare(
        program: PathBuf,
        sites: &[&str],
        round_trip: Option<Duration>,
    ) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("leasehold-demo-")
            .tempdir()
            .context("no temporary directory can be made")?;
        let names: Vec<String> = sites.iter().map(|site| format!("{site}-1")).collect();
        let certificates = directory.path().join("certs");
        let validity = Validity::days(CERTIFICATE_DAYS);
        let nodes = (1..).map(NodeId).zip(names.iter().cloned()).collect();
        let what = DevelopmentCertificates { nodes, hosts: Vec::new(), validity };
        write_development_certificates(&certificates, &what)?;
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).context("the system gives no random numbers")?;
        let vendor = SigningKey::from_bytes(&secret);
        let mut distance = round_trip.map(Distance::new);
        let mut nodes = Vec::new();
        for (name, site) in names.into_iter().zip(sites) {
            let [engines, admin, peers, http] =
                [free_address()?, free_address()?, free_address()?, free_address()?];
            let outside = Outside { engines: free_address()?, peers: free_address()? };
            if let Some(distance) = &mut distance {
                distance.lead_to(outside, Outside { engines, peers }).await?;
            }
            let files = files(&certificates, "admin");
            let target = AdminTarget::with_certificates(&admin.to_string(), files);
            let target = target.map_err(explain)?;
            let site = (*site).to_owned();
            let child = None;
            nodes.push(NodeProcess { name, site, engines, admin, peers, http, target, child });
        }
        let cluster = Self { program, directory, nodes, vendor, distance };
        for (index, node) in cluster.nodes.iter().enumerate() {
            cluster.write_config(index, node)?;
        }
        Ok(cluster)
    }

    #[must_use]
    pub fn nodes(&self) -> &[NodeProcess] {
        &self.nodes
    }

    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The files of the holder `name`: `admin`, `engine` or a node's.
    #[must_use]
    pub fn certificates(&self, name: &str) -> TlsFiles {
        files(&self.directory.path().join("certs"), name)
    }

    /// How the SDK of an engine at `site` reaches these nodes.
    #[must_use]
    pub fn for_engines(&self, site: &str) -> (Vec<Endpoint>, Security) {
        let endpoint = |(index, node): (usize, &NodeProcess)| {
            let outside = self.outside(index).filter(|_| node.site != site);
            let address = outside.map_or(node.engines, |outside| outside.engines);
            Endpoint { address: address.to_string(), site: node.site.clone() }
        };
        let TlsFiles { ca, certificate, key } = self.certificates("engine");
        let identity = Some((certificate, key));
        let files = leasehold_client::TlsFiles { ca, identity, server_name: None };
        (self.nodes.iter().enumerate().map(endpoint).collect(), Security::Tls(files))
    }

    /// Starts the process of a node; [`Cluster::answers`] tells when it serves.
    ///
    /// # Errors
    /// If the program can't be run.
    pub fn start(&mut self, index: usize) -> anyhow::Result<()> {
        let config = self.config_path(index);
        let log = File::options().create(true).append(true).open(self.log_path(index))?;
        let mut command = Command::new(&self.program);
        command.arg("serve").arg("--config").arg(config);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        // Ctrl-C at the terminal is for this process, which then stops its nodes in order.
        command.process_group(0).kill_on_drop(true);
        let program = self.program.display();
        let child = command.spawn().with_context(|| format!("{program} can't be run"))?;
        self.nodes[index].child = Some(child);
        Ok(())
    }

    /// SIGKILL: as if the machine had lost its power, but for the disk.
    ///
    /// # Errors
    /// If there is no process to kill.
    pub async fn kill(&mut self, index: usize) -> anyhow::Result<()> {
        let node = &mut self.nodes[index];
        let mut child = node.child.take().with_context(|| format!("{} does not run", node.name))?;
        child.kill().await.with_context(|| format!("{} can't be killed", node.name))
    }

    /// Waits until a node answers its operators.
    ///
    /// # Errors
    /// If it ends by itself, with the end of its log, or does not answer in time.
    pub async fn answers(&mut self, index: usize) -> anyhow::Result<v1::StatusResponse> {
        let began = Instant::now();
        loop {
            self.still_runs(index)?;
            match self.status(index).await {
                Ok(status) => return Ok(status),
                Err(failure) if began.elapsed() > START_DEADLINE => {
                    let name = &self.nodes[index].name;
                    bail!(
                        "{name} does not answer {} s after its start: {failure}",
                        START_DEADLINE.as_secs()
                    );
                }
                Err(_) => tokio::time::sleep(POLL).await,
            }
        }
    }

    /// What a node says of the cluster now.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn status(&self, index: usize) -> Result<v1::StatusResponse, crate::cli::Failure> {
        status(&self.nodes[index].target).await
    }

    /// The events above number `since` that a node knows.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn events(
        &self,
        index: usize,
        since: u64,
    ) -> Result<Vec<v1::Event>, crate::cli::Failure> {
        let target = &self.nodes[index].target;
        let request = v1::EventsRequest { since, follow: false };
        let mut client = target.client();
        let mut stream = target.answer(client.events(request)).await?;
        let mut events = Vec::new();
        while let Ok(Some(v1::EventsResponse { event })) = stream.message().await {
            events.extend(event);
        }
        Ok(events)
    }

    /// Has the first node found the cluster, which trusts this demo's vendor.
    ///
    /// # Errors
    /// What the node refused.
    pub async fn found(&self) -> anyhow::Result<ClusterId> {
        let trusted = [self.vendor.verifying_key().to_bytes()];
        let id = found(&self.nodes[0].target, None, &trusted).await.map_err(explain)?;
        let id: [u8; 16] = id[..].try_into().context("the node gave no cluster id")?;
        Ok(ClusterId(id))
    }

    /// Has a node join the cluster of the first one.
    ///
    /// # Errors
    /// What the node refused.
    pub async fn join(&self, index: usize) -> anyhow::Result<()> {
        let via = self.peer_address(0).to_string();
        join(&self.nodes[index].target, &via).await.map_err(explain)?;
        Ok(())
    }

    /// Puts an entitlement in force that `write` makes with this demo's vendor.
    ///
    /// # Errors
    /// What the node refused.
    pub async fn install(
        &self,
        write: impl FnOnce(&SigningKey) -> anyhow::Result<Vec<u8>>,
    ) -> anyhow::Result<()> {
        install(&self.nodes[0].target, write(&self.vendor)?).await.map_err(explain)?;
        Ok(())
    }

    /// # Errors
    /// If the node's process has ended by itself: with the end of its log.
    pub fn still_runs(&mut self, index: usize) -> anyhow::Result<()> {
        let node = &mut self.nodes[index];
        let Some(child) = &mut node.child else { bail!("{} was not started", node.name) };
        let Some(status) = child.try_wait()? else { return Ok(()) };
        node.child = None;
        let name = self.nodes[index].name.clone();
        bail!("{name} has ended by itself ({status}); its log ends with:\n{}", self.log_end(index))
    }

    /// The process id of a node that runs.
    #[must_use]
    pub fn process_id(&self, index: usize) -> Option<u32> {
        self.nodes[index].child.as_ref().and_then(Child::id)
    }

    /// Stops every node in order and removes the directory.
    pub async fn stop(mut self) {
        for node in &mut self.nodes {
            node.terminate();
        }
        for node in &mut self.nodes {
            if let Some(mut child) = node.child.take() {
                let ended = tokio::time::timeout(STOP_DEADLINE, child.wait()).await;
                if ended.is_err() {
                    // It could not be stopped in order; what matters is that it ends.
                    let _ = child.kill().await;
                }
            }
        }
    }

    /// As [`Cluster::stop`], but keeps the directory for a look at logs and data.
    pub async fn stop_and_keep(mut self) -> PathBuf {
        self.directory.disable_cleanup(true);
        let path = self.directory.path().to_owned();
        self.stop().await;
        path
    }

    fn outside(&self, index: usize) -> Option<Outside> {
        self.distance.as_ref()?.outside(index)
    }

    /// Where other nodes, which are all in other sites, reach a node.
    fn peer_address(&self, index: usize) -> SocketAddr {
        self.outside(index).map_or(self.nodes[index].peers, |outside| outside.peers)
    }

    fn write_config(&self, index: usize, node: &NodeProcess) -> anyhow::Result<()> {
        let NodeProcess { name, site, engines, admin, peers, http, .. } = node;
        let tls = |listener: &str| {
            format!(
                "[{listener}.tls]\nca = \"certs/ca.pem\"\ncertificate = \"certs/{name}.pem\"\n\
                 key = \"certs/{name}-key.pem\"\n\n"
            )
        };
        let id = index + 1;
        let peer_address = self.peer_address(index);
        let text = format!(
            "[node]\nid = {id}\nname = \"{name}\"\nsite = \"{site}\"\ndata_dir = \"{name}\"\n\
             peer_address = \"{peer_address}\"\n\n\
             [engines]\nlisten = \"{engines}\"\n{}[admin]\nlisten = \"{admin}\"\n{}\
             [peers]\nlisten = \"{peers}\"\n{}\
             [http]\nlisten = \"{http}\"\nplain_text = \"on loopback only\"\n",
            tls("engines"),
            tls("admin"),
            tls("peers"),
        );
        let path = self.directory.path().join(format!("{name}.toml"));
        std::fs::write(&path, text).with_context(|| format!("{} can't be written", path.display()))
    }

    /// Where a node's configuration is.
    #[must_use]
    pub fn config_path(&self, index: usize) -> PathBuf {
        self.directory.path().join(format!("{}.toml", self.nodes[index].name))
    }

    /// Where a node's log goes.
    #[must_use]
    pub fn log_path(&self, index: usize) -> PathBuf {
        self.directory.path().join(format!("{}.log", self.nodes[index].name))
    }

    fn log_end(&self, index: usize) -> String {
        let log = std::fs::read_to_string(self.log_path(index)).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
    }
}

impl NodeProcess {
    /// SIGTERM: it stops in order.
    fn terminate(&self) {
        let id = self.child.as_ref().and_then(Child::id);
        let pid = id.and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(pid) = pid {
            // It may have ended in this moment, which is what is wanted.
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}

fn files(certificates: &Path, name: &str) -> TlsFiles {
    TlsFiles {
        ca: certificates.join("ca.pem"),
        certificate: certificates.join(format!("{name}.pem")),
        key: certificates.join(format!("{name}-key.pem")),
    }
}

fn explain(failure: crate::cli::Failure) -> anyhow::Error {
    anyhow::anyhow!("{failure}")
}

/// Longer than anybody keeps a demo running.
const CERTIFICATE_DAYS: u32 = 30;
