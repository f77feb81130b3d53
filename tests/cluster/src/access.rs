//! Connections to a cluster, with the certificates that belong to them.

use std::time::{Duration, Instant};

use leasehold_client::{ClientConfig, Deadlines, Endpoint, Security, TlsFiles};
use leasehold_proto::v1;
use leasehold_proto::v1::admin_client::AdminClient;
use leasehold_proto::v1::licensing_client::LicensingClient;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint as Address, Identity};

use crate::cluster::{Cluster, PATIENCE};
use crate::wait::until;

/// Enough for T + TTL + 2 s of short timings, and for an election of any.
const DRAW_PATIENCE: Duration = Duration::from_secs(20);

impl Cluster {
    /// The operator's connection to node `id`, which may have just been started.
    ///
    /// # Panics
    /// If it does not come about.
    pub async fn admin(&mut self, id: u64) -> AdminClient<Channel> {
        let address = self.layout(id).ports.admin.to_string();
        let tls = self.tls("admin");
        AdminClient::new(connect(&address, Some(tls)).await)
    }

    /// As [`Cluster::admin`], connected with the first question.
    ///
    /// # Panics
    /// If the certificates can't be used.
    pub fn lazy_admin(&mut self, id: u64) -> AdminClient<Channel> {
        let address = self.layout(id).ports.admin;
        let endpoint = Address::from_shared(format!("https://{address}")).expect("an address");
        let endpoint = endpoint.tls_config(self.tls("admin")).expect("good certificates");
        AdminClient::new(endpoint.timeout(Duration::from_secs(5)).connect_lazy())
    }

    /// The plain API of node `id`, without the SDK.
    ///
    /// # Panics
    /// If no connection comes about.
    pub async fn licensing(&mut self, id: u64) -> LicensingClient<Channel> {
        let address = self.layout(id).ports.engines.to_string();
        let tls = (!self.shape.has_plain_engines).then(|| self.tls("engine"));
        LicensingClient::new(connect(&address, tls).await)
    }

    /// Has node `id` lend units of `feature`, gives them back, and tells how long it took to get
    /// them. If it has none at hand, it draws them from the leader.
    ///
    /// # Panics
    /// If it does not lend them soon.
    pub async fn draw(&mut self, id: u64, feature: &str, units: u64) -> Duration {
        let mut engine = self.licensing(id).await;
        let began = Instant::now();
        let receipt = until("a draw", DRAW_PATIENCE, async || {
            let item = v1::CheckoutItem {
                request_id: leasehold_client::new_request_id().ok()?.to_vec().into(),
                lines: vec![v1::CheckoutLine { feature: feature.to_owned(), units }],
                ..v1::CheckoutItem::default()
            };
            let request =
                v1::CheckoutRequest { items: vec![item], ..v1::CheckoutRequest::default() };
            let answers = engine.checkout(request).await.ok()?.into_inner().answers;
            match answers.into_iter().next()?.answer? {
                v1::checkout_answer::Answer::Granted(granted) => Some(granted.receipt),
                v1::checkout_answer::Answer::Denied(_) => None,
            }
        })
        .await;
        let took = began.elapsed();
        let item = v1::CheckinItem { receipt, ..v1::CheckinItem::default() };
        let request = v1::CheckinRequest { items: vec![item], ..v1::CheckinRequest::default() };
        engine.checkin(request).await.expect("an acknowledgement");
        took
    }

    /// An engine's configuration: these nodes, those of `site` first.
    pub fn engine_config(&mut self, ids: &[u64], site: &str) -> ClientConfig {
        let endpoint = |id: &u64| {
            let layout = self.layout(*id);
            Endpoint { address: layout.ports.engines.to_string(), site: layout.site() }
        };
        let endpoints = ids.iter().map(endpoint).collect();
        let certs = self.path("certs");
        let identity = Some((certs.join("engine.pem"), certs.join("engine-key.pem")));
        let files = TlsFiles { ca: certs.join("ca.pem"), identity, server_name: None };
        let security =
            if self.shape.has_plain_engines { Security::Plain } else { Security::Tls(files) };
        ClientConfig { endpoints, site: site.to_owned(), security, deadlines: Deadlines::default() }
    }

    /// What a holder of the development certificate `name` connects with.
    ///
    /// # Panics
    /// If there is no such certificate.
    #[must_use]
    pub fn tls(&self, name: &str) -> ClientTlsConfig {
        let read = |file: String| {
            let path = self.path("certs").join(file);
            std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        let identity =
            Identity::from_pem(read(format!("{name}.pem")), read(format!("{name}-key.pem")));
        ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(read("ca.pem".to_owned())))
            .identity(identity)
    }
}

/// Connects as soon as somebody listens.
async fn connect(address: &str, tls: Option<ClientTlsConfig>) -> Channel {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let mut endpoint = Address::from_shared(format!("{scheme}://{address}")).expect("an address");
    if let Some(tls) = tls {
        endpoint = endpoint.tls_config(tls).expect("good certificates");
    }
    // An election and a commit at the most.
    let endpoint = endpoint.timeout(Duration::from_secs(20));
    until(&format!("a connection to {address}"), PATIENCE, async || endpoint.connect().await.ok())
        .await
}
