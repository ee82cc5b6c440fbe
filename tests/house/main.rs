//! The house keeps its own rules: this test reads every file of the project and says which one does not.

mod paths;
mod rules;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Folders that hold no work of ours.
const PASSED_OVER: [&str; 6] = [
    ".git",
    "target",
    "fuzz/target",
    "fuzz/corpus",
    "fuzz/artifacts",
    "fuzz/coverage",
];

/// The text files of the project by their path. Files that are not text have no rules.
fn texts() -> BTreeMap<String, String> {
    let mut texts = BTreeMap::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the project's folders can be read") {
            let place = entry.expect("the project's folders can be read").path();
            let inside = place.strip_prefix(root).expect("it was found below the root");
            let path = inside.components().map(|word| word.as_os_str().to_string_lossy());
            let path = path.collect::<Vec<_>>().join("/");
            if place.is_dir() && !PASSED_OVER.contains(&path.as_str()) {
                folders.push(place);
            } else if place.is_file() {
                let bytes = fs::read(&place).expect("the project's files can be read");
                texts.extend(String::from_utf8(bytes).ok().map(|text| (path, text)));
            }
        }
    }
    texts
}

#[test]
fn every_file_keeps_the_rules_of_the_house() {
    let texts = texts();
    for expected in [
        "src/lib.rs",
        "src/protocol/mod.rs",
        "sim/src/lib.rs",
        "tests/house/main.rs",
        ".ci/run",
    ] {
        assert!(texts.contains_key(expected), "{expected} was not read");
    }
    let found: Vec<String> = texts
        .iter()
        .flat_map(|(path, text)| rules::violations(path, text))
        .collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn every_link_of_every_page_leads_to_a_file() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = texts().into_iter().filter(|(path, _)| path.ends_with(".md"));
    let found: Vec<String> = pages
        .flat_map(|(path, text)| rules::broken_links(&path, &text, |target| root.join(target).exists()))
        .collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}
