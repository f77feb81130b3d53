//! Who a certificate says its holder is, and what it may do: read from URIs in its SAN.
//!
//! * `leasehold://role/<role>` or `leasehold://role/<role>/<name>`: the role `engine`, `admin` or
//!   `peer`, and a name for logs.
//! * `leasehold://node/<n>` or `leasehold://cluster/<id>/node/<n>`: the node that the certificate was
//!   issued to, and the cluster, if it is for one alone. A peer's must name its node.
//!
//! Whatever else the SAN holds grants nothing, so that a later version may add to it. A
//! certificate without a role may do nothing.

use std::collections::BTreeSet;
use std::fmt;

use leasehold_core::id::{ClusterId, NodeId};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// What a certificate's holder may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Checks units out.
    Engine,
    /// Operates the cluster.
    Admin,
    /// Is a node of the cluster.
    Peer,
}

/// Who holds a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    pub roles: BTreeSet<Role>,
    /// For logs only: nothing is granted to a name.
    pub name: Option<String>,
    pub node: Option<NodeId>,
    /// Not every authority knows it when it issues a certificate.
    pub cluster: Option<ClusterId>,
}

/// A certificate whose SAN can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the certificate or its subject alternative name is malformed")]
pub struct MalformedCertificate;

impl Role {
    const ALL: [Role; 3] = [Role::Engine, Role::Admin, Role::Peer];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Engine => "engine",
            Role::Admin => "admin",
            Role::Peer => "peer",
        }
    }

    fn named(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }
}

impl Identity {
    #[must_use]
    pub fn new(role: Role, name: &str) -> Self {
        Self { roles: BTreeSet::from([role]), name: Some(name.to_owned()), ..Self::default() }
    }

    /// A peer's, for the node `node`.
    #[must_use]
    pub fn of_node(node: NodeId, name: &str) -> Self {
        Self { node: Some(node), ..Self::new(Role::Peer, name) }
    }

    /// Reads the SAN of a certificate, whose signature the caller has verified.
    ///
    /// # Errors
    /// If the certificate or its SAN is not DER.
    pub fn of_certificate(der: &[u8]) -> Result<Self, MalformedCertificate> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|_| MalformedCertificate)?;
        let names = certificate.subject_alternative_name().map_err(|_| MalformedCertificate)?;
        let mut identity = Self::default();
        for name in names.iter().flat_map(|extension| &extension.value.general_names) {
            if let GeneralName::URI(uri) = name {
                identity.add_uri(uri);
            }
        }
        Ok(identity)
    }

    /// Whether it has one of `roles`.
    #[must_use]
    pub fn has_any(&self, roles: &[Role]) -> bool {
        roles.iter().any(|role| self.roles.contains(role))
    }

    /// The URIs that say this, for a certificate's SAN.
    #[must_use]
    pub fn uris(&self) -> Vec<String> {
        let name = self.name.as_ref().map(|name| format!("/{name}")).unwrap_or_default();
        let roles = self.roles.iter();
        let mut uris: Vec<String> =
            roles.map(|role| format!("{SCHEME}role/{}{name}", role.as_str())).collect();
        match (self.cluster, self.node) {
            (Some(cluster), Some(node)) => {
                uris.push(format!("{SCHEME}cluster/{cluster}/node/{node}"));
            }
            (None, Some(node)) => uris.push(format!("{SCHEME}node/{node}")),
            (Some(_) | None, None) => {}
        }
        uris
    }

    fn add_uri(&mut self, uri: &str) {
        let Some(path) = uri.strip_prefix(SCHEME) else { return };
        let parts: Vec<&str> = path.split('/').collect();
        match parts.as_slice() {
            ["role", role] => self.roles.extend(Role::named(role)),
            ["role", role, name] if !name.is_empty() => {
                self.roles.extend(Role::named(role));
                self.name.get_or_insert_with(|| (*name).to_owned());
            }
            ["cluster", cluster, "node", node] => {
                let (cluster, node) = (cluster.parse().ok(), node.parse().ok().map(NodeId));
                if let (None, Some((cluster, node))) = (self.node, cluster.zip(node)) {
                    (self.cluster, self.node) = (Some(cluster), Some(node));
                }
            }
            ["node", node] => self.node = self.node.or(node.parse().ok().map(NodeId)),
            _ => {}
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let roles: Vec<&str> = self.roles.iter().map(|role| role.as_str()).collect();
        let roles = if roles.is_empty() { "no role".to_owned() } else { roles.join(" and ") };
        match &self.name {
            Some(name) => write!(f, "`{name}` ({roles})"),
            None => write!(f, "a nameless holder ({roles})"),
        }
    }
}

const SCHEME: &str = "leasehold://";

#[cfg(test)]
mod tests {
    use super::*;

    fn of(uris: &[&str]) -> Identity {
        let mut identity = Identity::default();
        uris.iter().for_each(|uri| identity.add_uri(uri));
        identity
    }

    #[test]
    fn an_identity_is_read_back_from_its_uris() {
        let mut node = Identity::new(Role::Peer, "east-1");
        (node.cluster, node.node) = (Some(ClusterId([7; 16])), Some(NodeId(3)));
        node.roles.insert(Role::Admin);
        let uris = node.uris();
        assert_eq!(of(&uris.iter().map(String::as_str).collect::<Vec<_>>()), node);
        assert_eq!(node.to_string(), "`east-1` (admin and peer)");
        let node = Identity::of_node(NodeId(4), "east-2");
        assert_eq!(of(&["leasehold://role/peer/east-2", "leasehold://node/4"]), node);
        assert_eq!(node.uris(), ["leasehold://role/peer/east-2", "leasehold://node/4"]);
    }

    #[test]
    fn what_is_not_known_grants_nothing() {
        for uri in [
            "leasehold://role/root",
            "leasehold://role/",
            "leasehold://role/admin/",
            "leasehold://role/admin/x/y",
            "leasehold://roles/admin",
            "leasehold:/role/admin",
            "https://role/admin",
            "leasehold://cluster/12/node/1",
            "leasehold://cluster/07070707070707070707070707070707/node/-1",
        ] {
            assert_eq!(of(&[uri]), Identity::default(), "{uri}");
        }
    }

    #[test]
    fn a_certificate_that_is_not_der_is_malformed() {
        assert_eq!(Identity::of_certificate(b"garbage"), Err(MalformedCertificate));
    }
}
