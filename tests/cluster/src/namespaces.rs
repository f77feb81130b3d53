//! A network namespace for each node, joined by a bridge, with the kernel's packet filter between.
//!
//! Nothing has a name outside: the namespaces live as long as the processes that hold them, and
//! the bridge as long as the caller's own namespace, in which it must be alone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::command::run;
use crate::wait::until;

#[derive(Debug, Default)]
pub(crate) struct Namespaces {
    /// A process each that does nothing but hold the namespace of a node.
    holders: BTreeMap<u64, Child>,
    /// Nodes whose packets are filtered: to ask each of a hundred takes seconds.
    filtered: Mutex<BTreeSet<u64>>,
}

/// This process's own end of the bridge: that of all engines.
const HUB: u8 = 254;
const PATIENCE: Duration = Duration::from_secs(5);

/// Where node `id`, or for any other party this process, has its address.
pub(crate) fn address(party: u64) -> Ipv4Addr {
    let last = u8::try_from(party).ok().filter(|last| *last < HUB).unwrap_or(HUB);
    Ipv4Addr::new(10, 83, 0, last)
}

impl Namespaces {
    /// # Errors
    /// What the system refused.
    pub(crate) fn new() -> Result<Self, String> {
        for line in [
            "ip link set lo up".to_owned(),
            "ip link add hub type bridge".to_owned(),
            format!("ip addr add {}/24 dev hub", address(u64::MAX)),
            "ip link set hub up".to_owned(),
        ] {
            run(&line)?;
        }
        Ok(Self::default())
    }

    /// # Errors
    /// What the system refused.
    pub(crate) async fn add(&mut self, id: u64) -> Result<(), String> {
        let mut command = Command::new("unshare");
        command.args(["--net", "sleep", "infinity"]).stdin(Stdio::null());
        let holder = command.spawn().map_err(|error| format!("unshare: {error}"))?;
        let process = holder.id();
        self.holders.insert(id, holder);
        let namespace = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net")).ok();
        let own = namespace("self");
        until("the namespace is there", PATIENCE, async || {
            namespace(&process.to_string()).filter(|it| Some(it) != own.as_ref())
        })
        .await;
        run(&format!("ip link add node{id} type veth peer name wire netns {process}"))?;
        run(&format!("ip link set node{id} master hub up"))?;
        for line in [
            "ip link set lo up".to_owned(),
            format!("ip addr add {}/24 dev wire", address(id)),
            "ip link set wire up".to_owned(),
            "nft add table inet faults".to_owned(),
            "nft add chain inet faults in { type filter hook input priority 0 ; }".to_owned(),
            "nft add chain inet faults out { type filter hook output priority 0 ; }".to_owned(),
        ] {
            run(&self.within(id, &line))?;
        }
        Ok(())
    }

    /// What a process of node `id` is to be started with.
    pub(crate) fn launcher(&self, id: u64) -> Vec<String> {
        self.within(id, "").split_whitespace().map(str::to_owned).collect()
    }

    /// # Errors
    /// What the system refused.
    pub(crate) fn cut(&self, from: u64, to: u64) -> Result<(), String> {
        let (node, rule) = if self.holders.contains_key(&to) {
            (to, format!("nft add rule inet faults in ip saddr {} drop", address(from)))
        } else {
            (from, format!("nft add rule inet faults out ip daddr {} drop", address(to)))
        };
        self.filtered().insert(node);
        run(&self.within(node, &rule)).map(drop)
    }

    /// # Errors
    /// What the system refused.
    pub(crate) fn heal(&self) -> Result<(), String> {
        for id in std::mem::take(&mut *self.filtered()) {
            run(&self.within(id, "nft flush table inet faults"))?;
        }
        Ok(())
    }

    fn filtered(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.filtered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn within(&self, id: u64, line: &str) -> String {
        let process = self.holders.get(&id).map_or(0, Child::id);
        format!("nsenter --net=/proc/{process}/ns/net {line}")
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for holder in self.holders.values_mut() {
            // It does nothing, and has nothing to lose.
            let _ = holder.kill();
            let _ = holder.wait();
        }
    }
}
