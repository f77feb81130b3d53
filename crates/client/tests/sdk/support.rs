//! A license-server node that says what a test tells it to, on a free port of this machine.

use std::sync::{Arc, Mutex};

use leasehold_client::{Client, ClientConfig, Deadlines, Endpoint, Observer, Security, Use};
use leasehold_clock::Clock;
use leasehold_proto::v1::licensing_server::{Licensing, LicensingServer};
use leasehold_proto::v1::*;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// What the node answers, and what it was asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    pub(crate) is_down: bool,
    pub(crate) hangs_on_renew: bool,
    pub(crate) denies: Option<Reason>,
    pub(crate) valid_for_ms: u64,
    pub(crate) granted: u64,
    pub(crate) checkouts: Vec<CheckoutItem>,
    pub(crate) renewals: Vec<Vec<RenewItem>>,
    pub(crate) checkins: Vec<CheckinItem>,
}

#[derive(Clone)]
pub(crate) struct FakeNode {
    pub(crate) address: String,
    name: &'static str,
    script: Arc<watch::Sender<Script>>,
}

impl FakeNode {
    pub(crate) async fn start(name: &'static str, valid_for_ms: u64) -> Self {
        Self::start_behind(Server::builder(), name, valid_for_ms).await
    }

    pub(crate) async fn start_behind(
        mut server: Server,
        name: &'static str,
        valid_for_ms: u64,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let script = Script { valid_for_ms, ..Script::default() };
        let node = Self { address, name, script: Arc::new(watch::Sender::new(script)) };
        let service = LicensingServer::new(node.clone());
        let server = server.add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        node
    }

    pub(crate) fn set(&self, change: impl FnOnce(&mut Script)) {
        self.script.send_modify(change);
    }

    pub(crate) fn script(&self) -> Script {
        self.script.borrow().clone()
    }

    pub(crate) async fn until(&self, is_met: impl FnMut(&Script) -> bool) -> Script {
        self.script.subscribe().wait_for(is_met).await.unwrap().clone()
    }

    fn check(&self) -> Result<Script, Status> {
        let script = self.script();
        if script.is_down { Err(Status::unavailable("down by script")) } else { Ok(script) }
    }

    fn denied(reason: Reason) -> Denied {
        Denied {
            reason: reason.into(),
            retry_after_ms: 250,
            feature: "asr.tier1".to_owned(),
            units_in_use: 10,
            units_entitled: 10,
        }
    }
}

#[tonic::async_trait]
impl Licensing for FakeNode {
    async fn checkout(
        &self,
        request: Request<CheckoutRequest>,
    ) -> Result<Response<CheckoutResponse>, Status> {
        let script = self.check()?;
        let answer = |_: &CheckoutItem| {
            let answer = match script.denies {
                Some(reason) => checkout_answer::Answer::Denied(Self::denied(reason)),
                None => checkout_answer::Answer::Granted(Granted {
                    receipt: format!("{}-{}", self.name, script.granted).into(),
                    valid_for_ms: script.valid_for_ms,
                }),
            };
            CheckoutAnswer { answer: Some(answer) }
        };
        let items = request.into_inner().items;
        let answers = items.iter().map(answer).collect();
        self.set(|script| {
            script.granted += 1;
            script.checkouts.extend(items);
        });
        Ok(Response::new(CheckoutResponse { answers }))
    }

    async fn renew(
        &self,
        request: Request<RenewRequest>,
    ) -> Result<Response<RenewResponse>, Status> {
        let script = self.check()?;
        let items = request.into_inner().items;
        let answer = |item: &RenewItem| {
            let is_own = item.receipt.starts_with(self.name.as_bytes());
            let receipt =
                if is_own { String::new() } else { format!("{}-{:?}", self.name, item.receipt) };
            let valid_for_ms = script.valid_for_ms;
            let renewed = Renewed { receipt: receipt.into(), valid_for_ms };
            RenewAnswer { answer: Some(renew_answer::Answer::Renewed(renewed)) }
        };
        let answers = items.iter().map(answer).collect();
        self.set(|script| script.renewals.push(items));
        if script.hangs_on_renew {
            std::future::pending::<()>().await;
        }
        Ok(Response::new(RenewResponse { answers }))
    }

    async fn checkin(
        &self,
        request: Request<CheckinRequest>,
    ) -> Result<Response<CheckinResponse>, Status> {
        self.check()?;
        let items = request.into_inner().items;
        let accepted =
            CheckinAnswer { answer: Some(checkin_answer::Answer::Accepted(Accepted {})) };
        let answers = vec![accepted; items.len()];
        self.set(|script| script.checkins.extend(items));
        Ok(Response::new(CheckinResponse { answers }))
    }
}

#[derive(Clone, Default)]
pub(crate) struct Recorder(Arc<Mutex<Vec<Use>>>);

impl Observer for Recorder {
    fn on_use(&self, event: &Use) {
        self.0.lock().unwrap().push(event.clone());
    }
}

impl Recorder {
    pub(crate) fn events(&self) -> Vec<Use> {
        self.0.lock().unwrap().clone()
    }
}

pub(crate) fn config(nodes: &[&FakeNode]) -> ClientConfig {
    let endpoint = |(index, node): (usize, &&FakeNode)| Endpoint {
        address: node.address.clone(),
        site: if index == 0 { "east" } else { "west" }.to_owned(),
    };
    ClientConfig {
        endpoints: nodes.iter().enumerate().map(endpoint).collect(),
        site: "east".to_owned(),
        security: Security::Plain,
        deadlines: Deadlines { connect_ms: 1_000, call_ms: 1_000, checkout_ms: 2_000 },
    }
}

pub(crate) fn client(nodes: &[&FakeNode]) -> (Client, Recorder) {
    let recorder = Recorder::default();
    let observer = Arc::new(recorder.clone());
    let client = Client::connect_with(&config(nodes), Clock::default(), Some(observer)).unwrap();
    (client, recorder)
}
