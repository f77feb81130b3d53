//! Changes of members under load.

use super::{Chaos, mount_disk};

impl Chaos {
    /// A new node under the next id joins and is given a vote.
    pub(super) async fn add_node(&mut self) {
        let id = self.next_id;
        assert!(id <= self.cluster.shape.ids, "no certificate is left for node {id}");
        self.next_id += 1;
        if self.plan.has_disks {
            let disk = mount_disk(&mut self.cluster, id);
            self.disks.insert(id, disk);
        }
        let via = *self.members.first().expect("a cluster has members");
        self.cluster.start_node(id);
        self.cluster.join(id, via).await;
        self.members.insert(id);
        self.cluster.wait_for_voters(self.members.len()).await;
        self.renew_load().await;
    }

    /// Takes `id` out, which may lead, while it serves.
    pub(super) async fn remove_node(&mut self, id: u64) {
        let others: Vec<u64> = self.members.iter().copied().filter(|it| *it != id).collect();
        let via = self.pick(&others);
        self.cluster.remove(id, via).await;
        self.forget(id).await;
        self.cluster.farewell(id).await;
        self.disks.remove(&id);
        self.renew_load().await;
    }

    /// The others vote without it.
    pub(super) async fn forget(&mut self, id: u64) {
        self.members.remove(&id);
        self.cluster
            .wait_for_voters_at(*self.members.first().expect("two"), self.members.len())
            .await;
    }
}
