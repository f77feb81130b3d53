//! One direction of one connection: a delay line.

use std::collections::VecDeque;
use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::way::Condition;

/// Bytes that one connection holds on one way at the most: 25 MB/s at a delay of 40 ms.
pub const HELD_BYTES_MOST: usize = 1 << 20;
/// Pieces held at the most: above it, the socket joins what is sent until there is room.
const PIECES_MOST: usize = 4_096;
/// Read at once.
const PIECE_BYTES: usize = 16 << 10;

/// Bytes that arrived together; none is the connection's end.
struct Piece {
    due: Instant,
    bytes: Vec<u8>,
    /// So many have been passed on.
    passed: usize,
}

#[derive(Default)]
struct Line {
    pieces: VecDeque<Piece>,
    bytes: usize,
    has_ended: bool,
}

/// Passes bytes on until the sender has no more. `resets`: how many the way had seen when the
/// connection was begun.
///
/// # Errors
/// If a socket fails, or the way is reset.
pub(super) async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut way: watch::Receiver<Condition>,
    resets: u64,
) -> io::Result<()> {
    let mut line = Line::default();
    let mut buffer = vec![0; PIECE_BYTES];
    let mut slow_until = Instant::now();
    loop {
        let condition = *way.borrow_and_update();
        if condition.resets != resets {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let now = Instant::now();
        let next = line.pieces.front().map(|piece| piece.due.max(slow_until));
        let is_due = next.is_some_and(|due| due <= now);
        if is_due && !condition.is_cut && line.is_at_end() {
            // The other side may have gone first.
            let _ = to.shutdown().await;
            return Ok(());
        }
        tokio::select! {
            biased;
            Ok(()) = way.changed() => {}
            written = to.write(line.sendable(condition)), if is_due && !condition.is_cut => {
                line.pass(written?);
                slow_until = Instant::now() + condition.byte_every.unwrap_or_default();
            }
            () = sleep_until(next.unwrap_or(now)), if next.is_some() && !is_due => {}
            read = from.read(&mut buffer), if !condition.is_cut && line.has_room() => {
                line.hold(&buffer[..read?], Instant::now() + condition.delay);
            }
        }
    }
}

impl Line {
    fn has_room(&self) -> bool {
        !self.has_ended && self.bytes < HELD_BYTES_MOST && self.pieces.len() < PIECES_MOST
    }

    fn hold(&mut self, bytes: &[u8], due: Instant) {
        self.has_ended = bytes.is_empty();
        self.bytes += bytes.len();
        self.pieces.push_back(Piece { due, bytes: bytes.to_vec(), passed: 0 });
    }

    fn is_at_end(&self) -> bool {
        self.pieces.front().is_some_and(|piece| piece.bytes.is_empty())
    }

    fn sendable(&self, condition: Condition) -> &[u8] {
        let bytes = self.pieces.front().map_or(&[][..], |piece| &piece.bytes[piece.passed..]);
        let most = if condition.byte_every.is_some() { 1 } else { bytes.len() };
        &bytes[..most.min(bytes.len())]
    }

    fn pass(&mut self, written: usize) {
        self.bytes -= written;
        if let Some(piece) = self.pieces.front_mut() {
            piece.passed += written;
            if piece.passed == piece.bytes.len() {
                self.pieces.pop_front();
            }
        }
    }
}
