//! The connection to one node, and the API's three calls as they are: for tools that check out,
//! renew and check in by hand.

use std::error::Error;
use std::future::Future;
use std::path::Path;
use std::time::Duration;

use leasehold_proto::v1;
use leasehold_proto::v1::licensing_client::LicensingClient;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};
use tonic::{Code, Request, Response, Status};

use crate::config::{ClientConfig, Deadlines, Endpoint, InvalidConfig, Security, TlsFiles};

/// A call that brought no answers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{address}: {detail}")]
pub struct CallError {
    /// The node.
    pub address: String,
    /// The gRPC status; the API's description says which to retry.
    pub code: Code,
    /// The connection could not be opened: nothing was sent.
    pub was_not_sent: bool,
    pub detail: String,
}

/// Speaks to one node. Opens the connection with the first call, and again when it was lost.
#[derive(Clone, Debug)]
pub struct Connection {
    address: String,
    call_ms: u64,
    client: LicensingClient<Channel>,
    stamp: Stamp,
}

/// What every request says about its sender.
#[derive(Clone, Debug)]
struct Stamp {
    engine_instance: Vec<u8>,
    sdk_version: String,
}

/// A connection that is idle is tried this often, so that a dead one is known before it is needed.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// A second without an answer to that is a dead connection.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(1);

impl Connection {
    /// Prepares connections to all nodes, in their order. Nothing is sent yet.
    ///
    /// # Errors
    /// If a setting is wrong or a TLS file cannot be used.
    pub fn to_all(config: &ClientConfig) -> Result<Vec<Self>, InvalidConfig> {
        config.validate()?;
        let tls = match &config.security {
            Security::Plain => None,
            Security::Tls(files) => Some(tls_config(files)?),
        };
        let stamp = Stamp {
            engine_instance: random::<16>()?.to_vec(),
            sdk_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let connect = |endpoint| Self::to(endpoint, tls.as_ref(), &config.deadlines, &stamp);
        config.endpoints.iter().map(connect).collect()
    }

    fn to(
        endpoint: &Endpoint,
        tls: Option<&ClientTlsConfig>,
        deadlines: &Deadlines,
        stamp: &Stamp,
    ) -> Result<Self, InvalidConfig> {
        let address = endpoint.address.clone();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let mut transport = Channel::from_shared(format!("{scheme}://{address}"))
            .map_err(|_| InvalidConfig::Address { address: address.clone() })?
            .connect_timeout(Duration::from_millis(deadlines.connect_ms))
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true);
        if let Some(tls) = tls {
            transport = transport.tls_config(tls.clone()).map_err(InvalidConfig::Tls)?;
        }
        let client = LicensingClient::new(transport.connect_lazy());
        Ok(Self { address, call_ms: deadlines.call_ms, client, stamp: stamp.clone() })
    }

    /// `host:port` of the node.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Checks out; the call may take as long as the longest wait of its items, and `call_ms`.
    ///
    /// # Errors
    /// If the call failed; what happened to the items is then not known, unless `was_not_sent`.
    pub async fn checkout(
        &self,
        items: Vec<v1::CheckoutItem>,
    ) -> Result<Vec<v1::CheckoutAnswer>, CallError> {
        let wait_ms = items.iter().map(|item| item.wait_ms).max().unwrap_or(0);
        self.checkout_within(items, self.call_ms.saturating_add(wait_ms)).await
    }

    pub(crate) async fn checkout_within(
        &self,
        items: Vec<v1::CheckoutItem>,
        deadline_ms: u64,
    ) -> Result<Vec<v1::CheckoutAnswer>, CallError> {
        let Stamp { engine_instance, sdk_version } = self.stamp.clone();
        let engine_instance = engine_instance.into();
        let request = v1::CheckoutRequest { items, engine_instance, sdk_version };
        let mut client = self.client.clone();
        let call = client.checkout(with_deadline(request, deadline_ms));
        Ok(self.within(deadline_ms, call).await?.answers)
    }

    /// Renews, or reclaims at a node that does not know the checkouts.
    ///
    /// # Errors
    /// As [`Connection::checkout`]. The receipts stay good until their deadlines.
    pub async fn renew(
        &self,
        items: Vec<v1::RenewItem>,
    ) -> Result<Vec<v1::RenewAnswer>, CallError> {
        let Stamp { engine_instance, sdk_version } = self.stamp.clone();
        let engine_instance = engine_instance.into();
        let request = v1::RenewRequest { items, engine_instance, sdk_version };
        let mut client = self.client.clone();
        let call = client.renew(with_deadline(request, self.call_ms));
        Ok(self.within(self.call_ms, call).await?.answers)
    }

    /// Checks in.
    ///
    /// # Errors
    /// As [`Connection::checkout`]. It may be repeated.
    pub async fn checkin(
        &self,
        items: Vec<v1::CheckinItem>,
    ) -> Result<Vec<v1::CheckinAnswer>, CallError> {
        let Stamp { engine_instance, sdk_version } = self.stamp.clone();
        let engine_instance = engine_instance.into();
        let request = v1::CheckinRequest { items, engine_instance, sdk_version };
        let mut client = self.client.clone();
        let call = client.checkin(with_deadline(request, self.call_ms));
        Ok(self.within(self.call_ms, call).await?.answers)
    }

    /// The deadline is also kept here: a node that hangs does not keep it for us.
    async fn within<Answer>(
        &self,
        deadline_ms: u64,
        call: impl Future<Output = Result<Response<Answer>, Status>>,
    ) -> Result<Answer, CallError> {
        match tokio::time::timeout(Duration::from_millis(deadline_ms), call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(CallError {
                address: self.address.clone(),
                code: status.code(),
                was_not_sent: is_connect_error(&status),
                detail: describe(&status),
            }),
            Err(_) => Err(CallError {
                address: self.address.clone(),
                code: Code::DeadlineExceeded,
                was_not_sent: false,
                detail: format!("no answer in {deadline_ms} ms"),
            }),
        }
    }
}

/// A new name for a checkout request: 16 random bytes.
///
/// # Errors
/// If the operating system gives no random bytes.
pub fn new_request_id() -> Result<[u8; 16], InvalidConfig> {
    random()
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N], InvalidConfig> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| InvalidConfig::Random(error.to_string()))?;
    Ok(bytes)
}

fn with_deadline<Message>(message: Message, deadline_ms: u64) -> Request<Message> {
    let mut request = Request::new(message);
    request.set_timeout(Duration::from_millis(deadline_ms));
    request
}

fn tls_config(files: &TlsFiles) -> Result<ClientTlsConfig, InvalidConfig> {
    let mut tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(read("TLS authority", &files.ca)?));
    if let Some((certificate, key)) = &files.identity {
        let certificate = read("TLS certificate", certificate)?;
        tls = tls.identity(Identity::from_pem(certificate, read("TLS key", key)?));
    }
    if let Some(name) = &files.server_name {
        tls = tls.domain_name(name);
    }
    Ok(tls)
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, InvalidConfig> {
    let path = path.to_owned();
    std::fs::read(&path).map_err(|source| InvalidConfig::Read { what, path, source })
}

fn is_connect_error(status: &Status) -> bool {
    causes(status).any(|cause| cause.is::<tonic::ConnectError>())
}

/// The status, and the causes that its message leaves out: "transport error" alone helps nobody.
fn describe(status: &Status) -> String {
    let mut text = format!("{:?}: {}", status.code(), status.message());
    for cause in causes(status) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

fn causes(status: &Status) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(status.source(), |cause| (*cause).source())
}
