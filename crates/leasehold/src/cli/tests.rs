//! What is accepted on the command line, and what is printed, to the letter.

use clap::{CommandFactory, Parser};
use leasehold_proto::v1;

use super::print::pretty;
use super::{Arguments, Command, status};

fn parse(line: &str) -> Result<Arguments, String> {
    let words = std::iter::once("leasehold").chain(line.split_whitespace());
    Arguments::try_parse_from(words).map_err(|error| error.to_string())
}

#[test]
fn the_command_line_is_consistent() {
    Arguments::command().debug_assert();
}

#[test]
fn every_command_of_the_documentation_is_accepted() {
    let commands = [
        "serve --config node.toml",
        "cluster init --trust a.pem --trust b.pem --lease-ms 5000 --plain-text",
        "cluster join --admin east-2.example:7401 --via east-1.example:7402",
        "node list",
        "node add east-2.example:7402",
        "node promote 2",
        "node remove 2",
        "node fence 2 --powered-off",
        "node unfence 2",
        "status --output json",
        "sets --admin east-1.example:7401 --ca ca.pem --cert admin.pem --key admin-key.pem",
        "entitlement install example.entitlement",
        "entitlement show",
        "events --follow --since 12",
        "checkout asr.tier1 tts.emma=2 --wait-ms 500 --build-date 2026-11-25",
        "renew AQID --age-ms 100 --plain-text",
        "checkin AQID --output json",
        "certs dev --out certs --node east-1 --node west-1 --host license.example",
        "demo --keep --seconds 30 --engines 50",
        "demo --wan 80ms",
        "bench --plain-text",
        "bench --endpoint east-1.example:7400 --concurrency 16 --items 4",
        "bench --outstanding 1000000",
    ];
    for line in commands {
        parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
}

#[test]
fn wrong_command_lines_are_refused_with_what_was_expected() {
    let rows = [
        ("serve", "--config <FILE>"),
        ("cluster init", "--trust <FILE>"),
        ("checkout", "FEATURE[=UNITS]"),
        ("checkout cpa=0", "units from 1"),
        ("checkout cpa=", "units from 1"),
        ("checkout cpa=-1", "units from 1"),
        ("checkout CPA", "lower-case letters"),
        ("renew %", "not base64"),
        ("checkin AQI", "not base64"),
        ("certs dev --out c", "--node <[ID=]NAME>"),
        ("certs dev --out c --node a --days 0", "1..=3650"),
        ("demo --seconds 5", "30..=3600"),
        ("demo --wan 2s", "1ms to 200ms"),
        ("checkout cpa --cert c.pem", "--key <FILE>"),
        ("status --output xml", "possible values: table, json"),
    ];
    for (line, expected) in rows {
        let error = parse(line).expect_err(line);
        assert!(error.contains(expected), "{line}: {error}");
    }
    let long = format!("renew {}", "AAAA".repeat(100));
    let error = parse(&long).unwrap_err();
    assert!(error.contains("300 bytes: a receipt has 1 to 256"), "{error}");
}

#[test]
fn exit_codes_stand_in_the_help() {
    let help = Arguments::command().render_help().to_string();
    for line in ["0    done", "1    refused", "2    the command", "3    the node", "130  ended"] {
        assert!(help.contains(line), "{line}: {help}");
    }
}

#[test]
fn without_certificates_or_plain_text_the_usage_is_explained() {
    let Command::Status(options) = parse("status").unwrap().command else { panic!("status") };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let failure = runtime.block_on(status::run(&options, super::Output::Json)).unwrap_err();
    assert_eq!(failure.exit(), super::Exit::Usage);
    assert!(failure.to_string().contains("--plain-text"), "{failure}");
}

fn example() -> v1::StatusResponse {
    let node = v1::NodeStatus {
        node_id: 1,
        name: "east-1".to_owned(),
        site: "east".to_owned(),
        role: v1::NodeRole::Leader.into(),
        lease: v1::LeaseState::Live.into(),
        epoch: 4,
        last_beat_ms_ago: Some(250),
        units_lent: 12,
        checkouts: Some(3),
        ..v1::NodeStatus::default()
    };
    let pool = v1::PoolStatus {
        pool_id: 7,
        set: "production".to_owned(),
        kind: v1::SetKind::Production.into(),
        feature: "asr.tier1".to_owned(),
        entitled: 20,
        reserve: -2,
        lent: 12,
        frozen: 10,
        in_use: 9,
        free_at_nodes: 3,
        waiting: 1,
        denied: 5,
        overrun_ms: 2_500,
        withheld_reason: 5,
        state: v1::SetState::Active.into(),
    };
    let backup = v1::PoolStatus {
        pool_id: 8,
        set: "backup-east".to_owned(),
        kind: v1::SetKind::Backup.into(),
        feature: "asr.tier1".to_owned(),
        entitled: 20,
        reserve: 20,
        state: v1::SetState::Standby.into(),
        ..v1::PoolStatus::default()
    };
    let site = v1::SiteStatus {
        name: "east".to_owned(),
        nodes: 1,
        live_nodes: 1,
        units_lent: 12,
        checkouts: 3,
    };
    v1::StatusResponse {
        cluster_id: vec![0xab; 16].into(),
        answering_node: 1,
        leader: Some(1),
        term: 2,
        applied_index: 31,
        entitlement_serial: 6,
        software_version: "0.1.0".to_owned(),
        timings: None,
        cluster_wide: true,
        nodes: vec![node],
        pools: vec![pool, backup],
        sites: vec![site],
        figures_age_ms: Some(900),
    }
}

#[test]
fn the_json_of_a_status_is_what_scripts_were_written_for() {
    let json = pretty(&status::ClusterStatus::from(example())).unwrap();
    assert_eq!(json, include_str!("golden/status.json").trim_end());
}

#[test]
fn the_table_of_a_status_has_a_column_for_each_thing_an_operator_asks() {
    let text = status::text(&status::ClusterStatus::from(example()));
    assert_eq!(text, include_str!("golden/status.txt"));
}

#[test]
fn a_node_without_a_cluster_says_how_to_found_one() {
    let fresh = v1::StatusResponse { answering_node: 3, ..v1::StatusResponse::default() };
    let text = status::text(&status::ClusterStatus::from(fresh));
    assert!(text.contains("belongs to no cluster yet") && text.contains("cluster init"), "{text}");
}
