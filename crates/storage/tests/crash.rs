//! A process that writes is killed at random moments; what it acknowledged must be there again.
//!
//! SIGKILL leaves the kernel's page cache alone, so this proves the order of writing and
//! acknowledging and the recovery, not the disk's own honesty.

#![allow(clippy::unwrap_used)] // Helpers of tests; clippy exempts only the tests themselves.

use std::io::{BufRead, BufReader, Write};
use std::ops::Range;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use leasehold_core::id::{Incarnation, NodeId};
use leasehold_storage::{DataDirectory, Entry, LogStore, Purged, Use};

const KILLS: usize = 100;
const DIRECTORY: &str = "LEASEHOLD_CRASH_TEST_DIRECTORY";
/// Longer than a start takes, so that most kills hit a process that writes.
const LIFE_MS: Range<u64> = 20..220;

#[test]
fn every_acknowledged_entry_survives_a_hundred_kills() {
    let seed = match std::env::var("LEASEHOLD_SEED") {
        Ok(seed) => seed.parse().expect("LEASEHOLD_SEED is a number"),
        Err(_) => u64::from(std::process::id()),
    };
    println!("to repeat: LEASEHOLD_SEED={seed}");
    let mut random = Random(seed);
    let home = tempfile::tempdir().unwrap();
    let mut acknowledged = None;
    for kill in 0..KILLS {
        let child = start_child(home.path());
        std::thread::sleep(Duration::from_millis(
            LIFE_MS.start + random.below(LIFE_MS.end - LIFE_MS.start),
        ));
        let newest = kill_and_collect(child);
        acknowledged = acknowledged.max(newest);
        verify(home.path(), acknowledged, kill);
    }
    assert!(acknowledged > Some(1_000), "hardly anything was written: {acknowledged:?}");
}

/// Not a test: the process that is killed. Does nothing unless the test above starts it.
#[test]
#[ignore = "run by every_acknowledged_entry_survives_a_hundred_kills"]
fn writes_until_it_is_killed() {
    let Ok(path) = std::env::var(DIRECTORY) else { return };
    let log = open(Path::new(&path));
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut output = std::io::stdout();
        for index in receiver {
            writeln!(output, "acknowledged {index}").unwrap();
        }
    });
    for index in log.entries().end.. {
        let sender = sender.clone();
        let done = move |result: Result<(), _>| {
            result.expect("a durable write");
            sender.send(index).expect("the printer");
        };
        log.append(&[entry(index)], Box::new(done)).unwrap();
        if index % 100 == 99 {
            log.save_committed(&index.to_be_bytes()).unwrap();
        }
        if index % 1_000 == 999 {
            let purged = Purged { index: index - 500, content: index.to_string().into_bytes() };
            log.purge(&purged).unwrap();
        }
    }
}

fn start_child(home: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["writes_until_it_is_killed", "--exact", "--ignored", "--nocapture"])
        .env(DIRECTORY, home)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The newest index that the child has printed whole.
fn kill_and_collect(mut child: Child) -> Option<u64> {
    let output = BufReader::new(child.stdout.take().unwrap());
    let reader = std::thread::spawn(move || {
        let lines = output.lines().map_while(Result::ok);
        lines.filter_map(|line| line.strip_prefix("acknowledged ")?.parse().ok()).max()
    });
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), None, "the child ended by itself: {status}");
    reader.join().unwrap()
}

fn verify(home: &Path, acknowledged: Option<u64>, kill: usize) {
    let log = open(home);
    let there = log.entries();
    if let Some(newest) = acknowledged {
        assert!(there.end > newest, "kill {kill}: {newest} was acknowledged, found {there:?}");
    }
    let purged = log.purged().unwrap().map_or(0, |purged| purged.index + 1);
    assert_eq!(there.start, purged, "kill {kill}");
    let found = log.read(there.clone(), usize::MAX).unwrap();
    assert!(found.into_iter().eq(there.map(entry)), "kill {kill}: the entries differ");
}

fn open(path: &Path) -> LogStore {
    let by = Use { node: NodeId(1), incarnation: Incarnation([1; 16]), was_moved: false };
    DataDirectory::open(path, by).unwrap().open_log().unwrap()
}

/// An entry of 8 to 519 bytes, made from its index.
fn entry(index: u64) -> Entry {
    let mut random = Random(index);
    let length = random.below(512);
    let filler = (0..length).map(|_| random.next().to_le_bytes()[0]);
    (index, index.to_be_bytes().into_iter().chain(filler).collect())
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
