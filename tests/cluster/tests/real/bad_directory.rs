//! Data directories that a node refuses: it names the directory, and changes nothing in it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use leasehold_cluster_tests::{Cluster, Layout, Ports, Refusal, Shape, program, refuse};

/// A node that has founded a cluster and then stopped.
async fn stopped() -> (Cluster, Layout) {
    let mut cluster = Cluster::start(Shape::standard(), 1, &[("cpa", 5)]).await;
    cluster.stop(1).await;
    let layout = cluster.layout(1);
    (cluster, layout)
}

/// # Panics
/// Unless the node ended with an error that says all of `names`.
fn assert_refused(refusal: &Refusal, names: &[&str]) {
    assert_eq!(refusal.code, Some(1), "{refusal:?}");
    for name in names {
        assert!(refusal.stderr.contains(name), "no `{name}` in:\n{}", refusal.stderr);
    }
}

/// Every file's content, but for the lock: whoever tries it may write its process id.
fn contents(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.file_name().is_some_and(|name| name != "lock") {
                found.insert(path.display().to_string(), std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

#[tokio::test]
async fn a_directory_of_another_node_or_of_a_newer_version_is_refused_and_left_as_it_is() {
    let (mut cluster, layout) = stopped().await;
    let text = layout.text();
    let stamp = std::fs::read_to_string(layout.data().join("stamp")).unwrap();
    let data = layout.data().display().to_string();

    let before = contents(&layout.data());
    std::fs::write(layout.config(), text.replace("id = 1", "id = 2")).unwrap();
    let refusal = refuse(&layout.config()).await;
    assert_refused(&refusal, &[&data, "belongs to node 1, but this is node 2"]);
    assert_eq!(contents(&layout.data()), before);
    layout.write();

    std::fs::write(layout.data().join("stamp"), stamp.replace("format 2", "format 7")).unwrap();
    let before = contents(&layout.data());
    let refusal = refuse(&layout.config()).await;
    assert_refused(&refusal, &[&data, "has format 7", "install the version"]);
    assert_eq!(contents(&layout.data()), before);

    std::fs::write(layout.data().join("stamp"), stamp).unwrap();
    cluster.start_node(1);
    cluster.wait_until_ready(1).await;
}

#[tokio::test]
async fn a_directory_that_a_running_process_uses_is_refused_by_its_process_id() {
    let mut cluster = Cluster::start(Shape::standard(), 1, &[("cpa", 5)]).await;
    let first = cluster.layout(1);
    let second =
        Layout { directory: cluster.path("second"), ports: Ports::free(), ..first.clone() };
    second.write();
    let data = first.data().display().to_string();
    let text = second.text().replace("\"data\"", &format!("\"{data}\""));
    std::fs::write(second.config(), text).unwrap();

    let holder = format!("process {}", cluster.process(1).id());
    assert_refused(&refuse(&second.config()).await, &[&data, "is in use by", &holder]);
    assert!(cluster.process(1).is_running());
    assert!(!second.data().exists());
}

#[tokio::test]
async fn a_file_in_the_place_of_the_directory_is_refused() {
    let mut cluster = Cluster::prepare(Shape::standard());
    let layout = cluster.layout(1);
    std::fs::write(layout.data(), "mine").unwrap();
    assert_refused(&refuse(&layout.config()).await, &["data", "is not a directory"]);
    assert_eq!(std::fs::read(layout.data()).unwrap(), b"mine");
}

#[test]
fn a_read_only_directory_is_refused_as_not_writable() {
    let (output, layout) = match serve_on_a_mount("mount -o remount,ro \"$1\"") {
        Ok(served) => served,
        Err(skipped) => return println!("skipped: {skipped}"),
    };
    let data = layout.data().display().to_string();
    assert_refused(&output, &[&data, "can't be written", "read-only"]);
}

#[test]
fn a_directory_on_a_full_disk_is_refused_as_full() {
    let fill = "head -c 1000000 /dev/zero >\"$1/filler\" 2>/dev/null || true";
    let (output, layout) = match serve_on_a_mount(fill) {
        Ok(served) => served,
        Err(skipped) => return println!("skipped: {skipped}"),
    };
    let data = layout.data().display().to_string();
    assert_refused(&output, &[&data, "full", "free some space"]);
}

/// Starts a node whose data directory is a small file system of its own, made unusable by the
/// shell commands `spoil`. It exists in the process's own mount namespace only, so that nothing is
/// left to be cleaned up. An error says why this system does not let us.
fn serve_on_a_mount(spoil: &str) -> Result<(Refusal, Layout), String> {
    let mut cluster = Cluster::prepare(Shape::standard());
    let layout = cluster.layout(1);
    std::fs::create_dir(layout.data()).unwrap();
    let script = format!(
        "mount -t tmpfs -o size=64k leasehold-test \"$1\" || exit 77\n{spoil}\n\
         exec timeout 20 \"$2\" serve --config \"$3\""
    );
    let output = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", &script, "sh"])
        .args([layout.data(), program(), layout.config()])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("unshare can't be run: {error}"))?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let code = output.status.code();
    if code == Some(77) || stderr.starts_with("unshare:") {
        return Err(format!("no file system can be mounted here: {stderr}"));
    }
    Ok((Refusal { code, stderr }, layout))
}
