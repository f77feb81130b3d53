//! Cutting the ways between the parties of a cluster, whatever they are made of.

use leasehold::demo::Mesh;
use leasehold_client::ClientConfig;
use leasehold_ports::free_address;

use crate::cluster::Cluster;
use crate::layout::Layout;
use crate::namespaces::Namespaces;
use crate::shape::Wires;

/// The parties of a cluster are its nodes, by their ids, and groups of engines with other numbers.
#[derive(Debug)]
pub(crate) enum Strung {
    Direct,
    Mesh(Mesh),
    Namespaces(Namespaces),
}

impl Cluster {
    /// Prepares the ways to each node that there is or may be.
    pub(crate) async fn string_wires(&mut self) {
        match self.shape.wires {
            Wires::Direct => {}
            Wires::Mesh => {
                let mut mesh = Mesh::new();
                for id in 1..=self.shape.ids {
                    let Layout { ports, peer_address, .. } = self.layout(id);
                    let address = peer_address.expect("a node of a mesh has one");
                    mesh.lead_to(id, address, ports.peers).await.expect("a free port");
                }
                self.strung = Strung::Mesh(mesh);
            }
            Wires::Namespaces => {
                let mut namespaces = Namespaces::new().expect("namespaces");
                for id in 1..=self.shape.ids {
                    namespaces.add(id).await.expect("one more namespace");
                }
                self.strung = Strung::Namespaces(namespaces);
            }
        }
    }

    /// The ways between nodes, and engines of [`Cluster::engine_config_of`].
    ///
    /// # Panics
    /// If the shape has no mesh.
    #[must_use]
    pub fn mesh(&self) -> &Mesh {
        match &self.strung {
            Strung::Mesh(mesh) => mesh,
            Strung::Direct | Strung::Namespaces(_) => panic!("this cluster has no mesh"),
        }
    }

    /// `to` does not hear `from` any more.
    ///
    /// # Panics
    /// If the shape has no wires that can be cut.
    pub fn cut(&self, from: u64, to: u64) {
        match &self.strung {
            Strung::Direct => panic!("nothing to be cut"),
            Strung::Mesh(mesh) => mesh.cut(from, to),
            Strung::Namespaces(namespaces) => namespaces.cut(from, to).expect("a rule"),
        }
    }

    /// Neither hears the other.
    pub fn part(&self, one: u64, other: u64) {
        self.cut(one, other);
        self.cut(other, one);
    }

    /// Everybody hears everybody again.
    ///
    /// # Panics
    /// If the system refuses.
    pub fn heal(&self) {
        match &self.strung {
            Strung::Direct => {}
            Strung::Mesh(mesh) => mesh.heal(),
            Strung::Namespaces(namespaces) => namespaces.heal().expect("no rules"),
        }
    }

    /// As [`Cluster::engine_config`], for engines that are `party` and can be cut off as such.
    ///
    /// # Panics
    /// If there is no free port.
    pub async fn engine_config_of(&mut self, party: u64, ids: &[u64], site: &str) -> ClientConfig {
        let mut config = self.engine_config(ids, site);
        let Strung::Mesh(mesh) = &mut self.strung else { return config };
        for (endpoint, id) in config.endpoints.iter_mut().zip(ids) {
            if let Some(address) = self.doors.get(&(party, *id)) {
                endpoint.address = address.to_string();
                continue;
            }
            let address = free_address().expect("a free port");
            let target = endpoint.address.parse().expect("an address");
            mesh.lead_from_to(party, *id, address, target).await.expect("a free port");
            self.doors.insert((party, *id), address);
            endpoint.address = address.to_string();
        }
        config
    }
}
