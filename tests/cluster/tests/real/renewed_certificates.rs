//! Certificates that are renewed under load, by an authority that is new too.
//!
//! The engines trust the old authority alone. Were one connection lost, they could not open another.

use std::net::SocketAddr;
use std::time::Duration;

use leasehold_clock::Clock;
use leasehold_cluster_tests::{
    Cluster, Engines, Habits, Shape, assert_clean, metric, outlive, until, until_running,
};
use leasehold_core::id::NodeId;
use leasehold_node::certs::{Authority, Subject, Validity};
use leasehold_node::tls::Identity;
use leasehold_proto::v1;
use leasehold_proto::v1::licensing_client::LicensingClient;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

const CALLS: usize = 20;
const ENTITLED: [(&str, u64); 1] = [("asr.tier1", 100)];
const SOON: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn renewed_certificates_cut_no_connection_and_bad_ones_are_refused_while_the_old_serve_on() {
    let shape = Shape::quick();
    let mut cluster = Cluster::start(shape, 3, &ENTITLED).await;
    let mut engines = Engines::new();
    let habits = Habits {
        features: &[("asr.tier1", 1)],
        calls: 2,
        call_ms: (600_000, 600_000),
        wait_ms: 1_000,
    };
    engines.add(CALLS / habits.calls, &cluster.engine_config(&[1], ""), habits);
    let record = engines.record().clone();
    until_running(&record, CALLS, SOON).await;

    let renewed = Authority::create("Renewed", Validity::days(30)).unwrap();
    let trusts_renewed =
        ClientTlsConfig::new().ca_certificate(Certificate::from_pem(renewed.pem()));
    let engines_port = cluster.layout(1).ports.engines;
    assert!(!greets(engines_port, &trusts_renewed).await, "the old certificate is not of it");

    // First everybody trusts both authorities, then certificates change: the order for production.
    add_to_trusted(&cluster, &renewed.pem());
    for id in 1..=3 {
        write_certificate(&cluster, id, &renewed);
        cluster.process(id).hang_up();
    }
    for id in 1..=3 {
        let port = cluster.layout(id).ports.engines;
        until(&format!("node {id} shows its new certificate"), SOON, async || {
            greets(port, &trusts_renewed).await.then_some(())
        })
        .await;
    }
    // Nodes open new connections to each other too, under the new certificates.
    cluster.kill_9(2);
    cluster.start_node(2);
    cluster.wait_until_ready(2).await;

    let http = cluster.layout(1).ports.http;
    let uses = ["engines", "admin", "peers", "peer client"];
    let mut refusals = Vec::new();
    for use_ in uses {
        refusals.push(refused(http, use_).await);
    }
    std::fs::write(cluster.path("certs").join("node-1.pem"), "no certificate").unwrap();
    cluster.process(1).hang_up();
    for (use_, before) in uses.into_iter().zip(refusals) {
        until(&format!("{use_}: the refusal is counted"), SOON, async || {
            (refused(http, use_).await > before).then_some(())
        })
        .await;
    }
    let log = std::fs::read_to_string(cluster.layout(1).log()).unwrap();
    let line = log.lines().find(|line| line.contains("the old certificates stay in use"));
    assert!(line.is_some_and(|line| line.contains("node-1.pem")), "names the file: {line:?}");
    assert!(greets(engines_port, &trusts_renewed).await, "the last good one serves on");

    // Every call has been renewed over its first connection since.
    outlive(&shape).await;
    assert_eq!(record.running(Clock::Steady.now()), CALLS);
    engines.stop().await;
    assert_clean(&record, &ENTITLED);
}

/// Whether a client that trusts what `tls` says gets an answer at an engines' port.
async fn greets(engines: SocketAddr, tls: &ClientTlsConfig) -> bool {
    let endpoint = Endpoint::from_shared(format!("https://{engines}")).unwrap();
    let endpoint = endpoint.timeout(SOON).tls_config(tls.clone()).unwrap();
    let Ok(channel) = endpoint.connect().await else { return false };
    // Without items it is refused, by a node that has heard it.
    let asked = LicensingClient::new(channel).checkout(v1::CheckoutRequest::default()).await;
    asked.is_err_and(|status| status.code() == tonic::Code::InvalidArgument)
}

/// How often changed files were refused, as the metrics say.
async fn refused(http: SocketAddr, use_: &str) -> u64 {
    let name = format!("leasehold_tls_reloads_total{{use=\"{use_}\",outcome=\"refused\"}}");
    metric(http, &name).await.unwrap_or(0)
}

fn add_to_trusted(cluster: &Cluster, authority: &str) {
    let path = cluster.path("certs").join("ca.pem");
    let known = std::fs::read_to_string(&path).unwrap();
    std::fs::write(path, known + authority).unwrap();
}

fn write_certificate(cluster: &Cluster, id: u64, authority: &Authority) {
    let name = format!("node-{id}");
    let subject = Subject {
        identity: Identity::of_node(NodeId(id), &name),
        hosts: vec!["127.0.0.1".to_owned()],
        validity: Validity::days(30),
    };
    let issued = authority.issue(&subject).unwrap();
    let certs = cluster.path("certs");
    std::fs::write(certs.join(format!("{name}-key.pem")), issued.key).unwrap();
    std::fs::write(certs.join(format!("{name}.pem")), issued.certificate).unwrap();
}
