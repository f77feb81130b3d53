//! The program as its user meets it: files, output and exit codes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

const CLUSTER: &str = "0123456789abcdef0123456789abcdef";
const EXAMPLE: &str = include_str!("../../../deploy/entitlement.example.toml");

#[test]
fn a_key_is_made_an_entitlement_signed_and_shown() {
    let desk = Desk::new();
    let made = desk.run(&["keygen", "--out", "keys"]);
    let key_id = text(&made.stdout)[9..25].to_owned();
    assert!(key_id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{key_id}");
    let mode = fs::metadata(desk.path("keys/vendor.private.pem")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    desk.write("example.toml", EXAMPLE);
    let signed = desk.run(&sign("example.toml", &["--cluster", CLUSTER]));
    let summary = "  cluster   0123456789abcdef0123456789abcdef
  serial    1, issued 2026-11-25
  customer  \"Example Bank\"
  contact   at least every 60 days

  production set production, floating
    2026-01-01 to 2030-12-31, maintenance until 2029-12-31
    asr.tier1       200
    asr.tier2       100
    asr.tier3        60
    asr.tier4        40
    tts.chris       100
    tts.emma        100
    tts.lena         50
    cpa             120

  backup set backup, floating, covers east
    2026-01-01 to 2030-12-31, maintenance until 2029-12-31
    asr.tier1       100
    asr.tier2        50
    asr.tier3        30
    asr.tier4        20
    tts.chris        50
    tts.emma         50
    tts.lena         25
    cpa              60
";
    assert_eq!(text(&signed.stdout), format!("signed out.json with key {key_id}\n{summary}"));

    let shown = desk.run(&["show", "out.json", "--trust", "keys/vendor.public.pem"]);
    let head = format!("out.json names key {key_id}\n");
    assert_eq!(
        text(&shown.stdout),
        format!("{head}{summary}\nverified: signed by a trusted key\n")
    );
    let unchecked = desk.run(&["show", "out.json"]);
    assert!(text(&unchecked.stdout).ends_with("signature not checked: give --trust PUBKEY\n"));
}

#[test]
fn an_envelope_is_replaced_and_no_other_file_is() {
    let desk = Desk::with_key();
    desk.write("first.toml", &draft());
    desk.write("second.toml", &draft().replace("serial = 1", "serial = 2"));
    desk.run(&sign("first.toml", &[]));
    desk.run(&sign("second.toml", &[]));
    let shown = desk.run(&["show", "out.json"]);
    assert!(text(&shown.stdout).contains("serial    2"), "{}", text(&shown.stdout));

    let key = "keys/vendor.private.pem";
    let before = fs::read(desk.path(key)).unwrap();
    let refused = ["sign", "--key", key, "--in", "first.toml", "--out", key];
    desk.refused(1, &refused, "exists and is no entitlement: choose another --out");
    assert_eq!(fs::read(desk.path(key)).unwrap(), before);
}

#[test]
fn keys_are_never_overwritten() {
    let desk = Desk::with_key();
    let before = fs::read(desk.path("keys/vendor.private.pem")).unwrap();
    desk.refused(1, &["keygen", "--out", "keys"], "vendor.private.pem exists already");
    assert_eq!(fs::read(desk.path("keys/vendor.private.pem")).unwrap(), before);

    desk.write("keys/half.public.pem", "");
    desk.refused(1, &["keygen", "--out", "keys", "--name", "half"], "half.public.pem exists");
    assert!(!desk.path("keys/half.private.pem").exists(), "a key without its other half");
}

#[test]
fn what_is_left_out_is_filled_in() {
    let desk = Desk::with_key();
    desk.write("in.toml", &draft().replace("issued = \"2026-11-25\"\n", ""));
    let signed = text(&desk.run(&sign("in.toml", &[])).stdout);
    assert!(signed.contains("serial    1, issued 2"), "{signed}");
    assert!(signed.contains("at least every 60 days"), "{signed}");
}

#[test]
fn each_bad_field_is_named_with_its_file_value_and_fix() {
    let units = "units = 5";
    let rows = [
        ("serial = 1", "serial = 0", "in.toml: serial = 0 is out of range: expected 1 or more"),
        ("serial = 1", "serial = -1", "serial = -1"),
        ("serial = 1\n", "", "missing field `serial`"),
        ("serial = 1", "serial = 1\nextra = 2", "unknown field `extra`, expected one of"),
        ("serial = 1", "serial = 1\ncontact_days = 59", "in.toml: contact_days = 59 is too short"),
        ("Bank", "", "in.toml: customer has 0 characters: expected 1 to 120"),
        ("2026-11-25", "2026-02-30", "date `2026-02-30` is not valid: expected a day of the years"),
        ("\"2026-01-01\"", "2026-01-01", "expected a day of the years 1970 to 9999 in quotes"),
        ("2030-12-31", "2025-12-31", "in.toml: set `all`: contract_end = 2025-12-31 is before"),
        (CLUSTER, "123", "in.toml: cluster: ClusterId `123` is not valid: expected 32 hex"),
        ("kind = \"production\"", "kind = \"spare\"", "unknown variant `spare`, expected `prod"),
        ("kind = \"production\"", "kind = \"backup\"", "in.toml: set `all`: covers is empty"),
        ("name = \"all\"", "name = \"All\"", "license set `All` is not valid: expected 1 to 48"),
        ("\"cpa\"", "\"CPA\"", "feature `CPA` is not valid: expected 1 to 64 lower-case"),
        (units, "units = 0", "in.toml: set `all`: feature `cpa`: units = 0 is out of range"),
        (units, "units = -5", "integer `-5`, expected units as a whole number, 1 to 10000000"),
        (units, "units = 1000000000001", "units = 1000000000001 is out of range: expected 1 to"),
        (units, "units = 99999999999999999999", "units = 99999999999999999999"),
        (units, "units = \"many\"", "expected units as a whole number, 1 to 1000000000000"),
        ("{ feature", "{ feature = \"cpa\", units = 1 }, { feature", "`cpa` is listed twice"),
        ("[[sets]]", "[[sets", "in.toml is not understood: TOML parse error at line 5"),
    ];
    let desk = Desk::with_key();
    for (from, to, expected) in rows {
        let changed = draft().replace(from, to);
        assert_ne!(changed, draft(), "{from}: nothing was changed");
        desk.write("in.toml", &changed);
        desk.refused(1, &sign("in.toml", &[]), expected);
        assert!(!desk.path("out.json").exists(), "{expected}: something was signed");
    }
}

#[test]
fn each_wrong_argument_is_refused() {
    let desk = Desk::with_key();
    desk.run(&["keygen", "--out", "keys", "--name", "other"]);
    desk.write("in.toml", &draft());
    desk.write("no-cluster.toml", &draft().replace(&format!("cluster = \"{CLUSTER}\"\n"), ""));
    desk.write("garbage", "garbage");
    desk.run(&sign("in.toml", &[]));
    let sealed = fs::read_to_string(desk.path("out.json")).unwrap();
    desk.write("cut.json", &sealed[..sealed.len() / 2]);
    desk.write("large.json", &" ".repeat(2 << 20));
    let other = "f".repeat(32);
    let with_key = |key| ["sign", "--key", key, "--in", "in.toml", "--out", "new.json"];
    let rows: Vec<(i32, Vec<&str>, &str)> = vec![
        (2, vec![], "Usage"),
        (2, vec!["sing"], "unrecognized subcommand"),
        (2, vec!["keygen"], "--out <DIR>"),
        (2, vec!["keygen", "--out", "keys", "--name", "../x"], "expected 1 to 64 letters"),
        (2, sign("in.toml", &["--cluster", "12"]), "ClusterId `12` is not valid: expected 32"),
        (1, sign("no.toml", &[]), "cannot read no.toml: No such file"),
        (1, sign("no-cluster.toml", &[]), "no-cluster.toml: cluster: missing: add cluster ="),
        (1, sign("in.toml", &["--cluster", &other]), "in.toml: cluster: the file says 0123"),
        (1, with_key("no.pem").to_vec(), "cannot read key file no.pem: No such file"),
        (1, with_key("garbage").to_vec(), "key file garbage is not an Ed25519 private key"),
        (1, with_key("keys/vendor.public.pem").to_vec(), "is not an Ed25519 private key"),
        (1, vec!["keygen", "--out", "garbage"], "cannot make the folder garbage"),
        (1, vec!["show", "no.json"], "cannot read no.json: No such file"),
        (1, vec!["show", "garbage"], "garbage: not an entitlement, or cut off"),
        (1, vec!["show", "cut.json"], "cut.json: not an entitlement, or cut off: EOF"),
        (1, vec!["show", "large.json"], "large.json: entitlement of 1048577 bytes is too large"),
        (
            1,
            vec!["show", "out.json", "--trust", "keys/other.public.pem"],
            "out.json: signed with unknown key",
        ),
        (
            1,
            vec!["show", "out.json", "--trust", "keys/other.private.pem"],
            "keys/other.private.pem is not an Ed25519 public key",
        ),
    ];
    for (code, arguments, expected) in rows {
        desk.refused(code, &arguments, expected);
        assert!(!desk.path("new.json").exists(), "{expected}: something was signed");
    }
}

#[test]
fn an_entitlement_with_a_changed_signature_is_shown_and_refused() {
    let desk = Desk::with_key();
    desk.write("one.toml", &draft());
    desk.write("two.toml", &draft().replace("units = 5", "units = 500"));
    let signature_at = "\"signatures\"";
    desk.run(&sign("one.toml", &[]));
    let one = fs::read_to_string(desk.path("out.json")).unwrap();
    desk.run(&sign("two.toml", &[]));
    let two = fs::read_to_string(desk.path("out.json")).unwrap();
    let (content, _) = two.split_once(signature_at).unwrap();
    let (_, signature) = one.split_once(signature_at).unwrap();
    desk.write("forged.json", &format!("{content}{signature_at}{signature}"));

    let show = ["show", "forged.json", "--trust", "keys/vendor.public.pem"];
    let output = desk.refused(1, &show, "forged.json: wrong signature of key");
    let shown = text(&output.stdout);
    assert!(shown.contains("500") && !shown.contains("verified"), "{shown}");
}

/// A folder of its own, and the program run in it.
struct Desk {
    folder: TempDir,
}

impl Desk {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    fn with_key() -> Self {
        let desk = Self::new();
        desk.run(&["keygen", "--out", "keys"]);
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).expect("the file is written");
    }

    /// Runs what must end well.
    fn run(&self, arguments: &[&str]) -> Output {
        let output = start(self.folder.path(), arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        assert!(output.stderr.is_empty(), "{arguments:?}: {}", text(&output.stderr));
        output
    }

    /// Runs what must end with `code` and say `expected` on standard error.
    fn refused(&self, code: i32, arguments: &[&str], expected: &str) -> Output {
        let output = start(self.folder.path(), arguments);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
        assert!(error.contains(expected), "{arguments:?}: expected {expected}: {error}");
        output
    }
}

fn start(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_license-node"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("the program starts")
}

fn sign<'a>(input: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let all = ["sign", "--key", "keys/vendor.private.pem", "--in", input, "--out", "out.json"];
    [&all[..], more].concat()
}

/// A small draft.
fn draft() -> String {
    format!(
        r#"cluster = "{CLUSTER}"
serial = 1
issued = "2026-11-25"
customer = "Bank"
[[sets]]
name = "all"
kind = "production"
starts = "2026-01-01"
contract_end = "2030-12-31"
maintenance_until = "2029-12-31"
features = [{{ feature = "cpa", units = 5 }}]
"#
    )
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
