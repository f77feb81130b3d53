//! Where the nodes are, how to reach them, and how long to try.

use std::path::PathBuf;

/// Everything a client needs to know.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// All nodes of the cluster; 1 to 64.
    pub endpoints: Vec<Endpoint>,
    /// The engine's own site: its nodes are asked first. Empty: no preference.
    pub site: String,
    pub security: Security,
    pub deadlines: Deadlines,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `host:port`
    pub address: String,
    /// The data center it is in; empty when not known.
    pub site: String,
}

/// How connections are protected.
#[derive(Clone, Debug)]
pub enum Security {
    /// No protection: for tests and on loopback.
    Plain,
    Tls(TlsFiles),
}

/// PEM files, read when the client connects.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The authority that signed the nodes' certificates.
    pub ca: PathBuf,
    /// The engine's certificate and key, where nodes ask for one.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name expected in the nodes' certificates; otherwise the host of the endpoint.
    pub server_name: Option<String>,
}

/// How long to try, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// To open a connection to a node. Default 1000.
    pub connect_ms: u64,
    /// One attempt of a call, without the wait that a checkout asks for. Default 2000: the
    /// 500 ms in which a node promises its answer, and room for a slow network.
    pub call_ms: u64,
    /// A checkout with all its attempts, without its wait. Default 5000: enough for a node's
    /// failure, an election and an attempt elsewhere.
    pub checkout_ms: u64,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { connect_ms: 1_000, call_ms: 2_000, checkout_ms: 5_000 }
    }
}

/// Nodes a client may know: far above any cluster, so that a list in error is noticed.
const ENDPOINTS_MAX: usize = 64;

/// The longest deadline that makes sense: ten minutes.
const DEADLINE_MS_MAX: u64 = 600_000;

/// A setting that can't work.
#[derive(Debug, thiserror::Error)]
pub enum InvalidConfig {
    #[error("endpoints has {count} entries, expected 1 to {ENDPOINTS_MAX}")]
    EndpointCount { count: usize },
    #[error("endpoint address `{address}` is not valid: expected host:port")]
    Address { address: String },
    #[error("endpoint address `{address}` is listed twice")]
    RepeatedAddress { address: String },
    #[error("{name} = {value} is out of range: expected 1 to {DEADLINE_MS_MAX}")]
    Deadline { name: &'static str, value: u64 },
    #[error("cannot read {what} {}", path.display())]
    Read { what: &'static str, path: PathBuf, source: std::io::Error },
    #[error("the TLS files do not fit together: check CA, certificate and key")]
    Tls(#[source] tonic::transport::Error),
    #[error("the operating system gave no random bytes: {0}")]
    Random(String),
}

impl ClientConfig {
    /// Checks what can be checked without a connection.
    ///
    /// # Errors
    /// Names the setting and its value.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        let count = self.endpoints.len();
        if count == 0 || count > ENDPOINTS_MAX {
            return Err(InvalidConfig::EndpointCount { count });
        }
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            let address = &endpoint.address;
            if !is_host_and_port(address) {
                return Err(InvalidConfig::Address { address: address.clone() });
            }
            if self.endpoints[..index].iter().any(|earlier| earlier.address == *address) {
                return Err(InvalidConfig::RepeatedAddress { address: address.clone() });
            }
        }
        let Deadlines { connect_ms, call_ms, checkout_ms } = self.deadlines;
        for (name, value) in
            [("connect_ms", connect_ms), ("call_ms", call_ms), ("checkout_ms", checkout_ms)]
        {
            if value == 0 || value > DEADLINE_MS_MAX {
                return Err(InvalidConfig::Deadline { name, value });
            }
        }
        Ok(())
    }
}

fn is_host_and_port(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else { return false };
    let host_is_good = !host.is_empty() && !host.contains(['/', '@', ' ', '?', '#']);
    host_is_good && port.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(addresses: &[&str]) -> ClientConfig {
        let endpoint =
            |address: &&str| Endpoint { address: (*address).to_owned(), site: String::new() };
        ClientConfig {
            endpoints: addresses.iter().map(endpoint).collect(),
            site: String::new(),
            security: Security::Plain,
            deadlines: Deadlines::default(),
        }
    }

    #[test]
    fn an_address_is_a_host_and_a_port() {
        config(&["127.0.0.1:7569", "node-1.east.example:7569", "[::1]:7569"]).validate().unwrap();
        for bad in ["", "host", "host:", ":7569", "host:0", "host:99999", "http://host:1/"] {
            let error = config(&[bad]).validate().unwrap_err().to_string();
            assert!(error.contains(&format!("`{bad}`")), "{bad}: {error}");
        }
    }

    #[test]
    fn refusals_name_the_setting() {
        let error = config(&[]).validate().unwrap_err().to_string();
        assert_eq!(error, "endpoints has 0 entries, expected 1 to 64");
        let error = config(&["a:1", "b:1", "a:1"]).validate().unwrap_err().to_string();
        assert_eq!(error, "endpoint address `a:1` is listed twice");
        let mut config = config(&["a:1"]);
        config.deadlines.call_ms = 0;
        let error = config.validate().unwrap_err().to_string();
        assert_eq!(error, "call_ms = 0 is out of range: expected 1 to 600000");
    }
}
