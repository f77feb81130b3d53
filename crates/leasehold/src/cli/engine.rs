//! `leasehold checkout | renew | checkin`: an engine's calls by hand, at the engines' port.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use leasehold_client::{
    CallError, ClientConfig, Connection, Deadlines, Denial, Endpoint, Security, TlsFiles,
    new_request_id,
};
use leasehold_core::limits::RECEIPT_BYTES_MAX;
use leasehold_proto::v1;
use leasehold_proto::v1::{checkin_answer, checkout_answer, renew_answer};
use serde::Serialize;
use tonic::Code;

use super::admin::check_address;
use super::status::reason_name;
use super::{Failure, Output};

/// Where and how to reach a node.
#[derive(Debug, Args)]
#[command(next_help_heading = "Connection")]
struct EngineOptions {
    /// Where a node serves engines.
    #[arg(long, env = "LEASEHOLD_ENGINES", value_name = "HOST:PORT", default_value = DEFAULT)]
    engines: String,
    /// The authority that the node's certificate comes from (PEM).
    #[arg(long, env = "LEASEHOLD_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// A certificate with the role `engine` (PEM), for nodes that ask for one.
    #[arg(long, env = "LEASEHOLD_ENGINE_CERT", value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Its key (PEM).
    #[arg(long, env = "LEASEHOLD_ENGINE_KEY", value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Without encryption; only to a node on this machine that is set up that way.
    #[arg(long, env = "LEASEHOLD_PLAIN_TEXT")]
    plain_text: bool,
}

const DEFAULT: &str = "127.0.0.1:7400";

#[derive(Debug, Args)]
pub(super) struct CheckoutArguments {
    /// What to take out, all or nothing: a feature and its units, 1 if not said.
    #[arg(required = true, value_name = "FEATURE[=UNITS]")]
    lines: Vec<Line>,
    /// How long to wait for units that are in use.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    wait_ms: u64,
    /// When the engine's software was built; units out of maintenance then are not lent.
    #[arg(long, value_name = "YYYY-MM-DD")]
    build_date: Option<String>,
    #[command(flatten)]
    connection: EngineOptions,
}

#[derive(Debug, Args)]
pub(super) struct RenewArguments {
    /// As `checkout` or the last `renew` printed it.
    #[arg(value_parser = parse_receipt)]
    receipt: Receipt,
    /// How long ago the receipt was granted or last renewed.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    age_ms: u64,
    #[command(flatten)]
    connection: EngineOptions,
}

#[derive(Debug, Args)]
pub(super) struct CheckinArguments {
    /// As `checkout` or the last `renew` printed it.
    #[arg(value_parser = parse_receipt)]
    receipt: Receipt,
    #[command(flatten)]
    connection: EngineOptions,
}

/// `asr.tier1=2`
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    feature: String,
    units: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Receipt(Vec<u8>);

/// What a node said.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Granted { receipt: String, valid_for_ms: u64 },
    Renewed { receipt: String, receipt_changed: bool, valid_for_ms: u64 },
    CheckedIn,
    Denied(Denied),
}

#[derive(Debug, Serialize)]
struct Denied {
    reason: String,
    text: String,
    feature: Option<String>,
    retry_after_ms: u64,
    units_in_use: u64,
    units_entitled: u64,
}

#[derive(Debug, Serialize)]
struct Answered {
    answer: Answer,
}

pub(super) async fn checkout(arguments: CheckoutArguments, output: Output) -> Result<(), Failure> {
    let connection = arguments.connection.connect()?;
    let lines = arguments.lines.into_iter();
    let item = v1::CheckoutItem {
        request_id: new_request_id().map_err(anyhow::Error::from)?.to_vec().into(),
        lines: lines.map(|Line { feature, units }| v1::CheckoutLine { feature, units }).collect(),
        wait_ms: arguments.wait_ms,
        engine_build_date: arguments.build_date.unwrap_or_default(),
    };
    let answers = connection.checkout(vec![item]).await.map_err(|error| unanswered(&error))?;
    let answer = match answers.into_iter().next().and_then(|answer| answer.answer) {
        Some(checkout_answer::Answer::Granted(granted)) => Answer::Granted {
            receipt: STANDARD.encode(&granted.receipt),
            valid_for_ms: granted.valid_for_ms,
        },
        Some(checkout_answer::Answer::Denied(denied)) => Answer::Denied(denied.into()),
        None => return Err(no_answer()),
    };
    print(answer, output)
}

pub(super) async fn renew(arguments: RenewArguments, output: Output) -> Result<(), Failure> {
    let connection = arguments.connection.connect()?;
    let receipt = arguments.receipt.0.clone().into();
    let item = v1::RenewItem { receipt, age_ms: arguments.age_ms, overrun_ms: 0 };
    let answers = connection.renew(vec![item]).await.map_err(|error| unanswered(&error))?;
    let answer = match answers.into_iter().next().and_then(|answer| answer.answer) {
        Some(renew_answer::Answer::Renewed(renewed)) => {
            let is_new = !renewed.receipt.is_empty();
            let receipt = if is_new { &renewed.receipt[..] } else { &arguments.receipt.0 };
            Answer::Renewed {
                receipt: STANDARD.encode(receipt),
                receipt_changed: is_new,
                valid_for_ms: renewed.valid_for_ms,
            }
        }
        Some(renew_answer::Answer::Denied(denied)) => Answer::Denied(denied.into()),
        None => return Err(no_answer()),
    };
    print(answer, output)
}

pub(super) async fn checkin(arguments: CheckinArguments, output: Output) -> Result<(), Failure> {
    let connection = arguments.connection.connect()?;
    let receipt = arguments.receipt.0.into();
    let item = v1::CheckinItem { receipt, ..v1::CheckinItem::default() };
    let answers = connection.checkin(vec![item]).await.map_err(|error| unanswered(&error))?;
    let answer = match answers.into_iter().next().and_then(|answer| answer.answer) {
        Some(checkin_answer::Answer::Accepted(_)) => Answer::CheckedIn,
        Some(checkin_answer::Answer::Denied(denied)) => Answer::Denied(denied.into()),
        None => return Err(no_answer()),
    };
    print(answer, output)
}

/// A denial is a result for scripts, and for people a failure.
fn print(answer: Answer, output: Output) -> Result<(), Failure> {
    let denied = match &answer {
        Answer::Denied(denied) => Some(format!("denied ({}): {}", denied.reason, denied.text)),
        Answer::Granted { .. } | Answer::Renewed { .. } | Answer::CheckedIn => None,
    };
    match (denied, output) {
        (Some(denied), Output::Table) => Err(Failure::failed(denied)),
        (Some(denied), Output::Json) => {
            output.print(&Answered { answer }, |_| String::new())?;
            Err(Failure::failed(denied))
        }
        (None, _) => output.print(&Answered { answer }, |answered| text(&answered.answer)),
    }
}

fn text(answer: &Answer) -> String {
    match answer {
        Answer::Granted { receipt, valid_for_ms } => format!(
            "granted for {valid_for_ms} ms; renew it before that, and check it in when done\n\
             {receipt}\n"
        ),
        Answer::Renewed { receipt, receipt_changed, valid_for_ms } => {
            let which =
                if *receipt_changed { "the receipt is new" } else { "the receipt is the same" };
            format!("renewed for {valid_for_ms} ms; {which}\n{receipt}\n")
        }
        Answer::CheckedIn => "checked in\n".to_owned(),
        Answer::Denied(denied) => format!("denied ({}): {}\n", denied.reason, denied.text),
    }
}

fn no_answer() -> Failure {
    Failure::failed("the node is newer than this program: it gave an answer unknown here")
}

fn unanswered(error: &CallError) -> Failure {
    #[allow(clippy::wildcard_enum_match_arm, reason = "the API's table: all others may be retried")]
    match error.code {
        Code::InvalidArgument
        | Code::Unauthenticated
        | Code::PermissionDenied
        | Code::Unimplemented => Failure::failed(error.to_string()),
        Code::DeadlineExceeded => Failure::unreachable(error.to_string()),
        _ => Failure::unreachable(format!(
            "{error}; check that the node runs, that this is its engines' port, and that --ca or \
             --plain-text fits it"
        )),
    }
}

impl EngineOptions {
    fn connect(&self) -> Result<Connection, Failure> {
        check_address("engines", &self.engines)?;
        let security = match (&self.ca, self.plain_text) {
            (_, true) => Security::Plain,
            (Some(ca), false) => {
                let identity = self.cert.clone().zip(self.key.clone());
                Security::Tls(TlsFiles { ca: ca.clone(), identity, server_name: None })
            }
            (None, false) => {
                return Err(Failure::usage(
                    "give --ca (or LEASEHOLD_CA); for a node on this machine without certificates \
                     give --plain-text",
                ));
            }
        };
        let endpoint = Endpoint { address: self.engines.clone(), site: String::new() };
        let config = ClientConfig {
            endpoints: vec![endpoint],
            site: String::new(),
            security,
            deadlines: Deadlines::default(),
        };
        let mut connections = Connection::to_all(&config).map_err(anyhow::Error::from)?;
        Ok(connections.pop().context("there is one endpoint")?)
    }
}

impl From<v1::Denied> for Denied {
    fn from(denied: v1::Denied) -> Self {
        let denial = Denial::from(denied);
        Self {
            reason: reason_name(denial.reason),
            text: denial.to_string(),
            feature: denial.feature,
            retry_after_ms: denial.retry_after_ms,
            units_in_use: denial.units_in_use,
            units_entitled: denial.units_entitled,
        }
    }
}

impl FromStr for Line {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (feature, units) = match text.split_once('=') {
            None => (text, 1),
            Some((feature, units)) => {
                let units = units.parse().ok().filter(|units| *units > 0);
                let expected = "expected FEATURE or FEATURE=UNITS with units from 1, such as cpa=2";
                (feature, units.ok_or(expected)?)
            }
        };
        let feature: leasehold_core::id::FeatureId =
            feature.parse().map_err(|error| format!("{error}"))?;
        Ok(Self { feature: feature.to_string(), units })
    }
}

fn parse_receipt(text: &str) -> Result<Receipt, String> {
    let bytes = STANDARD.decode(text).map_err(|_| {
        "it is not base64: give the receipt exactly as `leasehold checkout` printed it".to_owned()
    })?;
    if bytes.is_empty() || bytes.len() > RECEIPT_BYTES_MAX {
        return Err(format!("{} bytes: a receipt has 1 to {RECEIPT_BYTES_MAX}", bytes.len()));
    }
    Ok(Receipt(bytes))
}
