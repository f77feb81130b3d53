//! A node's data directory: created, locked, stamped, and then the way to its stores.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use leasehold_core::id::{ClusterId, NodeId, ProcessId};

use crate::error::{OpenError, StorageError};
use crate::files;
use crate::lock::DirectoryLock;
use crate::log::LogStore;
use crate::snapshots::SnapshotStore;
use crate::stamp::Stamp;
use crate::succession;

/// Who wants to use a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `None` if the node takes the cluster from its directory, or belongs to none yet.
    pub cluster: Option<ClusterId>,
    pub node: NodeId,
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
    /// Another process uses it, it belongs to another node or cluster, or it can't be used.
    pub fn open(path: &Path, identity: Identity) -> Result<Self, OpenError> {
        create(path)?;
        let lock = Arc::new(DirectoryLock::acquire(path)?);
        let stamp = match Stamp::read(path)? {
            Some(stamp) => stamp,
            None => stamp_new(path, identity)?,
        };
        if stamp.node != identity.node {
            let (stamped, asked) = (stamp.node, identity.node);
            return Err(OpenError::OtherNode { path: path.to_owned(), stamped, asked });
        }
        let mut directory = Self { path: path.to_owned(), stamp, lock };
        if let Some(cluster) = identity.cluster {
            directory.stamp_cluster(cluster)?;
        }
        Ok(directory)
    }

    /// Records the cluster that the node has founded or joined; once and for all.
    ///
    /// # Errors
    /// The directory belongs to another cluster, or can't be written.
    pub fn stamp_cluster(&mut self, cluster: ClusterId) -> Result<(), OpenError> {
        match self.stamp.cluster {
            Some(stamped) if stamped == cluster => Ok(()),
            Some(stamped) => {
                let path = self.path.clone();
                Err(OpenError::OtherCluster { path, stamped, asked: cluster })
            }
            None => {
                let stamp = Stamp { cluster: Some(cluster), ..self.stamp };
                stamp.write(&self.path)?;
                self.stamp = stamp;
                Ok(())
            }
        }
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
    pub fn cluster(&self) -> Option<ClusterId> {
        self.stamp.cluster
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

fn stamp_new(path: &Path, identity: Identity) -> Result<Stamp, OpenError> {
    if path.join("log").exists() || path.join("snapshots").exists() {
        return Err(OpenError::MissingStamp { path: path.to_owned() });
    }
    let stamp = Stamp { node: identity.node, cluster: identity.cluster };
    stamp.write(path)?;
    Ok(stamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: u64) -> Identity {
        Identity { cluster: None, node: NodeId(id) }
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
    fn a_directory_belongs_to_one_node_and_one_cluster() {
        let home = tempfile::tempdir().unwrap();
        let (ours, other) = (ClusterId([1; 16]), ClusterId([2; 16]));
        let mut directory = DataDirectory::open(home.path(), node(1)).unwrap();
        assert_eq!(directory.cluster(), None);
        directory.stamp_cluster(ours).unwrap();
        directory.stamp_cluster(ours).unwrap();
        let message = directory.stamp_cluster(other).unwrap_err().to_string();
        assert!(message.contains(&ours.to_string()) && message.contains(&other.to_string()));
        drop(directory);

        let message = DataDirectory::open(home.path(), node(2)).unwrap_err().to_string();
        assert!(message.contains("belongs to node 1, but this is node 2"), "{message}");
        let asked = Identity { cluster: Some(other), node: NodeId(1) };
        let error = DataDirectory::open(home.path(), asked).unwrap_err();
        assert!(matches!(error, OpenError::OtherCluster { .. }), "{error}");
        assert_eq!(DataDirectory::open(home.path(), node(1)).unwrap().cluster(), Some(ours));
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
