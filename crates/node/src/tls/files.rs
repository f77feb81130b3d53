//! Certificates, keys and authorities in files, and every way in which they can be wrong.

use std::io;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::VerifierBuilderError;
use serde::Deserialize;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Three PEM files. Whoever can write them can take the holder's place: keep them from others.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The authorities that the other side's certificates must come from, and this one's too.
    pub ca: PathBuf,
    /// The certificate, then those between it and the authority.
    pub certificate: PathBuf,
    /// The certificate's key.
    pub key: PathBuf,
}

/// Why certificates can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{} can't be read: check the path, and that this user may read it", file.display())]
    Unreadable { file: PathBuf, source: io::Error },
    #[error("{} holds no {expected} in PEM: expected a block `-----BEGIN …-----`", file.display())]
    NotPem { file: PathBuf, expected: &'static str },
    #[error("{} holds what is no certificate: write it anew", file.display())]
    NotACertificate { file: PathBuf },
    #[error(
        "{} is not the key of {}: use the pair that was issued together",
        key.display(), certificate.display()
    )]
    KeyMismatch { key: PathBuf, certificate: PathBuf },
    #[error("{} expired on {not_after}: renew it", file.display())]
    Expired { file: PathBuf, not_after: String },
    #[error("{} is valid from {not_before} only: check this machine's date", file.display())]
    NotYetValid { file: PathBuf, not_before: String },
    #[error(
        "{} was not issued by an authority in {}: use the one that issued it, or add that to the \
         file",
        certificate.display(), ca.display()
    )]
    WrongAuthority { certificate: PathBuf, ca: PathBuf },
    #[error(
        "{} may not be used as a {purpose} certificate: issue one whose extended key usage says so",
        file.display()
    )]
    WrongPurpose { file: PathBuf, purpose: &'static str },
    #[error("{} can't be used", file.display())]
    Refused { file: PathBuf, source: rustls::Error },
}

/// What the files held at one moment, to be compared with what they hold later.
#[derive(PartialEq, Eq)]
pub(super) struct Contents {
    ca: Vec<u8>,
    certificate: Vec<u8>,
    key: Vec<u8>,
}

/// The files' contents, parsed, matched and in date.
pub(super) struct Material {
    pub(super) files: TlsFiles,
    pub(super) roots: RootCertStore,
    /// Not empty.
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
    pub(super) not_after_unix_s: i64,
}

impl TlsFiles {
    pub(super) fn read(&self) -> Result<Contents, TlsError> {
        let read = |file: &Path| {
            std::fs::read(file)
                .map_err(|source| TlsError::Unreadable { file: file.to_owned(), source })
        };
        Ok(Contents {
            ca: read(&self.ca)?,
            certificate: read(&self.certificate)?,
            key: read(&self.key)?,
        })
    }
}

impl Material {
    pub(super) fn parse(files: &TlsFiles, contents: &Contents) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for authority in certificates(&files.ca, &contents.ca)? {
            let file = || files.ca.clone();
            roots.add(authority).map_err(|source| TlsError::Refused { file: file(), source })?;
        }
        let chain = certificates(&files.certificate, &contents.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&contents.key)
            .map_err(|_| TlsError::NotPem { file: files.key.clone(), expected: "private key" })?;
        let not_after_unix_s = check_dates(&files.certificate, &chain[0])?;
        Ok(Self { files: files.clone(), roots, chain, key, not_after_unix_s })
    }

    /// The certificate, and those between it and its authority.
    pub(super) fn own(&self) -> (&CertificateDer<'static>, &[CertificateDer<'static>]) {
        (&self.chain[0], &self.chain[1..])
    }

    pub(super) fn refuse_authority(&self, error: &VerifierBuilderError) -> TlsError {
        let source = rustls::Error::General(error.to_string());
        TlsError::Refused { file: self.files.ca.clone(), source }
    }

    /// What rustls says of the own certificate, in words that name the file.
    #[allow(clippy::wildcard_enum_match_arm, reason = "rustls's enums are open")]
    pub(super) fn explain(&self, purpose: &'static str, error: rustls::Error) -> TlsError {
        use rustls::{CertificateError, Error};
        let certificate = self.files.certificate.clone();
        match &error {
            // The latter: another authority of the same name.
            Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature,
            ) => TlsError::WrongAuthority { certificate, ca: self.files.ca.clone() },
            Error::InvalidCertificate(
                CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. },
            ) => TlsError::WrongPurpose { file: certificate, purpose },
            Error::InconsistentKeys(_) => {
                TlsError::KeyMismatch { key: self.files.key.clone(), certificate }
            }
            _ => TlsError::Refused { file: certificate, source: error },
        }
    }
}

/// At least one certificate, or an error.
fn certificates(file: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Vec<_> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().unwrap_or_default();
    if found.is_empty() {
        return Err(TlsError::NotPem { file: file.to_owned(), expected: "certificate" });
    }
    Ok(found)
}

fn check_dates(file: &Path, certificate: &CertificateDer<'_>) -> Result<i64, TlsError> {
    let file = file.to_owned();
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
        return Err(TlsError::NotACertificate { file });
    };
    let validity = parsed.validity();
    let now = x509_parser::time::ASN1Time::now();
    if now > validity.not_after {
        return Err(TlsError::Expired { file, not_after: validity.not_after.to_string() });
    }
    if now < validity.not_before {
        return Err(TlsError::NotYetValid { file, not_before: validity.not_before.to_string() });
    }
    Ok(validity.not_after.timestamp())
}
