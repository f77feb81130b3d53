//! A listener before one node.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

use super::pump::pump;
use super::way::Way;

/// Both ways of the connections that one party opens to another.
#[derive(Clone, Debug, Default)]
pub struct Link {
    /// From the caller.
    pub forth: Way,
    /// To the caller.
    pub back: Way,
}

/// Passes connections on to a node. Dropped, it ends them and listens no more.
#[derive(Debug)]
pub struct Proxy {
    task: AbortHandle,
}

/// Connections at the same time; more wait in the listener's queue.
const CONNECTIONS_MOST: usize = 4_096;
/// A new connection on a way that is cut is given up after this: none of our callers waits longer.
const OPENING_MOST: Duration = Duration::from_secs(10);
/// After an accept that failed, as for want of file descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

impl Proxy {
    /// Listens for connections to `target`; `link_of` tells by a caller's address which link it
    /// uses. Whoever it does not know is hung up on.
    ///
    /// # Errors
    /// If the address can't be listened on.
    pub async fn start(
        listen: SocketAddr,
        target: SocketAddr,
        link_of: impl Fn(SocketAddr) -> Option<Link> + Send + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let task = tokio::spawn(serve(listener, target, link_of)).abort_handle();
        Ok(Self { task })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    listener: TcpListener,
    target: SocketAddr,
    link_of: impl Fn(SocketAddr) -> Option<Link>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MOST => {
                match accepted {
                    Ok((caller, address)) => {
                        if let Some(link) = link_of(address) {
                            connections.spawn(connect(caller, target, link));
                        }
                    }
                    Err(_) => tokio::time::sleep(ACCEPT_AGAIN).await,
                }
            }
        }
    }
}

/// Errors of a connection are its parties' business: they see them.
async fn connect(mut caller: TcpStream, target: SocketAddr, link: Link) {
    let (mut forth, back) = (link.forth.watch(), link.back.watch());
    let resets = [&forth, &back].map(|way| way.borrow().resets);
    let opened = tokio::time::timeout(OPENING_MOST, async {
        // An error says that nobody can change the way any more.
        let _ = forth.wait_for(|condition| !condition.is_cut).await;
        TcpStream::connect(target).await
    });
    let Ok(Ok(mut node)) = opened.await else {
        return hang_up(&caller);
    };
    // Without it a delay of the system's own would be added to ours.
    let _ = (caller.set_nodelay(true), node.set_nodelay(true));
    let (from_caller, to_caller) = caller.split();
    let (from_node, to_node) = node.split();
    let passed = tokio::try_join!(
        pump(from_caller, to_node, forth.clone(), resets[0]),
        pump(from_node, to_caller, back, resets[1]),
    );
    if passed.is_err() {
        hang_up(&caller);
        hang_up(&node);
    }
}

/// At once, so that the caller does not wait for more.
fn hang_up(stream: &TcpStream) {
    // It may have hung up itself.
    let _ = stream.set_zero_linger();
}
