//! Printing results: tables for people, JSON for scripts.

use std::io::{self, Write};

use anyhow::Context;
use clap::ValueEnum;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use super::Failure;

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// For scripts.
    Json,
}

/// A JSON document: the schema's number beside the fields of `T`.
#[derive(Serialize)]
struct Document<'a, T> {
    schema: u32,
    #[serde(flatten)]
    content: &'a T,
}

/// Raised when a field is removed or changes its meaning.
const SCHEMA: u32 = 1;

impl Output {
    /// Prints `content`, for people in the words of `text`.
    pub(super) fn print<T: Serialize>(
        self,
        content: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        match self {
            Output::Table => write(&text(content)),
            Output::Json => write(&(pretty(content)? + "\n")),
        }
    }

    /// Prints one of many results: one line of JSON, or one line of text.
    pub(super) fn print_line<T: Serialize>(
        self,
        content: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        match self {
            Output::Table => write(&(text(content) + "\n")),
            Output::Json => {
                let document = Document { schema: SCHEMA, content };
                let line = serde_json::to_string(&document).context("can't be written as JSON")?;
                write(&(line + "\n"))
            }
        }
    }
}

pub(super) fn pretty<T: Serialize>(content: &T) -> Result<String, Failure> {
    let document = Document { schema: SCHEMA, content };
    Ok(serde_json::to_string_pretty(&document).context("can't be written as JSON")?)
}

/// Writes to standard output. A reader that has gone away (`| head`) is no failure.
pub(super) fn write(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(anyhow::Error::from(error).context("standard output can't be written").into())
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// A table without lines: two blanks between columns, which `awk` and eyes read alike.
pub fn table(head: &[&str], right_aligned: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(head.iter().copied());
    for (index, name) in head.iter().enumerate() {
        if let Some(column) = table.column_mut(index) {
            column.set_padding((0, 2));
            if right_aligned.contains(name) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    table
}

/// The table's lines without blanks at their ends.
pub fn lines(table: &Table) -> String {
    let text = table.to_string();
    text.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// Bytes as hexadecimal digits; `-` for none.
pub(super) fn hex(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "-".to_owned();
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
