//! `leasehold events`: the cluster's event log.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use leasehold_proto::v1;
use serde::Serialize;

use super::admin::AdminOptions;
use super::{AdminTarget, Exit, Failure, Output};

#[derive(Debug, Args)]
pub(super) struct EventsOptions {
    /// Goes on showing events as they happen, also when the node is away for a while.
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

/// A node that restarts is back within seconds; one that is away for long costs nothing more.
const RETRY_EVERY: Duration = Duration::from_secs(1);

pub(super) async fn run(options: &EventsOptions, output: Output) -> Result<(), Failure> {
    let target = options.connection.target()?;
    let EventsOptions { since, follow, .. } = *options;
    let mut reader = Reader { target, last: since, follow, output, contact: Contact::None };
    loop {
        let lost = match reader.read().await {
            Ok(()) if !follow => return Ok(()),
            // The node ends the stream when it stops.
            Ok(()) => "the node has ended the stream",
            Err(failure) if !follow || reader.contact == Contact::None => return Err(failure),
            Err(failure) if failure.exit() != Exit::Unreachable => return Err(failure),
            Err(_) => "the connection to the node is lost",
        };
        reader.on_lost(lost);
        // Whatever answers at this address next goes on where this stream ended.
        tokio::time::sleep(RETRY_EVERY).await;
    }
}

struct Reader {
    target: AdminTarget,
    /// The number of the newest event that was shown.
    last: u64,
    follow: bool,
    output: Output,
    contact: Contact,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contact {
    /// It has never answered.
    None,
    Answering,
    /// It has answered before; whoever watches has been told that it does not.
    Lost,
}

impl Reader {
    /// Shows what there is, and if it follows what comes, until the stream ends.
    async fn read(&mut self) -> Result<(), Failure> {
        let mut client = self.target.client();
        let request = v1::EventsRequest { since: self.last, follow: self.follow };
        let mut events = self.target.answer(client.events(request)).await?;
        if self.contact == Contact::Lost {
            self.tell("the node answers again");
        }
        self.contact = Contact::Answering;
        loop {
            match events.message().await {
                Ok(Some(v1::EventsResponse { event: Some(event) })) => {
                    self.last = event.number;
                    self.output.print_line(&Event::from(event), text)?;
                }
                Ok(Some(v1::EventsResponse { event: None })) => {}
                Ok(None) => return Ok(()),
                Err(status) => return Err(self.target.failure(&status)),
            }
        }
    }

    fn on_lost(&mut self, what: &str) {
        if self.contact == Contact::Answering {
            self.tell(what);
        }
        self.contact = Contact::Lost;
    }

    /// Beside the events, for whoever watches.
    fn tell(&self, what: &str) {
        // If standard error is closed, nobody is left to tell.
        let _ = writeln!(std::io::stderr(), "leasehold: {what}; the last event was {}", self.last);
    }
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
