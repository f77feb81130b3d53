use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::*;
use crate::tls::{ListenerKind, Transport};

struct Running {
    address: SocketAddr,
    readiness: Readiness,
    stop: CancellationToken,
    server: JoinHandle<()>,
}

fn start() -> Running {
    let readiness = Readiness::requiring(&["leader", "storage"]);
    let pages = Pages { telemetry: test_telemetry().clone(), readiness: readiness.clone() };
    let address = "127.0.0.1:0".parse().expect("an address");
    let listener = Listener::bind(ListenerKind::Http, address, Transport::PlainText, limits());
    let listener = listener.expect("a free port");
    let (address, stop) = (listener.address(), CancellationToken::new());
    let server = tokio::spawn(serve(listener, pages, stop.clone()));
    Running { address, readiness, stop, server }
}

impl Running {
    async fn get(&self, path: &str) -> std::io::Result<String> {
        let mut connection = TcpStream::connect(self.address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n");
        connection.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await?;
        Ok(answer)
    }
}

#[tokio::test]
async fn readiness_follows_its_checks_and_liveness_does_not() {
    let http = start();
    http.readiness.set("storage", true, "open");
    let not_ready = http.get("/readyz").await.unwrap();
    assert!(not_ready.starts_with("HTTP/1.1 503 "), "{not_ready}");
    assert!(not_ready.ends_with("\r\n\r\n[-] leader: not checked yet\nnot ready\n"), "{not_ready}");
    assert!(http.get("/livez").await.unwrap().starts_with("HTTP/1.1 200 "));

    http.readiness.set("leader", true, "node 1");
    let ready = http.get("/readyz").await.unwrap();
    assert!(ready.starts_with("HTTP/1.1 200 ") && ready.ends_with("\r\n\r\nok\n"), "{ready}");
    let verbose = http.get("/readyz?verbose").await.unwrap();
    assert!(verbose.ends_with("[+] leader: node 1\n[+] storage: open\nok\n"), "{verbose}");
}

#[tokio::test]
async fn metrics_are_histograms_and_gauges_with_help() {
    let http = start();
    metrics::histogram!("leasehold_actor_handle_duration_seconds", "actor" => "test").record(0.002);
    http.readiness.set("leader", false, "none");
    let page = http.get("/metrics").await.unwrap();
    assert!(page.contains("content-type: text/plain; version=0.0.4"), "{page}");
    for line in [
        "# TYPE leasehold_actor_handle_duration_seconds histogram",
        "leasehold_actor_handle_duration_seconds_bucket{actor=\"test\",le=\"0.0025\"} 1",
        "# HELP leasehold_ready ",
        "# TYPE process_resident_memory_bytes gauge",
    ] {
        assert!(page.contains(line), "`{line}` is missing in {page}");
    }
}

#[tokio::test]
async fn any_other_path_is_not_found() {
    let http = start();
    for path in ["/", "/metricsx", "/admin"] {
        let answer = http.get(path).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 404 ") && answer.contains("/readyz"), "{answer}");
    }
}

#[tokio::test]
async fn it_ends_when_it_is_told_to_although_a_client_is_connected() {
    let http = start();
    let idle = TcpStream::connect(http.address).await.unwrap();
    http.get("/livez").await.unwrap();
    http.stop.cancel();
    http.server.await.unwrap();
    drop(idle);
    assert!(TcpStream::connect(http.address).await.is_err(), "it still listens");
}
