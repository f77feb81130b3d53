//! Where a node listens, and how that is protected.

use std::net::SocketAddr;
use std::path::Path;

use serde::Deserialize;

use super::InvalidConfig;
use crate::tls::{Limits, ListenerKind, ServerTls, TlsError, TlsFiles, Transport};

/// One listener. Exactly one of `tls` and `plain_text` must be given: see [`Security`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerConfig {
    /// An IP address of this machine, or `0.0.0.0` or `[::]` for all of them, and a port.
    #[serde(deserialize_with = "address")]
    pub listen: SocketAddr,
    tls: Option<TlsConfig>,
    plain_text: Option<PlainTextWords>,
    /// Open connections; more are refused.
    connections_max: Option<usize>,
}

/// Certificates of one listener. The files are followed: a renewed certificate needs no restart.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The authorities that clients' certificates, and this node's, must come from (PEM).
    ca: std::path::PathBuf,
    /// This node's certificate, then those between it and the authority (PEM).
    certificate: std::path::PathBuf,
    /// The certificate's key (PEM); readable by the node's user only.
    key: std::path::PathBuf,
    /// Engines and HTTP clients may stay anonymous unless this is true. Admins and peers may not.
    require_client_certificate: Option<bool>,
}

/// How a listener is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security<'a> {
    PlainTextOnLoopback,
    Tls(&'a TlsConfig),
}

/// The only value of `plain_text`: whoever turns encryption off has read what that means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum PlainTextWords {
    #[serde(rename = "on loopback only")]
    OnLoopbackOnly,
}

impl ListenerConfig {
    /// What [`ListenerConfig::listen`] is protected by; `None` is refused by `validate`.
    #[must_use]
    pub fn security(&self) -> Option<Security<'_>> {
        match (&self.tls, self.plain_text) {
            (Some(tls), None) => Some(Security::Tls(tls)),
            (None, Some(PlainTextWords::OnLoopbackOnly)) => Some(Security::PlainTextOnLoopback),
            (None, None) | (Some(_), Some(_)) => None,
        }
    }

    /// The limits of the listener.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let limits = Limits::default();
        let connections_max = self.connections_max.unwrap_or(limits.connections_max);
        Limits { connections_max, ..limits }
    }

    /// Reads the certificates.
    ///
    /// # Errors
    /// If a file can't be used now.
    pub fn transport(&self, kind: ListenerKind) -> Result<Transport, TlsError> {
        let Some(tls) = &self.tls else {
            return Ok(Transport::PlainText);
        };
        let wants_certificate = tls.require_client_certificate.unwrap_or(false);
        ServerTls::open(kind, tls.files(), wants_certificate).map(Transport::Tls)
    }

    pub(super) fn validate(&self, kind: ListenerKind) -> Result<(), InvalidConfig> {
        let listener = kind.as_str();
        match (&self.tls, self.plain_text) {
            (None, None) => return Err(InvalidConfig::NotProtected { listener }),
            (Some(_), Some(_)) => return Err(InvalidConfig::PlainTextAndTls { listener }),
            (None, Some(PlainTextWords::OnLoopbackOnly)) => {
                let listen = self.listen;
                if !listen.ip().is_loopback() {
                    return Err(InvalidConfig::PlainTextBeyondLoopback { listener, listen });
                }
            }
            (Some(tls), None) => {
                let is_optional = tls.require_client_certificate == Some(false);
                if is_optional && kind.always_wants_certificate() {
                    return Err(InvalidConfig::CertificateNotOptional { listener });
                }
            }
        }
        match self.connections_max {
            Some(value) if !(1..=CONNECTIONS_MOST).contains(&value) => {
                Err(InvalidConfig::ConnectionsMax { listener, value })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Whether both can't be bound. Port 0 means any free port.
    pub(super) fn clashes_with(&self, other: &Self) -> bool {
        self.listen == other.listen && self.listen.port() != 0
    }

    pub(super) fn resolve(&mut self, directory: &Path) {
        if let Some(tls) = &mut self.tls {
            for file in [&mut tls.ca, &mut tls.certificate, &mut tls.key] {
                *file = directory.join(&file);
            }
        }
    }
}

impl TlsConfig {
    #[must_use]
    pub fn files(&self) -> TlsFiles {
        TlsFiles {
            ca: self.ca.clone(),
            certificate: self.certificate.clone(),
            key: self.key.clone(),
        }
    }
}

/// Linux gives a process no more open files than about a million, unless told to.
const CONNECTIONS_MOST: usize = 1_000_000;

fn address<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| {
        serde::de::Error::custom(format!(
            "`{text}` is not an address to listen on: expected IP:PORT, such as 127.0.0.1:7400, \
             0.0.0.0:7400 or [::]:7400"
        ))
    })
}
