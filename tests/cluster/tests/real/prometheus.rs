//! A real Prometheus scrapes three nodes with the configuration and the rules of `deploy/`.
//!
//! Of these files only what a test must change is changed: the addresses, how often nodes are
//! scraped and rules evaluated (each second), and for how long an alert must hold (4 s where it is
//! 30 s or a minute). Frozen units keep their minute: a node's death freezes some for 31 s.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use leasehold_cluster_tests::{Cluster, Shape, get, until};
use serde_json::Value;

const NODES: [u64; 3] = [1, 2, 3];
/// As `deploy/prometheus/prometheus.yml` calls them.
const EXAMPLES: [&str; 3] =
    ["east-1.example:7403", "west-1.example:7403", "central-1.example:7403"];
const ENTITLED: [(&str, u64); 2] = [("asr.tier1", 100), ("tts.chris", 100)];
/// Longer than an alert must hold, in scrapes of a second each.
const HEALTHY_SCRAPES: u64 = 8;
/// A dead node's lease ends after ten seconds; then the alerts on it must hold.
const PATIENCE: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_is_silent_in_health_and_tells_of_a_dead_node_until_it_is_back() {
    let mut cluster = Cluster::prepare(Shape::standard());
    for id in NODES {
        serve_metrics_over_tls(&mut cluster, id);
        cluster.start_node(id);
    }
    cluster.found().await;
    for id in &NODES[1..] {
        cluster.join(*id, 1).await;
    }
    cluster.install(&ENTITLED).await;
    cluster.wait_for_voters(NODES.len()).await;
    let prometheus = Prometheus::start(&mut cluster).await;

    let healthy = format!(
        "sum(min_over_time(leasehold_ready[{HEALTHY_SCRAPES}s])) == 3 and \
         min(count_over_time(leasehold_ready[{HEALTHY_SCRAPES}s])) >= {HEALTHY_SCRAPES} - 1"
    );
    until("three nodes are scraped and ready for a while", PATIENCE, async || {
        prometheus.value(&healthy).await
    })
    .await;
    assert_eq!(prometheus.rules_with_errors().await, Vec::<String>::new());
    let ever = prometheus.firing("ALERTS{alertstate=\"firing\"}[10m]").await;
    assert_eq!(ever, BTreeSet::new(), "nothing may fire in health");

    let leader = cluster.leader(1).await;
    let dead = if leader == 3 { 2 } else { 3 };
    let instance = cluster.layout(dead).ports.http.to_string();
    cluster.kill_9(dead);
    let expected = BTreeSet::from([format!("LeaseholdNodeDown {instance}")]);
    until("the dead node is told of", PATIENCE, async || prometheus.fire(&expected).await).await;

    let survivor = NODES.into_iter().find(|id| *id != dead && *id != leader).unwrap();
    cluster.kill_9(leader);
    let instance = cluster.layout(survivor).ports.http.to_string();
    let alone = ["LeaseholdNoLeader", "LeaseholdNodeNotReady", "LeaseholdLeaseLow"];
    let expected: BTreeSet<String> =
        alone.iter().map(|alert| format!("{alert} {instance}")).collect();
    until("the node without a majority is told of", PATIENCE, async || {
        prometheus.fire(&expected).await
    })
    .await;

    cluster.start_node(dead);
    cluster.start_node(leader);
    until("every alert is resolved", PATIENCE, async || {
        prometheus.firing("ALERTS{alertstate=\"firing\"}").await.is_empty().then_some(())
    })
    .await;
}

/// Beyond its machine a node serves metrics over TLS only, so that is what the files expect.
fn serve_metrics_over_tls(cluster: &mut Cluster, id: u64) {
    let layout = cluster.layout(id);
    let config = std::fs::read_to_string(layout.config()).unwrap();
    let listen = format!("[http]\nlisten = \"{}\"\n", layout.ports.http);
    let plain = format!("{listen}plain_text = \"on loopback only\"\n");
    assert!(config.contains(&plain), "{config}");
    let file = |name: String| layout.certificates.join(name).display().to_string();
    let tls = format!(
        "{listen}[http.tls]\nca = \"{}\"\ncertificate = \"{}\"\nkey = \"{}\"\n",
        file("ca.pem".to_owned()),
        file(format!("node-{id}.pem")),
        file(format!("node-{id}-key.pem"))
    );
    std::fs::write(layout.config(), config.replace(&plain, &tls)).unwrap();
}

/// A process that scrapes and evaluates; dropped, it is killed.
struct Prometheus {
    child: Child,
    address: SocketAddr,
}

impl Prometheus {
    async fn start(cluster: &mut Cluster) -> Self {
        let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
        let deploy = deploy.join("deploy/prometheus");
        let read = |name: &str| std::fs::read_to_string(deploy.join(name)).unwrap();
        let mut config = replaced(read("prometheus.yml"), "_interval: 10s", "_interval: 1s");
        for (id, example) in NODES.into_iter().zip(EXAMPLES) {
            config = replaced(config, example, &cluster.layout(id).ports.http.to_string());
        }
        // Beside the certificates, which it names relative to itself.
        let path = cluster.path("prometheus.yml");
        std::fs::write(&path, config).unwrap();
        std::fs::write(cluster.path("rules.yml"), hurried(&read("rules.yml"))).unwrap();

        let address = free_address();
        let log = std::fs::File::create(cluster.path("prometheus.log")).unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", path.display()))
            .arg(format!("--storage.tsdb.path={}", cluster.path("prometheus").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("there is no `prometheus` on the PATH: run this through `scripts/test-tools`");
        let prometheus = Self { child, address };
        until("Prometheus is ready", PATIENCE, async || {
            get(address, "/-/ready").await.filter(|(status, _)| *status == 200)
        })
        .await;
        prometheus
    }

    /// The value that a query has now; `None` if it has none.
    async fn value(&self, query: &str) -> Option<String> {
        let result = self.query(query).await?;
        result.first()?["value"][1].as_str().map(str::to_owned)
    }

    /// Whether these alerts fire, each with its instance: `Alert instance`.
    async fn fire(&self, expected: &BTreeSet<String>) -> Option<()> {
        let firing = self.firing("ALERTS{alertstate=\"firing\"}").await;
        expected.is_subset(&firing).then_some(())
    }

    /// What the series of alerts tell: `Alert instance`.
    async fn firing(&self, alerts: &str) -> BTreeSet<String> {
        let series = self.query(alerts).await.expect("Prometheus answers");
        let name = |series: &Value| {
            let label = |name: &str| series["metric"][name].as_str().unwrap_or("-").to_owned();
            format!("{} {}", label("alertname"), label("instance"))
        };
        series.iter().map(name).collect()
    }

    /// What the API says of rules that can't be evaluated.
    async fn rules_with_errors(&self) -> Vec<String> {
        let answer = self.ask("/api/v1/rules").await.expect("Prometheus answers");
        let groups = answer["data"]["groups"].as_array().expect("groups").iter();
        let rules = groups.flat_map(|group| group["rules"].as_array().expect("rules"));
        rules.filter(|rule| rule["health"] != "ok").map(ToString::to_string).collect()
    }

    async fn query(&self, query: &str) -> Option<Vec<Value>> {
        let answer = self.ask(&format!("/api/v1/query?query={}", escaped(query))).await?;
        answer["data"]["result"].as_array().cloned()
    }

    async fn ask(&self, path: &str) -> Option<Value> {
        let (status, body) = get(self.address, path).await?;
        assert_eq!(status, 200, "{path}: {body}");
        Some(serde_json::from_str(&body).expect("JSON"))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The rules, with what takes half a minute or a minute taking 4 s.
fn hurried(rules: &str) -> String {
    let mut alert = "";
    let mut hurried = String::new();
    for line in rules.lines() {
        alert = line.trim().strip_prefix("- alert: ").unwrap_or(alert);
        let is_long = matches!(line.trim(), "for: 1m" | "for: 30s");
        let line = match is_long && alert != "LeaseholdUnitsFrozen" {
            true => "        for: 4s",
            false => line,
        };
        hurried += line;
        hurried.push('\n');
    }
    assert!(hurried.matches("for: 4s").count() > 3, "the rules look different: {hurried}");
    hurried
}

fn replaced(text: String, old: &str, new: &str) -> String {
    assert!(text.contains(old), "`{old}` is not in the file any more:\n{text}");
    text.replace(old, new)
}

/// For a URL.
fn escaped(query: &str) -> String {
    query.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Nobody is to find it again later, so any will do.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap()
}
