//! Free ports on loopback for child processes.
//!
//! They come from below the range from which the system takes ports for outgoing connections.
//! A node's port inside that range could be taken while the node is down, even by an engine that
//! tries to reach that very port: TCP then connects the engine to itself.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::Context;

use super::dice::Dice;

/// Ports below are for well-known services.
const LOWEST: u16 = 10_240;
/// Where outgoing ports begin unless the system says otherwise.
const OUTGOING_FROM: u16 = 32_768;
/// Half of the range in use by others would still leave a chance of 1 in 10^60 to fail.
const TRIES: usize = 200;

/// `count` different addresses that nobody listens on now.
///
/// # Errors
/// If none are to be found.
pub fn free_addresses(count: usize) -> anyhow::Result<Vec<SocketAddr>> {
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).context("the system gives no random numbers")?;
    let mut dice = Dice::new(u64::from_be_bytes(seed));
    let ports = u64::from(outgoing_from().saturating_sub(LOWEST).max(1));
    // All are held until the last is found, so that no port is found twice.
    let mut held = Vec::new();
    for _ in 0..TRIES * count {
        if held.len() == count {
            break;
        }
        let offset = u16::try_from(dice.below(ports)).unwrap_or(0);
        held.extend(TcpListener::bind((Ipv4Addr::LOCALHOST, LOWEST + offset)));
    }
    anyhow::ensure!(held.len() == count, "no free ports on 127.0.0.1 from {LOWEST} up");
    held.iter().map(|listener| listener.local_addr().context("a socket has no address")).collect()
}

fn outgoing_from() -> u16 {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let from = range.ok().and_then(|range| range.split_whitespace().next()?.parse().ok());
    // A system that uses nearly all ports leaves none below: then any will have to do.
    from.filter(|from| *from > LOWEST + 1_000).unwrap_or(OUTGOING_FROM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_addresses_differ_and_can_be_bound() {
        let addresses = free_addresses(12).unwrap();
        let mut bound = Vec::new();
        for address in &addresses {
            assert!(address.ip().is_loopback() && address.port() >= LOWEST);
            bound.push(TcpListener::bind(address).unwrap());
        }
        assert_eq!(bound.len(), 12);
    }
}
