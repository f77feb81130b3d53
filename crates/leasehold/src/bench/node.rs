//! A whole node in this process, founded and entitled, in a temporary directory.

use std::time::{Duration, Instant};

use anyhow::Context;
use leasehold_client::{Endpoint, Security};
use leasehold_core::entitlement::{
    CONTACT_DAYS_MIN, Date, Entitlement, FORMAT, FeatureLine, LicenseSet, SetKind, SigningKey,
};
use leasehold_core::id::{ClusterId, NodeId};
use leasehold_node::certs::{DevelopmentCertificates, Validity, write_development_certificates};
use leasehold_node::config::NodeConfig;
use leasehold_node::http::Telemetry;
use leasehold_node::tls::{ListenerKind, TlsFiles, Transport};
use leasehold_node::{Node, Start};
use leasehold_ports::free_address;
use leasehold_proto::v1;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{FEATURE, connections, load};
use crate::cli::AdminTarget;
use crate::cli::commands::{found, install};

/// A node that lends `FEATURE`.
pub(super) struct EmbeddedNode {
    config: NodeConfig,
    directory: TempDir,
    tls: bool,
    stop: CancellationToken,
    running: JoinHandle<Result<(), leasehold_node::RunError>>,
}

/// From its start to its first lease: an election, a commit and a beat.
const READY_DEADLINE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);
const CERTIFICATE_DAYS: u32 = 2;
const DAY_MS: i64 = 86_400_000;

impl EmbeddedNode {
    /// `units` can be lent. `checkout_ttl_ms` replaces the default lifetime of checkouts.
    pub(super) async fn start(
        tls: bool,
        units: u64,
        checkout_ttl_ms: Option<u64>,
    ) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("leasehold-bench-")
            .tempdir()
            .context("no temporary directory can be made")?;
        let certificates = DevelopmentCertificates {
            nodes: vec![(NodeId(1), "node".to_owned())],
            hosts: Vec::new(),
            validity: Validity::days(CERTIFICATE_DAYS),
        };
        write_development_certificates(&directory.path().join("certs"), &certificates)?;
        let config = config(&directory, tls)?;
        // The recorder costs what it costs a node in production.
        let telemetry = Telemetry::install()?;
        let admin = config.admin.listen.to_string();
        let node = Box::pin(Node::start(config.clone(), Start::default(), telemetry)).await?;
        let stop = CancellationToken::new();
        let running = tokio::spawn(node.run(stop.clone().cancelled_owned()));
        let started = Self { config, directory, tls, stop, running };
        let target = AdminTarget::with_certificates(&admin, started.files("admin"));
        let target = target.map_err(explain)?;
        started.entitle(&target, units, checkout_ttl_ms).await?;
        started.lends().await?;
        Ok(started)
    }

    /// Returns once a unit was lent.
    async fn lends(&self) -> anyhow::Result<()> {
        let connection = connections(&self.endpoint(), &self.security(), 1)?.remove(0);
        let began = Instant::now();
        loop {
            match load::granted_once(&connection, FEATURE).await {
                Ok(_) => return Ok(()),
                Err(error) if began.elapsed() > READY_DEADLINE => {
                    return Err(error.context("the node does not lend"));
                }
                Err(_) => tokio::time::sleep(POLL).await,
            }
        }
    }

    async fn entitle(
        &self,
        target: &AdminTarget,
        units: u64,
        checkout_ttl_ms: Option<u64>,
    ) -> anyhow::Result<()> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).context("the system gives no random numbers")?;
        let vendor = SigningKey::from_bytes(&secret);
        let timings = checkout_ttl_ms
            .map(|checkout_ttl_ms| v1::Timings { checkout_ttl_ms, ..v1::Timings::default() });
        let trusted = [vendor.verifying_key().to_bytes()];
        let id = found(target, timings, &trusted).await.map_err(explain)?;
        let id: [u8; 16] = id[..].try_into().context("the node gave no cluster id")?;
        let envelope = entitlement(ClusterId(id), units)?.seal(&vendor);
        install(target, envelope).await.map_err(explain)?;
        Ok(())
    }

    pub(super) fn endpoint(&self) -> Endpoint {
        Endpoint { address: self.config.engines.listen.to_string(), site: "bench".to_owned() }
    }

    /// How engines reach it, and whatever else serves with [`EmbeddedNode::engines_transport`].
    pub(super) fn security(&self) -> Security {
        if !self.tls {
            return Security::Plain;
        }
        let TlsFiles { ca, certificate, key } = self.files("engine");
        let identity = Some((certificate, key));
        Security::Tls(leasehold_client::TlsFiles { ca, identity, server_name: None })
    }

    pub(super) fn engines_transport(&self) -> anyhow::Result<Transport> {
        Ok(self.config.engines.transport(ListenerKind::Engines)?)
    }

    pub(super) async fn stop(self) {
        self.stop.cancel();
        // Everything was measured; the directory goes with it.
        let _ = self.running.await;
    }

    fn files(&self, name: &str) -> TlsFiles {
        let certificates = self.directory.path().join("certs");
        TlsFiles {
            ca: certificates.join("ca.pem"),
            certificate: certificates.join(format!("{name}.pem")),
            key: certificates.join(format!("{name}-key.pem")),
        }
    }
}

fn config(directory: &TempDir, tls: bool) -> anyhow::Result<NodeConfig> {
    const TLS: &str = "tls = { ca = \"certs/ca.pem\", certificate = \"certs/node.pem\", \
                       key = \"certs/node-key.pem\" }";
    const PLAIN_TEXT: &str = "plain_text = \"on loopback only\"";
    let [engines, admin, http] = [free_address()?, free_address()?, free_address()?];
    let protection = if tls { TLS } else { PLAIN_TEXT };
    let text = format!(
        "[node]\nid = 1\nsite = \"bench\"\ndata_dir = \"data\"\n\
         [engines]\nlisten = \"{engines}\"\n{protection}\n\
         [admin]\nlisten = \"{admin}\"\n{TLS}\n\
         [http]\nlisten = \"{http}\"\n{PLAIN_TEXT}\n"
    );
    Ok(NodeConfig::parse(&text, directory.path())?)
}

fn entitlement(cluster: ClusterId, units: u64) -> anyhow::Result<Entitlement> {
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let in_days = |days: i64| {
        Date::of_unix_ms(now_ms + days * DAY_MS).context("this machine's date is out of range")
    };
    let set = LicenseSet {
        name: "production".parse()?,
        kind: SetKind::Production,
        home: None,
        covers: Vec::new(),
        starts: in_days(-1)?,
        contract_end: in_days(365)?,
        maintenance_until: in_days(365)?,
        autonomy_s: None,
        features: vec![FeatureLine { feature: FEATURE.parse()?, units }],
    };
    let entitlement = Entitlement {
        format: FORMAT,
        cluster,
        serial: 1,
        issued: in_days(0)?,
        customer: "Benchmark".to_owned(),
        contact_days: CONTACT_DAYS_MIN,
        sets: vec![set],
    };
    entitlement.validate().context("the benchmark's entitlement is refused")?;
    Ok(entitlement)
}

fn explain(failure: crate::cli::Failure) -> anyhow::Error {
    anyhow::anyhow!("{failure}")
}
