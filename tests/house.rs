//! The house reads itself: floors, purity, sizes, links and unfinished business.
//!
//! The rules are those of `docs/architecture.md`. Each is a function of one file's path and text, so that planted
//! violations show that it can fail. What a file names is read by `tests/paths`.

mod paths;

use std::fs;
use std::path::{Path, PathBuf};

use paths::{Named, named_paths};

/// The floors, lowest first; a module may name those of its own floor and below.
const FLOORS: &[&[&str]] = &[
    &["id", "key", "time", "limits"],
    &["quorum", "lattice", "codec"],
    &["transaction", "thunk", "table"],
    &["store"],
    &["protocol", "executor"],
    &["client", "replica"],
];

/// The roof: it may name every floor, and what is impure.
const ROOF: &[&str] = &["net", "runtime", "bin"];

/// What no file below the roof names, nor anything in it.
const IMPURE: &[&str] = &[
    "tokio",
    "quinn",
    "std::time::SystemTime",
    "std::time::Instant",
    "std::time::UNIX_EPOCH",
    "std::thread",
    "std::net",
    "rand::rng",
    "rand::thread_rng",
    "rand::random",
];

/// Names that are impure wherever they come from: a module may be imported, and its items named by less than their path.
const IMPURE_NAMES: &[&str] = &[
    "tokio",
    "quinn",
    "SystemTime",
    "Instant",
    "thread_rng",
    "ThreadRng",
    "OsRng",
    "SysRng",
];

/// Modules of the protocol that are no machines: doors, words, what routes between the machines, and what watches them.
const NO_MACHINES: &[&str] = &[
    "mod",
    "node",
    "message",
    "config",
    "frame",
    "invariants",
    "peers",
    "testing",
];

/// Modules of the protocol that its machines may name.
const WORDS_OF_THE_PROTOCOL: &[&str] = &["stream", "delay", "config", "message", "decree", "testing"];

const LINES_MAX: usize = 700;

/// The place of a module; none, if it stands nowhere.
fn floor_of(module: &str) -> Option<usize> {
    let floor = FLOORS.iter().position(|floor| floor.contains(&module));
    floor.or_else(|| ROOF.contains(&module).then_some(FLOORS.len()))
}

/// What is wrong with a file, one line each.
fn violations(path: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(inside) = path.strip_prefix("src/").filter(|_| path.ends_with(".rs")) {
        let named = named_paths(inside, text);
        let module = inside.split(['/', '.']).next().unwrap_or_default();
        found.extend(climbs(path, module, &named));
        if !ROOF.contains(&module) {
            found.extend(impurities(path, &named));
        }
        if let Some(inside) = inside.strip_prefix("protocol/") {
            let machine = inside.split(['/', '.']).next().unwrap_or_default();
            found.extend(named_machines(path, machine, &named));
        }
    }
    if path.ends_with(".rs") && text.lines().count() > LINES_MAX {
        found.push(format!("{path}: more than {LINES_MAX} lines: split it by idea"));
    }
    for word in [concat!("TO", "DO"), concat!("FIX", "ME")] {
        if text.contains(word) {
            found.push(format!("{path}: holds {word}: what is open stands in the docs"));
        }
    }
    if path.ends_with(".md") {
        found.extend(dead_links(path, text));
    }
    found
}

/// Names of modules on a higher floor. The front page, `lib`, names them all.
fn climbs(path: &str, module: &str, named: &[Named]) -> Vec<String> {
    if module == "lib" {
        return Vec::new();
    }
    let Some(floor) = floor_of(module) else {
        return vec![format!(
            "{path}: the module `{module}` stands on no floor: name it in tests/house.rs"
        )];
    };
    let own = named.iter().filter(|named| named.is_own);
    let tops = own.filter_map(|named| named.segments.first());
    tops.filter(|top| floor_of(top).is_some_and(|other| other > floor))
        .map(|top| format!("{path}: names `{top}`, which lies above floor {floor}"))
        .collect()
}

fn impurities(path: &str, named: &[Named]) -> Vec<String> {
    let is_impure = |named: &&Named| {
        IMPURE.iter().any(|impure| named.is_foreign_below(impure))
            || named.segments.iter().any(|name| IMPURE_NAMES.contains(&name.as_str()))
    };
    let impure = named.iter().filter(is_impure);
    impure
        .map(|named| format!("{path}: names `{}` below the roof", named.segments.join("::")))
        .collect()
}

/// Machines that a machine of the protocol names beside itself.
fn named_machines(path: &str, machine: &str, named: &[Named]) -> Vec<String> {
    if NO_MACHINES.contains(&machine) {
        return Vec::new();
    }
    let own = named.iter().filter(|named| named.is_own);
    let modules = own.filter_map(|named| match named.segments.as_slice() {
        [protocol, module, ..] if protocol == "protocol" => Some(module.as_str()),
        _ => None,
    });
    // The doors' items are types; what is written small is a module, or all of them at once.
    let is_module = |name: &&str| name.starts_with(|c: char| c.is_lowercase() || c == '*');
    modules
        .filter(is_module)
        .filter(|module| *module != machine && !WORDS_OF_THE_PROTOCOL.contains(module))
        .map(|other| format!("{path}: the machine names the machine `{other}`"))
        .collect()
}

/// Relative links of a page that lead nowhere.
fn dead_links(path: &str, text: &str) -> Vec<String> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let local = targets.filter(|target| !target.contains("://") && !target.starts_with('#'));
    let page = root().join(path);
    let folder = page.parent().expect("a page lies in a folder");
    let is_dead = |target: &&str| !folder.join(target.split('#').next().unwrap_or_default()).exists();
    local
        .filter(is_dead)
        .map(|target| format!("{path}: the link to {target} leads nowhere"))
        .collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files of the project, by their paths from the root: what is kept in the repository, but for the lock files.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("a readable entry").path();
        let name = path.file_name().expect("a named entry").to_string_lossy().into_owned();
        let is_built = matches!(name.as_str(), "target" | "corpus" | "artifacts" | "coverage");
        if is_built || name.ends_with(".lock") || (name.starts_with('.') && name != ".ci") {
            continue;
        }
        if path.is_dir() {
            files(&path, found)
        } else {
            found.push(path)
        }
    }
}

#[test]
fn the_house_keeps_its_own_rules() {
    let mut paths = Vec::new();
    files(root(), &mut paths);
    let mut found = Vec::new();
    let mut read = Vec::new();
    for path in paths {
        // What is no text has no lines to judge.
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let relative = path.strip_prefix(root()).expect("below the root");
        let relative = relative.to_string_lossy().replace('\\', "/");
        found.extend(violations(&relative, &text));
        read.push(relative);
    }
    for expected in [
        "README.md",
        ".ci/run",
        "docs/protocol.md",
        "src/lib.rs",
        "sim/src/lib.rs",
        "tests/house.rs",
    ] {
        assert!(read.iter().any(|path| path == expected), "{expected} was not read");
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn every_rule_finds_a_planted_violation() {
    let long = "x\n".repeat(LINES_MAX + 1);
    for (path, text, what) in [
        ("src/time.rs", "use crate::protocol::node::Node;", "names `protocol`"),
        (
            "src/time.rs",
            "use crate::{id::NodeId, client::Client};",
            "names `client`",
        ),
        ("src/time.rs", "use crate::store as memory;", "names `store`"),
        ("src/quorum.rs", "fn f() -> crate::thunk::Thunk {}", "names `thunk`"),
        (
            "src/store/memory.rs",
            "fn f() { crate::client::admit(); }",
            "names `client`",
        ),
        (
            "src/store/memory.rs",
            "use super::super::client::Client;",
            "names `client`",
        ),
        (
            "src/store/mod.rs",
            "mod tests { use super::super::client::Client; }",
            "names `client`",
        ),
        ("src/client/mod.rs", "use crate::net::Peer;", "names `net`"),
        ("src/misc.rs", "", "stands on no floor"),
        (
            "src/lib.rs",
            "use tokio::net::TcpStream;",
            "`tokio::net::TcpStream` below the roof",
        ),
        ("src/client/mod.rs", "quinn::Endpoint::client()", "below the roof"),
        ("src/protocol/node/mod.rs", "use std::time::Instant;", "below the roof"),
        (
            "src/time.rs",
            "use std::time::{Duration, SystemTime};",
            "`std::time::SystemTime` below",
        ),
        (
            "src/time.rs",
            "use std::time; fn f() { time::Instant::now(); }",
            "`time::Instant::now` below",
        ),
        (
            "src/executor/serial.rs",
            "let x = std::thread::current();",
            "below the roof",
        ),
        (
            "src/executor/serial.rs",
            "use std::{fmt, thread::{self, JoinHandle}};",
            "`std::thread` below",
        ),
        ("src/time.rs", "use rand::{Rng, rng};", "`rand::rng` below"),
        ("src/time.rs", "let x = rand::rng();", "`rand::rng` below"),
        ("src/time.rs", "let x = rand::thread_rng();", "below the roof"),
        (
            "src/time.rs",
            "let s = \"//\"; let x = rand::rng();",
            "`rand::rng` below",
        ),
        (
            "src/protocol/read.rs",
            "use super::watermark::Watermark;",
            "the machine `watermark`",
        ),
        (
            "src/protocol/read.rs",
            "use super::{Effect, config::Config, watermark::Watermark};",
            "the machine `watermark`",
        ),
        (
            "src/protocol/read.rs",
            "use crate::protocol::watermark::Watermark;",
            "the machine `watermark`",
        ),
        (
            "src/protocol/read.rs",
            "fn f() { super::watermark::g(); }",
            "the machine `watermark`",
        ),
        (
            "src/protocol/read.rs",
            "mod tests { use super::super::catchup::Catchup; }",
            "the machine `catchup`",
        ),
        ("src/protocol/read.rs", "use super::node::Node;", "the machine `node`"),
        ("src/protocol/read.rs", "use super::*;", "the machine `*`"),
        (
            "src/protocol/stream.rs",
            "use super::watermark::Watermark;",
            "the machine `watermark`",
        ),
        (
            "src/protocol/epoch/fence.rs",
            "use super::super::read::Reads;",
            "the machine `read`",
        ),
        ("src/time.rs", &long, "split it by idea"),
        ("sim/src/world/mod.rs", &long, "split it by idea"),
        ("tests/cluster/mod.rs", &long, "split it by idea"),
        ("docs/protocol.md", concat!("TO", "DO"), "stands in the docs"),
        (".ci/run", concat!("# FIX", "ME"), "stands in the docs"),
        ("README.md", "[a](docs/none.md)", "docs/none.md leads nowhere"),
        ("docs/protocol.md", "[a](../src/none.rs#x)", "none.rs#x leads nowhere"),
    ] {
        let found = violations(path, text);
        assert!(
            found.iter().any(|line| line.contains(what)),
            "{path}: {text}: {found:?}"
        );
    }
}

#[test]
fn what_is_allowed_is_no_violation() {
    for (path, text) in [
        ("src/lib.rs", "pub use crate::{client::Client, id::NodeId};"),
        (
            "src/net/mod.rs",
            "use crate::client::Client;\nuse tokio::net::TcpStream;\nuse std::time::Instant;",
        ),
        (
            "src/bin/plimsoll.rs",
            "use crate::runtime::Node;\nfn main() { std::thread::yield_now(); }",
        ),
        ("src/thunk/registry.rs", "use crate::transaction::Abort;"),
        (
            "src/time.rs",
            "//! See [`Node`](crate::protocol::node::Node).\n/* tokio /* and */ quinn */\nuse std::time::Duration;",
        ),
        (
            "src/time.rs",
            "fn f<'a>(c: &'a u8) { ('\\'', '\"', \"crate::client \\\" tokio\", r#\"quinn\"#); }",
        ),
        (
            "src/time.rs",
            "mod tests { use super::*; } use rand::rngs::SmallRng; fn thread() {}",
        ),
        (
            "src/time.rs",
            "fn f<'a>(c: &'a [u8]) -> impl Iterator + use<'a> { let d = c; d.iter() }",
        ),
        (
            "src/protocol/evaluation.rs",
            "use super::stream::Stream;\nuse super::{Effect, decree::Decree, delay::Delay};",
        ),
        (
            "src/protocol/evaluation.rs",
            "mod tests { use super::*; use super::super::testing::hlc; }",
        ),
        (
            "src/protocol/epoch/fence.rs",
            "use super::*; use crate::protocol::epoch::Epochs;",
        ),
        (
            "src/protocol/node/mod.rs",
            "use super::{read::Reads, watermark::Watermark};",
        ),
        ("README.md", "[a](docs/protocol.md#x) [b](https://x.y) [c](#tests)"),
    ] {
        assert_eq!(violations(path, text), Vec::<String>::new(), "{path}: {text}");
    }
}
