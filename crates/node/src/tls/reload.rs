//! Certificates that follow their files without a restart.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use super::files::{Contents, Material, TlsError, TlsFiles};

/// What `build` makes of the files (a rustls configuration), as of their last good contents.
///
/// Open connections keep what they were made with; new ones use what is current.
pub struct Reloading<C> {
    /// Says in logs and metrics what the certificate is for.
    label: &'static str,
    files: TlsFiles,
    build: Box<Build<C>>,
    current: ArcSwap<C>,
    tried: Mutex<Tried>,
}

type Build<C> = dyn Fn(&Material) -> Result<C, TlsError> + Send + Sync;

/// How often files are looked at. Kubernetes replaces a mounted secret by swapping a symbolic
/// link, which file notification misses; reading three small files costs nothing.
pub(super) const POLL: Duration = Duration::from_secs(5);

/// What was last tried; `None` if it could not even be read.
struct Tried {
    contents: Option<Contents>,
    /// Tried again, as a certificate may become valid, but complained of only once.
    is_refused: bool,
}

impl<C> Reloading<C> {
    pub(super) fn open(
        label: &'static str,
        files: TlsFiles,
        build: impl Fn(&Material) -> Result<C, TlsError> + Send + Sync + 'static,
    ) -> Result<Self, TlsError> {
        let contents = files.read()?;
        let current = make(label, &files, &contents, &build)?;
        Ok(Self {
            label,
            files,
            build: Box::new(build),
            current: ArcSwap::from_pointee(current),
            tried: Mutex::new(Tried { contents: Some(contents), is_refused: false }),
        })
    }

    /// What the last good contents made.
    #[must_use]
    pub fn current(&self) -> Arc<C> {
        self.current.load_full()
    }

    /// Takes changed files into use; `false` if there is nothing new.
    ///
    /// # Errors
    /// If the changed files can't be used. What was current stays so.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        let (contents, made) = match self.files.read() {
            Ok(contents) if tried.is_good(&contents) => return Ok(false),
            Ok(contents) => {
                let made = make(self.label, &self.files, &contents, &self.build);
                (Some(contents), made)
            }
            Err(error) => (None, Err(error)),
        };
        let is_known = tried.contents == contents;
        *tried = Tried { contents, is_refused: made.is_err() };
        if made.is_err() && is_known {
            return Ok(false);
        }
        let outcome = if made.is_ok() { "used" } else { "refused" };
        metrics::counter!("leasehold_tls_reloads_total", "use" => self.label, "outcome" => outcome)
            .increment(1);
        self.current.store(Arc::new(made?));
        Ok(true)
    }

    /// Reloads whenever the files change, until `stop`; a failure is logged once per change.
    pub async fn follow(&self, stop: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(POLL) => self.reload_and_log(),
            }
        }
    }

    /// For a signal that asks for it, such as SIGHUP.
    pub fn reload_and_log(&self) {
        match self.reload() {
            Ok(true) => tracing::info!(for_use = self.label, "new certificates are in use"),
            Ok(false) => {}
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(
                    for_use = self.label,
                    cause,
                    "the old certificates stay in use: {error}"
                );
            }
        }
    }
}

impl Tried {
    fn is_good(&self, contents: &Contents) -> bool {
        !self.is_refused && self.contents.as_ref() == Some(contents)
    }
}

impl<C> fmt::Debug for Reloading<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloading").field("label", &self.label).field("files", &self.files).finish()
    }
}

fn make<C>(
    label: &'static str,
    files: &TlsFiles,
    contents: &Contents,
    build: &impl Fn(&Material) -> Result<C, TlsError>,
) -> Result<C, TlsError> {
    let material = Material::parse(files, contents)?;
    let made = build(&material)?;
    #[allow(clippy::cast_precision_loss, reason = "seconds of this millennium fit into 2^53")]
    metrics::gauge!("leasehold_tls_certificate_not_after_seconds", "use" => label)
        .set(material.not_after_unix_s as f64);
    Ok(made)
}
