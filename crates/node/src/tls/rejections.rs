//! Refused connections: each is counted, and the log hears of each address once in a while.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustls::{CertificateError, Error};
use tokio::time::Instant;

use super::ListenerKind;

/// Why a connection was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rejection {
    TooManyConnections,
    HandshakeTimedOut,
    /// It ended before the handshake did: a port scan, a load balancer's check, a broken network.
    Disconnected,
    /// Plain text or garbage at a TLS port.
    NotTls,
    NoCertificate,
    ExpiredCertificate,
    WrongAuthority,
    WrongRole(String),
    BadCertificate(String),
    /// The client does not trust this node's certificate, most likely.
    RefusedByClient(String),
    Failed(String),
}

/// An address is logged again after this time, with the number of rejections in between.
const LOG_WINDOW: Duration = Duration::from_secs(60);
/// Addresses remembered for that; more at once is an attack, of which the counter tells.
const ADDRESSES_MAX: usize = 1_024;

#[derive(Debug)]
pub(super) struct Rejections {
    kind: ListenerKind,
    logged: Mutex<HashMap<IpAddr, Logged>>,
}

#[derive(Debug)]
struct Logged {
    at: Instant,
    unsaid: u32,
}

impl Rejections {
    pub(super) fn new(kind: ListenerKind) -> Self {
        Self { kind, logged: Mutex::default() }
    }

    pub(super) fn record(&self, peer: SocketAddr, rejection: &Rejection) {
        let (listener, reason) = (self.kind.as_str(), rejection.label());
        let labels = [("listener", listener), ("reason", reason)];
        metrics::counter!("leasehold_tls_rejected_total", &labels).increment(1);
        if *rejection == Rejection::Disconnected {
            tracing::debug!(listener, %peer, "{rejection}");
            return;
        }
        if let Some(unsaid) = self.may_log(peer.ip()) {
            tracing::warn!(listener, %peer, reason, unsaid, "connection refused: {rejection}");
        }
    }

    /// The number of rejections that went unsaid since the last that was logged, or `None` if
    /// this one is to go unsaid too.
    fn may_log(&self, address: IpAddr) -> Option<u32> {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some(last) = logged.get_mut(&address) {
            if now - last.at < LOG_WINDOW {
                last.unsaid += 1;
                return None;
            }
            let unsaid = last.unsaid;
            *last = Logged { at: now, unsaid: 0 };
            return Some(unsaid);
        }
        if logged.len() >= ADDRESSES_MAX {
            logged.retain(|_, last| now - last.at < LOG_WINDOW);
        }
        if logged.len() >= ADDRESSES_MAX {
            return None;
        }
        logged.insert(address, Logged { at: now, unsaid: 0 });
        Some(0)
    }
}

impl Rejection {
    /// What a failed handshake means; `role_refusal` is what the verifier said of the role.
    pub(super) fn of(error: &io::Error, role_refusal: Option<String>) -> Self {
        let source = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        let Some(error) = source else {
            return Self::Disconnected;
        };
        if let Some(refusal) = role_refusal {
            return Self::WrongRole(refusal);
        }
        #[allow(clippy::wildcard_enum_match_arm, reason = "the enums are open")]
        match error {
            Error::NoCertificatesPresented => Self::NoCertificate,
            Error::InvalidMessage(_) => Self::NotTls,
            Error::AlertReceived(_) => Self::RefusedByClient(error.to_string()),
            Error::InvalidCertificate(invalid) => match invalid {
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. } => Self::ExpiredCertificate,
                CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                    Self::WrongAuthority
                }
                _ => Self::BadCertificate(error.to_string()),
            },
            _ => Self::Failed(error.to_string()),
        }
    }

    fn label(&self) -> &'static str {
        match self {
            Self::TooManyConnections => "too_many_connections",
            Self::HandshakeTimedOut => "handshake_timed_out",
            Self::Disconnected => "disconnected",
            Self::NotTls => "not_tls",
            Self::NoCertificate => "no_certificate",
            Self::ExpiredCertificate => "expired_certificate",
            Self::WrongAuthority => "wrong_authority",
            Self::WrongRole(_) => "wrong_role",
            Self::BadCertificate(_) => "bad_certificate",
            Self::RefusedByClient(_) => "refused_by_client",
            Self::Failed(_) => "handshake_failed",
        }
    }
}

impl std::fmt::Display for Rejection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooManyConnections => f.write_str("too many connections are open"),
            Self::HandshakeTimedOut => f.write_str("the TLS handshake took too long"),
            Self::Disconnected => f.write_str("it ended before the TLS handshake did"),
            Self::NotTls => f.write_str("this is no TLS: plain text or garbage"),
            Self::NoCertificate => f.write_str("the client showed no certificate"),
            Self::ExpiredCertificate => f.write_str("the client's certificate is out of date"),
            Self::WrongAuthority => f.write_str("the client's certificate is of another authority"),
            Self::WrongRole(refusal) => write!(f, "the client has the wrong role: {refusal}"),
            Self::BadCertificate(error) => write!(f, "the client's certificate is bad: {error}"),
            Self::RefusedByClient(error) => {
                write!(f, "the client does not accept this node's certificate: {error}")
            }
            Self::Failed(error) => write!(f, "the TLS handshake failed: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_address_is_logged_once_in_a_window_and_the_rest_is_counted() {
        let rejections = Rejections::new(ListenerKind::Admin);
        let address = IpAddr::from([192, 0, 2, 1]);
        assert_eq!(rejections.may_log(address), Some(0));
        assert_eq!(rejections.may_log(address), None);
        assert_eq!(rejections.may_log(address), None);
        assert_eq!(rejections.may_log(IpAddr::from([192, 0, 2, 2])), Some(0));
        tokio::time::advance(LOG_WINDOW).await;
        assert_eq!(rejections.may_log(address), Some(2));
    }

    #[tokio::test(start_paused = true)]
    async fn the_addresses_remembered_are_bounded() {
        let rejections = Rejections::new(ListenerKind::Admin);
        for number in 0..2 * u32::try_from(ADDRESSES_MAX).unwrap() {
            let _ = rejections.may_log(IpAddr::from(number.to_be_bytes()));
        }
        assert_eq!(rejections.logged.lock().unwrap().len(), ADDRESSES_MAX);
        tokio::time::advance(LOG_WINDOW).await;
        assert_eq!(rejections.may_log(IpAddr::from([192, 0, 2, 1])), Some(0));
        assert_eq!(rejections.logged.lock().unwrap().len(), 1);
    }
}
