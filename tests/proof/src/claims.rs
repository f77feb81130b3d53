//! `docs/proof/claims.toml`: what results can't say of themselves. Tests, code and layers that are
//! named there must exist.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Claims {
    pub layer: Vec<Layer>,
    pub fault: Vec<Fault>,
    pub assumption: Vec<Assumption>,
    pub rule: Vec<Rule>,
    pub bug: Vec<Bug>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Layer {
    pub name: String,
    pub title: String,
    pub real_code: String,
    /// Where they are not counted.
    pub faults: String,
    /// In a few words; results say it at length.
    pub not_covered: String,
}

/// What a fault can over-issue.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fault {
    pub what: String,
    pub units: String,
    pub why: String,
    /// Faults of results whose name contains one of these are cases of it.
    pub seen: Vec<String>,
    pub tests: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Assumption {
    pub what: String,
    pub otherwise: String,
}

/// Where a rule of the design is enforced.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    pub what: String,
    /// `path/from/the/root.rs::item`.
    pub code: Vec<String>,
    pub tests: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bug {
    pub name: String,
    /// The layer that found it; none if no program did.
    pub layer: Option<String>,
    /// How, in a few words.
    #[serde(default)]
    pub found_by: String,
    pub test: String,
    pub story: String,
}

impl Claims {
    /// # Errors
    /// If the file can't be read, or names what does not exist below `root`.
    pub(crate) fn read(path: &Path, root: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let claims: Self = toml::from_str(&text).with_context(|| path.display().to_string())?;
        let of_faults = claims.fault.iter().flat_map(|fault| &fault.tests);
        let of_rules = claims.rule.iter().flat_map(|rule| &rule.tests);
        let of_bugs = claims.bug.iter().map(|bug| &bug.test);
        for test in of_faults.chain(of_rules).chain(of_bugs) {
            require_test(root, test)?;
        }
        for code in claims.rule.iter().flat_map(|rule| &rule.code) {
            require_code(root, code)?;
        }
        for layer in claims.bug.iter().filter_map(|bug| bug.layer.as_ref()) {
            ensure!(
                claims.layer.iter().any(|it| it.name == *layer),
                "a bug is said to be found by `{layer}`, and there is no such [[layer]]"
            );
        }
        Ok(claims)
    }
}

/// # Errors
/// If `path::function`, below `root`, is no test, or the scenario at `path` is not there.
pub fn require_test(root: &Path, test: &str) -> Result<()> {
    let (text, function) = read_named(root, test)?;
    let Some(function) = function else {
        ensure!(has_extension(test, "txt"), "{test}: name the function, as in path.rs::function");
        return Ok(());
    };
    let (before, _) = text
        .split_once(&format!("fn {function}("))
        .with_context(|| format!("{test} is named as a test, but there is no such function"))?;
    ensure!(is_test(before), "{test} is named as a test, and is none: it lacks `#[test]`");
    Ok(())
}

/// Whether a function is a test, by the attributes that are the last of what is `before` it.
fn is_test(before: &str) -> bool {
    let above = before.rsplit_once('\n').map_or("", |(above, _)| above);
    let above = above.lines().rev().map(str::trim);
    let mut above = above.take_while(|line| line.starts_with("#[") || line.starts_with("//"));
    above.any(|line| line == "#[test]" || line.starts_with("#[tokio::test"))
}

fn require_code(root: &Path, code: &str) -> Result<()> {
    let (text, item) = read_named(root, code)?;
    let Some(item) = item else { bail!("{code}: name the item, as in path.rs::item") };
    let kinds = ["fn", "struct", "enum", "const"];
    let ends = ["(", "<", " ", ":"];
    let made_by = kinds.iter().flat_map(|kind| ends.map(|end| format!("{kind} {item}{end}")));
    ensure!(
        made_by.into_iter().any(|it| text.contains(&it)),
        "{code} is named as code, but there is no such item"
    );
    Ok(())
}

/// The file that `path::item` is in, and the item.
fn read_named<'a>(root: &Path, name: &'a str) -> Result<(String, Option<&'a str>)> {
    let (path, item) = match name.split_once("::") {
        Some((path, item)) => (path, Some(item)),
        None => (name, None),
    };
    let text = fs::read_to_string(root.join(path))
        .with_context(|| format!("{name} is named, but {path} can't be read"))?;
    Ok((text, item))
}

fn has_extension(path: &str, wanted: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tests_and_code_that_exist_can_be_named() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        require_test(root, "src/claims.rs::only_tests_and_code_that_exist_can_be_named").unwrap();
        require_code(root, "src/claims.rs::Claims").unwrap();
        require_code(root, "src/claims.rs::require_test").unwrap();
        require_test(root, "src/claims.rs::require_test").unwrap_err();
        for wrong in ["src/claims.rs::only_tests", "src/claims.rs", "src/none.rs::none"] {
            assert!(require_test(root, wrong).is_err(), "{wrong}");
            assert!(require_code(root, wrong).is_err(), "{wrong}");
        }
    }
}
