//! A node's data directory: created, locked, stamped, and then the way to its stores.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use leasehold_core::id::{ClusterId, Generation, Incarnation, NodeId, ProcessId};

use crate::error::{OpenError, StorageError};
use crate::files;
use crate::lock::DirectoryLock;
use crate::log::LogStore;
use crate::snapshots::SnapshotStore;
use crate::stamp::{Stamp, Standing};
use crate::succession;

/// Who wants to use a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    pub node: NodeId,
    /// What a directory that is made now is called; drawn at random.
    pub incarnation: Incarnation,
    /// The operator's word that a directory under another lock file was moved here: where it comes
    /// from nothing runs any more, and nothing of it was set back.
    pub was_moved: bool,
}

/// A directory that this process alone uses, as the node that it was stamped for.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    stamp: Stamp,
    lock: Arc<DirectoryLock>,
}

impl DataDirectory {
    /// Opens the directory, or creates and stamps it.
    ///
    /// # Errors
    /// Another process uses it, it is another node's or a copy, or it can't be used.
    pub fn open(path: &Path, by: Use) -> Result<Self, OpenError> {
        create(path)?;
        let lock = Arc::new(DirectoryLock::acquire(path)?);
        let held = lock
            .lasting_identity()
            .map_err(|source| OpenError::io(path, "looking at the lock", source))?;
        let stamp = match Stamp::read(path)? {
            Some(stamp) => taken_up(path, stamp, by, held)?,
            None => stamp_new(path, by, held)?,
        };
        Ok(Self { path: path.to_owned(), stamp, lock })
    }

    /// Has the node found `cluster`, unless it founds another already: then that one.
    ///
    /// # Errors
    /// It joins a cluster or belongs to one, or the directory can't be written.
    pub fn begin_founding(
        &mut self,
        cluster: ClusterId,
        generation: Generation,
    ) -> Result<(ClusterId, Generation), OpenError> {
        match self.stamp.standing {
            Standing::Fresh => {
                self.stand(Standing::Founding { cluster, generation })?;
                Ok((cluster, generation))
            }
            Standing::Founding { cluster, generation } => Ok((cluster, generation)),
            Standing::Joining { .. } | Standing::Member { .. } => {
                Err(self.stands("founding a cluster"))
            }
        }
    }

    /// Has the node join `cluster`: on the disk before anybody is asked.
    ///
    /// # Errors
    /// It founds or joins another cluster or belongs to one, or the directory can't be written.
    pub fn begin_joining(&mut self, cluster: ClusterId) -> Result<(), OpenError> {
        match self.stamp.standing {
            Standing::Fresh => self.stand(Standing::Joining { cluster }),
            Standing::Joining { cluster: already } if already == cluster => Ok(()),
            Standing::Founding { .. } | Standing::Joining { .. } | Standing::Member { .. } => {
                Err(self.stands("joining a cluster"))
            }
        }
    }

    /// The cluster has refused the node for good: it is as if it had never asked.
    ///
    /// # Errors
    /// The directory can't be written.
    pub fn give_up_joining(&mut self) -> Result<(), OpenError> {
        match self.stamp.standing {
            Standing::Joining { .. } => self.stand(Standing::Fresh),
            Standing::Fresh | Standing::Founding { .. } | Standing::Member { .. } => Ok(()),
        }
    }

    /// The node is a member of the cluster that it founded or joined, once and for all.
    ///
    /// # Errors
    /// It has nothing to do with that cluster, or the directory can't be written.
    pub fn become_member(
        &mut self,
        cluster: ClusterId,
        generation: Generation,
    ) -> Result<(), OpenError> {
        let member = Standing::Member { cluster, generation };
        match self.stamp.standing {
            standing if standing == member => Ok(()),
            Standing::Joining { cluster: joined } if joined == cluster => self.stand(member),
            Standing::Founding { cluster: founded, generation: drawn }
                if (founded, drawn) == (cluster, generation) =>
            {
                self.stand(member)
            }
            Standing::Fresh
            | Standing::Founding { .. }
            | Standing::Joining { .. }
            | Standing::Member { .. } => Err(self.stands("membership of another cluster")),
        }
    }

    fn stand(&mut self, standing: Standing) -> Result<(), OpenError> {
        let stamp = Stamp { standing, ..self.stamp.clone() };
        stamp.write(&self.path)?;
        self.stamp = stamp;
        Ok(())
    }

    fn stands(&self, wanted: &'static str) -> OpenError {
        OpenError::Stands { node: self.stamp.node, standing: self.stamp.standing, wanted }
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    #[must_use]
    pub fn node(&self) -> NodeId {
        self.stamp.node
    }

    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.stamp.incarnation
    }

    #[must_use]
    pub fn standing(&self) -> Standing {
        self.stamp.standing
    }

    /// Records `process` as the one that uses the directory now. Returns the process that used it
    /// before, if the lock proves that it has ended; `None` if there was none, or it may run on
    /// elsewhere: in a copy of the directory, or on a machine that was started since, the lock
    /// proves nothing.
    ///
    /// # Errors
    /// The directory can't be written.
    pub fn succeed(&self, process: ProcessId) -> Result<Option<ProcessId>, OpenError> {
        succession::succeed(&self.path, &self.lock, process)
    }

    /// Opens the log. At most once per process: the stores share the directory's lock.
    ///
    /// # Errors
    /// The log is damaged, or older than what was acknowledged.
    pub fn open_log(&self) -> Result<LogStore, StorageError> {
        LogStore::open(&self.path, Arc::clone(&self.lock))
    }

    /// Opens the store of snapshots.
    ///
    /// # Errors
    /// The directory can't be read or written.
    pub fn open_snapshots(&self) -> Result<SnapshotStore, StorageError> {
        SnapshotStore::open(self.path.join("snapshots"), Arc::clone(&self.lock))
    }
}

fn create(path: &Path) -> Result<(), OpenError> {
    let io_error = |source| OpenError::io(path, "creating it", source);
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(OpenError::NotADirectory { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(path).map_err(io_error)?;
            files::sync_directory(files::parent(path)).map_err(io_error)
        }
        Err(error) => Err(io_error(error)),
    }
}

fn taken_up(path: &Path, stamp: Stamp, by: Use, held: String) -> Result<Stamp, OpenError> {
    if stamp.node != by.node {
        let (stamped, asked) = (stamp.node, by.node);
        return Err(OpenError::OtherNode { path: path.to_owned(), stamped, asked });
    }
    if stamp.lock == held {
        return Ok(stamp);
    }
    if !by.was_moved {
        return Err(OpenError::Copied { path: path.to_owned() });
    }
    let stamp = Stamp { lock: held, ..stamp };
    stamp.write(path)?;
    Ok(stamp)
}

fn stamp_new(path: &Path, by: Use, held: String) -> Result<Stamp, OpenError> {
    if path.join("log").exists() || path.join("snapshots").exists() {
        return Err(OpenError::MissingStamp { path: path.to_owned() });
    }
    let Use { node, incarnation, .. } = by;
    let stamp = Stamp { node, incarnation, lock: held, standing: Standing::Fresh };
    stamp.write(path)?;
    Ok(stamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: ClusterId = ClusterId([1; 16]);
    const OTHER: ClusterId = ClusterId([2; 16]);
    const GENERATION: Generation = Generation([3; 16]);

    fn node(id: u64) -> Use {
        Use { node: NodeId(id), incarnation: Incarnation([9; 16]), was_moved: false }
    }

    #[test]
    fn a_directory_is_used_by_one_process_at_a_time() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("data");
        let first = DataDirectory::open(&path, node(1)).unwrap();
        assert_eq!(first.succeed(ProcessId([1; 16])).unwrap(), None);
        let message = DataDirectory::open(&path, node(1)).unwrap_err().to_string();
        assert!(message.contains(&format!("process {}", std::process::id())), "{message}");

        let log = first.open_log().unwrap();
        drop(first);
        let error = DataDirectory::open(&path, node(1)).unwrap_err();
        assert!(matches!(error, OpenError::Locked { .. }), "the log is still open: {error}");
        log.close();
        let second = DataDirectory::open(&path, node(1)).unwrap();
        assert_eq!(second.succeed(ProcessId([2; 16])).unwrap(), Some(ProcessId([1; 16])));
    }

    #[test]
    fn a_directory_belongs_to_one_node_and_keeps_its_incarnation() {
        let home = tempfile::tempdir().unwrap();
        drop(DataDirectory::open(home.path(), node(1)).unwrap());
        let message = DataDirectory::open(home.path(), node(2)).unwrap_err().to_string();
        assert!(message.contains("belongs to node 1, but this is node 2"), "{message}");
        let again = Use { incarnation: Incarnation([8; 16]), ..node(1) };
        let directory = DataDirectory::open(home.path(), again).unwrap();
        assert_eq!(directory.incarnation(), Incarnation([9; 16]));
    }

    /// It was stamped with the cluster that it asked to join, and `init` founded a second one
    /// under the first one's id: the same entitlement was valid in both.
    #[test]
    fn a_directory_that_joins_or_has_joined_founds_no_cluster() {
        let home = tempfile::tempdir().unwrap();
        let mut directory = DataDirectory::open(home.path(), node(1)).unwrap();
        directory.begin_joining(OURS).unwrap();
        let message = directory.begin_founding(OTHER, GENERATION).unwrap_err().to_string();
        assert!(message.contains(&format!("node 1 is joining cluster {OURS}")), "{message}");
        directory.begin_joining(OTHER).unwrap_err();
        drop(directory);

        // On the disk, too.
        let mut directory = DataDirectory::open(home.path(), node(1)).unwrap();
        directory.begin_joining(OURS).unwrap();
        directory.become_member(OURS, GENERATION).unwrap();
        directory.become_member(OURS, GENERATION).unwrap();
        directory.become_member(OTHER, GENERATION).unwrap_err();
        directory.give_up_joining().unwrap();
        let message = directory.begin_founding(OTHER, GENERATION).unwrap_err().to_string();
        assert!(message.contains(&format!("belongs to cluster {OURS}")), "{message}");
        directory.begin_joining(OURS).unwrap_err();
    }

    #[test]
    fn a_refused_node_may_try_anew_and_an_interrupted_founding_goes_on_with_its_own_id() {
        let home = tempfile::tempdir().unwrap();
        let mut directory = DataDirectory::open(home.path(), node(1)).unwrap();
        directory.begin_joining(OURS).unwrap();
        directory.give_up_joining().unwrap();
        assert_eq!(directory.standing(), Standing::Fresh);

        let other = Generation([4; 16]);
        assert_eq!(directory.begin_founding(OURS, GENERATION).unwrap(), (OURS, GENERATION));
        drop(directory);
        let mut directory = DataDirectory::open(home.path(), node(1)).unwrap();
        assert_eq!(directory.begin_founding(OTHER, other).unwrap(), (OURS, GENERATION));
        directory.begin_joining(OTHER).unwrap_err();
        directory.become_member(OURS, other).unwrap_err();
        directory.become_member(OURS, GENERATION).unwrap();
    }

    /// A copy has promised what the original did, and forgets what it promises from now on: in
    /// Raft the two were one voter with two votes.
    #[test]
    fn a_copied_directory_is_refused_unless_it_was_moved_for_good() {
        let (original, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut directory = DataDirectory::open(original.path(), node(1)).unwrap();
        directory.begin_joining(OURS).unwrap();
        for name in ["lock", "stamp"] {
            fs::copy(original.path().join(name), copy.path().join(name)).unwrap();
        }
        let error = DataDirectory::open(copy.path(), node(1)).unwrap_err();
        assert!(matches!(error, OpenError::Copied { .. }), "{error}");
        assert!(error.to_string().contains("serve --moved"), "{error}");

        drop(directory);
        let moved = DataDirectory::open(copy.path(), Use { was_moved: true, ..node(1) }).unwrap();
        assert_eq!(moved.standing(), Standing::Joining { cluster: OURS });
        drop(moved);
        DataDirectory::open(copy.path(), node(1)).expect("that was said once and for all");

        // The copy takes the original's place.
        fs::remove_dir_all(original.path()).unwrap();
        fs::create_dir(original.path()).unwrap();
        for name in ["lock", "stamp"] {
            fs::copy(copy.path().join(name), original.path().join(name)).unwrap();
        }
        let error = DataDirectory::open(original.path(), node(1)).unwrap_err();
        assert!(matches!(error, OpenError::Copied { .. }), "{error}");
    }

    #[test]
    fn what_is_no_data_directory_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("file");
        fs::write(&file, "").unwrap();
        for path in [file.clone(), file.join("below")] {
            let error = DataDirectory::open(&path, node(1)).unwrap_err();
            assert!(matches!(error, OpenError::NotADirectory { .. }), "{error}");
        }
        // /proc can't be written, not even by root.
        let error = DataDirectory::open(Path::new("/proc/leasehold"), node(1)).unwrap_err();
        assert!(error.to_string().contains("/proc/leasehold"), "{error}");

        fs::write(home.path().join("stamp"), "leasehold data directory\nformat 9\n").unwrap();
        let error = DataDirectory::open(home.path(), node(1)).unwrap_err();
        assert!(matches!(error, OpenError::NewerFormat { found: 9, .. }), "{error}");

        fs::write(home.path().join("stamp"), "").unwrap();
        let error = DataDirectory::open(home.path(), node(1)).unwrap_err();
        assert!(matches!(error, OpenError::DamagedStamp { .. }), "{error}");

        fs::remove_file(home.path().join("stamp")).unwrap();
        fs::create_dir(home.path().join("log")).unwrap();
        let error = DataDirectory::open(home.path(), node(1)).unwrap_err();
        assert!(matches!(error, OpenError::MissingStamp { .. }), "{error}");
    }
}
