//! What can go wrong with a disk, in words that say what to do.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use leasehold_core::id::NodeId;

use crate::stamp::Standing;

/// Why a data directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "data directory {path} is in use by {}: stop that process first, or give this node a \
         data directory of its own", holder_text(*.holder)
    )]
    Locked { path: PathBuf, holder: Option<u32> },
    #[error(
        "data directory {path} belongs to node {stamped}, but this is node {asked}: set the \
         node's id to {stamped}, or give node {asked} an empty data directory"
    )]
    OtherNode { path: PathBuf, stamped: NodeId, asked: NodeId },
    #[error(
        "data directory {path} is a copy, or was restored: it was last used under another lock file. \
         What it has promised and lent since the copy it does not know, so it must not run beside \
         what it was copied from, nor after it. Have the node join as a new one, with a new id and an \
         empty directory. Only if the node that this directory was moved from has stopped for good, \
         and nothing was set back to an earlier state, start it once with `serve --moved`"
    )]
    Copied { path: PathBuf },
    #[error(
        "node {node} {} already: {wanted} takes an empty data directory", standing_text(*.standing)
    )]
    Stands { node: NodeId, standing: Standing, wanted: &'static str },
    #[error(
        "data directory {path} has format {found}, and this version reads formats up to {known}: \
         install the version of leasehold that wrote it, or a later one"
    )]
    NewerFormat { path: PathBuf, found: u32, known: u32 },
    #[error(
        "data directory {path} has format {found}, which this version does not read any more (it \
         knows {known}): no release wrote it; begin with an empty directory"
    )]
    OlderFormat { path: PathBuf, found: u32, known: u32 },
    #[error(
        "the stamp of data directory {path} is damaged ({reason}): check the disk; if it is sound, \
         remove this node from the cluster and let it join again with a new id and an empty \
         directory"
    )]
    DamagedStamp { path: PathBuf, reason: String },
    #[error(
        "data directory {path} holds a log but no stamp, so it can't be told whose it is: restore \
         the file `stamp`, or remove this node from the cluster and let it join again with a new \
         id and an empty directory"
    )]
    MissingStamp { path: PathBuf },
    #[error("data directory {path} is not a directory: name a directory in the configuration")]
    NotADirectory { path: PathBuf },
    #[error(
        "data directory {path} can't be written: make it writable for this process's user, on a \
         file system that is not read-only"
    )]
    NotWritable { path: PathBuf, source: io::Error },
    #[error("the disk that holds data directory {path} is full: free some space, then start again")]
    DiskFull { path: PathBuf, source: io::Error },
    #[error("data directory {path} can't be used: {doing} failed")]
    Io { path: PathBuf, doing: &'static str, source: io::Error },
    #[error(transparent)]
    Storage(#[from] StorageError),
}

fn standing_text(standing: Standing) -> String {
    match standing {
        Standing::Fresh => "belongs to no cluster".to_owned(),
        Standing::Founding { cluster, .. } => format!("is founding cluster {cluster}"),
        Standing::Joining { cluster } => format!("is joining cluster {cluster}"),
        Standing::Member { cluster, .. } => format!("belongs to cluster {cluster}"),
    }
}

fn holder_text(holder: Option<u32>) -> String {
    holder.map_or_else(|| "another running process".to_owned(), |pid| format!("process {pid}"))
}

impl OpenError {
    pub(crate) fn io(path: &Path, doing: &'static str, source: io::Error) -> Self {
        let path = path.to_owned();
        let kind = source.kind();
        if is_full(kind) {
            Self::DiskFull { path, source }
        } else if kind == io::ErrorKind::NotADirectory {
            Self::NotADirectory { path }
        } else if matches!(
            kind,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
        ) {
            Self::NotWritable { path, source }
        } else {
            Self::Io { path, doing, source }
        }
    }
}

fn is_full(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Why the log or a snapshot can't be read or written. Ends the process: see the crate's promises.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StorageError {
    #[error("the disk that holds {path} is full: free some space, then start the node again")]
    DiskFull { path: PathBuf, source: Arc<io::Error> },
    #[error("{doing} in {path} failed: check the disk, then start the node again")]
    Io { path: PathBuf, doing: &'static str, source: Arc<io::Error> },
    #[error(
        "{path} is damaged: {what}. Check the disk; then remove this node from the cluster and let \
         it join again with a new id and an empty data directory. (A cluster of one node is \
         restored from a backup.)"
    )]
    Damaged { path: PathBuf, what: String },
    #[error(
        "{path} has lost writes that this node had acknowledged: write {durable} was on disk \
         (last entry {durable_entry}), and what is there now ends with write {found}. The disk was \
         reverted, copied from an old state, or does not keep what it promised. This node must \
         not vote again: remove it from the cluster and let it join again with a new id and an \
         empty data directory"
    )]
    Reverted { path: PathBuf, durable: u64, durable_entry: u64, found: u64 },
    #[error("entry {index} does not follow the log's last entry {last}")]
    Gap { index: u64, last: u64 },
    #[error("the log was closed")]
    Closed,
}

impl StorageError {
    pub(crate) fn io(path: &Path, doing: &'static str, source: io::Error) -> Self {
        let path = path.to_owned();
        let full = is_full(source.kind());
        let source = Arc::new(source);
        if full { Self::DiskFull { path, source } } else { Self::Io { path, doing, source } }
    }

    pub(crate) fn rocksdb(path: &Path, doing: &'static str, error: rocksdb::Error) -> Self {
        if error.kind() == rocksdb::ErrorKind::Corruption {
            return Self::Damaged { path: path.to_owned(), what: error.into_string() };
        }
        // RocksDB hands the system's error over as text only.
        let full = error.as_ref().contains("No space left on device");
        let kind = if full { io::ErrorKind::StorageFull } else { io::ErrorKind::Other };
        Self::io(path, doing, io::Error::new(kind, error))
    }

    pub(crate) fn damaged(path: &Path, what: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), what: what.into() }
    }
}

/// For callers whose traits ask for `io::Error`; the kind tells a full disk apart.
impl From<StorageError> for io::Error {
    fn from(error: StorageError) -> Self {
        let kind = match &error {
            StorageError::DiskFull { .. } => io::ErrorKind::StorageFull,
            StorageError::Io { source, .. } => source.kind(),
            StorageError::Damaged { .. } | StorageError::Reverted { .. } => {
                io::ErrorKind::InvalidData
            }
            StorageError::Gap { .. } => io::ErrorKind::InvalidInput,
            StorageError::Closed => io::ErrorKind::BrokenPipe,
        };
        io::Error::new(kind, error)
    }
}
