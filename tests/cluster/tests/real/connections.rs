//! Far more connections than engines.

use std::time::Duration;

use leasehold_cluster_tests::{Cluster, Engines, Shape, assert_clean, metric, until};
use leasehold_node::tls::raise_open_files_limit;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

const CONNECTIONS: usize = 10_000;
const ENTITLED: [(&str, u64); 1] = [("asr.tier1", 10)];
/// How every HTTP/2 client begins (RFC 9113, 3.4), with an empty SETTINGS frame.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

#[tokio::test(flavor = "multi_thread")]
async fn with_ten_thousand_open_connections_a_checkout_still_works() {
    let files = raise_open_files_limit().unwrap_or(u64::MAX);
    if files < 11_000 {
        return println!("skipped: this user may open {files} files only");
    }
    let shape = Shape { has_plain_engines: true, ..Shape::standard() };
    let mut cluster = Cluster::start(shape, 1, &ENTITLED).await;
    let address = cluster.layout(1).ports.engines;
    let mut connections = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        let mut connection = TcpStream::connect(address).await.unwrap();
        connection.write_all(PREFACE).await.unwrap();
        connections.push(connection);
    }
    let http = cluster.layout(1).ports.http;
    until("all are open at the node", Duration::from_secs(20), async || {
        let open = metric(http, "leasehold_connections_open{listener=\"engines\"}").await?;
        (open >= CONNECTIONS as u64).then_some(())
    })
    .await;

    let engines = Engines::new();
    let client = engines.client(&cluster.engine_config(&[1], ""));
    let guard = client.checkout(&[("asr.tier1", 1)]).await.expect("a unit");
    guard.checkin().await.expect("an acknowledgement");
    assert_clean(engines.record(), &ENTITLED);
    assert!(cluster.process(1).is_running());
    drop(connections);
}
