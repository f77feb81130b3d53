//! Each fault, between two sockets.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use leasehold_ports::free_address;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::{HELD_BYTES_MOST, Link, Mesh, Proxy};

/// Long against scheduling, short for a test.
const DELAY: Duration = Duration::from_millis(100);
/// Nothing arrives in this time, so nothing arrives.
const SILENCE: Duration = Duration::from_millis(150);
const PATIENCE: Duration = Duration::from_secs(10);

/// A caller and a node with a proxy between them.
struct Pair {
    link: Link,
    caller: TcpStream,
    node: TcpStream,
    address: SocketAddr,
    listener: TcpListener,
    _proxy: Proxy,
}

async fn pair() -> Pair {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = free_address().unwrap();
    let link = Link::default();
    let target = listener.local_addr().unwrap();
    let given = link.clone();
    let proxy = Proxy::start(address, target, move |_| Some(given.clone())).await.unwrap();
    let caller = TcpStream::connect(address).await.unwrap();
    let (node, _) = listener.accept().await.unwrap();
    Pair { link, caller, node, address, listener, _proxy: proxy }
}

async fn arrives(to: &mut TcpStream, expected: &[u8]) {
    let mut read = vec![0; expected.len()];
    timeout(PATIENCE, to.read_exact(&mut read)).await.expect("bytes").unwrap();
    assert_eq!(read, expected);
}

async fn is_silent(to: &mut TcpStream) -> bool {
    let mut byte = [0];
    timeout(SILENCE, to.read(&mut byte)).await.is_err()
}

#[tokio::test]
async fn a_delay_is_half_the_round_trip_each_way() {
    let mut pair = pair().await;
    for way in [&pair.link.forth, &pair.link.back] {
        way.change(|condition| condition.delay = DELAY);
    }
    for _ in 0..3 {
        let sent = Instant::now();
        pair.caller.write_all(b"question").await.unwrap();
        arrives(&mut pair.node, b"question").await;
        let half = sent.elapsed();
        pair.node.write_all(b"answer").await.unwrap();
        arrives(&mut pair.caller, b"answer").await;
        let whole = sent.elapsed();
        assert!(half >= DELAY && whole >= 2 * DELAY, "{half:?}, {whole:?}");
        assert!(whole < 4 * DELAY, "{whole:?}");
    }
}

#[tokio::test]
async fn a_delay_limits_no_throughput_and_changes_no_byte() {
    let Pair { link, mut caller, mut node, _proxy, .. } = pair().await;
    link.forth.change(|condition| condition.delay = DELAY);
    // Small pieces: a sleep for each would take minutes.
    let bytes: Vec<u8> = (0..250).cycle().take(HELD_BYTES_MOST / 2).collect();
    let sent = bytes.clone();
    let began = Instant::now();
    let sender = tokio::spawn(async move {
        for piece in sent.chunks(100) {
            caller.write_all(piece).await.unwrap();
        }
        caller
    });
    arrives(&mut node, &bytes).await;
    assert!(began.elapsed() < 20 * DELAY, "{:?}", began.elapsed());
    drop(sender.await.unwrap());
    assert_eq!(timeout(PATIENCE, node.read(&mut [0])).await.unwrap().unwrap(), 0, "its end");
}

#[tokio::test]
async fn a_way_that_is_cut_holds_everything_back_until_it_is_healed() {
    let mut pair = pair().await;
    pair.link.forth.change(|condition| condition.is_cut = true);
    pair.caller.write_all(b"late").await.unwrap();
    assert!(is_silent(&mut pair.node).await);
    // The other way is open.
    pair.node.write_all(b"hello").await.unwrap();
    arrives(&mut pair.caller, b"hello").await;
    drop(pair.caller);
    assert!(is_silent(&mut pair.node).await, "not even its end arrives");
    pair.link.forth.change(|condition| condition.is_cut = false);
    arrives(&mut pair.node, b"late").await;
    assert_eq!(timeout(PATIENCE, pair.node.read(&mut [0])).await.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn a_new_connection_on_a_cut_way_hangs() {
    let Pair { link, address, listener, .. } = &pair().await;
    link.forth.change(|condition| condition.is_cut = true);
    let mut caller = TcpStream::connect(address).await.unwrap();
    caller.write_all(b"hello").await.unwrap();
    assert!(timeout(SILENCE, listener.accept()).await.is_err());
    link.forth.change(|condition| condition.is_cut = false);
    let (mut node, _) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    arrives(&mut node, b"hello").await;
}

#[tokio::test]
async fn a_reset_ends_open_connections_and_lets_new_ones_through() {
    let mut pair = pair().await;
    pair.link.back.reset();
    for stream in [&mut pair.caller, &mut pair.node] {
        let read = timeout(PATIENCE, stream.read(&mut [0])).await.expect("an end");
        assert!(read.is_err(), "{read:?}");
    }
    let _caller = TcpStream::connect(pair.address).await.unwrap();
    timeout(PATIENCE, pair.listener.accept()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_slow_way_passes_one_byte_after_another() {
    let mut pair = pair().await;
    pair.link.forth.change(|condition| condition.byte_every = Some(DELAY / 10));
    let sent = Instant::now();
    pair.caller.write_all(&[7; 10]).await.unwrap();
    arrives(&mut pair.node, &[7; 10]).await;
    assert!(sent.elapsed() >= DELAY / 10 * 9, "{:?}", sent.elapsed());
}

#[tokio::test]
async fn a_way_that_is_cut_holds_no_more_than_its_bound() {
    let mut pair = pair().await;
    pair.link.forth.change(|condition| condition.is_cut = true);
    let some = vec![1; HELD_BYTES_MOST];
    let mut taken = 0;
    while let Ok(written) = timeout(SILENCE, pair.caller.write(&some)).await {
        taken += written.unwrap();
        // Both sockets have buffers of their own, of a few megabytes.
        assert!(taken < 64 * HELD_BYTES_MOST, "{taken} bytes taken");
    }
}

#[tokio::test]
async fn a_mesh_knows_a_caller_by_its_process_and_hangs_up_on_others() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = free_address().unwrap();
    let mut mesh = Mesh::new();
    mesh.lead_to(1, address, listener.local_addr().unwrap()).await.unwrap();
    let mut stranger = TcpStream::connect(address).await.unwrap();
    let ended = timeout(PATIENCE, stranger.read(&mut [0])).await.expect("an end");
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");

    mesh.runs_as(9, u32::MAX);
    mesh.runs_as(7, std::process::id());
    let mut caller = TcpStream::connect(address).await.unwrap();
    let (mut node, _) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    mesh.part(9, 1);
    caller.write_all(b"heard").await.unwrap();
    arrives(&mut node, b"heard").await;
    mesh.cut(1, 7);
    node.write_all(b"late").await.unwrap();
    assert!(is_silent(&mut caller).await);
    mesh.heal();
    arrives(&mut caller, b"late").await;
}
