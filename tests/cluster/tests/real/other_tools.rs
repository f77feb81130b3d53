//! What is not ours: an engine in Python, curl, and Prometheus's own check.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use leasehold_cluster_tests::{Cluster, Shape};

const ENTITLED: [(&str, u64); 2] = [("asr.tier1", 10), ("tts.chris", 10)];

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_in_python_finds_every_promise_kept_over_tls() {
    if !python_is_prepared() {
        return println!("skipped: run `tests/python/run --prepare` first, as `make test` does");
    }
    let mut cluster = Cluster::start(Shape::standard(), 1, &ENTITLED).await;
    let certs = cluster.path("certs");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let output = Command::new(root.join("tests/python/run"))
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

/// Where `tests/python/run` notes that it has installed what it needs.
fn python_is_prepared() -> bool {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache")));
    cache.is_some_and(|cache| cache.join("leasehold/python/installed").exists())
}
