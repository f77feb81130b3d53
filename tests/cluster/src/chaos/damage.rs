//! Faults of disks and files.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Chaos;
use crate::wait::until;

/// A node that can't write ends by itself: after the longest stall that it bears, at most.
const END_WITHIN: Duration = Duration::from_secs(20);
/// How often a slow disk makes its node wait.
const SLOW_WRITES: usize = 20;
/// A node that is started says within this whether it can go on with its data.
const START_WITHIN: Duration = Duration::from_secs(20);

impl Chaos {
    /// The disk under a running node takes no writes for a while.
    pub(super) async fn stall_disk(&mut self) {
        let id = self.pick_any();
        self.disks[&id].stall().expect("a stalled disk");
        // Below and above what a node bears.
        self.pass(500, 14_000).await;
        self.disks[&id].go_on().expect("a disk that goes on");
        // One that has had enough is on its way out now.
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.start_if_ended(id).await;
    }

    /// Each write waits, for a while.
    pub(super) async fn slow_disk_down(&mut self) {
        let id = self.pick_any();
        for _ in 0..SLOW_WRITES {
            self.disks[&id].stall().expect("a stalled disk");
            self.pass(50, 400).await;
            self.disks[&id].go_on().expect("a disk that goes on");
            // What has waited is written now.
            self.pass(5, 50).await;
        }
        self.start_if_ended(id).await;
    }

    pub(super) async fn fill_disk(&mut self) {
        let id = self.pick_any();
        self.disks[&id].fill();
        self.until_ended_or(id, END_WITHIN).await;
        self.disks[&id].free();
        self.start_if_ended(id).await;
    }

    /// Writes fail; then an operator repairs what is left.
    pub(super) async fn break_disk(&mut self) {
        let id = self.pick_any();
        self.disks[&id].break_down();
        self.until_ended_or(id, END_WITHIN).await;
        if self.cluster.process(id).is_running() {
            self.cluster.kill_9(id);
        }
        self.disks[&id].repair().expect("a repaired disk");
        self.start_or_replace(id).await;
    }

    pub(super) async fn truncate_log(&mut self) {
        let id = self.kill_a_follower().await;
        if let Some((file, bytes)) = self.file_of(id, "log", "log") {
            file.set_len(self.dice.below(bytes)).expect("a shorter file");
        }
        self.start_or_replace(id).await;
    }

    /// Changes one bit of a file of a node that is down, and starts it.
    pub(super) async fn flip_bit(&mut self, directory: &str, ending: &str) {
        let id = self.kill_a_follower().await;
        if let Some((file, bytes)) = self.file_of(id, directory, ending) {
            let at = self.dice.below(bytes);
            let mut byte = [0];
            let read = file.read_at(&mut byte, at).expect("a byte");
            byte[0] ^= 1 << self.dice.below(8);
            file.write_at(&byte[..read], at).expect("another byte");
        }
        self.start_or_replace(id).await;
    }

    /// A node comes back under its id with nothing on its disk: it must not become a member again,
    /// or votes that it has forgotten would count twice. Under a new id it may.
    pub(super) async fn empty_disk(&mut self) {
        let followers = self.followers().await;
        let id = self.pick(&followers);
        let via = self.leader().await;
        self.cluster.kill_9(id);
        self.empty(id);
        self.cluster.start_node(id);
        let refused = self.cluster.try_join(id, via).await.expect_err("it must not join again");
        assert!(refused.message().contains("is a member already"), "{refused}");
        self.cluster.kill_9(id);
        self.replace(id).await;
    }

    async fn kill_a_follower(&mut self) -> u64 {
        let followers = self.followers().await;
        let id = self.pick(&followers);
        self.cluster.kill_9(id);
        id
    }

    /// The newest file of this kind in a node's data, and its length.
    fn file_of(&mut self, id: u64, directory: &str, ending: &str) -> Option<(File, u64)> {
        let path = newest(&self.cluster.layout(id).data().join(directory), ending)?;
        let file = File::options().read(true).write(true).open(path).expect("a file of our own");
        let bytes = file.metadata().expect("a length").len();
        Some((file, bytes))
    }

    async fn start_if_ended(&mut self, id: u64) {
        if !self.cluster.runs(id) {
            self.start_or_replace(id).await;
        }
    }

    /// Starts a node whose data may be harmed: it serves, or refuses and says why. Then it is
    /// replaced, as it says.
    async fn start_or_replace(&mut self, id: u64) {
        self.cluster.start_node(id);
        let began = Instant::now();
        let mut admin = self.cluster.lazy_admin(id);
        let runs = until("the node serves or ends", START_WITHIN, async || {
            if !self.cluster.process(id).is_running() {
                return Some(false);
            }
            let asked = admin.status(leasehold_proto::v1::StatusRequest {}).await;
            asked.is_ok().then_some(true)
        })
        .await;
        if runs {
            return;
        }
        let log = std::fs::read_to_string(self.cluster.layout(id).log()).unwrap_or_default();
        let last = log.lines().rev().find(|line| line.starts_with("leasehold: "));
        let last = last.unwrap_or("no error");
        self.say(&format!("      node {id} refuses after {:?}: {last}", began.elapsed()));
        assert!(
            last.contains("let it join again with a new id"),
            "node {id} does not say what is to be done: {last}"
        );
        self.cluster.discard(id);
        self.empty(id);
        self.replace(id).await;
    }

    /// In the place of a member that is lost, a new one joins.
    async fn replace(&mut self, lost: u64) {
        let others: Vec<u64> = self.members.iter().copied().filter(|it| *it != lost).collect();
        let via = self.pick(&others);
        self.cluster.remove(lost, via).await;
        self.forget(lost).await;
        self.disks.remove(&lost);
        self.add_node().await;
    }

    fn empty(&mut self, id: u64) {
        match self.disks.get(&id) {
            Some(disk) => disk.replace().expect("a new disk"),
            None => {
                std::fs::remove_dir_all(self.cluster.layout(id).data()).expect("a directory");
            }
        }
    }

    async fn until_ended_or(&mut self, id: u64, within: Duration) {
        let began = Instant::now();
        while self.cluster.process(id).is_running() && began.elapsed() < within {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// The largest file with this ending: of the log, the one that is written to.
fn newest(directory: &Path, ending: &str) -> Option<PathBuf> {
    let files = std::fs::read_dir(directory).ok()?;
    let paths = files.filter_map(|file| Some(file.ok()?.path()));
    let right = paths.filter(|path| path.extension().is_some_and(|it| it == ending));
    right.max_by_key(|path| std::fs::metadata(path).map_or(0, |file| file.len()))
}
