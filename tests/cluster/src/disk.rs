//! A small disk of a node's own, which can be filled, stalled and broken.
//!
//! ```text
//!  data directory ── ext4 ── loop device ── image, a file with holes ── tmpfs of its own
//! ```
//!
//! Filling the file system makes a full disk. Freezing it stalls every write. Filling the tmpfs
//! below makes a failing disk: what the device can't put into a new block is an I/O error, and the
//! file system stays unusable until it was checked. This needs root, and belongs into a mount
//! namespace of its own, which takes the mounts along when it goes.

use std::path::{Path, PathBuf};

use crate::command::run;

/// The log of half an hour, its tables and two snapshots fit in half of it.
const DISK_MB: u64 = 256;

#[derive(Debug)]
pub struct Disk {
    /// Where the tmpfs is mounted.
    below: PathBuf,
    mounted: PathBuf,
}

impl Disk {
    /// Mounts a new disk at `mounted`, with `below` for its image; makes both directories.
    ///
    /// # Errors
    /// What the system refused.
    pub fn mount(below: &Path, mounted: &Path) -> Result<Self, String> {
        for directory in [below, mounted] {
            std::fs::create_dir_all(directory).map_err(|error| error.to_string())?;
        }
        let disk = Self { below: below.to_owned(), mounted: mounted.to_owned() };
        run(&format!("mount -t tmpfs -o size={DISK_MB}m leasehold-disk {}", below.display()))?;
        disk.format()?;
        Ok(disk)
    }

    /// An empty disk in the place of this one.
    ///
    /// # Errors
    /// What the system refused.
    pub fn replace(&self) -> Result<(), String> {
        self.unmount()?;
        self.format()
    }

    /// Leaves no free block.
    pub fn fill(&self) {
        write_until_full(&self.mounted.join(FILLER));
    }

    /// Takes back what [`Disk::fill`] has done.
    pub fn free(&self) {
        // It may have been replaced since.
        let _ = std::fs::remove_file(self.mounted.join(FILLER));
    }

    /// Lets every write wait, until [`Disk::go_on`].
    ///
    /// # Errors
    /// What the system refused.
    pub fn stall(&self) -> Result<(), String> {
        run(&format!("fsfreeze --freeze {}", self.mounted.display())).map(drop)
    }

    /// # Errors
    /// What the system refused.
    pub fn go_on(&self) -> Result<(), String> {
        run(&format!("fsfreeze --unfreeze {}", self.mounted.display())).map(drop)
    }

    /// From now on, what needs a new block fails.
    pub fn break_down(&self) {
        write_until_full(&self.below.join(FILLER));
    }

    /// Repairs it, as an operator does after [`Disk::break_down`]; no process may use it.
    ///
    /// # Errors
    /// What the system refused.
    pub fn repair(&self) -> Result<(), String> {
        std::fs::remove_file(self.below.join(FILLER)).map_err(|error| error.to_string())?;
        self.unmount()?;
        // It tells by its status that it has repaired something, which is no failure.
        let _ = run(&format!("e2fsck -y {}", self.image().display()));
        self.attach()
    }

    fn format(&self) -> Result<(), String> {
        let image = self.image();
        let _ = std::fs::remove_file(&image);
        run(&format!("truncate --size={DISK_MB}M {}", image.display()))?;
        run(&format!("mkfs.ext4 -q -m 0 {}", image.display()))?;
        self.attach()?;
        std::fs::remove_dir(self.mounted.join("lost+found")).map_err(|error| error.to_string())
    }

    fn attach(&self) -> Result<(), String> {
        run(&format!("mount -o loop {} {}", self.image().display(), self.mounted.display()))
            .map(drop)
    }

    fn unmount(&self) -> Result<(), String> {
        let place = self.mounted.display();
        run(&format!("umount {place}")).map(drop).map_err(|error| {
            let users = run(&format!("fuser --verbose --mount {place}"));
            format!("{error}; in use by: {}", users.unwrap_or_else(|none| none))
        })
    }

    fn image(&self) -> PathBuf {
        self.below.join("image")
    }
}

const FILLER: &str = "filler";

fn write_until_full(path: &Path) {
    // It always ends with an error: that the disk is full.
    let _ = run(&format!("dd if=/dev/zero of={} bs=64k conv=fsync", path.display()));
    let _ = run(&format!("dd if=/dev/zero of={} bs=512 conv=notrunc oflag=append", path.display()));
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A disk that is stalled can't be unmounted, and one that is in use only later.
        let _ = self.go_on();
        for place in [&self.mounted, &self.below] {
            let _ = run(&format!("umount --lazy {}", place.display()));
        }
    }
}
