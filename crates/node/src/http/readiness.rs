//! Whether engines should be sent to this node, check by check.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use tokio::sync::watch;

/// Named checks; cheap to clone. Ready means that all of them pass.
#[derive(Clone, Debug)]
pub struct Readiness {
    checks: Arc<watch::Sender<Checks>>,
}

/// The last word on one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    pub ok: bool,
    /// For people: what is so, or what is missing.
    pub detail: String,
}

type Checks = BTreeMap<&'static str, Check>;

impl Readiness {
    /// Checks that all fail until they are first set.
    #[must_use]
    pub fn requiring(names: &[&'static str]) -> Self {
        let unknown = || Check { ok: false, detail: "not checked yet".to_owned() };
        let checks = names.iter().map(|name| (*name, unknown())).collect();
        Self { checks: Arc::new(watch::Sender::new(checks)) }
    }

    /// Tells how the check `name` went; what it was before is forgotten.
    pub fn set(&self, name: &'static str, ok: bool, detail: impl Into<String>) {
        let check = Check { ok, detail: detail.into() };
        self.checks.send_if_modified(|checks| {
            let is_new = checks.get(name) != Some(&check);
            checks.insert(name, check);
            is_new
        });
        metrics::gauge!("leasehold_ready").set(f64::from(u8::from(self.is_ready())));
    }

    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.checks.borrow().values().all(|check| check.ok)
    }

    /// Completes when the node is ready.
    pub async fn ready(&self) {
        let mut changes = self.checks.subscribe();
        let is_ready = |checks: &Checks| checks.values().all(|check| check.ok);
        // The sender is this very value: it outlives the wait.
        let _ = changes.wait_for(is_ready).await;
    }

    /// Follows every change, for gRPC health and the service manager.
    #[must_use]
    pub fn observe(&self) -> watch::Receiver<BTreeMap<&'static str, Check>> {
        self.checks.subscribe()
    }

    /// Whether it is ready, and a page that says why not or, if verbose, everything.
    pub(super) fn report(&self, is_verbose: bool) -> (bool, String) {
        let checks = self.checks.borrow();
        let is_ready = checks.values().all(|check| check.ok);
        let mut page = String::new();
        for (name, check) in checks.iter().filter(|(_, check)| is_verbose || !check.ok) {
            let sign = if check.ok { '+' } else { '-' };
            // Writing to a string does not fail.
            let _ = writeln!(page, "[{sign}] {name}: {}", check.detail);
        }
        page.push_str(if is_ready { "ok\n" } else { "not ready\n" });
        (is_ready, page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ready_means_that_every_required_check_has_passed() {
        let readiness = Readiness::requiring(&["leader", "storage"]);
        readiness.set("storage", true, "open");
        assert_eq!(
            readiness.report(false),
            (false, "[-] leader: not checked yet\nnot ready\n".to_owned())
        );
        let (waiting, ()) =
            tokio::join!(readiness.ready(), async { readiness.set("leader", true, "node 2") });
        assert_eq!(waiting, ());
        assert_eq!(readiness.report(false), (true, "ok\n".to_owned()));
        let verbose = "[+] leader: node 2\n[+] storage: open\nok\n";
        assert_eq!(readiness.report(true), (true, verbose.to_owned()));
        readiness.set("leader", false, "none");
        assert!(!readiness.is_ready());
    }

    #[test]
    fn a_check_that_says_the_same_again_wakes_nobody() {
        let readiness = Readiness::requiring(&["storage"]);
        let mut changes = readiness.observe();
        readiness.set("storage", true, "open");
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        readiness.set("storage", true, "open");
        assert!(!changes.has_changed().unwrap());
    }
}
