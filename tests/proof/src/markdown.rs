//! Markdown as `docs/proof.md` needs it.

use std::fmt::Write as _;

/// Begins a table.
pub(crate) fn head(text: &mut String, titles: &[&str]) {
    row(text, titles);
    text.push_str(&"|---".repeat(titles.len()));
    text.push_str("|\n");
}

pub(crate) fn row(text: &mut String, cells: &[&str]) {
    for cell in cells {
        let _ = write!(text, "| {} ", cell.replace('|', "\\|"));
    }
    text.push_str("|\n");
}

/// Links from docs/proof.md to tests, whose names are sentences.
pub(crate) fn links(tests: &[String]) -> String {
    let links: Vec<String> = tests.iter().map(|test| link(test)).collect();
    links.join("; ")
}

pub(crate) fn link(test: &str) -> String {
    let (path, name) = parts(test);
    format!("[{}](../{path})", name.replace('_', " "))
}

pub(crate) fn code_links(items: &[String]) -> String {
    let links = items.iter().map(|item| {
        let (path, name) = parts(item);
        format!("[`{name}`](../{path})")
    });
    links.collect::<Vec<_>>().join(", ")
}

/// The path of `path::item`, and what it is called.
fn parts(name: &str) -> (&str, &str) {
    let path = name.split("::").next().unwrap_or(name);
    (path, name.rsplit(['/', ':']).next().unwrap_or(name))
}

/// 1234567 as 1,234,567.
pub(crate) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 bug`, `2 bugs`.
pub(crate) fn counted(count: u64, thing: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", grouped(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_grouped() {
        for (count, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (12_345_678, "12,345,678")]
        {
            assert_eq!(grouped(count), text);
        }
    }

    #[test]
    fn a_test_is_shown_by_its_name_and_leads_to_its_file() {
        assert_eq!(link("crates/a/src/b.rs::it_works"), "[it works](../crates/a/src/b.rs)");
        assert_eq!(link("crates/a/tests/c.txt"), "[c.txt](../crates/a/tests/c.txt)");
    }
}
