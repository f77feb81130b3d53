//! A row for every refusal, and the bytes that must never change.

use ed25519_dalek::{Signature, Verifier, VerifyingKey};

use super::*;
use crate::limits::{ENTITLEMENT_BYTES_MAX, FEATURES_PER_SET_MAX, SETS_MAX, UNITS_PER_POOL_MAX};

#[test]
fn the_bytes_of_an_envelope_never_change() {
    let golden = concat!(
        r#"{"payloadType":"application/vnd.leasehold.entitlement.v1+json","#,
        r#""payload":"eyJmb3JtYXQiOjEsImNsdXN0ZXIiOiIxMTExMTExMTExMTExMTExMTExMTExMTExMTExMT"#,
        r#"ExMSIsInNlcmlhbCI6NywiaXNzdWVkIjoiMjAyNi0xMS0yNSIsImN1c3RvbWVyIjoiRXhhbXBsZSBCYW"#,
        r#"5rIiwiY29udGFjdF9kYXlzIjo2MCwic2V0cyI6W3sibmFtZSI6ImFsbCIsImtpbmQiOiJwcm9kdWN0aW"#,
        r#"9uIiwiaG9tZSI6bnVsbCwiY292ZXJzIjpbXSwic3RhcnRzIjoiMjAyNi0wMS0wMSIsImNvbnRyYWN0X2"#,
        r#"VuZCI6IjIwMjctMTItMzEiLCJtYWludGVuYW5jZV91bnRpbCI6IjIwMjctMDYtMzAiLCJhdXRvbm9teV"#,
        r#"9zIjpudWxsLCJmZWF0dXJlcyI6W3siZmVhdHVyZSI6ImNwYSIsInVuaXRzIjo1fV19XX0=","#,
        r#""signatures":[{"keyid":"fe812c12f3ab4ce6","#,
        r#""sig":"dFCP8XYUlsw8mGciX/0efYJICj4YN8AuTGCNfRvmAikMjGzqMqys6P+Bd0/0"#,
        r#"dClt9XBbuemtwD2teZzgUwedCA=="}]}"#,
    );
    let small = Entitlement { sets: vec![production("all", &[("cpa", 5)])], ..example() };
    assert_eq!(String::from_utf8(small.seal(&key())).unwrap(), golden);
    assert_eq!(open(golden.as_bytes()), Ok(small));
}

#[test]
fn what_was_sealed_is_opened() {
    assert_eq!(open(&example().seal(&key())), Ok(example()));
    let unverified = Entitlement::decode_unverified(&example().seal(&other_key())).unwrap();
    assert_eq!(unverified.entitlement, example());
    assert_eq!(unverified.key_ids, [id_of(&other_key())]);
}

#[test]
fn fields_left_out_have_defaults() {
    let json = format!(
        r#"{{"format":1,"cluster":"{CLUSTER}","serial":1,"issued":"2026-01-01","customer":"c",
        "sets":[{{"name":"all","kind":"production","starts":"2026-01-01",
        "contract_end":"2026-12-31","maintenance_until":"2026-06-30",
        "features":[{{"feature":"cpa","units":1}}]}}]}}"#
    );
    let entitlement = open(&envelope::seal(json.as_bytes(), &key())).unwrap();
    assert_eq!(entitlement.contact_days, 60);
    let set = &entitlement.sets[0];
    assert_eq!((&set.home, &set.covers, set.autonomy_s), (&None, &vec![], None));
    assert_eq!(set.starts_ms(), 1_767_225_600_000);
    assert_eq!(set.contract_end_ms(), 1_798_761_600_000, "the end of the last day");
    assert_eq!(set.maintenance_until_ms(), 1_782_864_000_000);
}

#[test]
fn one_signature_of_a_trusted_key_is_enough() {
    let ours = text(&example().seal(&key()));
    let theirs = text(&example().seal(&other_key()));
    let foreign = signature_of(&theirs);
    let both = ours.replace(r#""signatures":["#, &format!(r#""signatures":[{foreign},"#));
    assert_eq!(open(both.as_bytes()), Ok(example()));

    // The new key is trusted beside the old one while keys change.
    let trusted = [public(&other_key()), public(&key())];
    assert_eq!(Entitlement::open(ours.as_bytes(), &trusted, CLUSTER_ID, None), Ok(example()));
}

#[test]
fn a_serial_must_rise() {
    let sealed = example().seal(&key());
    let open = |newer_than| Entitlement::open(&sealed, &[public(&key())], CLUSTER_ID, newer_than);
    assert_eq!(open(Some(6)), Ok(example()));
    for current in [7, 8, u64::MAX] {
        assert_eq!(open(Some(current)), Err(EntitlementError::OldSerial { serial: 7, current }));
    }
}

#[test]
fn each_wrong_envelope_is_refused() {
    let good = text(&example().seal(&key()));
    let signature = signature_of(&good);
    let many = [signature.as_str(); SIGNATURES_MAX + 1].join(",");
    let forged = signature_of(&text(&Entitlement { serial: 8, ..example() }.seal(&key())));
    let rows: Vec<(&str, Vec<u8>, &str)> = vec![
        ("empty", vec![], "not an entitlement, or cut off: EOF while parsing"),
        ("no JSON", b"-----BEGIN".to_vec(), "not an entitlement, or cut off: "),
        ("truncated", good.as_bytes()[..good.len() - 9].to_vec(), "not an entitlement, or cut off"),
        ("trailing text", format!("{good}x").into_bytes(), "trailing characters"),
        (
            "unknown field",
            good.replace("\"payload\"", "\"pay\"").into_bytes(),
            "unknown field `pay`",
        ),
        (
            "too large",
            vec![b' '; ENTITLEMENT_BYTES_MAX + 1],
            "entitlement of 1048577 bytes is too large: expected at most 1048576",
        ),
        (
            "wrong type",
            good.replace("entitlement.v1", "report.v1").into_bytes(),
            "payloadType `application/vnd.leasehold.report.v1+json` is not an entitlement's",
        ),
        (
            "payload",
            good.replace("\"payload\":\"", "\"payload\":\"*").into_bytes(),
            "payload is not",
        ),
        ("sig", good.replace("\"sig\":\"", "\"sig\":\"*").into_bytes(), "sig is not base64"),
        ("short sig", replace_sig(&good, "AAAA").into_bytes(), "wrong signature of key"),
        ("no signature", good.replace(&signature, "").into_bytes(), "signatures is empty"),
        ("nine signatures", good.replace(&signature, &many).into_bytes(), "signatures has 9"),
        ("unknown key", example().seal(&other_key()), "signed with unknown key"),
        ("wrong signature", good.replace(&signature, &forged).into_bytes(), "wrong signature"),
    ];
    for (what, envelope, expected) in rows {
        let error = open(&envelope).unwrap_err().to_string();
        assert!(error.contains(expected), "{what}: {error}");
    }
}

#[test]
fn each_wrong_payload_is_refused() {
    let good = String::from_utf8(serde_json::to_vec(&example()).unwrap()).unwrap();
    let other_cluster = "2".repeat(32);
    let rows: Vec<(&str, &str, &str, &str)> = vec![
        ("newer format", r#""format":1"#, r#""format":2,"new":0"#, "format 2 is newer than"),
        ("older format", r#""format":1"#, r#""format":0"#, "format = 0 is not known: expected 1"),
        ("no format", r#""format":1,"#, "", "missing field `format`"),
        ("unknown field", r#""serial""#, r#""extra":1,"serial""#, "unknown field `extra`"),
        ("no serial", r#""serial":7,"#, "", "missing field `serial`"),
        ("negative serial", r#""serial":7"#, r#""serial":-7"#, "invalid value: integer `-7`"),
        (
            "other cluster",
            CLUSTER,
            &other_cluster,
            "cluster is 22222222222222222222222222222222, but",
        ),
        ("cluster", CLUSTER, "12", "ClusterId `12` is not valid: expected 32 hexadecimal digits"),
        ("date", "2026-11-25", "2026-02-30", "date `2026-02-30` is not valid: expected a day"),
        ("kind", r#""backup""#, r#""spare""#, "unknown variant `spare`, expected `production` or"),
        ("set name", r#""main""#, r#""Main!""#, "license set `Main!` is not valid"),
        ("site name", r#""home":"east""#, r#""home":"East""#, "site `East` is not valid"),
        ("feature name", r#""asr.tier1""#, r#""asr tier""#, "feature `asr tier` is not valid"),
        ("negative units", ":200}", ":-1}", "integer `-1`, expected units as a whole number, 1 to"),
        ("half a unit", ":200}", ":0.5}", "`0.5`, expected units as a whole number"),
        ("beyond u64", ":200}", ":18446744073709551616}", "expected units as a whole number"),
    ];
    for (what, from, to, expected) in rows {
        let payload = good.replacen(from, to, 1);
        assert_ne!(payload, good, "{what}: nothing was changed");
        let error = open(&envelope::seal(payload.as_bytes(), &key())).unwrap_err().to_string();
        assert!(error.contains(expected), "{what}: {error}");
    }
    for (what, payload) in [("empty", ""), ("no JSON", "payload"), ("cut off", &good[..100])] {
        let error = open(&envelope::seal(payload.as_bytes(), &key())).unwrap_err().to_string();
        assert!(error.starts_with("payload refused: "), "{what}: {error}");
    }
}

#[test]
fn each_contradiction_is_refused() {
    type Change = fn(&mut Entitlement);
    let rows: &[(Change, &str)] = &[
        (|all| all.format = 9, "format 9 is newer than this software, which reads 1"),
        (|all| all.serial = 0, "serial = 0 is out of range: expected 1 or more"),
        (|all| all.customer.clear(), "customer has 0 characters: expected 1 to 120"),
        (|all| all.customer = "ü".repeat(121), "customer has 121 characters: expected 1 to 120"),
        (|all| all.customer = "a\nb".into(), "customer contains \\u{a}: expected printable"),
        (|all| all.customer = "a\u{202e}b".into(), "customer contains \\u{202e}"),
        (|all| all.contact_days = 59, "contact_days = 59 is too short: expected 60 or more"),
        (|all| all.sets = sets(SETS_MAX + 1), "sets has 257 entries: expected at most 256"),
        (|all| all.sets[1].name = all.sets[0].name.clone(), "set `main` is listed twice"),
        (
            |all| all.sets[0].contract_end = date("2025-12-31"),
            "set `main`: contract_end = 2025-12-31 is before starts = 2026-01-01",
        ),
        (|all| all.sets[1].covers.clear(), "set `spare`: covers is empty: a backup set needs"),
        (
            |all| all.sets[0].covers = vec![site("west")],
            "set `main`: covers names `west`, but the set is of kind production",
        ),
        (
            |all| all.sets[1].covers.push(site("east")),
            "set `spare`: covers names `east` twice: expected each site once",
        ),
        (|all| all.sets[1].home = Some(site("east")), "set `spare`: home `east` is also in covers"),
        (
            |all| all.sets[0].home = None,
            "set `main`: autonomy_s = 900, but only a production set with a home has autonomy",
        ),
        (
            |all| all.sets[1].autonomy_s = Some(1),
            "set `spare`: autonomy_s = 1, but only a production set with a home has autonomy",
        ),
        (
            |all| all.sets[0].autonomy_s = Some(0),
            "set `main`: autonomy_s = 0 is out of range: expected 1 to 86400",
        ),
        (|all| all.sets[0].autonomy_s = Some(u64::MAX), "is out of range: expected 1 to 86400"),
        (|all| all.sets[0].features.clear(), "set `main`: features is empty"),
        (
            |all| all.sets[0].features = features(FEATURES_PER_SET_MAX + 1),
            "set `main`: features has 257 entries: expected at most 256",
        ),
        (
            |all| all.sets[0].features[1] = line("asr.tier1", 1),
            "set `main`: feature `asr.tier1` is listed twice: add its units up in one line",
        ),
        (
            |all| all.sets[0].features[0].units = 0,
            "set `main`: feature `asr.tier1`: units = 0 is out of range: expected 1 to 10000",
        ),
        (
            |all| all.sets[1].features[0].units = UNITS_PER_POOL_MAX + 1,
            "feature `asr.tier1`: units = 1000000000001 is out of range: expected 1 to 1000000000000",
        ),
        (
            |all| all.sets[0].features[0].units = u64::MAX,
            "units = 18446744073709551615 is out of range: expected 1 to 1000000000000",
        ),
    ];
    for (change, expected) in rows {
        let mut entitlement = example();
        change(&mut entitlement);
        let error = open(&entitlement.seal(&key())).unwrap_err().to_string();
        assert!(error.contains(expected), "expected {expected}: {error}");
    }
}

#[test]
fn the_largest_entitlement_of_each_kind_is_accepted() {
    let mut entitlement = example();
    entitlement.customer = "ü".repeat(120);
    entitlement.sets[0].features = features(FEATURES_PER_SET_MAX);
    entitlement.sets[0].features[0].units = UNITS_PER_POOL_MAX;
    entitlement.sets[0].contract_end = entitlement.sets[0].starts;
    entitlement.sets[0].autonomy_s = Some(AUTONOMY_S_MAX);
    assert_eq!(open(&entitlement.seal(&key())), Ok(entitlement));

    let many = Entitlement { sets: sets(SETS_MAX), ..example() };
    assert_eq!(open(&many.seal(&key())), Ok(many));
    let none = Entitlement { sets: vec![], ..example() };
    assert_eq!(open(&none.seal(&key())), Ok(none));
}

#[test]
fn a_key_of_small_order_signs_nothing() {
    // The neutral point as a key and as R, with s = 0: the plain equation holds for any document,
    // so this one signature would make every entitlement good.
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let mut signature = [0; 64];
    signature[0] = 1;
    let weak = VerifyingKey::from_bytes(&neutral).unwrap();
    let any = b"any document";
    assert!(weak.verify(any, &Signature::from_bytes(&signature)).is_ok(), "a lenient check");

    let good = text(&example().seal(&key()));
    let encoded = {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.encode(signature)
    };
    let forged = replace_sig(&good, &encoded).replace(&id_of(&key()), &key_id(&neutral));
    let refusal = Entitlement::open(forged.as_bytes(), &[neutral], CLUSTER_ID, None);
    assert_eq!(refusal, Err(EntitlementError::WrongSignature { key_id: key_id(&neutral) }));
}

const CLUSTER: &str = "11111111111111111111111111111111";
const CLUSTER_ID: ClusterId = ClusterId([0x11; 16]);

fn open(envelope: &[u8]) -> Result<Entitlement, EntitlementError> {
    Entitlement::open(envelope, &[public(&key())], CLUSTER_ID, None)
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn other_key() -> SigningKey {
    SigningKey::from_bytes(&[8; 32])
}

fn public(key: &SigningKey) -> [u8; 32] {
    key.verifying_key().to_bytes()
}

fn id_of(key: &SigningKey) -> String {
    key_id(&public(key))
}

fn example() -> Entitlement {
    let mut main = production("main", &[("asr.tier1", 200), ("tts.emma", 20)]);
    main.home = Some(site("east"));
    main.autonomy_s = Some(900);
    let spare = LicenseSet {
        kind: SetKind::Backup,
        covers: vec![site("east")],
        ..production("spare", &[("asr.tier1", 100)])
    };
    Entitlement {
        format: FORMAT,
        cluster: CLUSTER_ID,
        serial: 7,
        issued: date("2026-11-25"),
        customer: "Example Bank".into(),
        contact_days: 60,
        sets: vec![main, spare],
    }
}

fn production(name: &str, lines: &[(&str, u64)]) -> LicenseSet {
    LicenseSet {
        name: name.parse().unwrap(),
        kind: SetKind::Production,
        home: None,
        covers: vec![],
        starts: date("2026-01-01"),
        contract_end: date("2027-12-31"),
        maintenance_until: date("2027-06-30"),
        autonomy_s: None,
        features: lines.iter().map(|(feature, units)| line(feature, *units)).collect(),
    }
}

fn sets(count: usize) -> Vec<LicenseSet> {
    (0..count).map(|number| production(&format!("set-{number}"), &[("cpa", 1)])).collect()
}

fn features(count: usize) -> Vec<FeatureLine> {
    (0..count).map(|number| line(&format!("tts.voice{number}"), 1)).collect()
}

fn line(feature: &str, units: u64) -> FeatureLine {
    FeatureLine { feature: feature.parse().unwrap(), units }
}

fn site(name: &str) -> SiteName {
    name.parse().unwrap()
}

fn date(text: &str) -> Date {
    text.parse().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The one signature object of an envelope with one signature.
fn signature_of(envelope: &str) -> String {
    let list = envelope.split_once(r#""signatures":["#).unwrap().1;
    list.strip_suffix("]}").unwrap().to_owned()
}

fn replace_sig(envelope: &str, sig: &str) -> String {
    format!(r#"{}"sig":"{sig}"}}]}}"#, envelope.split_once(r#""sig":"#).unwrap().0)
}
