//! What is not ours: an engine in Python, curl, and Prometheus's own check.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use leasehold_clock::Clock;
use leasehold_cluster_tests::{Cluster, Shape, until};

const ENTITLED: [(&str, u64); 2] = [("asr.tier1", 10), ("tts.chris", 10)];

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_in_python_finds_every_promise_kept_over_tls() {
    if !python_is_prepared() {
        return println!("skipped: run `tests/python/run --prepare` first, as `make test` does");
    }
    let mut cluster = Cluster::start(Shape::standard(), 1, &ENTITLED).await;
    let certs = cluster.path("certs");
    let output = Command::new(python_runner())
        .arg(cluster.layout(1).ports.engines.to_string())
        .arg("--ca")
        .arg(certs.join("ca.pem"))
        .arg("--cert")
        .arg(certs.join("engine.pem"))
        .arg("--key")
        .arg(certs.join("engine-key.pem"))
        .args(["--features", "asr.tier1,tts.chris"])
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.contains("all promises held"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_engines_in_python_outlive_the_node_that_licensed_them() {
    if !python_is_prepared() {
        return println!("skipped: run `tests/python/run --prepare` first, as `make test` does");
    }
    let shape = Shape::quick();
    let mut cluster = Cluster::start(shape, 3, &ENTITLED).await;
    let leader = cluster.leader(1).await;
    let dying = if leader == 3 { 2 } else { 3 };
    let order = [dying, leader, 6 - dying - leader];
    let addresses = order.map(|id| cluster.layout(id).ports.engines.to_string());
    let certs = cluster.path("certs");
    let mut engines = Command::new(python_runner())
        .args(["--caller", &addresses.join(",")])
        .arg("--ca")
        .arg(certs.join("ca.pem"))
        .arg("--cert")
        .arg(certs.join("engine.pem"))
        .arg("--key")
        .arg(certs.join("engine-key.pem"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(engines.stdout.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert_eq!(line, "calling\n");

    cluster.kill_9(dying);
    // Whatever was promised before has ended by then.
    let outlived_ms = Clock::Steady.now() + shape.timings.checkout_ttl_ms * 3 / 2;
    until("every lifetime of before has passed", Duration::from_secs(20), async || {
        (Clock::Steady.now() > outlived_ms).then_some(())
    })
    .await;
    drop(engines.stdin.take());
    said.read_to_string(&mut line).unwrap();
    let ended = engines.wait_with_output().unwrap();
    let complaint = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{line}{complaint}");
    assert!(line.contains("10 of 10 moved to another node"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_reads_metrics_that_promtool_has_no_complaint_about() {
    let mut cluster = Cluster::start(Shape::standard(), 1, &ENTITLED).await;
    let url = format!("http://{}/metrics", cluster.layout(1).ports.http);
    let curl = Command::new("curl").args(["--silent", "--fail", "--max-time", "5", &url]).output();
    let Ok(curl) = curl else {
        return println!("skipped: there is no curl");
    };
    assert!(curl.status.success(), "{curl:?}");
    let page = String::from_utf8(curl.stdout).unwrap();
    assert!(page.contains("leasehold_ready 1"), "{page}");

    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = promtool else {
        return println!("skipped: there is no promtool; `make test` brings it");
    };
    promtool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let checked = promtool.wait_with_output().unwrap();
    let said = [checked.stdout, checked.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(checked.status.success() && said.is_empty(), "{said}\nof\n{page}");
}

fn python_runner() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    root.join("tests/python/run")
}

/// Where `tests/python/run` notes that it has installed what it needs.
fn python_is_prepared() -> bool {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache")));
    cache.is_some_and(|cache| cache.join("leasehold/python/installed").exists())
}
