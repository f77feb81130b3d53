//! A service that answers the engine's calls with ready-made messages, and does nothing else.

use leasehold_client::Endpoint;
use leasehold_node::servers::builder;
use leasehold_node::tls::{Limits, Listener, ListenerKind};
use leasehold_proto::v1;
use leasehold_proto::v1::licensing_server::{Licensing, LicensingServer};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::node::EmbeddedNode;
use super::{FEATURE, connections, load};

/// A server beside a node, with the node's certificates and settings.
pub(super) struct Echo {
    endpoint: Endpoint,
    stop: CancellationToken,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
}

/// What it says to every item.
#[derive(Clone)]
struct EchoService {
    granted: v1::CheckoutAnswer,
}

impl Echo {
    /// Its grant is one that `node` has made: the same bytes go over the wire.
    pub(super) async fn start(node: &EmbeddedNode) -> anyhow::Result<Self> {
        let lending = connections(&node.endpoint(), &node.security(), 1)?;
        let granted = load::granted_once(&lending[0], FEATURE).await?;
        let address = "127.0.0.1:0".parse()?;
        let transport = node.engines_transport()?;
        let listener =
            Listener::bind(ListenerKind::Engines, address, transport, Limits::default())?;
        let endpoint =
            Endpoint { address: listener.address().to_string(), site: node.endpoint().site };
        let stop = CancellationToken::new();
        let served = builder()
            .add_service(LicensingServer::new(EchoService { granted }))
            .serve_with_incoming_shutdown(listener.incoming(), stop.clone().cancelled_owned());
        Ok(Self { endpoint, stop, server: tokio::spawn(served) })
    }

    pub(super) fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    pub(super) async fn stop(self) {
        self.stop.cancel();
        // What it might say at the end is of no interest: everything was measured.
        let _ = self.server.await;
    }
}

#[tonic::async_trait]
impl Licensing for EchoService {
    async fn checkout(
        &self,
        request: Request<v1::CheckoutRequest>,
    ) -> Result<Response<v1::CheckoutResponse>, Status> {
        let answers = vec![self.granted.clone(); request.into_inner().items.len()];
        Ok(Response::new(v1::CheckoutResponse { answers }))
    }

    async fn renew(
        &self,
        _request: Request<v1::RenewRequest>,
    ) -> Result<Response<v1::RenewResponse>, Status> {
        Err(Status::unimplemented("the benchmark renews nothing"))
    }

    async fn checkin(
        &self,
        request: Request<v1::CheckinRequest>,
    ) -> Result<Response<v1::CheckinResponse>, Status> {
        let accepted = v1::checkin_answer::Answer::Accepted(v1::Accepted {});
        let answer = v1::CheckinAnswer { answer: Some(accepted) };
        let answers = vec![answer; request.into_inner().items.len()];
        Ok(Response::new(v1::CheckinResponse { answers }))
    }
}
