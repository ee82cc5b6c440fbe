//! Arguments that cannot be used, and the help that says which can.

use std::process::{Command, Output};

fn plimsoll(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_plimsoll");
    Command::new(program).args(arguments).output().expect("it was built")
}

#[test]
fn what_cannot_be_used_is_refused_with_status_2_and_says_what_can() {
    let cases: [(&[&str], &str); 15] = [
        (&[], "Usage"),
        (&["bunch"], "unrecognized subcommand"),
        (
            &["bench", "--workload", "tpcc"],
            "possible values: transfer, counter, ycsb, retwis, put2",
        ),
        (&["bench", "--dist", "zipf"], "zipf:0.99"),
        (&["bench", "--dist", "zipf:-1"], "theta is a number from 0 on"),
        (&["bench", "--dist", "hot:0"], "1 or more"),
        (
            &["bench", "--dist", "hot:11", "--keys", "10"],
            "from 1 to the number of keys",
        ),
        (&["bench", "--workload", "put2", "--keys", "7"], "an even number"),
        (&["bench", "--workload", "transfer", "--keys", "1"], "at least 2"),
        (&["bench", "--replicas", "2"], "1, 3 or 5 replicas"),
        (&["bench", "--seconds", "0"], "more than 0 seconds"),
        (&["bench", "--rate", "0"], "above 0"),
        (
            &["bench", "--history", "history.txt"],
            "must end in .edn, .json, .jsonl or .ndjson",
        ),
        (
            &["bench", "--history", "no-such-folder/history.json"],
            "there is no folder no-such-folder",
        ),
        (
            &["bench", "--durability", "none", "--folder", "x"],
            "leave one of the two out",
        ),
    ];
    for (arguments, expected) in cases {
        let output = plimsoll(arguments);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {told}");
        assert!(told.contains(expected), "{arguments:?}: {told}");
        assert!(output.stdout.is_empty(), "{arguments:?}: nothing was done");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_folder_in_memory_is_refused_where_syncs_are_to_be_measured() {
    let output = plimsoll(&["bench", "--seconds", "1", "--folder", "/dev/shm/plimsoll-none"]);
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("is in memory, where a sync does nothing"), "{told}");
}

#[test]
fn help_and_completions_are_no_mistakes() {
    for (arguments, expected) in [
        (&["--help"][..], "Exit status"),
        (&["bench", "--help"], "some of what is unknown"),
        (&["--version"], env!("CARGO_PKG_VERSION")),
        (&["completions", "bash"], "plimsoll__subcmd__bench"),
        (&["completions", "zsh"], "#compdef plimsoll"),
    ] {
        let output = plimsoll(arguments);
        let told = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(told.contains(expected), "{arguments:?}: {told}");
    }
}

/// A pipe that nobody reads is told of, and is no panic.
#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
    let output = Command::new(env!("CARGO_BIN_EXE_plimsoll"))
        .args(["completions", "bash"])
        .stdout(full.expect("every Linux has it"))
        .output()
        .expect("it was built");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("standard output cannot be written"));
}
