//! One node's configuration file, and where it listens.

use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use leasehold_core::time::Timings;
use leasehold_ports::free_address;

/// What a node's configuration says.
#[derive(Clone, Debug)]
pub struct Layout {
    pub id: u64,
    /// The node's own directory: configuration, data and log.
    pub directory: PathBuf,
    /// Where `ca.pem`, `node-<id>.pem` and the like are.
    pub certificates: PathBuf,
    pub ports: Ports,
    /// Where the others reach it, if not where it listens.
    pub peer_address: Option<SocketAddr>,
    pub timings: Timings,
    pub snapshot_every: Option<u64>,
    /// Engines come without TLS: for tests with more connections than handshakes are worth.
    pub has_plain_engines: bool,
}

/// A node's listeners.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    pub engines: SocketAddr,
    pub admin: SocketAddr,
    pub peers: SocketAddr,
    pub http: SocketAddr,
}

impl Layout {
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.directory.join("node.toml")
    }

    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.directory.join("log.txt")
    }

    #[must_use]
    pub fn site(&self) -> String {
        format!("site-{}", self.id)
    }

    /// The configuration file's text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text =
            format!("[node]\nid = {}\nsite = \"{}\"\ndata_dir = \"data\"\n", self.id, self.site());
        if let Some(address) = self.peer_address {
            // Writing to a string does not fail.
            let _ = writeln!(text, "peer_address = \"{address}\"");
        }
        text.push('\n');
        let Ports { engines, admin, peers, http } = self.ports;
        let listeners = [("engines", engines), ("admin", admin), ("peers", peers), ("http", http)];
        for (name, listen) in listeners {
            let is_plain = name == "http" || (name == "engines" && self.has_plain_engines);
            let _ = write!(text, "[{name}]\nlisten = \"{listen}\"\n");
            text += &if is_plain {
                "plain_text = \"on loopback only\"\n\n".to_owned()
            } else {
                self.tls(name)
            };
        }
        text += &timings(&self.timings);
        if let Some(entries) = self.snapshot_every {
            let _ = write!(text, "\n[snapshots]\nevery_entries = {entries}\n");
        }
        text
    }

    /// Writes the configuration file.
    ///
    /// # Panics
    /// If it can't be written.
    pub fn write(&self) {
        std::fs::create_dir_all(&self.directory).expect("a directory in a temporary one");
        std::fs::write(self.config(), self.text()).expect("a file in a temporary directory");
    }

    fn tls(&self, listener: &str) -> String {
        let file = |name: &str| self.certificates.join(name).display().to_string();
        let (certificate, key) =
            (format!("node-{}.pem", self.id), format!("node-{}-key.pem", self.id));
        format!(
            "[{listener}.tls]\nca = \"{}\"\ncertificate = \"{}\"\nkey = \"{}\"\n\n",
            file("ca.pem"),
            file(&certificate),
            file(&key)
        )
    }
}

fn timings(timings: &Timings) -> String {
    let Timings { lease_ms, heartbeat_ms, checkout_ttl_ms, .. } = timings;
    let Timings { clock_drift_ppm, margin_ms, election_max_ms, .. } = timings;
    format!(
        "[timings]\nlease_ms = {lease_ms}\nheartbeat_ms = {heartbeat_ms}\n\
         checkout_ttl_ms = {checkout_ttl_ms}\nclock_drift_ppm = {clock_drift_ppm}\n\
         margin_ms = {margin_ms}\nelection_max_ms = {election_max_ms}\n"
    )
}

impl Ports {
    /// Four ports that nobody listens on.
    ///
    /// # Panics
    /// If there are none.
    #[must_use]
    pub fn free() -> Self {
        let [engines, admin, peers, http] = [(); 4].map(|()| free_address().expect("a free port"));
        Self { engines, admin, peers, http }
    }

    /// Those of a node that has a network of its own. Its pages can be read there only.
    #[must_use]
    pub fn of(ip: Ipv4Addr) -> Self {
        let [engines, admin, peers] = [7400, 7401, 7402].map(|port| SocketAddr::from((ip, port)));
        Self { engines, admin, peers, http: SocketAddr::from(([127, 0, 0, 1], 7403)) }
    }
}
