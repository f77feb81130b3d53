//! `leasehold events`: the cluster's event log.

use clap::Args;
use jiff::Timestamp;
use leasehold_proto::v1;
use serde::Serialize;

use super::admin::AdminOptions;
use super::{Failure, Output};

#[derive(Debug, Args)]
pub(super) struct EventsOptions {
    /// Goes on showing events as they happen.
    #[arg(long)]
    follow: bool,
    /// Only events with a number above this one.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    since: u64,
    #[command(flatten)]
    connection: AdminOptions,
}

/// One line of the log.
#[derive(Debug, Serialize)]
struct Event {
    number: u64,
    /// RFC 3339, by the leader's clock; `null`: not known.
    at: Option<String>,
    kind: String,
    text: String,
    node: Option<u64>,
    site: Option<String>,
    set: Option<String>,
}

pub(super) async fn run(options: &EventsOptions, output: Output) -> Result<(), Failure> {
    let target = options.connection.target()?;
    let EventsOptions { since, follow, .. } = *options;
    let mut client = target.client();
    let request = v1::EventsRequest { since, follow };
    let mut events = target.answer(client.events(request)).await?;
    let mut last = since;
    loop {
        match events.message().await {
            Ok(Some(v1::EventsResponse { event: Some(event) })) => {
                last = event.number;
                output.print_line(&Event::from(event), text)?;
            }
            Ok(Some(v1::EventsResponse { event: None })) => {}
            Ok(None) if follow => return Err(lost(last)),
            Ok(None) => return Ok(()),
            // The first answer may be a refusal; later only the connection can have ended.
            Err(status) if last == since => return Err(target.failure(&status)),
            Err(_) => return Err(lost(last)),
        }
    }
}

fn lost(last: u64) -> Failure {
    Failure::unreachable(format!(
        "the node has closed the connection: go on at any node with --since {last}"
    ))
}

impl From<v1::Event> for Event {
    fn from(event: v1::Event) -> Self {
        let known = |text: String| Some(text).filter(|text| !text.is_empty());
        Self {
            number: event.number,
            at: (event.unix_ms > 0).then(|| rfc3339(event.unix_ms)).flatten(),
            kind: event.kind,
            text: event.text,
            node: Some(event.node_id).filter(|node| *node > 0),
            site: known(event.site),
            set: known(event.set),
        }
    }
}

fn rfc3339(unix_ms: i64) -> Option<String> {
    let at = Timestamp::from_millisecond(unix_ms).ok()?;
    Some(format!("{at:.3}"))
}

fn text(event: &Event) -> String {
    let at = event.at.as_deref().unwrap_or("-");
    format!("{:>6}  {at:<24}  {:<22}  {}", event.number, event.kind, event.text)
}
