//! Tests of the log, through its public methods and with damaged files.

use std::fs;
use std::sync::mpsc;

use leasehold_core::id::{Incarnation, NodeId};

use super::*;
use crate::{DataDirectory, Use};

#[test]
fn what_was_written_can_be_read_at_once_and_after_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let log = open(home.path()).unwrap();
    append(&log, 1..6);
    log.save_committed(b"committed 4").unwrap();
    wait(|done| log.save_vote(b"vote 2", done)).unwrap();
    let check = |log: &LogStore| {
        assert_eq!(log.entries(), 1..6);
        assert_eq!(log.read(2..4, usize::MAX).unwrap(), [entry(2), entry(3)]);
        assert_eq!(log.read(0..99, usize::MAX).unwrap().len(), 5);
        assert_eq!(log.last().unwrap(), Some(entry(5)));
        assert_eq!(log.vote().unwrap().unwrap(), b"vote 2");
        assert_eq!(log.committed().unwrap().unwrap(), b"committed 4");
        assert_eq!(log.purged().unwrap(), None);
    };
    check(&log);
    check(&reopen(log, home.path()));
}

#[test]
fn a_read_stops_at_the_byte_limit_but_gives_at_least_one_entry() {
    let home = tempfile::tempdir().unwrap();
    let log = open(home.path()).unwrap();
    append(&log, 0..10);
    let one = entry(0).1.len();
    assert_eq!(log.read(0..10, 3 * one).unwrap().len(), 3);
    assert_eq!(log.read(0..10, 0).unwrap().len(), 1);
}

#[test]
fn truncated_and_purged_entries_are_gone_and_leave_no_gap() {
    let home = tempfile::tempdir().unwrap();
    let log = open(home.path()).unwrap();
    append(&log, 0..10);
    log.truncate_from(8).unwrap();
    let purged = Purged { index: 3, content: b"term 1".to_vec() };
    log.purge(&purged).unwrap();
    let log = reopen(log, home.path());
    assert_eq!(log.entries(), 4..8);
    assert_eq!(log.purged().unwrap(), Some(purged));
    assert_eq!(log.read(0..99, usize::MAX).unwrap().len(), 4);

    let error = log.append(&[entry(9)], Box::new(|_| {})).unwrap_err();
    assert!(matches!(error, StorageError::Gap { index: 9, last: 7 }), "{error}");
    append(&log, 8..9);

    // A snapshot from the leader may lie beyond the whole log.
    log.purge(&Purged { index: 50, content: Vec::new() }).unwrap();
    let log = reopen(log, home.path());
    assert_eq!(log.entries(), 51..51);
    assert_eq!(log.last().unwrap(), None);
    append(&log, 51..52);
}

#[test]
fn completions_come_in_the_order_of_the_writes() {
    let home = tempfile::tempdir().unwrap();
    let log = open(home.path()).unwrap();
    let (sender, receiver) = mpsc::channel();
    for index in 0..500_u64 {
        let sender = sender.clone();
        log.append(&[entry(index)], Box::new(move |result| sender.send((index, result)).unwrap()))
            .unwrap();
    }
    drop(sender);
    log.close();
    let completed = receiver.iter().map(|(index, result)| result.map(|()| index));
    let order: Vec<u64> = completed.collect::<Result<_, _>>().unwrap();
    assert_eq!(order, (0..500).collect::<Vec<_>>());
}

#[test]
fn after_a_failure_nothing_is_acknowledged() {
    let home = tempfile::tempdir().unwrap();
    let log = open(home.path()).unwrap();
    append(&log, 0..1);
    let failed = log.failed();
    let cause = std::io::Error::from(std::io::ErrorKind::StorageFull);
    log.shared.pulse.fail(StorageError::io(home.path(), "writing", cause));
    assert!(matches!(*failed.borrow(), Some(StorageError::DiskFull { .. })));
    log.append(&[entry(1)], Box::new(|_| {})).unwrap_err();
    log.save_committed(b"x").unwrap_err();
    log.truncate_from(0).unwrap_err();
    assert_eq!(log.entries(), 0..1);
}

#[test]
fn a_flipped_byte_in_an_entry_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let log = open(home.path()).unwrap();
    append(&log, 0..100);
    log.close();
    let wal = newest_wal(home.path());
    let mut bytes = fs::read(&wal).unwrap();
    let at = find(&bytes, &entry(50).1);
    bytes[at] ^= 0x40;
    fs::write(&wal, bytes).unwrap();
    let error = open(home.path()).unwrap_err();
    assert!(matches!(error, StorageError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("join again with a new id"), "{error}");
}

#[test]
fn a_log_that_lost_acknowledged_writes_is_refused() {
    for lost in [Lost::Tail, Lost::Everything] {
        let home = tempfile::tempdir().unwrap();
        let log = open(home.path()).unwrap();
        append(&log, 0..100);
        log.close();
        match lost {
            Lost::Tail => {
                let wal = newest_wal(home.path());
                let bytes = fs::read(&wal).unwrap();
                let cut = find(&bytes, &entry(90).1);
                fs::write(&wal, &bytes[..cut]).unwrap();
            }
            Lost::Everything => fs::remove_dir_all(home.path().join("log")).unwrap(),
        }
        let error = open(home.path()).unwrap_err();
        assert!(matches!(error, StorageError::Reverted { durable_entry: 99, .. }), "{error}");
    }
}

/// A chaos run cut the log of a node that had just been killed: it lost writes that it had
/// acknowledged in its last second, came back unnoticed, and the leader found entries missing that
/// it had counted.
#[test]
fn a_log_that_lost_its_very_last_acknowledged_write_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let log = open(home.path()).unwrap();
    append(&log, 0..100);
    // As the process leaves it that is killed now: the synced tail is from before the writes.
    let killed = tempfile::tempdir().unwrap();
    copy(home.path(), killed.path());
    log.close();
    let wal = newest_wal(killed.path());
    let bytes = fs::read(&wal).unwrap();
    let cut = find(&bytes, &entry(99).1);
    fs::write(&wal, &bytes[..cut]).unwrap();
    let error = open(killed.path()).unwrap_err();
    assert!(matches!(error, StorageError::Reverted { durable_entry: 99, .. }), "{error}");

    // After a power cut the mark may be anything: without its word the log is as it is.
    for mark in [&b"torn"[..], b""] {
        fs::write(killed.path().join("durable-mark"), mark).unwrap();
        assert_eq!(open(killed.path()).unwrap().entries(), 0..99);
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        let target = to.join(file.file_name());
        match file.file_type().unwrap().is_dir() {
            true => copy(&file.path(), &target),
            false => drop(fs::copy(file.path(), target).unwrap()),
        }
    }
}

#[derive(Clone, Copy)]
enum Lost {
    Tail,
    Everything,
}

#[test]
fn a_torn_write_that_nobody_was_told_about_is_dropped() {
    let home = tempfile::tempdir().unwrap();
    let log = open(home.path()).unwrap();
    append(&log, 0..100);
    log.close();
    let wal = newest_wal(home.path());
    let mut bytes = fs::read(&wal).unwrap();
    // The beginning of a record that the crash cut short.
    let record = bytes[..20].to_vec();
    bytes.extend(record);
    fs::write(&wal, bytes).unwrap();
    let log = open(home.path()).unwrap();
    assert_eq!(log.entries(), 0..100);
}

#[test]
fn a_log_without_its_durable_tail_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let log = open(home.path()).unwrap();
    append(&log, 0..1);
    log.close();
    fs::remove_file(home.path().join("durable-tail")).unwrap();
    let error = open(home.path()).unwrap_err();
    assert!(error.to_string().contains("durable-tail is damaged: the file is missing"), "{error}");
}

fn open(path: &Path) -> Result<LogStore, StorageError> {
    // Copies stand for disks that were set back, which changes no lock file where it really happens.
    let by = Use { node: NodeId(1), incarnation: Incarnation([1; 16]), was_moved: true };
    DataDirectory::open(path, by).unwrap().open_log()
}

fn reopen(log: LogStore, path: &Path) -> LogStore {
    log.close();
    open(path).unwrap()
}

fn entry(index: u64) -> Entry {
    (index, format!("the content of entry {index:04}").into_bytes())
}

/// Appends one by one, each durable before the next.
fn append(log: &LogStore, indexes: Range<u64>) {
    for index in indexes {
        wait(|done| log.append(&[entry(index)], done)).unwrap();
    }
}

fn wait(write: impl FnOnce(OnDurable) -> Result<(), StorageError>) -> Result<(), StorageError> {
    let (sender, receiver) = mpsc::channel();
    write(Box::new(move |result| sender.send(result).unwrap()))?;
    receiver.recv().unwrap()
}

fn newest_wal(home: &Path) -> PathBuf {
    let files = fs::read_dir(home.join("log")).unwrap().map(|file| file.unwrap().path());
    let mut wals: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .filter(|path| fs::metadata(path).unwrap().len() > 0)
        .collect();
    wals.sort();
    wals.pop().expect("a write-ahead log")
}

fn find(haystack: &[u8], needle: &[u8]) -> usize {
    haystack.windows(needle.len()).position(|window| window == needle).expect("the entry")
}
