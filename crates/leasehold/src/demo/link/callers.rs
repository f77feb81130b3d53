//! Which process a connection on this machine comes from.
//!
//! Nodes advertise one address, so whoever listens there must tell callers apart: the kernel's
//! table of sockets gives the inode of the caller's end, and the process that has it open is the
//! caller. This needs no privilege for processes of the same user.

use std::net::SocketAddr;

/// The one of `processes` whose connection comes from `address`.
pub(super) fn process_at(address: SocketAddr, processes: &[u32]) -> Option<u32> {
    let SocketAddr::V4(address) = address else { return None };
    // The kernel prints the address as the number that its bytes are in memory.
    let ip = u32::from_ne_bytes(address.ip().octets());
    let local = format!("{ip:08X}:{:04X}", address.port());
    let table = std::fs::read_to_string("/proc/self/net/tcp").ok()?;
    let socket = format!("socket:[{}]", inode_of(&local, &table)?);
    processes.iter().copied().find(|process| has_open(*process, &socket))
}

/// Columns of the table: number, local address, remote address, state, and the inode as the tenth.
fn inode_of<'table>(local: &str, table: &'table str) -> Option<&'table str> {
    table.lines().skip(1).find_map(|line| {
        let mut columns = line.split_whitespace();
        (columns.nth(1)? == local).then(|| columns.nth(7)).flatten()
    })
}

fn has_open(process: u32, socket: &str) -> bool {
    let files = std::fs::read_dir(format!("/proc/{process}/fd"));
    let links =
        files.into_iter().flatten().filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    links.into_iter().any(|link| link.as_os_str() == socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inode_is_found_by_the_local_address() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt\n\
             0: 0100007F:1EE6 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0 0 11 1\n\
             1: 0100007F:D2F0 0100007F:1EE6 01 00000000:00000000 00:00000000 00000000  0 0 12 1\n";
        assert_eq!(inode_of("0100007F:D2F0", table), Some("12"));
        assert_eq!(inode_of("0100007F:D2F1", table), None);
    }

    #[test]
    fn a_connection_of_this_process_is_found_among_others() {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let caller = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let address = caller.local_addr().unwrap();
        let own = std::process::id();
        assert_eq!(process_at(address, &[1, own]), Some(own));
        assert_eq!(process_at(address, &[]), None);
    }
}
