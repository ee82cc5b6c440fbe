//! The scenarios that come with the simulator: the files of `sim/scenarios`, in the program itself.

use std::path::Path;

use crate::scenario::{Problem, Scenario, ScenarioError};

/// Name and text of each, by name.
pub const SCENARIOS: &[(&str, &str)] = &include!(concat!(env!("OUT_DIR"), "/scenarios.rs"));

/// The scenario that a user names: a file, or one that is bundled.
///
/// *Given* settings `key.path=value` that go before what the file says. A bare word, without an ending or a folder, names a
/// bundled scenario; anything else a file.
///
/// *Errors* where there is none of that name, or it cannot be run: see [`Scenario::parse`].
pub fn load(name: &str, settings: &[String]) -> Result<Scenario, ScenarioError> {
    let path = Path::new(name);
    let is_bare = path.extension().is_none() && path.components().count() == 1;
    if !is_bare || path.is_file() {
        return Scenario::load(path, settings);
    }
    match SCENARIOS.iter().find(|(bundled, _)| *bundled == name) {
        Some((_, text)) => Scenario::parse(&format!("{name}.toml"), text, settings),
        None => Err(ScenarioError {
            file: name.to_owned(),
            problems: vec![Problem {
                line: None,
                key: String::new(),
                message: format!("no bundled scenario has this name, and no file: there are {}", names()),
            }],
        }),
    }
}

/// Each bundled scenario with its description, by name.
pub fn descriptions() -> Vec<(&'static str, String)> {
    let described = SCENARIOS.iter().map(|(name, text)| {
        let description = Scenario::parse(name, text, &[]).map(|scenario| scenario.description);
        (
            *name,
            description.unwrap_or_else(|error| format!("cannot be run: {error}")),
        )
    });
    described.collect()
}

fn names() -> String {
    let names: Vec<&str> = SCENARIOS.iter().map(|(name, _)| *name).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bundled_scenario_can_be_run_and_says_what_it_shows() {
        for (name, text) in SCENARIOS {
            let scenario = Scenario::parse(name, text, &[]).unwrap();
            assert!(!scenario.description.is_empty(), "{name} has no description");
        }
    }

    #[test]
    fn an_unknown_name_is_told_the_known_ones() {
        let error = load("no-such-scenario", &[]).unwrap_err().to_string();
        assert!(
            error.contains("no-such-scenario") && error.contains(&names()),
            "{error}"
        );
    }
}
