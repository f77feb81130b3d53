//! What is said before and after: what will happen, and what can be tried while the nodes run on.

use std::fmt::Write;
use std::time::Duration;

use super::cluster::Cluster;
use super::offer::{HOME, entitled};
use super::{Plan, SITES, engines, story};

/// Until the engines begin, and the last check.
const OVERHEAD: Duration = Duration::from_secs(6);

pub(super) fn announcement(plan: &Plan) -> String {
    let seconds = plan.traffic.as_secs();
    let about = (story::duration(plan.traffic) + OVERHEAD).as_secs();
    let distance = plan.round_trip.map_or(String::new(), |round_trip| {
        format!(
            "\x20 * proxies delay all that goes from one site to another: a round trip takes {} ms\n",
            round_trip.as_millis()
        )
    });
    format!(
        "Leasehold demo: about {about} s, on this machine alone. What will happen:\n\
         \x20 * three `leasehold serve` processes, for the sites {}, form a cluster\n{distance}\
         \x20 * an entitlement for {} features is installed: a set that all sites share, and one \
         of {HOME}\n\
         \x20 * {} engines make calls of {} to {} s for {seconds} s; each asks its own site first\n\
         \x20 * after {} s a follower is killed with SIGKILL, after {} s the leader; both come \
         back\n\
         \x20 * a summary follows, with a verdict from what the engines noted. Ctrl-C ends it.\n",
        SITES.join(", "),
        entitled(plan.engines).len(),
        plan.engines,
        engines::CALL_LEAST.as_secs(),
        engines::CALL_MOST.as_secs(),
        seconds / 3,
        2 * seconds / 3,
    )
}

/// What can be tried while the nodes run on.
pub(super) fn commands(plan: &Plan, cluster: &Cluster) -> String {
    let program = plan.program.display();
    let admin = cluster.certificates("admin");
    let mut text = "The nodes run on:\n\n".to_owned();
    for (index, node) in cluster.nodes().iter().enumerate() {
        let process = cluster.process_id(index).map_or("-".to_owned(), |id| id.to_string());
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "  {:<10} process {process}, engines {}, operators {}, http://{}",
            node.name, node.engines, node.admin, node.http
        );
    }
    let [east, west, ..] = cluster.nodes() else { return text };
    let _ = write!(
        text,
        "\nTo try, in another terminal:\n\n\
         export LEASEHOLD_CA={}\n\
         export LEASEHOLD_CERT={}\n\
         export LEASEHOLD_KEY={}\n\
         {program} status --admin {}\n\
         {program} sets --admin {}\n\
         {program} events --follow --admin {}\n\
         {program} checkout asr.tier1 tts.emma=2 --engines {}\n\
         curl http://{}/metrics\n\n\
         kill -9 a node, and start it again with {program} serve --config {}\n\
         Logs are in {}. Ctrl-C here stops the nodes and removes all that.",
        admin.ca.display(),
        admin.certificate.display(),
        admin.key.display(),
        east.admin,
        west.admin,
        east.admin,
        west.engines,
        east.http,
        cluster.config_path(0).display(),
        cluster.directory().display()
    );
    text
}
