//! Room for connections: each is an open file.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises this process's limit of open files as far as the system allows, and returns it; `None`
/// means that there is none. The usual soft limit, 1,024, is only for programs that use `select`.
#[must_use]
pub fn raise_open_files_limit() -> Option<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::warn!(%error, "the limit of open files can't be raised");
        }
    }
    getrlimit(Resource::Nofile).current
}
