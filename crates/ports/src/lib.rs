//! Free ports on loopback, for nodes of the demo, of the benchmark and of tests.
//!
//! Not port 0: the system would choose from the range from which it takes the ports of outgoing
//! connections. A node's port inside that range could be taken before the node listens, or while
//! it is down, even by an engine that tries to reach that very port: TCP then connects the engine
//! to itself.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};

/// Ports below are for well-known services.
const LOWEST: u16 = 12_000;
/// Where outgoing ports begin on Linux, unless the system says otherwise.
const OUTGOING_FROM: u16 = 32_768;
/// So many are needed for a range to be worth it.
const ENOUGH: u16 = 1_000;
/// Between the first ports of processes with adjacent ids; a prime, so that each place comes once.
const APART: u32 = 7_919;

/// An address that nobody listens on now, and that this process has not been given before.
///
/// # Errors
/// If every port is in use.
pub fn free_address() -> io::Result<SocketAddr> {
    static PORTS: LazyLock<Range<u16>> = LazyLock::new(ports);
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let span = PORTS.end - PORTS.start;
    // Processes that run at the same time start at different places, though their ids may be next
    // to each other: a cluster of tests takes hundreds of ports.
    let start = std::process::id().wrapping_mul(APART) % u32::from(span);
    for _ in 0..span {
        let offset = start + u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let offset = u16::try_from(offset % u32::from(span)).unwrap_or(0);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, PORTS.start + offset));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    let message = format!("no port of 127.0.0.1 from {} to {} is free", PORTS.start, PORTS.end - 1);
    Err(io::Error::new(io::ErrorKind::AddrInUse, message))
}

fn ports() -> Range<u16> {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let from = range.ok().and_then(|range| range.split_whitespace().next()?.parse().ok());
    // A system that uses nearly all ports leaves none below: then any will have to do.
    let end = from.filter(|from| *from >= LOWEST + ENOUGH).unwrap_or(OUTGOING_FROM);
    LOWEST..end
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn addresses_differ_though_nobody_listens_on_them_and_can_be_bound() {
        let addresses: BTreeSet<_> = (0..100).map(|_| free_address().unwrap()).collect();
        assert_eq!(addresses.len(), 100);
        for address in addresses {
            assert!(address.ip().is_loopback() && ports().contains(&address.port()));
            drop(TcpListener::bind(address).unwrap());
        }
    }

    #[test]
    fn a_port_that_is_in_use_is_passed_over() {
        let held: Vec<_> =
            (0..10).map(|_| TcpListener::bind(free_address().unwrap()).unwrap()).collect();
        for _ in 0..100 {
            let address = free_address().unwrap();
            assert!(held.iter().all(|listener| listener.local_addr().unwrap() != address));
        }
    }
}
