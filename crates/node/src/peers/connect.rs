//! Channels to other nodes: through the node's one connector, with mutual TLS where it has it.

use std::sync::Arc;
use std::time::Duration;

use leasehold_consensus::Connect;
use tonic::transport::{Channel, Endpoint, Error};

use crate::tls::Connector;

/// Above any round trip between sites, with a handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A connection that a partition has cut is noticed, and made anew.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// How consensus reaches its peers.
#[must_use]
pub fn connect(connector: Connector) -> Connect {
    Arc::new(move |_, peer| channel(&peer.address, &connector))
}

/// An endpoint for `address`, host:port. Whether bytes are encrypted is the connector's business.
///
/// # Errors
/// The address is malformed.
pub fn endpoint(address: &str) -> Result<Endpoint, Error> {
    Ok(Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true))
}

/// A channel that connects when it is first used, and again whenever it has to.
pub(super) fn channel(address: &str, connector: &Connector) -> Result<Channel, Error> {
    Ok(endpoint(address)?.connect_with_connector_lazy(connector.clone()))
}
