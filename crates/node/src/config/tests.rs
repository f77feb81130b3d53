use super::*;

const EXAMPLE: &str = include_str!("../../../../deploy/node.example.toml");

const SMALL: &str = r#"
[node]
id = 7
site = "east"
data_dir = "data"
[engines]
listen = "127.0.0.1:0"
plain_text = "on loopback only"
[admin]
listen = "127.0.0.1:0"
plain_text = "on loopback only"
[http]
listen = "[::1]:0"
plain_text = "on loopback only"
"#;

fn parse(text: &str) -> Result<NodeConfig, InvalidConfig> {
    NodeConfig::parse(text, Path::new("/etc/leasehold"))
}

/// The error of `SMALL` with `from` replaced by `to`, causes and all.
fn refusal(from: &str, to: &str) -> String {
    assert!(SMALL.contains(from), "{from}");
    let error = parse(&SMALL.replacen(from, to, 1)).expect_err(to);
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
    format!("{error}{}", cause.unwrap_or_default())
}

fn assert_all_named(message: &str, named: &[&str]) {
    for name in named {
        assert!(message.contains(name), "`{name}` is missing in: {message}");
    }
}

#[test]
fn the_nodes_of_the_compose_file_are_valid_and_differ() {
    let texts = [
        include_str!("../../../../deploy/docker/nodes/east-1.toml"),
        include_str!("../../../../deploy/docker/nodes/west-1.toml"),
        include_str!("../../../../deploy/docker/nodes/central-1.toml"),
    ];
    let configs = texts.map(|text| parse(text).unwrap());
    let ids: std::collections::BTreeSet<u64> = configs.iter().map(|it| it.node.id().0).collect();
    assert_eq!(ids.len(), configs.len());
    for config in configs {
        assert_eq!(config.peer_address(), format!("{}.example:7402", config.node.name()));
    }
}

#[test]
fn the_example_is_valid_and_shows_the_defaults() {
    let example = parse(EXAMPLE).unwrap();
    assert_eq!(example.node.id(), NodeId(1));
    assert_eq!(example.node.name(), "east-1");
    // Switched on, every key that is shown as a default changes nothing.
    let is_default =
        |line: &str| line.starts_with("# ") && line.contains(" = ") && !line.contains(':');
    let lines = EXAMPLE.lines();
    let switched_on: Vec<&str> =
        lines.map(|line| if is_default(line) { &line[2..] } else { line }).collect();
    let mut full = parse(&switched_on.join("\n")).unwrap();
    assert_eq!(full.engines.limits(), example.engines.limits());
    full.engines = example.engines.clone();
    assert_eq!(full, example);
    assert!(switched_on.iter().filter(|line| line.starts_with("keep_entries")).count() == 1);
}

#[test]
fn relative_paths_start_at_the_files_directory() {
    let config = parse(SMALL).unwrap();
    assert_eq!(config.node.data_dir, Path::new("/etc/leasehold/data"));
    assert_eq!(config.node.name(), "node-7");
    let example = parse(EXAMPLE).unwrap();
    let Some(Security::Tls(tls)) = example.admin.security() else { panic!("no TLS") };
    assert_eq!(tls.files().key, Path::new("/etc/leasehold/certs/east-1-key.pem"));
}

#[test]
fn an_unknown_key_is_refused_with_its_place() {
    for (section, key) in [("[node]", "idd = 1"), ("[http]", "port = 1"), ("[engines]", "tsl = 1")]
    {
        let message = refusal(section, &format!("{section}\n{key}"));
        let name = key.split(' ').next().unwrap();
        assert_all_named(
            &message,
            &["line ", "column 1", &format!("unknown field `{name}`"), "expected"],
        );
    }
    let message = refusal("[node]", "[clock]\n[node]");
    assert_all_named(&message, &["unknown field `clock`", "line 2"]);
}

#[test]
fn a_missing_or_mistyped_value_is_refused_with_its_place() {
    let missing = refusal("site = \"east\"\n", "");
    assert_all_named(&missing, &["missing field `site`", "line 2"]);
    assert_all_named(&refusal("id = 7", "id = 0"), &["line 3", "id = 0", "nonzero"]);
    assert_all_named(&refusal("id = 7", "id = \"x\""), &["line 3", "expected a nonzero u64"]);
    let site = refusal("\"east\"", "\"East Coast\"");
    assert_all_named(&site, &["line 4", "site `East Coast` is not valid", "such as east"]);
    let message = refusal("\"127.0.0.1:0\"", "\"localhost:7400\"");
    assert_all_named(
        &message,
        &["line 7", "`localhost:7400`", "expected IP:PORT", "127.0.0.1:7400"],
    );
}

#[test]
fn plain_text_is_wanted_in_words_and_on_loopback_only() {
    let words = "plain_text = \"on loopback only\"\n";
    assert_all_named(&refusal(words, "plain_text = \"yes\"\n"), &["line 8", "on loopback only"]);
    let message = refusal(words, "");
    assert_all_named(&message, &["[engines]", "[engines.tls]", "on loopback only"]);
    let message = refusal("127.0.0.1:0", "0.0.0.0:7400");
    assert_all_named(&message, &["engines.listen = 0.0.0.0:7400", "[engines.tls]"]);
    let tls = "[engines.tls]\nca = \"a\"\ncertificate = \"b\"\nkey = \"c\"\n[admin]";
    assert_all_named(&refusal("[admin]", tls), &["engines.plain_text", "remove one"]);
}

#[test]
fn admins_always_show_a_certificate() {
    let tls = |value: bool| {
        let listen = "[admin]\nlisten = \"127.0.0.1:0\"\n";
        let tls = "[admin.tls]\nca = \"a\"\ncertificate = \"b\"\nkey = \"c\"\n";
        let from = format!("{listen}plain_text = \"on loopback only\"\n");
        (from, format!("{listen}{tls}require_client_certificate = {value}\n"))
    };
    let (from, to) = tls(false);
    assert_all_named(&refusal(&from, &to), &["admin.tls.require_client_certificate", "remove"]);
    let (from, to) = tls(true);
    parse(&SMALL.replacen(&from, &to, 1)).unwrap();
}

#[test]
fn values_that_do_not_fit_are_refused_with_one_that_would() {
    let timings = refusal("[engines]", "[timings]\nlease_ms = 2000\n[engines]");
    assert_all_named(&timings, &["timings", "lease_ms = 2000", "lease_ms = "]);
    let every = refusal("[engines]", "[snapshots]\nevery_entries = 5\n[engines]");
    assert_all_named(&every, &["snapshots.every_entries = 5", "such as 20000"]);
    let keep = refusal("[engines]", "[snapshots]\nkeep_entries = 10000001\n[engines]");
    assert_all_named(&keep, &["snapshots.keep_entries = 10000001", "such as 100000"]);
    let name = refusal("id = 7", "id = 7\nname = \"a b\"");
    assert_all_named(&name, &["node.name = `a b`", "expected"]);
    assert_all_named(&refusal("\"data\"", "\"\""), &["node.data_dir", "/var/lib/leasehold"]);
    let most = refusal("[engines]", "[engines]\nconnections_max = 0");
    assert_all_named(&most, &["engines.connections_max = 0", "such as 16384"]);
}

/// The cluster took in `0.0.0.0`, and no other node could join.
#[test]
fn a_node_that_listens_everywhere_says_where_others_reach_it() {
    let address = "peer_address = \"east-1.example:7402\"\n";
    assert!(EXAMPLE.contains(address));
    for listen in ["0.0.0.0:7402", "[::]:7402"] {
        let text = EXAMPLE.replacen("0.0.0.0:7402", listen, 1);
        parse(&text).unwrap();
        let message = parse(&text.replacen(address, "", 1)).unwrap_err().to_string();
        assert_all_named(&message, &["peers.listen", listen, "node.peer_address", "example:7402"]);
    }
}

#[test]
fn two_listeners_on_one_address_are_refused() {
    let text = SMALL.replace("127.0.0.1:0", "127.0.0.1:7400");
    let message = parse(&text).unwrap_err().to_string();
    assert_all_named(&message, &["engines.listen", "admin.listen", "127.0.0.1:7400"]);
}

#[test]
fn a_missing_file_is_named_and_its_error_tells_of_the_example() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node.toml");
    let message = NodeConfig::load(&path).unwrap_err().to_string();
    assert_all_named(&message, &[path.to_str().unwrap(), "--config", "example"]);
    std::fs::write(&path, "[node]\nid = true").unwrap();
    let message = NodeConfig::load(&path).unwrap_err().to_string();
    assert_all_named(&message, &[path.to_str().unwrap(), "is not valid"]);
}
