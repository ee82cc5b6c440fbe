//! The rules of the house, as functions of a file's path and text.
//!
//! Section 9 of the design. Paths are relative to the project, with `/`.

use std::collections::BTreeSet;

use crate::paths::paths;

/// Lines of one source file.
const LINES_MAX: usize = 700;

/// The floors from below. A module imports from lower floors, and on its own floor from those named before it.
const FLOORS: [&[&str]; 6] = [
    &["id", "key", "limits", "time"],
    &["quorum", "lattice", "codec"],
    &["transaction", "thunk", "table"],
    &["store"],
    &["protocol", "executor"],
    &["client"],
];

/// What may import everything and touch the world.
const ROOF: [&str; 4] = ["net", "runtime", "bin", "main"];

/// The one place of the simulator that may touch the world: it reads the command line and measures how long a run took.
const SIMULATOR_ROOF: &str = "sim/src/main.rs";

/// Whatever reads a clock, draws randomness, waits, starts threads or opens sockets. A path is refused if these words
/// follow each other in it.
const AMBIENT: [&[&str]; 19] = [
    &["tokio"],
    &["quinn"],
    &["time", "SystemTime"],
    &["time", "Instant"],
    &["std", "time", "*"],
    &["std", "thread"],
    &["std", "net"],
    &["std", "env"],
    &["std", "process"],
    &["thread_rng"],
    &["ThreadRng"],
    &["rand", "rng"],
    &["rand", "random"],
    &["OsRng"],
    &["SysRng"],
    &["getrandom"],
    &["RandomState"],
    &["now_v7"],
    &["new_v4"],
];

/// What of the protocol every machine may name: the words they share, and what judges them. `mod` types need no name.
const SHARED_BY_MACHINES: [&str; 4] = ["message", "frame", "validation", "invariants"];

/// What of the protocol may name every machine: the dispatch, and what looks at all of them.
const ABOVE_MACHINES: [&str; 3] = ["mod", "node", "invariants"];

/// All violations in one file, each as a sentence that names the file.
pub(crate) fn violations(path: &str, text: &str) -> Vec<String> {
    let mut found = unfinished(path, text);
    if !path.ends_with(".rs") {
        return found;
    }
    found.extend(too_long(path, text));
    if path.starts_with("src/") || path.starts_with("sim/src/") {
        found.extend(ambient(path, text));
        found.extend(codec_elsewhere(path, text));
    }
    found.extend(wrong_floor(path, text));
    found.extend(machines_that_know_each_other(path, text));
    found
}

/// Marks of unfinished work. What is open stands in the docs.
fn unfinished(path: &str, text: &str) -> Vec<String> {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME")];
    let words = text.split(|sign: char| !(sign.is_alphanumeric() || sign == '_'));
    let present: BTreeSet<&str> = words.filter(|word| marks.contains(word)).collect();
    present
        .into_iter()
        .map(|mark| format!("{path} says {mark}: finish it, or write it down in the docs"))
        .collect()
}

fn too_long(path: &str, text: &str) -> Option<String> {
    let lines = text.lines().count();
    (lines > LINES_MAX).then(|| format!("{path} has {lines} lines, more than {LINES_MAX}: split it at a seam"))
}

/// Clocks, threads, sockets and randomness below the roof.
fn ambient(path: &str, text: &str) -> Vec<String> {
    let module = module_of(path);
    if ROOF.contains(&module.first().map_or("lib", String::as_str)) && path.starts_with("src/")
        || path == SIMULATOR_ROOF
    {
        return Vec::new();
    }
    let mut found = BTreeSet::new();
    for named in paths(text) {
        let is_ambient = |words: &&&[&str]| named.windows(words.len()).any(|window| window == **words);
        if AMBIENT.iter().any(|words| is_ambient(&words)) {
            found.insert(format!(
                "{path} names {}: only the roof may, below it comes in as an argument",
                named.join("::")
            ));
        }
    }
    found.into_iter().collect()
}

/// Calls of bincode outside the codec. Its traits may be derived and written everywhere.
fn codec_elsewhere(path: &str, text: &str) -> Vec<String> {
    const TRAITS: [&str; 7] = [
        "Encode",
        "Decode",
        "BorrowDecode",
        "de",
        "enc",
        "error",
        "impl_borrow_decode",
    ];
    if path.starts_with("src/codec") {
        return Vec::new();
    }
    let named: BTreeSet<String> = paths(text)
        .into_iter()
        .filter(|named| named.len() > 1 && named[0] == "bincode" && !TRAITS.contains(&named[1].as_str()))
        .map(|named| named.join("::"))
        .collect();
    let sentence = |named| format!("{path} names {named}: only src/codec calls bincode");
    named.into_iter().map(sentence).collect()
}

/// Imports that do not run towards lower floors.
fn wrong_floor(path: &str, text: &str) -> Vec<String> {
    let own = module_of(path);
    let Some(module) = own.first().filter(|_| path.starts_with("src/")) else {
        return Vec::new();
    };
    if ROOF.contains(&module.as_str()) || is_test_file(path) {
        return Vec::new();
    }
    let Some(own_place) = place_of(module) else {
        return vec![format!(
            "{path} is on no floor: give the module {module} its place in tests/house/rules.rs"
        )];
    };
    let mut found = BTreeSet::new();
    for named in paths(text) {
        let Some(target) = resolved(&named, path).and_then(|target| target.into_iter().next()) else {
            continue;
        };
        if target == *module {
            continue;
        }
        match place_of(&target) {
            Some(place) if place < own_place => {}
            Some(_) => {
                found.insert(format!("{path} imports {target}, which is not below {module}"));
            }
            None if ROOF.contains(&target.as_str()) => {
                found.insert(format!("{path} imports {target}, which is the roof"));
            }
            None => {
                found.insert(format!(
                    "{path} imports crate::{target}, which is on no floor: import from its module"
                ));
            }
        }
    }
    found.into_iter().collect()
}

/// Machines of the protocol that name each other instead of leaving it to the node.
fn machines_that_know_each_other(path: &str, text: &str) -> Vec<String> {
    let own = module_of(path);
    let [protocol, machine, ..] = own.as_slice() else {
        return Vec::new();
    };
    if protocol != "protocol" || ABOVE_MACHINES.contains(&machine.as_str()) || is_test_file(path) {
        return Vec::new();
    }
    let mut found = BTreeSet::new();
    for named in paths(text) {
        let Some(target) = resolved(&named, path) else { continue };
        let [protocol, other, ..] = target.as_slice() else {
            continue;
        };
        // Modules have small letters; a type of `mod` or a constant has not.
        let is_module = other.starts_with(|first: char| first.is_ascii_lowercase());
        let is_shared = SHARED_BY_MACHINES.contains(&other.as_str()) || other == "self";
        if protocol == "protocol" && is_module && !is_shared && other != machine {
            found.insert(format!(
                "{path} names {other}: machines do not know each other, `node` routes between them"
            ));
        }
    }
    found.into_iter().collect()
}

/// Links in a page to files that do not exist. *Given* which files do, by their path.
pub(crate) fn broken_links(path: &str, text: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut found = Vec::new();
    for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        let target = target.split(['#', ' ']).next().unwrap_or_default();
        if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
            continue;
        }
        let mut words: Vec<&str> = folder.split('/').filter(|word| !word.is_empty()).collect();
        for word in target.split('/') {
            match word {
                "." | "" => {}
                ".." => drop(words.pop()),
                word => words.push(word),
            }
        }
        if !exists(&words.join("/")) {
            found.push(format!("{path} links to {target}, which does not exist"));
        }
    }
    found
}

/// Floor of a module and its place on the floor.
fn place_of(module: &str) -> Option<(usize, usize)> {
    let on = |floor: &&[&str]| floor.iter().position(|other| *other == module);
    FLOORS
        .iter()
        .enumerate()
        .find_map(|(number, floor)| Some((number, on(floor)?)))
}

/// The module path of a source file below `src`: `src/a/b.rs` is `a::b`, and `src/a/mod.rs` is `a::mod`.
fn module_of(path: &str) -> Vec<String> {
    let inside = path.strip_prefix("sim/").unwrap_or(path);
    let inside = inside.strip_prefix("src/").unwrap_or_default().trim_end_matches(".rs");
    let words = inside.split('/').filter(|word| !word.is_empty() && *word != "lib");
    words.map(str::to_owned).collect()
}

/// A path that starts at `crate`, `self` or `super`, as it is from the root of the crate.
fn resolved(named: &[String], path: &str) -> Option<Vec<String>> {
    let (first, rest) = named.split_first()?;
    let mut module = module_of(path);
    if module.last().is_some_and(|last| last == "mod") {
        module.pop();
    }
    let mut rest = rest;
    match first.as_str() {
        "crate" => module.clear(),
        "self" => {}
        "super" => {
            module.pop();
            while let Some(("super", after)) = rest.split_first().map(|(word, after)| (word.as_str(), after)) {
                module.pop();
                rest = after;
            }
        }
        _ => return None,
    }
    (!rest.is_empty()).then(|| {
        module.extend_from_slice(rest);
        module
    })
}

fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One planted violation each: where, what, and a part of the sentence that must be said of it.
    const PLANTED: [(&str, &str, &str); 28] = [
        (
            "src/key.rs",
            "use crate::time::Hlc;",
            "imports time, which is not below key",
        ),
        ("src/time.rs", "use crate::{id::NodeId, codec::Kind};", "imports codec"),
        (
            "src/codec/mod.rs",
            "fn f(_: crate::protocol::Input) {}",
            "imports protocol",
        ),
        (
            "src/store/disk.rs",
            "use crate::protocol::LogEntry;",
            "imports protocol",
        ),
        (
            "src/store/disk.rs",
            "use super::super::client::Session;",
            "imports client",
        ),
        ("src/store/mod.rs", "use super::executor;", "imports executor"),
        (
            "src/protocol/node.rs",
            "pub(crate) use crate::{executor::serial::Serial};",
            "imports executor",
        ),
        (
            "src/client/read.rs",
            "use crate::runtime::Embedded;",
            "which is the roof",
        ),
        (
            "src/client/read.rs",
            "use crate::Cluster;",
            "crate::Cluster, which is on no floor",
        ),
        ("src/novelty.rs", "", "is on no floor"),
        (
            "src/executor/serial.rs",
            "use tokio::sync::mpsc;",
            "names tokio::sync::mpsc",
        ),
        ("src/client/mod.rs", "use quinn::Connection;", "names quinn::Connection"),
        (
            "src/time.rs",
            "use std::time::{Duration, Instant};",
            "names std::time::Instant",
        ),
        (
            "src/time.rs",
            "use std::time; fn f() { time::SystemTime::now(); }",
            "names time::SystemTime::now",
        ),
        ("src/time.rs", "use std::time::*;", "names std::time::*"),
        (
            "src/executor/parallel.rs",
            "fn f() { std::thread::spawn(g); }",
            "names std::thread::spawn",
        ),
        ("src/id.rs", "use std::{fmt, thread};", "names std::thread"),
        ("src/id.rs", "fn f() { Uuid::now_v7(); }", "names Uuid::now_v7"),
        ("src/thunk/evaluation.rs", "fn f() { rand::rng(); }", "names rand::rng"),
        (
            "src/thunk/evaluation.rs",
            "use rand::{thread_rng, Rng};",
            "names rand::thread_rng",
        ),
        (
            "sim/src/world.rs",
            "use std::time::Instant;",
            "names std::time::Instant",
        ),
        (
            "src/store/disk.rs",
            "use bincode::config;",
            "only src/codec calls bincode",
        ),
        (
            "src/protocol/stream.rs",
            "use super::epoch::Ballot;",
            "names epoch: machines do not know each other",
        ),
        (
            "src/protocol/stream.rs",
            "use crate::protocol::{message::Append, watermark};",
            "names watermark",
        ),
        (
            "src/protocol/epoch/ballot.rs",
            "use super::super::stream::Stream;",
            "names stream",
        ),
        ("docs/protocol.md", concat!("the cut (TO", "DO: explain)"), "finish it"),
        ("Cargo.toml", concat!("# FIX", "ME"), "finish it"),
        ("tests/long.rs", LONG, "has 701 lines"),
    ];

    const LONG: &str = {
        const LINES: [u8; 701] = [b'\n'; 701];
        match std::str::from_utf8(&LINES) {
            Ok(lines) => lines,
            Err(_) => panic!("line feeds are text"),
        }
    };

    /// Near to a violation, and none.
    const CLEAN: [(&str, &str); 18] = [
        ("src/time.rs", "use crate::id::NodeId; use std::time::Duration;"),
        (
            "src/lattice.rs",
            "use crate::{id::Epoch, quorum, time::Hlc}; //! like crate::protocol and std::thread",
        ),
        (
            "src/store/disk.rs",
            "use super::memory; use super::{Log, Versions}; use crate::codec::encode;",
        ),
        ("src/store/disk/page.rs", "use super::super::memory; use super::Disk;"),
        (
            "src/codec/mod.rs",
            "fn f() { bincode::config::standard(); } const S: &str = \"tokio::spawn\";",
        ),
        (
            "src/key.rs",
            "use bincode::{Decode, Encode, de::Decoder, enc::write::Writer, error::DecodeError};",
        ),
        (
            "src/codec/envelope.rs",
            "#[cfg(test)] mod tests { use crate::protocol::message::Message; }",
        ),
        ("src/store/tests.rs", "use crate::protocol::LogEntry;"),
        (
            "src/lib.rs",
            "pub use client::Session; pub use crate::runtime::Embedded;",
        ),
        (
            "src/runtime/cluster.rs",
            "use tokio::time::Instant; use crate::net::Transport; use std::thread;",
        ),
        ("src/bin/plimsoll.rs", "fn main() { std::env::args(); }"),
        ("sim/src/main.rs", "use std::time::Instant;"),
        (
            "src/protocol/node.rs",
            "use super::{epoch::Epochs, stream::Streams}; use crate::lattice::Row;",
        ),
        ("src/protocol/invariants.rs", "use super::epoch::Epochs;"),
        (
            "src/protocol/stream.rs",
            "use super::message::Append; use super::{Effect, Input}; use self::held::Held;",
        ),
        (
            "src/protocol/epoch/ballot.rs",
            "use super::Epochs; use super::super::message::Prepare;",
        ),
        (
            "src/executor/mod.rs",
            "use crate::protocol::Batch; mod serial; pub use serial::Serial;",
        ),
        ("docs/notes.md", concat!("TO", "DOs are none, nor is MASTO", "DON")),
    ];

    #[test]
    fn every_planted_violation_is_found_and_nothing_else() {
        for (path, text, expected) in PLANTED {
            let found = violations(path, text);
            assert!(
                found.iter().any(|sentence| sentence.contains(expected)),
                "{path}: {text}\n{found:?}"
            );
            assert_eq!(found.len(), 1, "{path}: {text}\n{found:?}");
            assert!(found[0].starts_with(path), "{found:?}");
        }
    }

    #[test]
    fn what_is_allowed_is_not_refused() {
        for (path, text) in CLEAN {
            assert_eq!(violations(path, text), Vec::<String>::new(), "{path}: {text}");
        }
        assert_eq!(violations("src/quorum.rs", &LONG[1..]), Vec::<String>::new());
    }

    #[test]
    fn broken_links_are_found() {
        let exists = |path: &str| ["docs/a.md", "README.md", "src/lib.rs"].contains(&path);
        let text = "[a](docs/a.md#part) [b](docs/b.md) [c](https://example.org/x.md) [d](#here)";
        assert_eq!(
            broken_links("README.md", text, exists),
            ["README.md links to docs/b.md, which does not exist"]
        );
        let text = "[readme](../README.md) [code](../src/lib.rs \"title\") [a](./a.md) [b](b.md)";
        assert_eq!(
            broken_links("docs/c.md", text, exists),
            ["docs/c.md links to b.md, which does not exist"]
        );
    }
}
