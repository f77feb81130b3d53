//! Real sockets on loopback: who gets in, who does not, and what the others notice of it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::*;
use crate::certs::{Authority, Subject, Validity};
use crate::http::test_telemetry;

/// An authority, its directory, and a node's certificate in it.
struct Office {
    directory: TempDir,
    authority: Authority,
}

impl Office {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::create("test authority", Validity::days(2)).unwrap();
        std::fs::write(directory.path().join("ca.pem"), authority.pem()).unwrap();
        Self { directory, authority }
    }

    fn issue(&self, role: Role, name: &str, hosts: &[&str], validity: Validity) -> TlsFiles {
        let identity = Identity::new(role, name);
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        let issued = self.authority.issue(&Subject { identity, hosts, validity }).unwrap();
        issued.write(self.path(), name).unwrap()
    }

    fn node(&self, name: &str) -> TlsFiles {
        self.issue(Role::Peer, name, &["localhost", "127.0.0.1"], Validity::days(1))
    }

    fn client(&self, role: Role) -> TlsFiles {
        self.issue(role, role.as_str(), &[], Validity::days(1))
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }
}

fn past() -> Validity {
    let hours = |count: u64| SystemTime::now() - Duration::from_secs(count * 3_600);
    Validity { from: hours(2), until: hours(1) }
}

/// Accepts, tells each client who it is, and keeps all connections open.
struct Greeter {
    address: SocketAddr,
    tls: Option<Arc<ServerTls>>,
    task: JoinHandle<()>,
}

impl Greeter {
    fn tls(kind: ListenerKind, files: TlsFiles, limits: Limits) -> Self {
        let tls = ServerTls::open(kind, files, false).unwrap();
        Self::start(kind, Transport::Tls(Arc::clone(&tls)), Some(tls), limits)
    }

    fn start(
        kind: ListenerKind,
        transport: Transport,
        tls: Option<Arc<ServerTls>>,
        limits: Limits,
    ) -> Self {
        let _ = test_telemetry();
        let listener = Listener::bind(kind, LOOPBACK, transport, limits).unwrap();
        let address = listener.address();
        let mut incoming = listener.incoming();
        let task = tokio::spawn(async move {
            let mut open = Vec::new();
            while let Some(mut connection) = incoming.next().await {
                let identity = connection.peer().identity.as_ref();
                let greeting =
                    identity.map_or("nobody".to_owned(), |identity| identity.to_string());
                // A client that is gone already is no concern of a greeter.
                let _ = connection.write_all(format!("{greeting}\n").as_bytes()).await;
                open.push(connection);
            }
        });
        Self { address, tls, task }
    }
}

impl Drop for Greeter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

const LOOPBACK: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

async fn connect(address: SocketAddr, mut connector: Connector) -> Result<Socket, String> {
    let uri = format!("http://{address}").parse().unwrap();
    connector.call(uri).await.map(|io| io.into_inner()).map_err(|error| {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        format!("{error}: {}", cause.unwrap_or_default())
    })
}

/// What the greeter said, or how the client learned that it is not welcome.
async fn greeting(socket: Result<Socket, String>) -> Result<String, String> {
    let mut line = String::new();
    let read = BufReader::new(socket?).read_line(&mut line).await;
    match read.map_err(|error| error.to_string())? {
        0 => Err("closed".to_owned()),
        _ => Ok(line.trim().to_owned()),
    }
}

async fn greeted(address: SocketAddr, files: &TlsFiles) -> Result<String, String> {
    greeting(connect(address, Connector::tls("test", files.clone()).unwrap()).await).await
}

/// A client as strangers have it: with this authority's certificate checked, and perhaps one shown.
async fn stranger(
    address: SocketAddr,
    trusted: &Path,
    shown: Option<&TlsFiles>,
) -> Result<String, String> {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(trusted).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(provider());
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    let config = match shown {
        None => builder.with_no_client_auth(),
        Some(files) => {
            let chain = vec![CertificateDer::from_pem_file(&files.certificate).unwrap()];
            let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    let tcp = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let tls = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await;
    let tls = tls.map_err(|error| error.to_string())?;
    greeting(Ok(Socket::Tls(Box::new(tls.into())))).await
}

async fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let poll = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), poll).await.unwrap_or_else(|_| panic!("{what}"));
}

fn rejected(listener: &str, reason: &str) -> u64 {
    let page = test_telemetry().render();
    let name =
        format!("leasehold_tls_rejected_total{{listener=\"{listener}\",reason=\"{reason}\"}} ");
    let line = page.lines().find_map(|line| line.strip_prefix(&name));
    line.map_or(0, |count| count.parse().unwrap())
}

#[tokio::test]
async fn each_listener_lets_in_its_own_roles_and_nobody_else() {
    use ListenerKind::{Admin, Engines, Http, Peers};
    let office = Office::new();
    let node = office.node("east-1");
    let clients = [Role::Engine, Role::Admin, Role::Peer].map(|role| (role, office.client(role)));
    for (kind, welcome) in [
        (Engines, [true, true, false]),
        (Admin, [false, true, false]),
        (Peers, [false, false, true]),
        (Http, [false, true, true]),
    ] {
        let greeter = Greeter::tls(kind, node.clone(), Limits::default());
        for ((role, files), is_welcome) in clients.iter().zip(welcome) {
            let said = greeted(greeter.address, files).await;
            let expected = Identity::new(*role, role.as_str()).to_string();
            match said {
                Ok(said) => assert!(is_welcome && said == expected, "{kind:?} said {said}"),
                Err(error) => {
                    assert!(!is_welcome, "{kind:?} refused {role:?}: {error}");
                    assert!(error.contains("AccessDenied"), "{error}");
                }
            }
        }
    }
    wait_until("an engine at the admin port was not counted", || {
        rejected("admin", "wrong_role") >= 2
    })
    .await;
}

#[tokio::test]
async fn a_certificate_without_a_role_opens_nothing() {
    let office = Office::new();
    let node = office.node("east-1");
    let nobody = Subject {
        identity: Identity { name: Some("nobody".to_owned()), ..Identity::default() },
        hosts: vec![],
        validity: Validity::days(1),
    };
    let nobody = office.authority.issue(&nobody).unwrap().write(office.path(), "nobody").unwrap();
    for kind in [ListenerKind::Engines, ListenerKind::Admin, ListenerKind::Peers] {
        let greeter = Greeter::tls(kind, node.clone(), Limits::default());
        let error = greeted(greeter.address, &nobody).await.unwrap_err();
        assert!(error.contains("AccessDenied"), "{kind:?}: {error}");
    }
}

#[tokio::test]
async fn engines_may_stay_anonymous_unless_the_configuration_forbids_it_and_admins_never() {
    let office = Office::new();
    let node = office.node("east-1");
    let ca = &node.ca;
    let greeter = Greeter::tls(ListenerKind::Engines, node.clone(), Limits::default());
    assert_eq!(stranger(greeter.address, ca, None).await, Ok("nobody".to_owned()));

    let strict = ServerTls::open(ListenerKind::Engines, node.clone(), true).unwrap();
    let strict =
        Greeter::start(ListenerKind::Engines, Transport::Tls(strict), None, Limits::default());
    let admin = Greeter::tls(ListenerKind::Admin, node.clone(), Limits::default());
    for greeter in [strict, admin] {
        let error = stranger(greeter.address, ca, None).await.unwrap_err();
        assert!(error.contains("CertificateRequired"), "{error}");
    }
    wait_until("it was not counted", || rejected("admin", "no_certificate") >= 1).await;
}

#[tokio::test]
async fn certificates_of_another_authority_or_out_of_date_are_refused_and_counted() {
    let (office, other) = (Office::new(), Office::new());
    let node = office.node("east-1");
    let greeter = Greeter::tls(ListenerKind::Peers, node.clone(), Limits::default());
    let foreign = other.client(Role::Peer);
    // Both authorities have one name, so that only the signature tells them apart.
    let error = stranger(greeter.address, &node.ca, Some(&foreign)).await.unwrap_err();
    assert!(error.contains("DecryptError"), "{error}");
    let expired = office.issue(Role::Peer, "expired", &[], past());
    let error = stranger(greeter.address, &node.ca, Some(&expired)).await.unwrap_err();
    assert!(error.contains("CertificateExpired"), "{error}");
    // The other way round: a client that trusts another authority does not talk to this node.
    let error = greeted(greeter.address, &foreign).await.unwrap_err();
    assert!(error.contains("no TLS with") && error.contains("BadSignature"), "{error}");
    wait_until("they were not counted", || {
        ["wrong_authority", "expired_certificate", "refused_by_client"]
            .iter()
            .all(|reason| rejected("peers", reason) >= 1)
    })
    .await;
}

#[tokio::test]
async fn renewed_files_are_used_for_new_connections_and_old_ones_stay_open() {
    let office = Office::new();
    let node = office.node("east-1");
    let admin = office.client(Role::Admin);
    let greeter = Greeter::tls(ListenerKind::Admin, node.clone(), Limits::default());
    let tls = greeter.tls.clone().unwrap();
    let mut before =
        connect(greeter.address, Connector::tls("test", admin.clone()).unwrap()).await.unwrap();
    let old = server_certificate(&before);

    let renewed = office.node("renewed");
    std::fs::copy(&renewed.certificate, &node.certificate).unwrap();
    tls.reload();
    let connector = Connector::tls("test", admin.clone()).unwrap();
    let half = connect(greeter.address, connector.clone()).await.unwrap();
    assert_eq!(server_certificate(&half), old, "a certificate without its key was taken into use");

    std::fs::write(&node.certificate, "-----BEGIN GARBAGE-----").unwrap();
    tls.reload();
    let garbage = connect(greeter.address, connector.clone()).await.unwrap();
    assert_eq!(server_certificate(&garbage), old, "garbage was taken into use");

    std::fs::remove_file(&node.certificate).unwrap();
    tls.reload();
    std::fs::copy(&renewed.certificate, &node.certificate).unwrap();
    std::fs::copy(&renewed.key, &node.key).unwrap();
    tls.reload();
    let after = connect(greeter.address, connector).await.unwrap();
    assert_ne!(server_certificate(&after), old);
    assert!(greeting(Ok(after)).await.is_ok());
    let mut first = [0];
    before.read_exact(&mut first).await.expect("the old connection was dropped");
}

fn server_certificate(socket: &Socket) -> Vec<u8> {
    let Socket::Tls(tls) = socket else { panic!("not encrypted") };
    tls.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[tokio::test(start_paused = true)]
async fn files_are_followed_and_each_bad_state_is_complained_of_once() {
    let office = Office::new();
    let node = office.node("east-1");
    let reloading = Arc::new(Reloading::open("test", node.clone(), |_| Ok(())).unwrap());
    assert!(!reloading.reload().unwrap());
    std::fs::write(&node.key, "garbage").unwrap();
    let error = reloading.reload().unwrap_err().to_string();
    assert!(error.contains("east-1-key.pem holds no private key"), "{error}");
    assert!(!reloading.reload().unwrap(), "it complained twice");

    let stop = CancellationToken::new();
    let follower = tokio::spawn({
        let (reloading, stop) = (Arc::clone(&reloading), stop.clone());
        async move { reloading.follow(stop).await }
    });
    let before = reloading.current();
    let renewed = office.node("renewed");
    std::fs::copy(&renewed.key, &node.key).unwrap();
    wait_until("new files were not taken into use", || !Arc::ptr_eq(&before, &reloading.current()))
        .await;
    stop.cancel();
    follower.await.unwrap();
}

#[tokio::test]
async fn garbage_and_slow_handshakes_are_dropped_and_delay_nobody() {
    let office = Office::new();
    let node = office.node("east-1");
    let deadline = Duration::from_secs(3);
    let limits = Limits { handshake_deadline: deadline, ..Limits::default() };
    let greeter = Greeter::tls(ListenerKind::Engines, node.clone(), limits);
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut silent = TcpStream::connect(greeter.address).await.unwrap();
        silent.write_all(&[22, 3, 1]).await.unwrap();
        slow.push(silent);
        let mut garbage = TcpStream::connect(greeter.address).await.unwrap();
        garbage.write_all(b"GET / HTTP/1.1\r\nhost: leasehold\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        // An alert and the end, or a reset: both are a refusal.
        let _ = garbage.read_to_end(&mut answer).await;
    }
    let engine = office.client(Role::Engine);
    let began = std::time::Instant::now();
    greeted(greeter.address, &engine).await.unwrap();
    assert!(began.elapsed() < deadline, "a good client waited for slow ones");
    for mut silent in slow {
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(deadline * 10, silent.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "a slow handshake was not dropped");
    }
    wait_until("they were not counted", || {
        rejected("engines", "not_tls") >= 200 && rejected("engines", "handshake_timed_out") >= 200
    })
    .await;
}

#[tokio::test]
async fn handshakes_at_once_are_bounded_and_the_rest_waits() {
    let office = Office::new();
    let node = office.node("east-1");
    let limits = Limits {
        handshakes_max: 2,
        handshake_deadline: Duration::from_millis(200),
        ..Limits::default()
    };
    let greeter = Greeter::tls(ListenerKind::Engines, node.clone(), limits);
    let mut slow = Vec::new();
    for _ in 0..6 {
        slow.push(TcpStream::connect(greeter.address).await.unwrap());
    }
    greeted(greeter.address, &office.client(Role::Engine)).await.unwrap();
}

#[tokio::test]
async fn more_connections_than_allowed_are_refused_until_one_ends() {
    let limits = Limits { connections_max: 2, ..Limits::default() };
    let listener =
        Listener::bind(ListenerKind::Http, LOOPBACK, Transport::PlainText, limits).unwrap();
    let address = listener.address();
    let mut incoming = listener.incoming();
    let _first = TcpStream::connect(address).await.unwrap();
    let second = TcpStream::connect(address).await.unwrap();
    let (_a, b) = (incoming.next().await.unwrap(), incoming.next().await.unwrap());
    let mut third = TcpStream::connect(address).await.unwrap();
    assert_eq!(third.read(&mut [0]).await.unwrap_or(0), 0, "a third connection was let in");
    drop((b, second));
    let _fourth = TcpStream::connect(address).await.unwrap();
    assert!(incoming.next().await.is_some());
}

#[tokio::test]
async fn a_client_that_never_speaks_loses_its_place_and_an_idle_one_keeps_it() {
    let limits = Limits { first_byte_deadline: Duration::from_millis(100), ..Limits::default() };
    let listener =
        Listener::bind(ListenerKind::Http, LOOPBACK, Transport::PlainText, limits).unwrap();
    let mut client = TcpStream::connect(listener.address()).await.unwrap();
    let mut incoming = listener.clone().incoming();
    let mut mute = incoming.next().await.unwrap();
    let error = mute.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);

    drop(mute);
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    let mut client = TcpStream::connect(listener.address()).await.unwrap();
    client.write_u8(1).await.unwrap();
    let mut idle = incoming.next().await.unwrap();
    assert_eq!(idle.read_u8().await.unwrap(), 1);
    let silence = tokio::time::timeout(limits.first_byte_deadline * 3, idle.read_u8()).await;
    assert!(silence.is_err(), "an idle connection was ended: {silence:?}");
}

#[tokio::test]
async fn two_thousand_idle_connections_leave_room_for_one_more() {
    let room = raise_open_files_limit();
    assert!(room.is_none_or(|files| files > 5_000), "only {room:?} open files are allowed");
    let office = Office::new();
    let engine = office.client(Role::Engine);
    let greeter = Greeter::tls(ListenerKind::Engines, office.node("east-1"), Limits::default());
    let connector = Connector::tls("test", engine.clone()).unwrap();
    let mut opening = tokio::task::JoinSet::new();
    for _ in 0..2_000 {
        opening.spawn(connect(greeter.address, connector.clone()));
    }
    let idle: Vec<Socket> = opening.join_all().await.into_iter().collect::<Result<_, _>>().unwrap();
    assert_eq!(idle.len(), 2_000);
    let said = greeted(greeter.address, &engine).await;
    assert_eq!(said, Ok("`engine` (engine)".to_owned()));
}

#[tokio::test]
async fn dropping_incoming_closes_the_port() {
    let transport = Transport::PlainText;
    let listener =
        Listener::bind(ListenerKind::Engines, LOOPBACK, transport, Limits::default()).unwrap();
    let address = listener.address();
    drop(listener.incoming());
    let bind =
        || Listener::bind(ListenerKind::Engines, address, Transport::PlainText, Limits::default());
    wait_until("the port is still taken", || bind().is_ok()).await;
}

#[tokio::test]
async fn plain_text_never_leaves_the_machine_and_a_port_in_use_is_named() {
    let bind = |address: SocketAddr| {
        Listener::bind(ListenerKind::Engines, address, Transport::PlainText, Limits::default())
    };
    let error = bind("0.0.0.0:0".parse().unwrap()).unwrap_err().to_string();
    assert!(error.contains("engines") && error.contains("[engines.tls]"), "{error}");
    let first = bind(LOOPBACK).unwrap();
    let error = bind(first.address()).unwrap_err().to_string();
    assert!(error.contains(&first.address().to_string()) && error.contains("ss -ltnp"), "{error}");

    let greeter =
        Greeter::start(ListenerKind::Engines, Transport::PlainText, None, Limits::default());
    let said = greeting(connect(greeter.address, Connector::PlainText).await).await;
    assert_eq!(said, Ok("nobody".to_owned()));
}

#[tokio::test]
async fn a_missing_node_is_named_by_the_connector() {
    let listener =
        Listener::bind(ListenerKind::Admin, LOOPBACK, Transport::PlainText, Limits::default());
    let address = listener.unwrap().address();
    let error = connect(address, Connector::PlainText).await.unwrap_err();
    assert!(error.contains(&format!("no connection to {address}")), "{error}");
}

#[test]
fn files_that_can_not_be_used_are_refused_at_the_start() {
    let (office, other) = (Office::new(), Office::new());
    let good = office.node("good");
    let hosts = ["localhost"];
    let server = |files: TlsFiles| {
        let opened = ServerTls::open(ListenerKind::Engines, files, false);
        opened.map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(server(good.clone()), Ok(()));
    let missing = office.path().join("missing.pem");
    let garbage = office.path().join("garbage.pem");
    std::fs::write(&garbage, "garbage").unwrap();
    let later = SystemTime::now() + Duration::from_secs(3_600);
    let future = Validity { from: later, until: later + Duration::from_secs(3_600) };
    let other_ca = other.path().join("ca.pem");
    let cases = [
        (TlsFiles { ca: missing.clone(), ..good.clone() }, "missing.pem can't be read"),
        (TlsFiles { certificate: missing.clone(), ..good.clone() }, "missing.pem can't be read"),
        (TlsFiles { key: missing, ..good.clone() }, "missing.pem can't be read"),
        (TlsFiles { ca: garbage.clone(), ..good.clone() }, "garbage.pem holds no certificate"),
        (TlsFiles { certificate: garbage.clone(), ..good.clone() }, "garbage.pem holds no cert"),
        (TlsFiles { key: garbage, ..good.clone() }, "garbage.pem holds no private key"),
        (TlsFiles { key: office.node("b").key, ..good.clone() }, "b-key.pem is not the key of"),
        (TlsFiles { ca: other_ca, ..good.clone() }, "was not issued by an authority in"),
        (office.issue(Role::Peer, "old", &hosts, past()), "old.pem expired on"),
        (office.issue(Role::Peer, "new", &hosts, future), "new.pem is valid from"),
        (office.client(Role::Engine), "engine.pem may not be used as a server certificate"),
    ];
    for (files, expected) in cases {
        let error = server(files).unwrap_err();
        assert!(error.contains(expected), "expected `{expected}` in: {error}");
    }
    let error = Connector::tls("test", TlsFiles { ca: other.path().join("ca.pem"), ..good });
    let error = error.unwrap_err().to_string();
    assert!(error.contains("was not issued by an authority in"), "{error}");
}

#[tokio::test]
async fn a_grpc_service_is_called_over_mutual_tls_and_sees_who_calls() {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;
    let office = Office::new();
    let tls = ServerTls::open(ListenerKind::Admin, office.node("east-1"), false).unwrap();
    let transport = Transport::Tls(tls);
    let listener =
        Listener::bind(ListenerKind::Admin, LOOPBACK, transport, Limits::default()).unwrap();
    let address = listener.address();
    let (callers, mut called) = tokio::sync::mpsc::channel(8);
    let (_reporter, health) = tonic_health::server::health_reporter();
    let note = move |request: tonic::Request<()>| {
        let peer = request.extensions().get::<PeerInfo>().expect("each request tells of its peer");
        callers.try_send(peer.identity.as_ref().map(ToString::to_string)).expect("room for it");
        Ok(request)
    };
    let service = tonic::service::interceptor::InterceptedService::new(health, note);
    let stop = CancellationToken::new();
    let server = tonic::transport::Server::builder().add_service(service);
    let stopped = stop.clone().cancelled_owned();
    let served = tokio::spawn(server.serve_with_incoming_shutdown(listener.incoming(), stopped));

    let endpoint =
        tonic::transport::Endpoint::from_shared(format!("http://localhost:{}", address.port()));
    let endpoint = endpoint.unwrap();
    let connector = |role| Connector::tls("test", office.client(role)).unwrap();
    let channel = endpoint.connect_with_connector(connector(Role::Admin)).await.unwrap();
    let mut client = HealthClient::new(channel);
    client.check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(called.recv().await, Some(Some("`admin` (admin)".to_owned())));

    // TLS 1.3 tells a client after its part of the handshake: at the connect, or the first call.
    let refused = async {
        let channel = endpoint.connect_with_connector(connector(Role::Engine)).await?;
        let mut client = HealthClient::new(channel);
        client.check(HealthCheckRequest::default()).await?;
        Ok::<_, Box<dyn std::error::Error>>(())
    };
    refused.await.expect_err("an engine called the admin service");
    assert!(called.try_recv().is_err(), "its call was seen by a service");

    stop.cancel();
    drop(client);
    served.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_server_that_failed_starts_again_on_the_same_socket() {
    let transport = Transport::PlainText;
    let listener =
        Listener::bind(ListenerKind::Http, LOOPBACK, transport, Limits::default()).unwrap();
    let address = listener.address();
    drop(listener.clone().incoming());
    let mut incoming = listener.incoming();
    let _client = TcpStream::connect(address).await.unwrap();
    assert!(incoming.next().await.is_some());
}
