//! Whoever comes to a port that is not for them is refused, counted, and forgotten.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use leasehold_cluster_tests::{Cluster, Engines, Shape, metric, until};
use leasehold_node::certs::{Authority, Subject, Validity};
use leasehold_node::tls::{Identity, Role};
use leasehold_proto::internal::v1 as internal;
use leasehold_proto::internal::v1::membership_client::MembershipClient;
use leasehold_proto::internal::v1::raft_client::RaftClient;
use leasehold_proto::v1;
use leasehold_proto::v1::admin_client::AdminClient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

const ENTITLED: [(&str, u64); 1] = [("asr.tier1", 10)];
/// A third at each port.
const DRIPS: usize = 300;
const DRIP_EVERY: Duration = Duration::from_millis(200);

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
    let mut cluster = Cluster::prepare(Shape::standard());
    let own = add_authority(&cluster);
    cluster.begin(1, &ENTITLED).await;
    let ports = cluster.layout(1).ports;
    let stranger = Authority::create("Leasehold development authority", Validity::days(1)).unwrap();
    let day = Duration::from_secs(86_400);
    let past = Validity { from: SystemTime::now() - 2 * day, until: SystemTime::now() - day };
    let ca = std::fs::read(cluster.path("certs").join("ca.pem")).unwrap();
    for (authority, validity) in [(&stranger, Validity::days(1)), (&own, past)] {
        let identity = Identity::new(Role::Admin, "mallory");
        let issued = authority.issue(&Subject { identity, hosts: vec![], validity }).unwrap();
        let identity = tonic::transport::Identity::from_pem(issued.certificate, issued.key);
        let tls =
            ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&ca)).identity(identity);
        let asked = AdminClient::new(channel(ports.admin, tls)).status(v1::StatusRequest {}).await;
        asked.expect_err("a stranger");
    }
    assert_counted(ports.http, "admin", "wrong_authority", 1).await;
    assert_counted(ports.http, "admin", "expired_certificate", 1).await;
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
    assert_logged_once(&mut cluster, "connection refused", &["engines", "admin", "peers"]);
    assert_goes_on(&mut cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_that_drip_are_cut_off_and_delay_nobody() {
    let mut cluster = Cluster::start(Shape::standard(), 1, &ENTITLED).await;
    let ports = cluster.layout(1).ports;
    let drips: Vec<_> = [ports.engines, ports.admin, ports.peers]
        .into_iter()
        .cycle()
        .take(DRIPS)
        .map(|address| tokio::spawn(drip(address)))
        .collect();
    until("the drips are connected", Duration::from_secs(5), async || {
        let name = "leasehold_connections_open{listener=\"peers\"}";
        (metric(ports.http, name).await? >= DRIPS as u64 / 3).then_some(())
    })
    .await;
    let asked = Instant::now();
    assert_goes_on(&mut cluster).await;
    assert!(asked.elapsed() < Duration::from_secs(3), "it took {:?}", asked.elapsed());
    for drip in drips {
        let lasted = drip.await.unwrap();
        assert!(lasted < Duration::from_secs(8), "a handshake dripped for {lasted:?}");
    }
    for listener in ["engines", "admin", "peers"] {
        assert_counted(ports.http, listener, "handshake_timed_out", DRIPS as u64 / 3).await;
    }
    assert_logged_once(&mut cluster, "connection refused", &["engines", "admin", "peers"]);
}

/// Nodes whose certificates are as good as any other's.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_another_cluster_and_one_with_a_used_id_change_nothing() {
    let mut cluster = Cluster::start(Shape::quick(), 3, &ENTITLED).await;
    let leader = cluster.leader(1).await;
    let term = cluster.status(leader).await.term;
    let peers = cluster.layout(leader).ports.peers;
    let mut foreign = RaftClient::new(channel(peers, cluster.tls("node-4")));
    let header = internal::Header {
        cluster_id: vec![9; 16].into(),
        from_node: 4,
        to_node: leader,
        format: 2,
        generation: vec![9; 16].into(),
        from_incarnation: vec![9; 16].into(),
        to_incarnation: vec![9; 16].into(),
    };
    for _ in 0..3 {
        let request =
            internal::RaftRequest { header: Some(header.clone()), payload: vec![1].into() };
        let refused = foreign.vote(request).await.expect_err("another cluster's");
        assert!(refused.message().contains("the message to another one"), "{refused}");
    }
    let name = "leasehold_network_peer_refused_total{reason=\"other_cluster\"}";
    let http = cluster.layout(leader).ports.http;
    assert_eq!(metric(http, name).await, Some(3));
    let log = std::fs::read_to_string(cluster.layout(leader).log()).unwrap();
    assert_eq!(log.matches("a message of a node is refused").count(), 1, "{log}");

    // It begins anew, under an id that votes: it has forgotten what it voted for.
    let reborn = if leader == 3 { 2 } else { 3 };
    cluster.kill_9(reborn);
    std::fs::remove_dir_all(cluster.layout(reborn).data()).unwrap();
    cluster.start_node(reborn);
    let refused = cluster.try_join(reborn, leader).await.expect_err("its id is used");
    assert!(refused.message().contains("is a member already"), "{refused}");
    let status = cluster.status(leader).await;
    assert_eq!((status.term, status.leader), (term, Some(leader)), "nobody noticed");
    let client = Engines::new().client(&cluster.engine_config(&[leader], ""));
    let guard = client.checkout(&[("asr.tier1", 1)]).await.expect("it lends still");
    guard.checkin().await.expect("an acknowledgement");
}

/// Begins a handshake with a byte from time to time; tells when it was cut off.
async fn drip(address: SocketAddr) -> Duration {
    let began = Instant::now();
    let mut connection = TcpStream::connect(address).await.unwrap();
    // A record of 512 bytes, the ClientHello of which never comes.
    let bytes = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3].into_iter().chain(std::iter::repeat(0));
    let mut answer = [0; 64];
    for byte in bytes {
        if connection.write_all(&[byte]).await.is_err() {
            break;
        }
        let ended = tokio::time::timeout(DRIP_EVERY, connection.read(&mut answer)).await;
        if matches!(ended, Ok(Ok(0) | Err(_))) {
            break;
        }
    }
    began.elapsed()
}

/// One more that the cluster trusts; nobody has the key of the first.
fn add_authority(cluster: &Cluster) -> Authority {
    let authority = Authority::create("Own", Validity::days(1)).unwrap();
    let path = cluster.path("certs").join("ca.pem");
    let trusted = std::fs::read_to_string(&path).unwrap() + &authority.pem();
    std::fs::write(path, trusted).unwrap();
    authority
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
        format!("leasehold_tls_rejected_total{{listener=\"{listener}\",reason=\"{reason}\"}}");
    until(&format!("{least} are counted as {name}"), Duration::from_secs(5), async || {
        (metric(http, &name).await? >= least).then_some(())
    })
    .await;
}

/// However many were refused: all came from one address, within a minute.
fn assert_logged_once(cluster: &mut Cluster, what: &str, listeners: &[&str]) {
    let log = std::fs::read_to_string(cluster.layout(1).log()).unwrap();
    for listener in listeners {
        let of = format!("listener=\"{listener}\"");
        let lines = log.lines().filter(|line| line.contains(what) && line.contains(&of)).count();
        assert_eq!(lines, 1, "{what} at {listener} in:\n{log}");
    }
}

async fn assert_goes_on(cluster: &mut Cluster) {
    assert!(cluster.process(1).is_running());
    let client = Engines::new().client(&cluster.engine_config(&[1], ""));
    let guard = client.checkout(&[("asr.tier1", 1)]).await.expect("it lends still");
    guard.checkin().await.expect("an acknowledgement");
    assert_eq!(cluster.pool(1, "asr.tier1").await.entitled, 10);
}
