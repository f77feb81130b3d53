//! Accepting connections: bounded in number, in handshakes at once, and in the time until each
//! has shaken hands and begun to speak.
//!
//! A task accepts and hands finished connections over; a slow handshake delays no other. When
//! [`Incoming`] is dropped, so are handshakes under way, and the socket if nobody else holds it.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use metrics::Gauge;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::connection::Socket;
use super::rejections::{Rejection, Rejections};
use super::server::ROLE_REFUSAL;
use super::{Connection, Identity, ListenerKind, PeerInfo, Transport};

/// A bound socket that does not accept yet. A clone shares it, so that a server that failed can be
/// started again without binding; the socket closes with the last one.
#[derive(Clone, Debug)]
pub struct Listener {
    socket: Arc<TcpListener>,
    address: SocketAddr,
    gate: Gate,
}

/// What a listener bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open connections. One engine process has one, and no site has 16,384 of them; a connection
    /// takes some 50 kB, so that this many fit in a gigabyte.
    pub connections_max: usize,
    /// Handshakes under way; more wait in the kernel's queue. After a restart all engines come at
    /// once, and a handshake is 1 ms of work: this many are done within the deadline.
    pub handshakes_max: usize,
    /// From accepting to the end of the handshake. Three round trips around the globe take 1 s.
    pub handshake_deadline: Duration,
    /// From then to the client's first byte. Every HTTP/2 client speaks at once; one that does not
    /// would hold its place for ever, as no server pings before it knows the protocol.
    pub first_byte_deadline: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error(
        "{listener} can't listen in plain text on {address}: that is for loopback addresses such \
         as 127.0.0.1 only; add certificates as [{listener}.tls]"
    )]
    PlainTextBeyondLoopback { listener: &'static str, address: SocketAddr },
    #[error(
        "{listener} can't listen on {address}: another process does; choose another port, or find \
         that process with `ss -ltnp`"
    )]
    InUse { listener: &'static str, address: SocketAddr },
    #[error("{listener} can't listen on {address}: check that it is an address of this machine")]
    Refused { listener: &'static str, address: SocketAddr, source: io::Error },
}

/// The connections that a listener lets in; for tonic's `serve_with_incoming`.
#[derive(Debug)]
pub struct Incoming {
    connections: mpsc::Receiver<Connection>,
}

/// The right to be open, until it is dropped.
#[derive(Debug)]
pub(super) struct Admission {
    _place: OwnedSemaphorePermit,
    open: Gauge,
}

/// What a connection must pass.
#[derive(Clone, Debug)]
struct Gate {
    transport: Transport,
    limits: Limits,
    places: Arc<Semaphore>,
    rejections: Arc<Rejections>,
    open: Gauge,
}

/// Connections that the kernel completes before they are accepted: all engines of a large site
/// connect at once when a node comes back. The kernel lowers it to its own bound.
const BACKLOG: u32 = 4_096;
/// Finished connections that wait to be served; the server takes them at once.
const HANDED_OVER_MAX: usize = 64;
/// How long to accept nothing when the system has no room, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 16_384,
            handshakes_max: 4_096,
            handshake_deadline: Duration::from_secs(5),
            first_byte_deadline: Duration::from_secs(30),
        }
    }
}

impl Listener {
    /// Binds `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// If the address can't be bound, or would carry plain text beyond this machine.
    pub fn bind(
        kind: ListenerKind,
        address: SocketAddr,
        transport: Transport,
        limits: Limits,
    ) -> Result<Self, BindError> {
        let listener = kind.as_str();
        if matches!(transport, Transport::PlainText) && !address.ip().is_loopback() {
            return Err(BindError::PlainTextBeyondLoopback { listener, address });
        }
        let bound = listen(address).and_then(|socket| Ok((socket.local_addr()?, socket)));
        let (address, socket) = bound.map_err(|source| {
            if source.kind() == io::ErrorKind::AddrInUse {
                return BindError::InUse { listener, address };
            }
            BindError::Refused { listener, address, source }
        })?;
        let open = metrics::gauge!("leasehold_connections_open", "listener" => listener);
        open.set(0.0);
        let gate = Gate {
            transport,
            limits,
            places: Arc::new(Semaphore::new(limits.connections_max)),
            rejections: Arc::new(Rejections::new(kind)),
            open,
        };
        Ok(Self { socket: Arc::new(socket), address, gate })
    }

    /// The address that it is bound to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts to accept; must be called on a runtime.
    #[must_use]
    pub fn incoming(self) -> Incoming {
        let (sender, connections) = mpsc::channel(HANDED_OVER_MAX);
        tokio::spawn(self.accept_until_dropped(sender));
        Incoming { connections }
    }

    async fn accept_until_dropped(self, sender: mpsc::Sender<Connection>) {
        let mut handshakes = JoinSet::new();
        loop {
            let has_room = handshakes.len() < self.gate.limits.handshakes_max;
            tokio::select! {
                biased;
                () = sender.closed() => return,
                Some(_) = handshakes.join_next() => {}
                accepted = self.socket.accept(), if has_room => match accepted {
                    Ok((stream, address)) => {
                        if let Some(admission) = self.gate.admit(address) {
                            let (gate, sender) = (self.gate.clone(), sender.clone());
                            handshakes.spawn(async move {
                                if let Some(open) = gate.open(stream, address, admission).await {
                                    // Closed: the listener is stopping.
                                    let _ = sender.send(open).await;
                                }
                            });
                        }
                    }
                    Err(error) => pause(&error).await,
                }
            }
        }
    }
}

impl Incoming {
    /// The next connection; `None` when the runtime is shutting down.
    pub async fn next(&mut self) -> Option<Connection> {
        self.connections.recv().await
    }
}

impl tokio_stream::Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().connections.poll_recv(cx).map(|connection| connection.map(Ok))
    }
}

impl Gate {
    fn admit(&self, address: SocketAddr) -> Option<Admission> {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            self.rejections.record(address, &Rejection::TooManyConnections);
            return None;
        };
        self.open.increment(1.0);
        Some(Admission { _place: place, open: self.open.clone() })
    }

    async fn open(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        admission: Admission,
    ) -> Option<Connection> {
        // Requests are small and wait for their answers: Nagle's delay is all they would feel.
        let _ = stream.set_nodelay(true);
        let (stream, identity) = match &self.transport {
            Transport::PlainText => (Socket::Plain(stream), None),
            Transport::Tls(tls) => {
                let acceptor = TlsAcceptor::from(tls.config());
                match self.shake_hands(acceptor, stream).await {
                    Ok(stream) => {
                        let identity = identity_of(&stream).map(Arc::new);
                        (Socket::Tls(Box::new(stream.into())), identity)
                    }
                    Err(rejection) => {
                        self.rejections.record(address, &rejection);
                        return None;
                    }
                }
            }
        };
        let mute_until = Some(Box::pin(tokio::time::sleep(self.limits.first_byte_deadline)));
        let peer = PeerInfo { address, identity };
        Some(Connection { stream, peer, mute_until, _admission: admission })
    }

    async fn shake_hands(
        &self,
        acceptor: TlsAcceptor,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, Rejection> {
        let handshake = async move {
            let refusal = || ROLE_REFUSAL.with(RefCell::take);
            acceptor.accept(stream).await.map_err(|error| Rejection::of(&error, refusal()))
        };
        let handshake = ROLE_REFUSAL.scope(RefCell::new(None), handshake);
        // Boxed: a handshake's state is kilobytes, and this future is moved about.
        tokio::time::timeout(self.limits.handshake_deadline, Box::pin(handshake))
            .await
            .unwrap_or(Err(Rejection::HandshakeTimedOut))
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.open.decrement(1.0);
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A node that comes back must not wait for the old connections' TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The verifier has read it once already; a certificate that it refused does not come here.
fn identity_of(stream: &TlsStream<TcpStream>) -> Option<Identity> {
    let certificates = stream.get_ref().1.peer_certificates()?;
    Identity::of_certificate(certificates.first()?).ok()
}

async fn pause(error: &io::Error) {
    // The client is gone already: no reason to pause.
    if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
        return;
    }
    tracing::error!(%error, "no connection can be accepted: is the limit of open files too low?");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}
