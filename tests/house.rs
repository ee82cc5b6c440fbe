//! The house reads itself: floors, purity, sizes, links and unfinished business.
//!
//! The rules are those of `docs/architecture.md`. Each is a function of one file's path and text, so that planted
//! violations show that it can fail.

use std::fs;
use std::path::{Path, PathBuf};

/// The floors, lowest first; a module may name those of its own floor and below.
const FLOORS: &[&[&str]] = &[
    &["id", "key", "time", "limits"],
    &["quorum", "lattice", "codec"],
    &["transaction", "thunk"],
    &["store"],
    &["protocol", "executor"],
    &["client"],
];

/// What no file below the roof names.
const IMPURE: &[&str] = &[
    "tokio",
    "quinn",
    "SystemTime",
    "std::time::Instant",
    "std::thread",
    "thread_rng",
    "rand::rng()",
    "std::net",
];

/// Modules of the protocol that are data or routing, and may be named by its machines.
const WORDS_OF_THE_PROTOCOL: &[&str] = &["config", "decree", "delay", "frame", "message", "stream", "testing"];

const LINES_MAX: usize = 700;

/// What is wrong with a file, one line each.
fn violations(path: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let code: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect();
    if let Some(module) = path.strip_prefix("src/").and_then(|path| path.split(['/', '.']).next()) {
        let floor_of = |module: &str| FLOORS.iter().position(|floor| floor.contains(&module));
        if let Some(floor) = floor_of(module) {
            for named in named_modules(&code) {
                if floor_of(&named).is_some_and(|other| other > floor) {
                    found.push(format!("{path}: floor {floor} names `{named}`, which lies above it"));
                }
            }
        } else if module != "lib" {
            found.push(format!("{path}: the module `{module}` stands on no floor"));
        }
        for name in IMPURE {
            if code.iter().any(|line| line.contains(name)) {
                found.push(format!("{path}: names `{name}` below the roof"));
            }
        }
    }
    if let Some(machine) = path
        .strip_prefix("src/protocol/")
        .and_then(|path| path.strip_suffix(".rs"))
    {
        let is_machine = !machine.contains('/') && machine != "mod" && !WORDS_OF_THE_PROTOCOL.contains(&machine);
        for line in code
            .iter()
            .filter(|line| is_machine && line.trim_start().starts_with("use super::"))
        {
            let named = line.trim_start().trim_start_matches("use ").replace("super::", "");
            let named = named.split([':', ';', '{']).next().unwrap_or_default();
            let is_module = named.chars().next().is_some_and(char::is_lowercase);
            if is_module && !WORDS_OF_THE_PROTOCOL.contains(&named) {
                found.push(format!("{path}: the machine names the machine `{named}`"));
            }
        }
    }
    if text.lines().count() > LINES_MAX {
        found.push(format!("{path}: more than {LINES_MAX} lines: split it by idea"));
    }
    for word in [concat!("TO", "DO"), concat!("FIX", "ME")] {
        if text.contains(word) {
            found.push(format!("{path}: holds {word}: what is open stands in the docs"));
        }
    }
    found
}

/// The top-level modules that code names as `crate::module`.
fn named_modules(code: &[&str]) -> Vec<String> {
    let names = code.iter().flat_map(|line| line.split("crate::").skip(1));
    let ends = |c: char| !c.is_alphanumeric() && c != '_';
    names
        .map(|rest| rest.split(ends).next().unwrap_or_default().to_string())
        .collect()
}

/// Relative links of a page that lead nowhere.
fn dead_links(page: &Path, text: &str) -> Vec<String> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let local = targets.filter(|target| !target.contains("://") && !target.starts_with('#'));
    let folder = page.parent().expect("a page lies in a folder");
    let is_dead = |target: &&str| !folder.join(target.split('#').next().unwrap_or_default()).exists();
    local
        .filter(is_dead)
        .map(|target| format!("{}: the link to {target} leads nowhere", page.display()))
        .collect()
}

fn files(folder: &Path, endings: &[&str], found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("a readable entry").path();
        let name = path.file_name().expect("a named entry").to_string_lossy().into_owned();
        if path.is_dir() {
            if !name.starts_with("target") && (!name.starts_with('.') || name == ".ci") {
                files(&path, endings, found);
            }
        } else if endings.iter().any(|ending| name.ends_with(ending)) || path.ends_with(".ci/run") {
            found.push(path);
        }
    }
}

#[test]
fn the_house_keeps_its_own_rules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    files(root, &[".rs", ".md", ".toml"], &mut paths);
    assert!(paths.len() > 50, "only {} files were found", paths.len());
    let mut found = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let relative = path
            .strip_prefix(root)
            .expect("below the root")
            .to_string_lossy()
            .into_owned();
        found.extend(violations(&relative, &text));
        if relative.ends_with(".md") {
            found.extend(dead_links(&path, &text));
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn every_rule_finds_a_planted_violation() {
    for (path, text, what) in [
        ("src/time.rs", "use crate::protocol::node::Node;", "names `protocol`"),
        (
            "src/store/memory.rs",
            "fn f() { crate::client::admit(); }",
            "names `client`",
        ),
        ("src/protocol/node/mod.rs", "use std::time::Instant;", "below the roof"),
        (
            "src/executor/serial.rs",
            "let x = std::thread::current();",
            "below the roof",
        ),
        ("src/misc.rs", "", "stands on no floor"),
        (
            "src/protocol/read.rs",
            "use super::watermark::Watermark;",
            "the machine names the machine `watermark`",
        ),
        ("sim/src/world/mod.rs", &"x\n".repeat(LINES_MAX + 1), "split it by idea"),
        ("docs/protocol.md", concat!("TO", "DO"), "stands in the docs"),
    ] {
        let found = violations(path, text);
        assert!(found.iter().any(|line| line.contains(what)), "{path}: {found:?}");
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    assert_eq!(
        dead_links(&page, "[a](docs/none.md) [b](docs/protocol.md#x) [c](https://x.y)").len(),
        1
    );
}

#[test]
fn what_is_allowed_is_no_violation() {
    let text = "//! See [`Node`](crate::protocol::node::Node).\nuse crate::time::Hlc;\nuse super::stream::Stream;\n";
    assert_eq!(violations("src/protocol/evaluation.rs", text), Vec::<String>::new());
    assert_eq!(
        violations("src/thunk/registry.rs", "use crate::transaction::Abort;"),
        Vec::<String>::new()
    );
}
