//! Whole nodes in this process, over plain text on loopback.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use leasehold_core::entitlement::{Entitlement, FeatureLine, LicenseSet, SetKind, SigningKey};
use leasehold_core::id::ClusterId;
use leasehold_node::config::NodeConfig;
use leasehold_node::http::Telemetry;
use leasehold_node::{Node, Start};
use leasehold_ports::free_address;
use leasehold_proto::v1;
use leasehold_proto::v1::admin_client::AdminClient;
use leasehold_proto::v1::licensing_client::LicensingClient;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::Channel;

pub(crate) const UNITS: u64 = 10;

pub(crate) struct Running {
    pub(crate) engines: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) peers: SocketAddr,
    stop: oneshot::Sender<()>,
    node: JoinHandle<Result<(), String>>,
}

/// Starts node `id` in a site of its own, on free ports.
pub(crate) async fn start(id: u64, data: &Path) -> Running {
    static TELEMETRY: OnceLock<Telemetry> = OnceLock::new();
    let telemetry = TELEMETRY.get_or_init(|| Telemetry::install().unwrap()).clone();
    let [engines, admin, peers, http] = [(); 4].map(|()| free_address().unwrap());
    let plain = "plain_text = \"on loopback only\"";
    let text = format!(
        "[node]\nid = {id}\nsite = \"site-{id}\"\ndata_dir = {data:?}\n\
         [engines]\nlisten = \"{engines}\"\n{plain}\n\
         [admin]\nlisten = \"{admin}\"\n{plain}\n\
         [peers]\nlisten = \"{peers}\"\n{plain}\n\
         [http]\nlisten = \"{http}\"\n{plain}\n"
    );
    let config = NodeConfig::parse(&text, Path::new("")).unwrap();
    let node = Node::start(config, Start::default(), telemetry).await.unwrap();
    let (stop, stopped) = oneshot::channel();
    let node = tokio::spawn(async move {
        node.run(async {
            let _ = stopped.await;
        })
        .await
        .map_err(|error| error.to_string())
    });
    Running { engines, admin, peers, stop, node }
}

impl Running {
    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.node.await.unwrap().unwrap();
    }

    /// Waits until the node has ended by itself.
    pub(crate) async fn ended(self) -> Result<(), String> {
        let ended = tokio::time::timeout(Duration::from_secs(20), self.node).await;
        ended.expect("the node did not end within 20 s").unwrap()
    }

    pub(crate) async fn engine(&self) -> LicensingClient<Channel> {
        LicensingClient::connect(format!("http://{}", self.engines)).await.unwrap()
    }

    pub(crate) async fn admin(&self) -> AdminClient<Channel> {
        AdminClient::connect(format!("http://{}", self.admin)).await.unwrap()
    }
}

pub(crate) async fn found(running: &Running) {
    let key = SigningKey::from_bytes(&[7; 32]);
    let mut admin = running.admin().await;
    let trusted_keys = vec![key.verifying_key().to_bytes().to_vec().into()];
    let request = v1::InitClusterRequest { timings: None, trusted_keys };
    let founded = admin.init_cluster(request).await.unwrap().into_inner();
    let cluster = ClusterId(founded.cluster_id[..].try_into().unwrap());
    let line = |feature: &str| FeatureLine { feature: feature.parse().unwrap(), units: UNITS };
    let entitlement = Entitlement {
        format: 1,
        cluster,
        serial: 1,
        issued: "2026-01-01".parse().unwrap(),
        customer: "Test".to_owned(),
        contact_days: 60,
        sets: vec![LicenseSet {
            name: "production".parse().unwrap(),
            kind: SetKind::Production,
            home: None,
            covers: Vec::new(),
            starts: "2026-01-01".parse().unwrap(),
            contract_end: "2999-12-31".parse().unwrap(),
            maintenance_until: "2999-12-31".parse().unwrap(),
            autonomy_s: None,
            features: vec![line("asr.tier1"), line("tts.chris")],
        }],
    };
    let request = v1::InstallEntitlementRequest { entitlement: entitlement.seal(&key).into() };
    assert_eq!(admin.install_entitlement(request).await.unwrap().into_inner().serial, 1);
}

pub(crate) fn item(request: u8, units: u64) -> v1::CheckoutItem {
    let line = |feature: &str| v1::CheckoutLine { feature: feature.to_owned(), units };
    v1::CheckoutItem {
        request_id: vec![request; 16].into(),
        lines: vec![line("asr.tier1"), line("tts.chris")],
        wait_ms: 0,
        engine_build_date: String::new(),
    }
}

pub(crate) async fn checkout(
    engine: &mut LicensingClient<Channel>,
    item: v1::CheckoutItem,
) -> Result<v1::Granted, v1::Denied> {
    let request = v1::CheckoutRequest { items: vec![item], ..v1::CheckoutRequest::default() };
    let answers = engine.checkout(request).await.unwrap().into_inner().answers;
    match answers.into_iter().next().unwrap().answer.unwrap() {
        v1::checkout_answer::Answer::Granted(granted) => Ok(granted),
        v1::checkout_answer::Answer::Denied(denied) => Err(denied),
    }
}

/// Asks until the node lends again; the units of the process before are frozen meanwhile.
pub(crate) async fn checkout_once_ready(
    engine: &mut LicensingClient<Channel>,
    units: u64,
) -> v1::Granted {
    let began = Instant::now();
    for request in 1.. {
        match checkout(engine, item(request, units)).await {
            Ok(granted) => return granted,
            Err(denied) => assert!(
                began.elapsed() < Duration::from_secs(20),
                "not lending after 20 s: {denied:?}"
            ),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    unreachable!("a request id for each attempt")
}

pub(crate) async fn renew_once_ready(
    engine: &mut LicensingClient<Channel>,
    receipt: &bytes::Bytes,
) -> v1::Renewed {
    let began = Instant::now();
    loop {
        let item = v1::RenewItem { receipt: receipt.clone(), age_ms: 1_000, overrun_ms: 0 };
        let request = v1::RenewRequest { items: vec![item], ..v1::RenewRequest::default() };
        let answers = engine.renew(request).await.unwrap().into_inner().answers;
        match answers.into_iter().next().unwrap().answer.unwrap() {
            v1::renew_answer::Answer::Renewed(renewed) => return renewed,
            v1::renew_answer::Answer::Denied(denied) => assert!(
                began.elapsed() < Duration::from_secs(20),
                "not renewed after 20 s: {denied:?}"
            ),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A founded cluster of nodes 1 to N with its data directories, which live as long as they are kept.
pub(crate) async fn cluster<const N: usize>() -> ([TempDir; N], [Running; N]) {
    let homes = std::array::from_fn(|_| tempfile::tempdir().unwrap());
    let mut nodes = Vec::new();
    for (id, home) in (1..).zip(&homes) {
        nodes.push(start(id, home.path()).await);
    }
    found(&nodes[0]).await;
    join_all(&nodes[0], &nodes[1..]).await;
    (homes, nodes.try_into().ok().unwrap())
}

async fn join_all(first: &Running, others: &[Running]) {
    for node in others {
        let via = first.peers.to_string();
        node.admin().await.join_cluster(v1::JoinClusterRequest { via }).await.unwrap();
    }
    wait_for_voters(first, others.len() + 1).await;
}

/// Waits until a node other than node 1 leads.
pub(crate) async fn wait_for_leader(node: &Running) -> u64 {
    let began = Instant::now();
    loop {
        let status = node.admin().await.status(v1::StatusRequest {}).await.unwrap().into_inner();
        if let Some(leader) = status.leader.filter(|leader| *leader != 1) {
            return leader;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "no new leader: {status:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) async fn wait_for_voters(node: &Running, count: usize) {
    let began = Instant::now();
    loop {
        let status = node.admin().await.status(v1::StatusRequest {}).await.unwrap().into_inner();
        let is_voter = |node: &&v1::NodeStatus| {
            matches!(node.role(), v1::NodeRole::Leader | v1::NodeRole::Voter)
        };
        if status.nodes.iter().filter(is_voter).count() == count {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "no {count} voters: {status:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub(crate) async fn event_kinds(node: &Running) -> Vec<String> {
    let request = v1::EventsRequest { since: 0, follow: false };
    let mut events = node.admin().await.events(request).await.unwrap().into_inner();
    let mut kinds = Vec::new();
    while let Some(answer) = events.message().await.unwrap() {
        kinds.extend(answer.event.map(|event| event.kind));
    }
    kinds
}
