//! Whoever comes to a port that is not for them is refused, counted, and forgotten.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use leasehold_cluster_tests::{Cluster, Engines, Shape, get, until};
use leasehold_node::certs::{Authority, Subject, Validity};
use leasehold_node::tls::{Identity, Role};
use leasehold_proto::internal::v1 as internal;
use leasehold_proto::internal::v1::membership_client::MembershipClient;
use leasehold_proto::v1;
use leasehold_proto::v1::admin_client::AdminClient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

const ENTITLED: [(&str, u64); 1] = [("asr.tier1", 10)];

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_opens_only_the_ports_of_its_role() {
    let mut cluster = Cluster::start(Shape::standard(), 1, &ENTITLED).await;
    let ports = cluster.layout(1).ports;
    for name in ["engine", "node-2"] {
        let channel = channel(ports.admin, cluster.tls(name));
        let asked = AdminClient::new(channel).status(v1::StatusRequest {}).await;
        asked.expect_err("not an administrator");
    }
    for name in ["engine", "admin"] {
        let channel = channel(ports.peers, cluster.tls(name));
        let asked =
            MembershipClient::new(channel).describe(internal::DescribeRequest { node_id: 0 }).await;
        asked.expect_err("not a peer");
    }
    let ca = std::fs::read(cluster.path("certs").join("ca.pem")).unwrap();
    let nameless = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
    let asked = AdminClient::new(channel(ports.admin, nameless)).status(v1::StatusRequest {}).await;
    asked.expect_err("no certificate");

    for (listener, reason, least) in
        [("admin", "wrong_role", 2), ("peers", "wrong_role", 2), ("admin", "no_certificate", 1)]
    {
        assert_counted(ports.http, listener, reason, least).await;
    }
    assert_goes_on(&mut cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_are_expired_or_of_another_authority_are_refused() {
    let mut cluster = Cluster::start(Shape::standard(), 1, &ENTITLED).await;
    let ports = cluster.layout(1).ports;
    let stranger = Authority::create("Leasehold development authority", Validity::days(1)).unwrap();
    let day = Duration::from_secs(86_400);
    let past = Validity { from: SystemTime::now() - 2 * day, until: SystemTime::now() - day };
    let ca = std::fs::read(cluster.path("certs").join("ca.pem")).unwrap();
    for validity in [Validity::days(1), past] {
        let identity = Identity::new(Role::Admin, "mallory");
        let issued = stranger.issue(&Subject { identity, hosts: vec![], validity }).unwrap();
        let identity = tonic::transport::Identity::from_pem(issued.certificate, issued.key);
        let tls =
            ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&ca)).identity(identity);
        let asked = AdminClient::new(channel(ports.admin, tls)).status(v1::StatusRequest {}).await;
        asked.expect_err("a stranger");
    }
    assert_counted(ports.http, "admin", "wrong_authority", 1).await;
    assert_goes_on(&mut cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_text_and_garbage_at_a_tls_port_are_refused_and_the_node_goes_on() {
    let mut cluster = Cluster::start(Shape::standard(), 1, &ENTITLED).await;
    let ports = cluster.layout(1).ports;
    let listeners = [("engines", ports.engines), ("admin", ports.admin), ("peers", ports.peers)];
    let garbage: Vec<u8> = (0..4_096_u32).map(|number| (number * 31 % 251) as u8).collect();
    for (listener, address) in listeners {
        for bytes in [b"GET / HTTP/1.1\r\nhost: node\r\n\r\n".as_slice(), &garbage, &[0x16, 3, 1]] {
            assert_hung_up_on(address, bytes).await;
        }
        assert_counted(ports.http, listener, "not_tls", 2).await;
        assert_counted(ports.http, listener, "handshake_timed_out", 1).await;
    }
    assert_goes_on(&mut cluster).await;
}

fn channel(address: SocketAddr, tls: ClientTlsConfig) -> Channel {
    let endpoint = Endpoint::from_shared(format!("https://{address}")).unwrap();
    endpoint.timeout(Duration::from_secs(10)).tls_config(tls).unwrap().connect_lazy()
}

/// The node ends the connection, at the latest when a handshake may take no longer.
async fn assert_hung_up_on(address: SocketAddr, bytes: &[u8]) {
    let mut connection = TcpStream::connect(address).await.unwrap();
    connection.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(10), connection.read_to_end(&mut answer));
    // An error is an end, too.
    let _ = ended.await.unwrap_or_else(|_| panic!("{address} still listens to {bytes:?}"));
    assert!(!answer.starts_with(b"HTTP"), "{address} answered {bytes:?} in plain text");
}

async fn assert_counted(http: SocketAddr, listener: &str, reason: &str, least: u64) {
    let name =
        format!("leasehold_tls_rejected_total{{listener=\"{listener}\",reason=\"{reason}\"}} ");
    until(&format!("{least} are counted as {name}"), Duration::from_secs(5), async || {
        let (_, page) = get(http, "/metrics").await?;
        let count: u64 = page.lines().find_map(|line| line.strip_prefix(&name))?.parse().ok()?;
        (count >= least).then_some(())
    })
    .await;
}

async fn assert_goes_on(cluster: &mut Cluster) {
    assert!(cluster.process(1).is_running());
    let client = Engines::new().client(&cluster.engine_config(&[1], ""));
    let guard = client.checkout(&[("asr.tier1", 1)]).await.expect("it lends still");
    guard.checkin().await.expect("an acknowledgement");
    assert_eq!(cluster.pool(1, "asr.tier1").await.entitled, 10);
}
