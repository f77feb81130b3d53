//! The SDK over TLS: who it trusts, how it shows who it is, and what it says when that fails.

use std::path::{Path, PathBuf};

use crate::support::{FakeNode, config};
use leasehold_client::{Client, ClientConfig, InvalidConfig, Security, TlsFiles};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn identity(authority: &Authority, name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new([name.to_owned()]).unwrap();
    (params.signed_by(&key, authority).unwrap().pem(), key.serialize_pem())
}

/// A node that asks engines for a certificate of the same authority.
async fn node(authority: &Authority) -> FakeNode {
    let (certificate, key) = identity(authority, "127.0.0.1");
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(certificate, key))
        .client_ca_root(Certificate::from_pem(authority.pem()));
    FakeNode::start_behind(Server::builder().tls_config(tls).unwrap(), "a", 30_000).await
}

fn tls(directory: &Path, authority: &Authority, engine: Option<(String, String)>) -> Security {
    let write = |name: &str, text: &str| -> PathBuf {
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let ca = write("ca.pem", &authority.pem());
    let identity = engine
        .map(|(certificate, key)| (write("engine.pem", &certificate), write("engine.key", &key)));
    Security::Tls(TlsFiles { ca, identity, server_name: None })
}

fn config_of(node: &FakeNode, security: Security) -> ClientConfig {
    ClientConfig { security, ..config(&[node]) }
}

#[tokio::test]
async fn an_engine_with_a_certificate_is_served() {
    let authority = authority();
    let node = node(&authority).await;
    let directory = tempfile::tempdir().unwrap();
    let engine = identity(&authority, "engine");
    let security = tls(directory.path(), &authority, Some(engine));
    let client = Client::connect(&config_of(&node, security)).unwrap();
    client.checkout(&[("cpa", 1)]).await.unwrap().checkin().await.unwrap();
    assert_eq!(node.script().checkins.len(), 1);
}

#[tokio::test]
async fn a_node_of_another_authority_is_not_trusted_and_the_error_says_why() {
    let node = node(&authority()).await;
    let stranger = authority();
    let directory = tempfile::tempdir().unwrap();
    let engine = identity(&stranger, "engine");
    let security = tls(directory.path(), &stranger, Some(engine));
    let client = Client::connect(&config_of(&node, security)).unwrap();
    let error = client.checkout(&[("cpa", 1)]).await.unwrap_err().to_string();
    assert!(error.contains("certificate"), "{error}");
    assert!(node.script().checkouts.is_empty());
}

#[tokio::test]
async fn a_missing_file_is_named() {
    let authority = authority();
    let node = node(&authority).await;
    let directory = tempfile::tempdir().unwrap();
    let security = tls(directory.path(), &authority, None);
    std::fs::remove_file(directory.path().join("ca.pem")).unwrap();
    let error = Client::connect(&config_of(&node, security)).unwrap_err();
    assert!(matches!(error, InvalidConfig::Read { .. }));
    let error = error.to_string();
    assert!(error.starts_with("cannot read TLS authority") && error.contains("ca.pem"), "{error}");
}
