//! What a person sees while the demo runs: notes that stay, and a table that is redrawn in place
//! on a terminal. Where the output is no terminal there are plain lines every few seconds.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use leasehold_proto::v1;

use crate::cli::{lines, table};

/// Writes to standard output or, if that is for a result, to standard error.
pub struct Screen {
    out: Box<dyn Write + Send>,
    is_terminal: bool,
    lines_drawn: usize,
    next_line_at: Duration,
}

/// One moment of the demo.
#[derive(Debug)]
pub struct Frame<'a> {
    pub elapsed: Duration,
    pub running: usize,
    pub ended: u64,
    pub denied: u64,
    pub lost: u64,
    pub sites: Vec<SiteRow>,
    /// By feature, from the engines.
    pub entitled: &'a BTreeMap<String, u64>,
    pub in_use: &'a BTreeMap<String, u64>,
    pub denied_by_feature: &'a BTreeMap<String, u64>,
    /// What the node says that knows most, if one answers.
    pub status: Option<&'a v1::StatusResponse>,
}

/// A site with its engines and its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteRow {
    pub site: String,
    pub node: String,
    pub role: Role,
    /// Calls of the site's engines, wherever their licenses are.
    pub calls: usize,
    /// Checkouts at the site's node, of whichever engines; `None`: it does not answer.
    pub checkouts: Option<u64>,
    /// Units that the ledger lends to the node.
    pub lent: u64,
    /// Of these, the units in checkouts; `None`: it does not answer.
    pub in_use: Option<u64>,
    /// Units that ended leases of the node hold.
    pub frozen: u64,
}

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Leader,
    Follower,
    /// It runs, and knows no leader or has no lease.
    NotReady,
    /// It runs, and does not answer.
    Silent,
    Down,
}

/// Often enough to see that it runs, seldom enough for the log of a build server.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

impl Screen {
    /// On standard output.
    #[must_use]
    pub fn on_stdout() -> Self {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal() && can_redraw();
        Self::new(Box::new(stdout), is_terminal)
    }

    /// Plain lines on standard error.
    #[must_use]
    pub fn on_stderr() -> Self {
        Self::new(Box::new(io::stderr()), false)
    }

    fn new(out: Box<dyn Write + Send>, is_terminal: bool) -> Self {
        Self { out, is_terminal, lines_drawn: 0, next_line_at: Duration::ZERO }
    }

    /// Says something that stays. The table is drawn anew below it.
    ///
    /// # Errors
    /// If the output can't be written.
    pub fn note(&mut self, text: &str) -> io::Result<()> {
        self.clear()?;
        writeln!(self.out, "{text}")?;
        self.out.flush()
    }

    /// Shows `frame` in the place of the one before.
    ///
    /// # Errors
    /// If the output can't be written.
    pub fn draw(&mut self, frame: &Frame<'_>) -> io::Result<()> {
        if !self.is_terminal {
            if frame.elapsed < self.next_line_at {
                return Ok(());
            }
            self.next_line_at = frame.elapsed + PLAIN_EVERY;
            return self.note(&format!("{}; {}", headline(frame), sites_in_a_line(frame)));
        }
        let text = format!("{}\n\n{}\n{}", headline(frame), sites(frame), pools(frame));
        self.clear()?;
        self.lines_drawn = text.lines().count();
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    fn clear(&mut self) -> io::Result<()> {
        let lines = std::mem::take(&mut self.lines_drawn);
        if lines > 0 {
            // Up to the first line drawn, and everything from there is gone.
            write!(self.out, "\x1b[{lines}F\x1b[J")?;
        }
        Ok(())
    }
}

/// A terminal that is too narrow would wrap lines, and their number would not be known.
fn can_redraw() -> bool {
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    let columns = rustix::termios::tcgetwinsize(io::stdout()).map_or(0, |size| size.ws_col);
    // A terminal that does not tell its size is seldom narrow.
    !is_dumb && (columns == 0 || columns >= COLUMNS_LEAST)
}

/// The table's width.
const COLUMNS_LEAST: u16 = 90;

fn headline(frame: &Frame<'_>) -> String {
    let Frame { elapsed, running, ended, denied, lost, .. } = frame;
    let frozen: u64 = frame.sites.iter().map(|row| row.frozen).sum();
    format!(
        "{:>4} s  {running:>4} calls run, {ended} ended, {denied} denied, {lost} lost; {frozen} \
         units frozen",
        elapsed.as_secs()
    )
}

/// The leader, and what is not well.
fn sites_in_a_line(frame: &Frame<'_>) -> String {
    let noteworthy = frame.sites.iter().filter(|row| row.role != Role::Follower);
    let named = noteworthy.map(|row| format!("{} {}", row.node, row.role));
    named.collect::<Vec<_>>().join(", ")
}

fn sites(frame: &Frame<'_>) -> String {
    let numbers = ["CALLS", "CHECKOUTS", "UNITS LENT", "IN USE", "FREE", "FROZEN"];
    let head = [&["SITE", "NODE", "ROLE"][..], &numbers].concat();
    let mut table = table(&head, &numbers);
    let shown = |value: Option<u64>| value.map_or("-".to_owned(), |value| value.to_string());
    for row in &frame.sites {
        table.add_row([
            row.site.clone(),
            row.node.clone(),
            row.role.to_string(),
            row.calls.to_string(),
            shown(row.checkouts),
            row.lent.to_string(),
            shown(row.in_use),
            shown(row.in_use.map(|in_use| row.lent.saturating_sub(in_use))),
            row.frozen.to_string(),
        ]);
    }
    lines(&table)
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Role::Leader => "leader",
            Role::Follower => "follower",
            Role::NotReady => "not ready",
            Role::Silent => "silent",
            Role::Down => "DOWN",
        })
    }
}

/// Units as the ledger counts them.
#[derive(Default)]
struct Counted {
    lent: u64,
    reserve: i64,
    frozen: u64,
}

fn pools(frame: &Frame<'_>) -> String {
    let mut counted: BTreeMap<&str, Counted> = BTreeMap::new();
    for pool in frame.status.iter().flat_map(|status| &status.pools) {
        let counted = counted.entry(&pool.feature).or_default();
        counted.lent += pool.lent;
        counted.reserve += pool.reserve;
        counted.frozen += pool.frozen;
    }
    let numbers = ["ENTITLED", "ENGINES USE", "LENT", "RESERVE", "FROZEN", "DENIED", ""];
    let head = [&["FEATURE"][..], &numbers].concat();
    let mut table = table(&head, &numbers[..6]);
    let of = |map: &BTreeMap<String, u64>, feature: &str| map.get(feature).copied().unwrap_or(0);
    for (feature, entitled) in frame.entitled {
        let in_use = of(frame.in_use, feature);
        let ledger = counted.get(feature.as_str());
        let shown = |value: Option<String>| value.unwrap_or_else(|| "?".to_owned());
        table.add_row([
            feature.clone(),
            entitled.to_string(),
            in_use.to_string(),
            shown(ledger.map(|ledger| ledger.lent.to_string())),
            shown(ledger.map(|ledger| ledger.reserve.to_string())),
            shown(ledger.map(|ledger| ledger.frozen.to_string())),
            of(frame.denied_by_feature, feature).to_string(),
            bar(in_use, *entitled),
        ]);
    }
    lines(&table)
}

const BAR_CELLS: u64 = 20;

fn bar(used: u64, entitled: u64) -> String {
    let filled = (used * BAR_CELLS).div_ceil(entitled.max(1)).min(BAR_CELLS);
    (0..BAR_CELLS).map(|cell| if cell < filled { '#' } else { '.' }).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn draw_twice(is_terminal: bool) -> String {
        let page = Page::default();
        let mut screen = Screen::new(Box::new(page.clone()), is_terminal);
        let entitled = BTreeMap::from([("cpa".to_owned(), 10)]);
        let in_use = BTreeMap::from([("cpa".to_owned(), 5)]);
        for seconds in [0, 1] {
            let frame = Frame {
                elapsed: Duration::from_secs(seconds),
                running: 5,
                ended: 7,
                denied: 0,
                lost: 0,
                sites: vec![SiteRow {
                    site: "east".to_owned(),
                    node: "east-1".to_owned(),
                    role: Role::Down,
                    calls: 5,
                    checkouts: None,
                    lent: 9,
                    in_use: None,
                    frozen: 0,
                }],
                entitled: &entitled,
                in_use: &in_use,
                denied_by_feature: &BTreeMap::new(),
                status: None,
            };
            screen.draw(&frame).unwrap();
        }
        let bytes = page.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn on_a_terminal_a_frame_takes_the_place_of_the_one_before() {
        let page = draw_twice(true);
        assert!(page.contains("\x1b[7F\x1b[J"), "{page:?}");
        assert!(page.contains("##########.........."), "{page}");
        assert!(page.contains("DOWN"), "{page}");
    }

    #[test]
    fn elsewhere_there_are_plain_lines_every_few_seconds() {
        assert_eq!(
            draw_twice(false),
            "   0 s     5 calls run, 7 ended, 0 denied, 0 lost; 0 units frozen; east-1 DOWN\n"
        );
    }
}
