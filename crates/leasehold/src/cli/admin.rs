//! The connection to a node's operator API, and what its failures mean to a person.

use std::error::Error;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use leasehold_node::tls::{ConnectError, Connector, TlsFiles};
use leasehold_proto::v1::admin_client::AdminClient;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status};

use super::Failure;

/// Where and how to reach a node.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Connection")]
pub(super) struct AdminOptions {
    /// Where a node serves operators.
    #[arg(long, env = "LEASEHOLD_ADMIN", value_name = "HOST:PORT", default_value = DEFAULT)]
    admin: String,
    /// The authority that the node's certificate comes from (PEM).
    #[arg(long, env = "LEASEHOLD_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Your certificate with the role `admin` (PEM).
    #[arg(long, env = "LEASEHOLD_CERT", value_name = "FILE")]
    cert: Option<PathBuf>,
    /// Its key (PEM).
    #[arg(long, env = "LEASEHOLD_KEY", value_name = "FILE")]
    key: Option<PathBuf>,
    /// Without encryption; only to a node on this machine that is set up that way.
    #[arg(long, env = "LEASEHOLD_PLAIN_TEXT")]
    plain_text: bool,
}

const DEFAULT: &str = "127.0.0.1:7401";

/// A node's operator API.
#[derive(Clone, Debug)]
pub struct AdminTarget {
    address: String,
    client: AdminClient<Channel>,
}

/// A read is answered from memory; a change takes a commit, at worst an election.
const CALL_DEADLINE: Duration = Duration::from_secs(10);
/// Opening a connection, within the machine room or across data centers.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// Founding waits for an election, which a node grants itself up to 15 s for.
pub(super) const FOUND_DEADLINE: Duration = Duration::from_secs(20);

impl AdminOptions {
    pub(super) fn target(&self) -> Result<AdminTarget, Failure> {
        if self.plain_text {
            return AdminTarget::new(&self.admin, Connector::PlainText);
        }
        let (Some(ca), Some(certificate), Some(key)) = (&self.ca, &self.cert, &self.key) else {
            return Err(Failure::usage(
                "give --ca, --cert and --key (or LEASEHOLD_CA, LEASEHOLD_CERT and LEASEHOLD_KEY); \
                 for a node on this machine without certificates give --plain-text",
            ));
        };
        let (ca, certificate, key) = (ca.clone(), certificate.clone(), key.clone());
        AdminTarget::with_certificates(&self.admin, TlsFiles { ca, certificate, key })
    }
}

impl AdminTarget {
    /// # Errors
    /// If the files can't be used or the address is none.
    pub fn with_certificates(address: &str, files: TlsFiles) -> Result<Self, Failure> {
        let connector = Connector::tls("admin client", files).map_err(anyhow::Error::from)?;
        Self::new(address, connector)
    }

    fn new(address: &str, connector: Connector) -> Result<Self, Failure> {
        check_address("admin", address)?;
        // To tonic the connector hides whether the bytes below it are encrypted.
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .with_context(|| format!("--admin {address} is no address"))?
            .connect_timeout(CONNECT_DEADLINE);
        let channel = endpoint.connect_with_connector_lazy(connector);
        Ok(Self { address: address.to_owned(), client: AdminClient::new(channel) })
    }

    /// A client for one call; clones share the connection.
    #[must_use]
    pub fn client(&self) -> AdminClient<Channel> {
        self.client.clone()
    }

    /// Waits for the answer of a call made with [`AdminTarget::client`].
    ///
    /// # Errors
    /// In words for a person, with the exit code that fits.
    pub async fn answer<Answer>(
        &self,
        call: impl Future<Output = Result<Response<Answer>, Status>>,
    ) -> Result<Answer, Failure> {
        self.answer_within(CALL_DEADLINE, call).await
    }

    /// As [`AdminTarget::answer`], with a deadline of its own.
    ///
    /// # Errors
    /// As [`AdminTarget::answer`].
    pub async fn answer_within<Answer>(
        &self,
        deadline: Duration,
        call: impl Future<Output = Result<Response<Answer>, Status>>,
    ) -> Result<Answer, Failure> {
        match tokio::time::timeout(deadline, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(self.failure(&status)),
            Err(_) => {
                let (address, seconds) = (&self.address, deadline.as_secs());
                Err(Failure::unreachable(format!("{address} gave no answer in {seconds} s")))
            }
        }
    }

    pub(super) fn failure(&self, status: &Status) -> Failure {
        let address = &self.address;
        let mut causes = std::iter::successors(status.source(), |cause| (*cause).source());
        if let Some(error) = causes.find_map(|cause| cause.downcast_ref::<ConnectError>()) {
            let source = error.source().map(|source| format!(": {source}")).unwrap_or_default();
            return Failure::unreachable(format!("{error}{source}"));
        }
        let last = std::iter::successors(status.source(), |cause| (*cause).source()).last();
        match (status.code(), last) {
            (Code::Unimplemented, _) => Failure::failed(format!(
                "{address} does not know this request: is it the node's admin port, and its \
                 software as new as this program?"
            )),
            // The connection broke: a server refuses a certificate after the client's handshake.
            (_, Some(cause)) => Failure::unreachable(format!(
                "{address} closed the connection: check that this is the admin port, that it is \
                 protected as you say, and that the certificate has the role `admin`: {cause}"
            )),
            (Code::Unavailable | Code::DeadlineExceeded, None) => {
                Failure::unreachable(format!("{address}: {}", status.message()))
            }
            (_, None) => Failure::failed(status.message()),
        }
    }
}

/// Refuses what can't be an address before a connection is tried.
pub(super) fn check_address(option: &str, address: &str) -> Result<(), Failure> {
    let is_good = address.rsplit_once(':').is_some_and(|(host, port)| {
        let host_is_good = !host.is_empty() && !host.contains(['/', '@', ' ', '?', '#']);
        host_is_good && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    if is_good {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "--{option} `{address}` is no address: expected HOST:PORT, such as {DEFAULT}"
    )))
}
