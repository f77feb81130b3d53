//! How large the data directory is, and what its disk has left.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use metrics::gauge;
use tokio::task::JoinHandle;

use super::publish::approximate;

/// A log grows by kilobytes a second; a look costs a few system calls for each file.
const EVERY: Duration = Duration::from_secs(15);

pub(super) struct Disk {
    data_dir: PathBuf,
    due: Instant,
    /// A disk that hangs holds up neither the other metrics nor a second thread.
    look: Option<JoinHandle<()>>,
}

impl Disk {
    pub(super) fn new(data_dir: PathBuf) -> Self {
        Self { data_dir, due: Instant::now(), look: None }
    }

    pub(super) fn publish_when_due(&mut self) {
        let is_looking = self.look.as_ref().is_some_and(|look| !look.is_finished());
        if is_looking || Instant::now() < self.due {
            return;
        }
        self.due = Instant::now() + EVERY;
        let data_dir = self.data_dir.clone();
        self.look = Some(tokio::task::spawn_blocking(move || match look(&data_dir) {
            Ok((used, available)) => {
                gauge!("leasehold_db_total_size_in_bytes").set(approximate(used));
                gauge!("leasehold_disk_available_bytes").set(approximate(available));
            }
            Err(error) => tracing::debug!(%error, "the data directory can't be looked at"),
        }));
    }
}

fn look(data_dir: &Path) -> io::Result<(u64, u64)> {
    let disk = rustix::fs::statvfs(data_dir)?;
    Ok((size_of(data_dir)?, disk.f_bavail.saturating_mul(disk.f_frsize)))
}

fn size_of(directory: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        // A file may go away meanwhile: logs and snapshots are cleared up.
        let Ok(about) = entry.metadata() else { continue };
        bytes += if about.is_dir() { size_of(&entry.path()).unwrap_or(0) } else { about.len() };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_directory_is_as_large_as_all_files_below_it() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("log")).unwrap();
        std::fs::write(home.path().join("stamp"), [0; 10]).unwrap();
        std::fs::write(home.path().join("log").join("1"), [0; 90]).unwrap();
        let (used, available) = look(home.path()).unwrap();
        assert_eq!(used, 100);
        assert!(available > 0, "this very test could write");
    }
}
