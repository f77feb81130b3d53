//! `docs/proof.md`, made of results and claims. What has no result is said to be not run, and what
//! never happened to be not tested.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};

use crate::claims::{Claims, Layer, require_test};
use crate::results::Results;

/// Everything that the page is made of.
#[derive(Debug)]
pub struct Page {
    pub(crate) claims: Claims,
    pub(crate) results: BTreeMap<String, Results>,
}

/// A bug and who found it, whether results or claims tell of it.
pub(crate) struct FoundBug<'a> {
    pub layer: Option<&'a Layer>,
    pub found_by: &'a str,
    pub name: &'a str,
    pub story: &'a str,
    pub test: &'a str,
}

impl Page {
    /// Reads `docs/proof` below `root`.
    ///
    /// # Errors
    /// If a file is wrong, or a test that is named does not exist.
    pub fn read(root: &Path) -> Result<Self> {
        let folder = root.join("docs/proof");
        let claims = Claims::read(&folder.join("claims.toml"), root)?;
        let mut results = BTreeMap::new();
        for layer in &claims.layer {
            let path = folder.join("results").join(format!("{}.json", layer.name));
            if !path.exists() {
                continue;
            }
            let it = Results::read(&path)?;
            for bug in &it.bugs {
                require_test(root, &bug.test).with_context(|| path.display().to_string())?;
            }
            results.insert(layer.name.clone(), it);
        }
        Ok(Self { claims, results })
    }

    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        self.put_summary(&mut text);
        self.put_layers(&mut text);
        self.put_faults(&mut text);
        self.put_assumptions(&mut text);
        self.put_rules(&mut text);
        self.put_mutations(&mut text);
        self.put_bugs(&mut text);
        self.put_gaps(&mut text);
        self.put_checks(&mut text);
        self.put_counts(&mut text);
        text
    }

    pub(crate) fn layers(&self) -> impl Iterator<Item = (&Layer, Option<&Results>)> {
        self.claims.layer.iter().map(|layer| (layer, self.results.get(&layer.name)))
    }

    /// Layers with results.
    pub(crate) fn run(&self) -> impl Iterator<Item = (&Layer, &Results)> {
        self.layers().filter_map(|(layer, it)| Some((layer, it?)))
    }

    /// Those that claims tell of, then those that only results tell of.
    pub(crate) fn bugs(&self) -> Vec<FoundBug<'_>> {
        let layer_of = |name: &str| self.claims.layer.iter().find(|it| it.name == name);
        let mut bugs: Vec<FoundBug<'_>> = Vec::new();
        for bug in &self.claims.bug {
            bugs.push(FoundBug {
                layer: bug.layer.as_deref().and_then(layer_of),
                found_by: &bug.found_by,
                name: &bug.name,
                story: &bug.story,
                test: &bug.test,
            });
        }
        for (layer, results) in self.run() {
            for bug in &results.bugs {
                if bugs.iter().all(|it| !it.name.eq_ignore_ascii_case(&bug.name)) {
                    bugs.push(FoundBug {
                        layer: Some(layer),
                        found_by: "",
                        name: &bug.name,
                        story: &bug.story,
                        test: &bug.test,
                    });
                }
            }
        }
        bugs
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_page_in_the_tree_is_the_one_that_the_results_make() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let page = Page::read(&root).unwrap().text();
        let written = fs::read_to_string(root.join("docs/proof.md")).unwrap_or_default();
        let lines = page.lines().zip(written.lines());
        let differing = lines.enumerate().find(|(_, (made, found))| made != found);
        assert!(page == written, "docs/proof.md is outdated, run `make proof`: {differing:?}");
    }

    #[test]
    fn what_a_fault_is_said_to_be_seen_by_is_counted_by_some_layer() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let page = Page::read(&root).unwrap();
        for name in page.claims.fault.iter().flat_map(|fault| &fault.seen) {
            let mut counted = page.results.values().flat_map(|it| it.faults.keys());
            assert!(counted.any(|what| what.contains(name)), "nobody counts {name:?}");
        }
    }

    #[test]
    fn what_was_not_run_or_never_happened_is_said_to_be_so() {
        let claims = r#"
            rule = []
            assumption = []
            bug = []
            [[layer]]
            name = "model"
            title = "Model"
            real_code = "some"
            faults = ""
            not_covered = "much"
            [[layer]]
            name = "chaos"
            title = "Chaos"
            real_code = "all"
            faults = ""
            not_covered = "some"
            [[fault]]
            what = "A node dies"
            units = "0"
            why = "so"
            seen = ["node killed"]
            tests = []
            [[fault]]
            what = "A clock steps"
            units = "0"
            why = "so"
            seen = ["clock stepped"]
            tests = []
            [[fault]]
            what = "A disk is set back"
            units = "0"
            why = "so"
            seen = []
            tests = ["crates/a/src/b.rs::it_works"]
        "#;
        let mut it = Results { layer: "model".to_owned(), ..Results::default() };
        it.faults.extend([("node killed".to_owned(), 3), ("clock stepped".to_owned(), 0)]);
        it.transitions.insert("call lost: the node killed".to_owned(), 5);
        it.not_covered.push("disks".to_owned());
        let page = Page {
            claims: toml::from_str(claims).unwrap(),
            results: BTreeMap::from([("model".to_owned(), it)]),
        };
        let text = page.text();
        let wanted = [
            "| Chaos | all |  | – | **not run** |",
            "| A node dies | 0 | so | model 3 |",
            "| A clock steps | 0 | so | **not tested** |",
            "| A disk is set back | 0 | so | by its tests alone |",
            "* Model: clock stepped\n",
            "* Model: disks\n",
        ];
        for line in wanted {
            assert!(text.contains(line), "no {line:?} in:\n{text}");
        }
    }
}
