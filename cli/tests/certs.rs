//! The certificates that the real program makes: which files, who may read them, and that nothing is overwritten.

#![allow(clippy::unwrap_used, reason = "a helper of tests fails the test that calls it")]

mod support;

use std::fs;
use std::path::Path;

use plimsoll::id::{ClusterId, NodeId};
use plimsoll::net::{Caller, Credentials, CredentialsFiles};
use serde_json::Value;
use support::{plimsoll, refused, succeeded};

const FILES: [&str; 3] = ["authority.pem", "certificate.pem", "key.pem"];

fn credentials(folder: &Path) -> Credentials {
    let files = CredentialsFiles {
        certificate: folder.join("certificate.pem"),
        key: folder.join("key.pem"),
        authority: folder.join("authority.pem"),
    };
    Credentials::read(&files).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn all_that_a_cluster_needs_is_made_and_belongs_together() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("new/credentials");
    let made = succeeded(&plimsoll(&[
        "certs",
        "all",
        "--nodes",
        "3",
        "--json",
        "--out",
        out.to_str().unwrap(),
    ]));
    let made: Value = serde_json::from_str(&made).unwrap();
    assert_eq!(names(&out), ["authority", "client", "node-1", "node-2", "node-3"]);
    let cluster = made["cluster"].as_str().unwrap();
    for (name, caller) in [
        ("client", Caller::Client),
        ("node-1", Caller::Node(NodeId::new(1))),
        ("node-3", Caller::Node(NodeId::new(3))),
    ] {
        assert_eq!(names(&out.join(name)), FILES);
        let credentials = credentials(&out.join(name));
        assert_eq!(
            (credentials.caller(), credentials.cluster().to_string().as_str()),
            (caller, cluster)
        );
    }
    for file in made["files"].as_array().unwrap() {
        assert!(
            fs::metadata(file.as_str().unwrap()).is_ok(),
            "{file} is said to be there"
        );
    }
    assert_eq!(made["files"].as_array().unwrap().len(), 15);
}

#[cfg(unix)]
#[test]
fn only_the_owner_reads_a_key() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    succeeded(&plimsoll(&["certs", "all", "--nodes", "1", "--out", out]));
    for name in ["authority", "node-1", "client"] {
        let mode = |file: &str| {
            let metadata = fs::metadata(folder.path().join(name).join(file)).unwrap();
            metadata.permissions().mode() & 0o777
        };
        assert_eq!(mode("key.pem"), 0o600, "{name}");
        assert_ne!(mode("certificate.pem") & 0o400, 0, "{name}");
    }
}

#[test]
fn a_node_and_a_client_are_added_to_an_authority_that_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (authority, node, client) = (path("authority"), path("n4"), path("c"));
    let id = "000102030405060708090a0b0c0d0e0f";
    let made = succeeded(&plimsoll(&["certs", "authority", "--out", &authority, "--cluster", id]));
    assert!(made.starts_with(&format!("cluster {id}\n")), "{made}");
    succeeded(&plimsoll(&[
        "certs",
        "node",
        "4",
        "--authority",
        &authority,
        "--out",
        &node,
        "--days",
        "30",
    ]));
    succeeded(&plimsoll(&[
        "certs",
        "client",
        "--authority",
        &authority,
        "--out",
        &client,
    ]));
    let node = credentials(&folder.path().join("n4"));
    assert_eq!(node.caller(), Caller::Node(NodeId::new(4)));
    assert_eq!(
        node.cluster(),
        ClusterId::new(0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f)
    );
    assert_eq!(credentials(&folder.path().join("c")).caller(), Caller::Client);
}

#[test]
fn nothing_is_overwritten_and_nothing_is_left_half_made() {
    let folder = tempfile::tempdir().unwrap();
    let node = folder.path().join("node-2");
    fs::create_dir(&node).unwrap();
    fs::write(node.join("key.pem"), "mine").unwrap();
    let out = folder.path().to_str().unwrap();
    let told = refused(&plimsoll(&["certs", "all", "--nodes", "3", "--out", out]), 1);
    assert!(
        told.contains("node-2/key.pem is there already, and is not overwritten"),
        "{told}"
    );
    assert_eq!(fs::read_to_string(node.join("key.pem")).unwrap(), "mine");
    assert_eq!(
        names(folder.path()),
        ["node-2"],
        "what is in the way is found before the first file is written"
    );
}

#[test]
fn an_authority_whose_halves_do_not_belong_together_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for name in ["one", "two"] {
        succeeded(&plimsoll(&["certs", "authority", "--out", &path(name)]));
    }
    let node = |authority: &str| plimsoll(&["certs", "node", "1", "--authority", authority, "--out", &path("n1")]);
    fs::copy(path("two/key.pem"), path("one/key.pem")).unwrap();
    let told = refused(&node(&path("one")), 1);
    assert!(told.contains("do not belong together"), "{told}");
    let told = refused(&node(&path("none")), 1);
    assert!(told.contains("none/certificate.pem: cannot be read"), "{told}");
    succeeded(&node(&path("two")));
    let told = refused(&node(&path("n1")), 1);
    assert!(told.contains("not an authority's"), "{told}");
}

#[test]
fn arguments_that_cannot_be_used() {
    for (arguments, expected) in [
        (
            &["certs", "all", "--nodes", "0", "--out", "x"][..],
            "0 is not in 1..=31",
        ),
        (
            &["certs", "node", "0", "--authority", "x", "--out", "y"],
            "0 is not in 1..",
        ),
        (
            &["certs", "authority", "--out", "x", "--cluster", "12"],
            "32 hexadecimal digits",
        ),
        (
            &[
                "certs",
                "authority",
                "--out",
                "x",
                "--cluster",
                "+0102030405060708090a0b0c0d0e0f0",
            ],
            "32 hexadecimal digits",
        ),
        (&["certs", "client", "--out", "x"], "--authority"),
    ] {
        let told = refused(&plimsoll(arguments), 2);
        assert!(told.contains(expected), "{arguments:?}: {told}");
    }
}
