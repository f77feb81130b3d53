//! The sections of `docs/proof.md`, from the short to the long.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::claims::Layer;
use crate::markdown::{code_links, counted, grouped, head, link, links, row};
use crate::page::Page;
use crate::results::Results;

impl Page {
    pub(crate) fn put_summary(&self, text: &mut String) {
        text.push_str(HEAD);
        let sum = |of: fn(&Results) -> u64| self.results.values().map(of).sum::<u64>();
        let mutations = self.results.values().flat_map(|it| &it.mutations);
        let caught = mutations.clone().filter(|it| it.caught).count();
        let missing = self.layers().filter(|(_, it)| it.is_none()).count() as u64;
        let _ = writeln!(
            text,
            "**In short**: {} over-issued, {} lost that should not be, {}; {caught} of {} rules \
             that were removed on purpose were noticed; {} found and repaired on the way; {} of \
             the {} layers below not run.",
            counted(sum(|it| it.over_issued_units), "unit"),
            counted(sum(|it| it.lost_calls), "running call"),
            counted(sum(|it| it.violations), "failed check"),
            mutations.count(),
            counted(self.bugs().len() as u64, "bug"),
            missing,
            self.claims.layer.len(),
        );
    }

    pub(crate) fn put_layers(&self, text: &mut String) {
        text.push_str("\n## Layers\n\n");
        let titles = ["layer", "real code in the loop", "faults", "checks", "volume"];
        let more = ["failed", "bugs found", "removed rules noticed", "not covered"];
        head(text, &[titles.as_slice(), more.as_slice()].concat());
        for (layer, results) in self.layers() {
            let bugs = self.bugs_of(layer);
            let fixed = [layer.title.as_str(), layer.real_code.as_str()];
            let cells = match results {
                Some(it) => {
                    [faults_of(layer, it), checks_of(it), volume(it), failed(it), bugs, noticed(it)]
                }
                None => {
                    let not_run = "**not run**".to_owned();
                    let none = || "–".to_owned();
                    [layer.faults.clone(), none(), not_run, none(), bugs, none()]
                }
            };
            let mut cells: Vec<&str> =
                fixed.into_iter().chain(cells.iter().map(|it| &**it)).collect();
            cells.push(&layer.not_covered);
            row(text, &cells);
        }
        text.push_str("\nWhat was run when, and how to run it again:\n\n");
        for (layer, it) in self.run() {
            let _ = writeln!(
                text,
                "* {}: `{}` (revision `{}`, {}, {} s, {})",
                layer.title,
                it.command,
                it.revision,
                it.date,
                grouped(it.seconds),
                it.machine
            );
        }
    }

    fn bugs_of(&self, layer: &Layer) -> String {
        let found =
            self.bugs().into_iter().filter(|bug| bug.layer.is_some_and(|it| it.name == layer.name));
        grouped(found.count() as u64)
    }

    pub(crate) fn put_faults(&self, text: &mut String) {
        text.push_str("\n## What a fault can over-issue\n\n");
        head(text, &["fault", "units over-issued", "why", "how often made", "tests of it"]);
        for fault in &self.claims.fault {
            let tests = links(&fault.tests);
            let seen: Vec<String> =
                self.run().filter_map(|(layer, it)| made(layer, it, &fault.seen)).collect();
            let seen = match (seen.as_slice(), fault.tests.as_slice()) {
                ([], []) => "**not tested**".to_owned(),
                ([], _) => "by its tests alone".to_owned(),
                (seen, _) => seen.join("; "),
            };
            row(text, &[&fault.what, &fault.units, &fault.why, &seen, &tests]);
        }
    }

    pub(crate) fn put_assumptions(&self, text: &mut String) {
        text.push_str("\n## What is assumed\n\n");
        head(text, &["assumed", "if it does not hold"]);
        for it in &self.claims.assumption {
            row(text, &[&it.what, &it.otherwise]);
        }
    }

    pub(crate) fn put_rules(&self, text: &mut String) {
        text.push_str("\n## Where each rule is enforced\n\n");
        head(text, &["rule", "code", "tests"]);
        for rule in &self.claims.rule {
            row(text, &[&rule.what, &code_links(&rule.code), &links(&rule.tests)]);
        }
    }

    pub(crate) fn put_mutations(&self, text: &mut String) {
        text.push_str(
            "\n## Rules removed on purpose\n\nA check that does not notice a missing rule proves \
             nothing about it.\n\n",
        );
        head(text, &["rule removed", "layer", "noticed", "seeds, or states", "as"]);
        for (layer, results) in self.run() {
            for it in &results.mutations {
                let caught = if it.caught { "yes" } else { "**no**" };
                row(text, &[&it.name, &layer.title, caught, &grouped(it.seeds), &it.by]);
            }
        }
    }

    pub(crate) fn put_bugs(&self, text: &mut String) {
        text.push_str("\n## Bugs found on the way\n\n");
        head(text, &["bug", "what went wrong", "found by", "test that finds it again"]);
        for bug in self.bugs() {
            let title = bug.layer.map(|layer| layer.title.as_str());
            let found_by = match title {
                Some(title) if !bug.found_by.is_empty() => format!("{title}: {}", bug.found_by),
                Some(title) => title.to_owned(),
                None => bug.found_by.to_owned(),
            };
            row(text, &[bug.name, bug.story, &found_by, &link(bug.test)]);
        }
    }

    /// What never happened, and what can't be seen.
    pub(crate) fn put_gaps(&self, text: &mut String) {
        text.push_str("\n## Not tested\n\nWhat could have happened and never did:\n\n");
        let before = text.len();
        for (layer, it) in self.run() {
            let never = it.faults.iter().chain(&it.transitions).filter(|(_, times)| **times == 0);
            for (what, _) in never {
                let _ = writeln!(text, "* {}: {what}", layer.title);
            }
        }
        if text.len() == before {
            text.push_str("* nothing of what the layers above can count\n");
        }
        text.push_str("\n## Not covered\n\nWhat a layer can't see:\n\n");
        for (layer, it) in self.run() {
            for what in &it.not_covered {
                let _ = writeln!(text, "* {}: {what}", layer.title);
            }
        }
    }

    pub(crate) fn put_checks(&self, text: &mut String) {
        text.push_str("\n## What was checked\n\n");
        for (layer, it) in self.run() {
            for check in &it.checks {
                let _ = writeln!(text, "* {}: {check}", layer.title);
            }
        }
        text.push_str(
            "\nNo violation in *n* independent seeds bounds the chance that one more seed of the \
             same kind shows one to 3/*n*, with 95 % confidence; it says nothing about faults that \
             the simulator does not make. An exhaustive check says everything about its bounds and \
             nothing beyond them.\n",
        );
    }

    pub(crate) fn put_counts(&self, text: &mut String) {
        text.push_str("\n## How often everything happened\n");
        for (layer, it) in self.run() {
            put_counts_of(text, &format!("{}: faults", layer.title), &it.faults);
            put_counts_of(text, &format!("{}: transitions", layer.title), &it.transitions);
        }
    }
}

const HEAD: &str = "# Proof\n\n\
<!-- Written by `make proof` from docs/proof: change that, not this page. -->\n\n\
What has been shown about Leasehold's promises, by which means, and what has not. All figures are \
those of the runs named below; programs wrote them down, and [another](proof/README.md) made this \
page of them.\n\n";

fn faults_of(layer: &Layer, it: &Results) -> String {
    if it.faults.is_empty() {
        return layer.faults.clone();
    }
    let kinds = it.faults.values().filter(|times| **times > 0).count() as u64;
    let times = it.faults.values().sum();
    format!("{}, {} times", counted(kinds, "kind"), grouped(times))
}

fn checks_of(it: &Results) -> String {
    if it.checks.is_empty() {
        return "–".to_owned();
    }
    format!("[{}](#what-was-checked)", it.checks.len())
}

fn volume(it: &Results) -> String {
    let volume = it.volume.iter().map(|(what, count)| format!("{} {what}", grouped(*count)));
    volume.collect::<Vec<_>>().join(", ")
}

/// Layers without checks of their own only have rules removed.
fn failed(it: &Results) -> String {
    if it.checks.is_empty() && it.violations == 0 {
        return "–".to_owned();
    }
    let mut parts = Vec::new();
    let kinds = [
        (it.over_issued_units, "unit over-issued", "units over-issued"),
        (it.lost_calls, "call lost", "calls lost"),
        (it.violations, "violation", "violations"),
    ];
    for (count, one, many) in kinds {
        match count {
            0 => {}
            1 => parts.push(format!("**1 {one}**")),
            _ => parts.push(format!("**{} {many}**", grouped(count))),
        }
    }
    if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") }
}

fn noticed(it: &Results) -> String {
    if it.mutations.is_empty() {
        return "–".to_owned();
    }
    let caught = it.mutations.iter().filter(|mutation| mutation.caught).count();
    format!("[{caught} of {}](#rules-removed-on-purpose)", it.mutations.len())
}

/// How often a layer made a fault; none if never. What followed from it is no further case.
fn made(layer: &Layer, it: &Results, names: &[String]) -> Option<String> {
    let cases = it.faults.iter().filter(|(what, _)| names.iter().any(|name| what.contains(name)));
    let times: u64 = cases.map(|(_, times)| times).sum();
    (times > 0).then(|| format!("{} {}", layer.name, grouped(times)))
}

fn put_counts_of(text: &mut String, title: &str, counts: &BTreeMap<String, u64>) {
    if counts.is_empty() {
        return;
    }
    let _ = write!(text, "\n<details><summary>{title}</summary>\n\n");
    head(text, &["what", "times"]);
    for (what, times) in counts {
        row(text, &[what, &grouped(*times)]);
    }
    text.push_str("\n</details>\n");
}
