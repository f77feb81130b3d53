//! Making connections to nodes: admin tools and peers.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use tonic::codegen::http::Uri;

use super::connection::Socket;
use super::files::{Material, TlsError, TlsFiles};
use super::{Reloading, provider};

/// Makes connections, for [`tonic::transport::Endpoint::connect_with_connector`]; cheap to clone.
///
/// The endpoint's address begins with `http://` in either case: to tonic this connector hides
/// whether the bytes below it are encrypted.
#[derive(Clone, Debug)]
pub enum Connector {
    /// Not encrypted; refuses to leave this machine.
    PlainText,
    /// Both sides show certificates. Each connection uses the files' current contents.
    Tls(Arc<Reloading<ClientConfig>>),
}

#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("`{uri}` names no host and port: expected http://HOST:PORT")]
    BadAddress { uri: Uri },
    #[error("{host} is not this machine, and plain text is for loopback only: use certificates")]
    PlainTextBeyondLoopback { host: String },
    #[error("no connection to {host}:{port}: does the node run, and is this its port?")]
    Unreachable { host: String, port: u16, source: io::Error },
    #[error(
        "no TLS with {host}:{port}: check that this is a TLS port, that both certificates come \
         from the same authority, and that the role fits"
    )]
    Handshake { host: String, port: u16, source: io::Error },
}

impl Connector {
    /// Mutual TLS with certificates from files; `label` says in logs and metrics what for.
    ///
    /// # Errors
    /// If the files can't be used now.
    pub fn tls(label: &'static str, files: TlsFiles) -> Result<Self, TlsError> {
        Ok(Self::Tls(Arc::new(Reloading::open(label, files, client_config)?)))
    }

    /// Reloads whenever the files change, until `stop`.
    pub async fn follow(&self, stop: CancellationToken) {
        match self {
            Connector::PlainText => stop.cancelled().await,
            Connector::Tls(config) => config.follow(stop).await,
        }
    }

    /// Takes renewed certificates into use now.
    pub fn reload(&self) {
        match self {
            Connector::PlainText => {}
            Connector::Tls(config) => config.reload_and_log(),
        }
    }

    async fn connect(self, uri: Uri) -> Result<TokioIo<Socket>, ConnectError> {
        let (Some(host), Some(port)) = (uri.host(), uri.port_u16()) else {
            return Err(ConnectError::BadAddress { uri });
        };
        // A URI writes an IPv6 address in brackets, a resolver and a certificate without.
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let unreachable = |source| ConnectError::Unreachable { host: host.clone(), port, source };
        let tcp = TcpStream::connect((host.as_str(), port)).await.map_err(unreachable)?;
        let _ = tcp.set_nodelay(true);
        let stream = match self {
            Connector::PlainText => {
                if !tcp.peer_addr().is_ok_and(|address: SocketAddr| address.ip().is_loopback()) {
                    return Err(ConnectError::PlainTextBeyondLoopback { host });
                }
                Socket::Plain(tcp)
            }
            Connector::Tls(config) => {
                let Ok(name) = ServerName::try_from(host.clone()) else {
                    return Err(ConnectError::BadAddress { uri });
                };
                let handshake = TlsConnector::from(config.current()).connect(name, tcp);
                let failed = |source| ConnectError::Handshake { host, port, source };
                Socket::Tls(Box::new(Box::pin(handshake).await.map_err(failed)?.into()))
            }
        };
        Ok(TokioIo::new(stream))
    }
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<Socket>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

fn client_config(material: &Material) -> Result<ClientConfig, TlsError> {
    verify_own(material)?;
    let (roots, chain) = (material.roots.clone(), material.chain.clone());
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| material.explain("client", error))?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, material.key.clone_key())
        .map_err(|error| material.explain("client", error))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// Finds out before connecting what a server would find out.
fn verify_own(material: &Material) -> Result<(), TlsError> {
    let roots = Arc::new(material.roots.clone());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
        .build()
        .map_err(|error| material.refuse_authority(&error))?;
    let (own, intermediates) = material.own();
    let verified = verifier.verify_client_cert(own, intermediates, UnixTime::now());
    verified.map(drop).map_err(|error| material.explain("client", error))
}
