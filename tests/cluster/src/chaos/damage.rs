//! Faults of disks and files.
//!
//! A node whose disk fails it ends with an error. Started again it serves, or, where its files are
//! damaged, it refuses to and says what is to be done; then that is done.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use super::Chaos;
use crate::operator::is_live;
use crate::process::exit;
use crate::wait::until;

/// A node that can't write ends by itself: after the longest stall that it bears, at most.
const END_WITHIN: Duration = Duration::from_secs(20);
/// How often a slow disk makes its node wait.
const SLOW_WRITES: usize = 20;
/// A node that is started says within this whether it can go on with its data.
const START_WITHIN: Duration = Duration::from_secs(20);
/// A snapshot is made every few hundred entries, of which there are a few each second.
const FILE_WITHIN: Duration = Duration::from_secs(90);
/// What a node logs that ends for its disk: what to do about it.
const DISK_FAILED: [&str; 2] = ["check the disk", "free some space"];
/// What the last words of a node say that refuses its data: that it is damaged, and what to do.
const DAMAGED: [&str; 2] = ["is damaged", "has lost writes that this node had acknowledged"];
const JOIN_ANEW: &str = "let it join again with a new id";

impl Chaos {
    /// The disk under a running node takes no writes for a while.
    pub(super) async fn stall_disk(&mut self) {
        let id = self.pick_any();
        let said = self.cluster.said(id);
        self.disks[&id].stall().expect("a stalled disk");
        // Below and above what a node bears.
        self.pass(500, 14_000).await;
        self.disks[&id].go_on().expect("a disk that goes on");
        self.start_if_ended(id, said).await;
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
        // Each wait is one that it bears.
        assert!(self.cluster.runs(id), "node {id} has ended by a disk that was only slow");
    }

    pub(super) async fn fill_disk(&mut self) {
        let id = self.pick_any();
        let said = self.cluster.said(id);
        self.disks[&id].fill();
        self.ended_within(id, END_WITHIN).await;
        self.disks[&id].free();
        self.start_if_ended(id, said).await;
    }

    /// Writes fail; then an operator repairs what is left.
    pub(super) async fn break_disk(&mut self) {
        let id = self.pick_any();
        let said = self.cluster.said(id);
        self.disks[&id].break_down();
        match self.ended_within(id, END_WITHIN).await {
            Some(status) => self.assert_disk_failed(id, status, said),
            // It had nothing to write that needed a new block.
            None => self.cluster.kill_9(id),
        }
        self.disks[&id].repair().expect("a repaired disk");
        self.start_or_replace(id).await;
    }

    pub(super) async fn truncate_log(&mut self) {
        let (id, path) = self.kill_a_follower_with("log", "log").await;
        truncate(&path, self.dice.below(length(&path)));
        self.start_or_replace(id).await;
    }

    /// Changes one bit of a file of a node that is down, and starts it.
    pub(super) async fn flip_bit(&mut self, directory: &str, ending: &str) {
        let (id, path) = self.kill_a_follower_with(directory, ending).await;
        let (at, bit) = (self.dice.below(length(&path)), self.dice.below(8));
        flip(&path, at, bit);
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

    /// Kills a follower, and tells of its newest file of this kind.
    async fn kill_a_follower_with(&mut self, directory: &str, ending: &str) -> (u64, PathBuf) {
        let followers = self.followers().await;
        let id = self.pick(&followers);
        let directory = self.cluster.layout(id).data().join(directory);
        loop {
            until(&format!("node {id} has a {ending} with content"), FILE_WITHIN, async || {
                newest(&directory, ending)
            })
            .await;
            self.cluster.kill_9(id);
            if let Some(path) = newest(&directory, ending) {
                return (id, path);
            }
            // It died between two files.
            self.cluster.start_node(id);
        }
    }

    /// Starts a node again if it has ended for its disk, which is well again: nothing is lost.
    async fn start_if_ended(&mut self, id: u64, said: u64) {
        let Some(status) = self.serves_or_ends(id).await else { return };
        self.assert_disk_failed(id, status, said);
        let said = self.cluster.said(id);
        self.cluster.start_node(id);
        if let Some(status) = self.serves_or_ends(id).await {
            let error = self.error_since(id, status, said);
            panic!("node {id} does not start again, though its disk is well: {error}");
        }
    }

    /// Starts a node whose data may be harmed: it serves, or refuses and says why. Then it is
    /// replaced, as it says.
    async fn start_or_replace(&mut self, id: u64) {
        let said = self.cluster.said(id);
        self.cluster.start_node(id);
        let began = Instant::now();
        let Some(status) = self.serves_or_ends(id).await else { return };
        let error = self.error_since(id, status, said);
        self.say(&format!("      node {id} refuses after {:?}: {error}", began.elapsed()));
        assert!(
            DAMAGED.iter().any(|what| error.contains(what)) && error.contains(JOIN_ANEW),
            "node {id} does not say what is damaged and what is to be done: {error}"
        );
        self.cluster.discard(id);
        self.replace(id).await;
    }

    /// # Panics
    /// If a running node has not ended as it should for its disk.
    fn assert_disk_failed(&mut self, id: u64, status: ExitStatus, said: u64) {
        let error = self.error_since(id, status, said);
        self.say(&format!("      node {id} has ended: {error}"));
        assert!(
            DISK_FAILED.iter().any(|what| error.contains(what)),
            "node {id} does not say what is to be done about its disk: {error}"
        );
    }

    /// The error with which a node has ended: its last words.
    ///
    /// # Panics
    /// If its exit code is not the one for a failure, or it has not told the error.
    fn error_since(&mut self, id: u64, status: ExitStatus, said: u64) -> String {
        assert_eq!(status.code(), Some(exit::FAILED), "node {id} has ended with {status}");
        let log = self.cluster.said_since(id, said);
        let error = log.lines().rfind(|line| line.starts_with("leasehold: "));
        error.unwrap_or_else(|| panic!("node {id} does not say why it failed: {log}")).to_owned()
    }

    /// In the place of a member that is lost, a new one joins, with an empty directory.
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

    /// Waits until a node lends, which one that is on its way out does not, or has ended.
    async fn serves_or_ends(&mut self, id: u64) -> Option<ExitStatus> {
        let mut admin = self.cluster.lazy_admin(id);
        until(&format!("node {id} serves or ends"), START_WITHIN, async || {
            if let Some(status) = self.cluster.process(id).has_ended() {
                return Some(Some(status));
            }
            is_live(&mut admin, id).await.then_some(None)
        })
        .await
    }

    /// How a node has ended, if it does within this.
    async fn ended_within(&mut self, id: u64, within: Duration) -> Option<ExitStatus> {
        let process = self.cluster.process(id);
        let began = Instant::now();
        until("the node ends, or bears it", 2 * within, async || match process.has_ended() {
            Some(status) => Some(Some(status)),
            None => (began.elapsed() > within).then_some(None),
        })
        .await
    }
}

/// Of the files with this ending, which are numbered, the one that was begun last and has content.
fn newest(directory: &Path, ending: &str) -> Option<PathBuf> {
    let files = std::fs::read_dir(directory).ok()?;
    let paths = files.filter_map(|file| Some(file.ok()?.path()));
    let right = paths.filter(|path| path.extension().is_some_and(|it| it == ending));
    right.filter(|path| std::fs::metadata(path).is_ok_and(|file| file.len() > 0)).max()
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).expect("a file of a node that is down").len()
}

fn truncate(path: &Path, bytes: u64) {
    let file = File::options().write(true).open(path).expect("a file of our own");
    file.set_len(bytes).expect("a shorter file");
}

fn flip(path: &Path, at: u64, bit: u64) {
    let file = File::options().read(true).write(true).open(path).expect("a file of our own");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("a byte");
    byte[0] ^= 1 << bit;
    file.write_all_at(&byte, at).expect("another byte");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_file_is_the_last_by_its_number_that_has_content() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(newest(&home.path().join("missing"), "log"), None);
        for (name, content) in
            [("000008.log", "long and old"), ("000011.log", "x"), ("000012.log", ""), ("LOG", "x")]
        {
            std::fs::write(home.path().join(name), content).unwrap();
        }
        assert_eq!(newest(home.path(), "log"), Some(home.path().join("000011.log")));
        assert_eq!(newest(home.path(), "snapshot"), None);
    }

    #[test]
    fn one_bit_is_another_and_the_rest_is_as_it_was() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file");
        std::fs::write(&path, [1, 2, 3]).unwrap();
        flip(&path, 1, 7);
        assert_eq!(std::fs::read(&path).unwrap(), [1, 130, 3]);
        truncate(&path, 1);
        assert_eq!(std::fs::read(&path).unwrap(), [1]);
    }
}
