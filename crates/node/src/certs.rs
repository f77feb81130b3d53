//! A development authority: certificates for trying things out and for tests.
//!
//! Not for production: the authority's key lies unencrypted beside the certificates.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use leasehold_core::id::NodeId;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};

use crate::tls::{Identity, Role, TlsFiles};

/// A certificate authority in memory.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// From when until when a certificate is good.
#[derive(Clone, Copy, Debug)]
pub struct Validity {
    pub from: SystemTime,
    pub until: SystemTime,
}

/// What a certificate is to say.
#[derive(Clone, Debug)]
pub struct Subject {
    pub identity: Identity,
    /// Names and addresses at which its holder is a server; a client has none.
    pub hosts: Vec<String>,
    pub validity: Validity,
}

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub struct Issued {
    pub certificate: String,
    pub key: String,
}

/// What [`write_development_certificates`] is to make.
#[derive(Clone, Debug)]
pub struct DevelopmentCertificates {
    /// A certificate for each, good as server and as peer, of the node with that id.
    pub nodes: Vec<(NodeId, String)>,
    /// Hosts beside those of the loopback interface.
    pub hosts: Vec<String>,
    pub validity: Validity,
}

#[derive(Debug, thiserror::Error)]
pub enum CertificatesError {
    #[error("`{host}` can't stand in a certificate: expected a DNS name or an IP address")]
    InvalidHost { host: String },
    #[error("`{name}` can't stand in a certificate: expected ASCII without spaces and slashes")]
    InvalidName { name: String },
    #[error("the certificate can't be made")]
    Generate(#[from] rcgen::Error),
    #[error("{} exists: remove it, or name another directory", path.display())]
    Exists { path: PathBuf },
    #[error("{} can't be written", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// Writes an authority and certificates for nodes, an admin and an engine into `directory`, which
/// is made if it is missing. Keys are readable by their owner only.
///
/// Each holder `x` gets `x.pem` and `x-key.pem`; the authority's files are `ca.pem`, `ca-key.pem`.
///
/// # Errors
/// If a file exists already, or anything can't be made or written.
pub fn write_development_certificates(
    directory: &Path,
    what: &DevelopmentCertificates,
) -> Result<(), CertificatesError> {
    let write_error = |source| CertificatesError::Write { path: directory.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(write_error)?;
    if let Some(path) = what.first_that_exists(directory) {
        return Err(CertificatesError::Exists { path });
    }
    let authority = Authority::create("Leasehold development authority", what.validity)?;
    let clients = [("admin", Role::Admin), ("engine", Role::Engine)];
    let mut issued = Vec::new();
    for (node, name) in &what.nodes {
        issued.push((name.as_str(), authority.issue(&what.node(*node, name))?));
    }
    for (name, role) in clients {
        let (identity, validity) = (Identity::new(role, name), what.validity);
        issued.push((name, authority.issue(&Subject { identity, hosts: vec![], validity })?));
    }
    write_new(&directory.join("ca-key.pem"), &authority.key_pem(), KEY_MODE)?;
    write_new(&directory.join("ca.pem"), &authority.pem(), CERTIFICATE_MODE)?;
    issued.iter().try_for_each(|(name, issued)| issued.write(directory, name).map(drop))
}

impl DevelopmentCertificates {
    /// Looked for beforehand, so that a refusal leaves nothing behind.
    fn first_that_exists(&self, directory: &Path) -> Option<PathBuf> {
        let nodes = self.nodes.iter().map(|(_, name)| name.as_str());
        let names = ["ca", "admin", "engine"].into_iter().chain(nodes);
        let files = names.flat_map(|name| [format!("{name}.pem"), format!("{name}-key.pem")]);
        files.map(|file| directory.join(file)).find(|path| path.exists())
    }

    fn node(&self, node: NodeId, name: &str) -> Subject {
        let loopback = LOOPBACK_HOSTS.map(str::to_owned);
        let hosts = loopback.into_iter().chain(self.hosts.iter().cloned()).collect();
        Subject { identity: Identity::of_node(node, name), hosts, validity: self.validity }
    }
}

impl Validity {
    /// From an hour ago, so that a clock that is a little behind accepts it, for `days` days.
    #[must_use]
    pub fn days(days: u32) -> Self {
        let from = SystemTime::now() - Duration::from_secs(3_600);
        Self { from, until: SystemTime::now() + Duration::from_secs(u64::from(days) * 86_400) }
    }
}

impl Authority {
    /// Makes an authority with a new key.
    ///
    /// # Errors
    /// If the system gives no randomness.
    pub fn create(name: &str, validity: Validity) -> Result<Self, CertificatesError> {
        let mut params = params(name, validity);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate()?)? })
    }

    /// Issues a certificate with a new key.
    ///
    /// # Errors
    /// If a name or a host can't stand in a certificate.
    pub fn issue(&self, subject: &Subject) -> Result<Issued, CertificatesError> {
        let name = subject.identity.name.as_deref().unwrap_or("nameless");
        if name.is_empty() || name.contains(|c: char| !c.is_ascii_graphic() || c == '/') {
            return Err(CertificatesError::InvalidName { name: name.to_owned() });
        }
        let mut params = params(name, subject.validity);
        for uri in subject.identity.uris() {
            params.subject_alt_names.push(SanType::URI(Ia5String::try_from(uri)?));
        }
        for host in &subject.hosts {
            params.subject_alt_names.push(host_name(host)?);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if !subject.hosts.is_empty() {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Issued { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    #[must_use]
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }
}

impl Issued {
    /// Writes `<name>.pem` and `<name>-key.pem`; the authority's file is taken to be `ca.pem`.
    ///
    /// # Errors
    /// If a file exists already or can't be written.
    pub fn write(&self, directory: &Path, name: &str) -> Result<TlsFiles, CertificatesError> {
        let files = TlsFiles {
            ca: directory.join("ca.pem"),
            certificate: directory.join(format!("{name}.pem")),
            key: directory.join(format!("{name}-key.pem")),
        };
        write_new(&files.key, &self.key, KEY_MODE)?;
        write_new(&files.certificate, &self.certificate, CERTIFICATE_MODE)?;
        Ok(files)
    }
}

const LOOPBACK_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
const KEY_MODE: u32 = 0o600;
const CERTIFICATE_MODE: u32 = 0o644;

fn params(name: &str, validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let unix_epoch = rcgen::date_time_ymd(1970, 1, 1);
    let since_epoch =
        |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    params.not_before = unix_epoch + since_epoch(validity.from);
    params.not_after = unix_epoch + since_epoch(validity.until);
    params
}

fn host_name(host: &str) -> Result<SanType, CertificatesError> {
    if let Ok(address) = host.parse() {
        return Ok(SanType::IpAddress(address));
    }
    let is_dns_name = !host.is_empty()
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._*".contains(&byte));
    let invalid = || CertificatesError::InvalidHost { host: host.to_owned() };
    if !is_dns_name {
        return Err(invalid());
    }
    Ia5String::try_from(host).map(SanType::DnsName).map_err(|_| invalid())
}

fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), CertificatesError> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    opened.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|source| {
        let path = path.to_owned();
        if source.kind() == io::ErrorKind::AlreadyExists {
            return CertificatesError::Exists { path };
        }
        CertificatesError::Write { path, source }
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn development() -> DevelopmentCertificates {
        DevelopmentCertificates {
            nodes: vec![(NodeId(1), "east-1".to_owned())],
            hosts: vec!["license.example.com".to_owned()],
            validity: Validity::days(7),
        }
    }

    #[test]
    fn keys_are_for_their_owner_only_and_nothing_is_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        write_development_certificates(directory.path(), &development()).unwrap();
        for name in ["ca-key.pem", "east-1-key.pem", "admin-key.pem", "engine-key.pem"] {
            let mode = directory.path().join(name).metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        let again = write_development_certificates(directory.path(), &development());
        assert!(matches!(again, Err(CertificatesError::Exists { .. })), "{again:?}");

        let other = tempfile::tempdir().unwrap();
        std::fs::write(other.path().join("engine.pem"), "mine").unwrap();
        let refused = write_development_certificates(other.path(), &development());
        assert!(matches!(refused, Err(CertificatesError::Exists { .. })), "{refused:?}");
        assert_eq!(other.path().read_dir().unwrap().count(), 1, "something was left behind");
    }

    #[test]
    fn names_that_would_not_be_read_back_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["", "a/b", "a b", "ä"] {
            let nodes = vec![(NodeId(1), name.to_owned())];
            let what = DevelopmentCertificates { nodes, ..development() };
            let refused = write_development_certificates(directory.path(), &what);
            assert!(matches!(refused, Err(CertificatesError::InvalidName { .. })), "{name}");
        }
        let what = DevelopmentCertificates { hosts: vec!["a host".to_owned()], ..development() };
        let refused = write_development_certificates(directory.path(), &what);
        assert!(matches!(refused, Err(CertificatesError::InvalidHost { .. })), "{refused:?}");
        assert_eq!(directory.path().read_dir().unwrap().count(), 0, "nothing was left behind");
    }
}
