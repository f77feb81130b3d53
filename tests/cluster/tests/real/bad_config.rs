//! Configurations that a node refuses: it names the thing, and touches nothing.

use std::time::{Duration, SystemTime};

use leasehold_cluster_tests::{Cluster, Layout, Refusal, Shape, refuse};
use leasehold_core::id::NodeId;
use leasehold_node::certs::{Authority, Subject, Validity};
use leasehold_node::tls::Identity;

/// The configuration of a node that would start.
fn good() -> (Cluster, Layout) {
    let mut cluster = Cluster::prepare(Shape::standard());
    let layout = cluster.layout(1);
    (cluster, layout)
}

async fn refuse_text(layout: &Layout, text: &str) -> Refusal {
    std::fs::write(layout.config(), text).unwrap();
    refuse(&layout.config()).await
}

/// # Panics
/// Unless the node ended with an error that says all of `names`, and left no data directory.
fn assert_refused(case: &str, layout: &Layout, refusal: &Refusal, names: &[&str]) {
    assert_eq!(refusal.code, Some(1), "{case}: {refusal:?}");
    for name in names {
        assert!(refusal.stderr.contains(name), "{case}: no `{name}` in:\n{}", refusal.stderr);
    }
    assert!(!layout.data().exists(), "{case}: a data directory was made");
}

#[tokio::test]
async fn a_configuration_that_is_missing_or_wrong_is_refused_by_file_key_and_value() {
    let (_cluster, layout) = good();
    std::fs::remove_file(layout.config()).unwrap();
    let missing = refuse(&layout.config()).await;
    assert_refused("missing", &layout, &missing, &["node.toml", "--config", "No such file"]);

    let text = layout.text();
    let engines = layout.ports.engines.to_string();
    let cases: [(&str, String, &[&str]); 6] = [
        (
            "unknown key",
            text.replace("data_dir", "data_directory"),
            &["data_directory", "node.toml"],
        ),
        ("bad address", text.replace(&engines, "localhost"), &["`localhost`", "IP:PORT"]),
        (
            "an address of another machine",
            text.replace(&engines, "192.0.2.1:7400"),
            &["engines", "192.0.2.1:7400", "an address of this machine"],
        ),
        (
            "one address twice",
            text.replace(&layout.ports.admin.to_string(), &engines),
            &["engines.listen", "admin.listen", &engines],
        ),
        (
            "timings",
            text.replace("lease_ms = 10000", "lease_ms = 4000"),
            &["lease_ms = 4000", "election_max_ms = 1000", "at least"],
        ),
        (
            "plain text beyond loopback",
            text.replace(&layout.ports.http.to_string(), "0.0.0.0:7403"),
            &["http.plain_text", "0.0.0.0:7403", "[http.tls]"],
        ),
    ];
    for (case, text, names) in cases {
        assert_ne!(text, layout.text(), "{case} changes nothing");
        assert_refused(case, &layout, &refuse_text(&layout, &text).await, names);
    }
}

#[tokio::test]
async fn a_port_in_use_is_refused_by_listener_and_address() {
    let (_cluster, layout) = good();
    for (listener, address) in [
        ("engines", layout.ports.engines),
        ("peers", layout.ports.peers),
        ("http", layout.ports.http),
    ] {
        let _other = std::net::TcpListener::bind(address).unwrap();
        let refusal = refuse(&layout.config()).await;
        let names = [listener, &address.to_string(), "choose another port"];
        assert_refused(listener, &layout, &refusal, &names);
    }
}

#[tokio::test]
async fn certificates_that_are_unreadable_expired_or_of_another_authority_are_refused_by_file() {
    let (cluster, layout) = good();
    let certs = cluster.path("certs");
    let (certificate, key) = (certs.join("node-1.pem"), certs.join("node-1-key.pem"));
    let kept = std::fs::read(&certificate).unwrap();

    std::fs::remove_file(&certificate).unwrap();
    let refusal = refuse(&layout.config()).await;
    assert_refused("missing", &layout, &refusal, &["node-1.pem", "can't be read"]);

    std::fs::write(&certificate, "garbage").unwrap();
    let refusal = refuse(&layout.config()).await;
    assert_refused("garbage", &layout, &refusal, &["node-1.pem", "BEGIN"]);

    std::fs::write(&certificate, &kept).unwrap();
    std::fs::rename(&key, certs.join("kept-key.pem")).unwrap();
    std::fs::copy(certs.join("node-2-key.pem"), &key).unwrap();
    let refusal = refuse(&layout.config()).await;
    assert_refused("another's key", &layout, &refusal, &["node-1-key.pem", "is not the key of"]);

    let issuer = Authority::create("Another authority", Validity::days(1)).unwrap();
    let day = Duration::from_secs(86_400);
    let past = Validity { from: SystemTime::now() - 2 * day, until: SystemTime::now() - day };
    for (case, validity, name) in
        [("another authority", Validity::days(1), "not issued by"), ("expired", past, "expired on")]
    {
        let identity = Identity::of_node(NodeId(1), "node-1");
        let hosts = vec!["127.0.0.1".to_owned()];
        let issued = issuer.issue(&Subject { identity, hosts, validity }).unwrap();
        std::fs::write(&certificate, issued.certificate).unwrap();
        std::fs::write(&key, issued.key).unwrap();
        let refusal = refuse(&layout.config()).await;
        assert_refused(case, &layout, &refusal, &["node-1.pem", name]);
    }
}
