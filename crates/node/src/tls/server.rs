//! Server side of TLS: which listener wants which certificate with which role.

use std::cell::RefCell;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
};
use tokio_util::sync::CancellationToken;

use super::files::{Material, TlsError, TlsFiles};
use super::{Identity, Reloading, Role, provider};

/// The listeners of a node. Each lets in its own roles and nobody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerKind {
    Engines,
    Admin,
    Peers,
    Http,
}

/// A listener's certificates and what it asks of a client's.
#[derive(Debug)]
pub struct ServerTls {
    kind: ListenerKind,
    config: Reloading<ServerConfig>,
}

impl ListenerKind {
    /// As in the configuration, in logs and in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ListenerKind::Engines => "engines",
            ListenerKind::Admin => "admin",
            ListenerKind::Peers => "peers",
            ListenerKind::Http => "http",
        }
    }

    /// A certificate that is shown must have one of these roles.
    fn roles(self) -> &'static [Role] {
        match self {
            // Admins check units out by hand.
            ListenerKind::Engines => &[Role::Engine, Role::Admin],
            ListenerKind::Admin => &[Role::Admin],
            ListenerKind::Peers => &[Role::Peer],
            ListenerKind::Http => &[Role::Admin, Role::Peer],
        }
    }

    /// Whether its clients must show a certificate whatever the configuration says.
    #[must_use]
    pub fn always_wants_certificate(self) -> bool {
        match self {
            ListenerKind::Admin | ListenerKind::Peers => true,
            ListenerKind::Engines | ListenerKind::Http => false,
        }
    }

    fn protocols(self) -> Vec<Vec<u8>> {
        match self {
            ListenerKind::Engines | ListenerKind::Admin | ListenerKind::Peers => {
                vec![b"h2".to_vec()]
            }
            ListenerKind::Http => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        }
    }
}

impl ServerTls {
    /// Reads the files; `wants_certificate` adds to what the kind of listener wants anyway.
    ///
    /// # Errors
    /// If the files can't be used now.
    pub fn open(
        kind: ListenerKind,
        files: TlsFiles,
        wants_certificate: bool,
    ) -> Result<Arc<Self>, TlsError> {
        let mandatory = wants_certificate || kind.always_wants_certificate();
        let build = move |material: &Material| server_config(kind, mandatory, material);
        let config = Reloading::open(kind.as_str(), files, build)?;
        Ok(Arc::new(Self { kind, config }))
    }

    #[must_use]
    pub fn kind(&self) -> ListenerKind {
        self.kind
    }

    /// Reloads whenever the files change, until `stop`.
    pub async fn follow(&self, stop: CancellationToken) {
        self.config.follow(stop).await;
    }

    /// Reloads now, for SIGHUP; what can't be used is logged.
    pub fn reload(&self) {
        self.config.reload_and_log();
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.config.current()
    }
}

fn server_config(
    kind: ListenerKind,
    mandatory: bool,
    material: &Material,
) -> Result<ServerConfig, TlsError> {
    verify_own(material)?;
    let verifier = RoleVerifier::new(kind, mandatory, material)?;
    let (chain, key) = (material.chain.clone(), material.key.clone_key());
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| material.explain("server", error))?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_single_cert(chain, key)
        .map_err(|error| material.explain("server", error))?;
    config.alpn_protocols = kind.protocols();
    // Connections live long, so resuming saves nothing; without it each one is verified in full,
    // against the authorities and the dates of the day.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// Finds out at the start what each client would otherwise find out: a wrong authority or purpose.
fn verify_own(material: &Material) -> Result<(), TlsError> {
    let (own, intermediates) = material.own();
    let algorithms = provider().signature_verification_algorithms;
    ParsedCertificate::try_from(own)
        .and_then(|parsed| {
            rustls::client::verify_server_cert_signed_by_trust_anchor(
                &parsed,
                &material.roots,
                intermediates,
                UnixTime::now(),
                algorithms.all,
            )
        })
        .map_err(|error| material.explain("server", error))
}

tokio::task_local! {
    /// Why the role was refused, told by the verifier to the task whose handshake it serves:
    /// rustls has no room for it beside the alert that the client is to get.
    pub(super) static ROLE_REFUSAL: RefCell<Option<String>>;
}

/// Verifies a client's certificate as webpki does, then its role.
#[derive(Debug)]
struct RoleVerifier {
    inner: Arc<dyn ClientCertVerifier>,
    kind: ListenerKind,
}

impl RoleVerifier {
    fn new(kind: ListenerKind, mandatory: bool, material: &Material) -> Result<Self, TlsError> {
        let roots = Arc::new(material.roots.clone());
        let builder = WebPkiClientVerifier::builder_with_provider(roots, provider());
        let builder = if mandatory { builder } else { builder.allow_unauthenticated() };
        let inner = builder.build().map_err(|error| material.refuse_authority(&error))?;
        Ok(Self { inner, kind })
    }

    fn check_role(&self, certificate: &CertificateDer<'_>) -> Result<(), rustls::Error> {
        let identity = Identity::of_certificate(certificate)
            .map_err(|_| rustls::Error::InvalidCertificate(CertificateError::BadEncoding))?;
        if identity.has_any(self.kind.roles()) {
            return Ok(());
        }
        let wanted: Vec<&str> = self.kind.roles().iter().map(|role| role.as_str()).collect();
        let refusal = format!("{identity} came, expected role {}", wanted.join(" or "));
        // Outside a listener's task nobody listens.
        let _ = ROLE_REFUSAL.try_with(|cell| cell.replace(Some(refusal)));
        Err(CertificateError::ApplicationVerificationFailure.into())
    }
}

impl ClientCertVerifier for RoleVerifier {
    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.inner.verify_client_cert(end_entity, intermediates, now)?;
        self.check_role(end_entity)?;
        Ok(verified)
    }

    fn offer_client_auth(&self) -> bool {
        self.inner.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
