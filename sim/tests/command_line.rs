//! The program as its users call it: exit statuses, messages and files.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

/// Three regions with a second of load, the delays given one by one.
const SCENARIO: &str = r#"
description = "Three regions in a test."

[world]
regions = ["west", "middle", "east"]
load_s = 1
drain_s = 10

[world.rtt_ms]
west.middle = 20
west.east = 60
middle.east = 40

[workload]
kind = "list-append"
keys = 5
strict_reads = 0.2
snapshot_reads = 0.2
"#;

/// A folder of one test's own, removed when the test is over.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("command-line-{test}"));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("the folder for temporary files can be written");
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    /// A scenario file of this text.
    fn scenario(&self, text: &str) -> String {
        let file = self.file("test.toml");
        fs::write(&file, text).expect("the folder for temporary files can be written");
        file
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct Ended {
    status: i32,
    out: String,
    error: String,
}

fn simulator(arguments: &[&str]) -> Ended {
    let output = Command::new(env!("CARGO_BIN_EXE_plimsoll-sim"))
        .args(arguments)
        .output();
    let Output { status, stdout, stderr } = output.expect("the program was built for this test");
    let text = |bytes| String::from_utf8(bytes).expect("the program prints text");
    Ended {
        status: status.code().expect("the program ends by itself"),
        out: text(stdout),
        error: text(stderr),
    }
}

/// Runs it with unusable arguments: status 64, nothing on standard output, and all of `says` on standard error.
#[track_caller]
fn assert_unusable(arguments: &[&str], says: &[&str]) {
    let ended = simulator(arguments);
    assert_eq!(ended.status, 64, "{}", ended.error);
    assert_eq!(ended.out, "");
    for text in says {
        assert!(ended.error.contains(text), "{text:?} is not in:\n{}", ended.error);
    }
}

#[test]
fn a_sound_run_exits_with_0_and_writes_its_report_and_history() {
    let folder = Folder::new("sound");
    let (json, history) = (folder.file("report.json"), folder.file("history.edn"));
    let scenario = folder.scenario(SCENARIO);
    let ended = simulator(&["run", &scenario, "--seed", "3", "--json", &json, "--history", &history]);
    assert_eq!(ended.status, 0, "{}{}", ended.out, ended.error);
    assert_eq!(ended.error, "", "no progress where standard error is no terminal");
    assert!(
        ended.out.contains("checks passed") && ended.out.contains("list-append") && ended.out.contains("middle"),
        "{}",
        ended.out
    );
    assert!(
        !ended.out.contains("FAILED") && !ended.out.contains("undecided"),
        "{}",
        ended.out
    );
    let report: serde_json::Value = serde_json::from_str(&fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!(
        (report["seed"].as_u64(), report["scenario"].as_str()),
        (Some(3), Some(&scenario[..]))
    );
    // West to east and back is 60 ms, by way of the middle or not; half of it for the other's promise.
    assert_eq!(report["regions"]["west"]["bound_ms"], 30.0);
    let committed = report["transactions"]["committed"].as_u64().unwrap();
    assert!(committed > 20, "{committed}");
    assert!(fs::read_to_string(history).unwrap().lines().count() as u64 > 2 * committed);
}

#[test]
fn the_same_seed_gives_the_same_trace_and_history_in_every_process() {
    let folder = Folder::new("twice");
    let scenario = folder.scenario(SCENARIO);
    let run = |seed: &str, name: &str| {
        let history = folder.file(name);
        let ended = simulator(&["run", &scenario, "--seed", seed, "--history", &history]);
        let hash = ended
            .out
            .lines()
            .find(|line| line.starts_with("trace hash"))
            .map(str::to_owned);
        (hash.unwrap(), fs::read_to_string(history).unwrap())
    };
    let first = run("5", "a.jsonl");
    assert!(first == run("5", "b.jsonl"), "two runs of one seed differ");
    assert_ne!(first.0, run("6", "c.jsonl").0);
}

#[test]
fn a_failed_check_exits_with_1_and_says_how_to_replay_it() {
    let folder = Folder::new("failed");
    let scenario = folder.scenario(SCENARIO);
    // Without a drain, nothing that is under way at the end of the load can be answered.
    let ended = simulator(&["run", &scenario, "--seed", "9", "--set", "world.drain_s=0"]);
    assert_eq!(ended.status, 1, "{}", ended.error);
    assert!(ended.error.contains("settled failed: not-settled: "), "{}", ended.error);
    let replay = format!("plimsoll-sim run {scenario} --seed 9 --set world.drain_s=0");
    assert_eq!(ended.error.lines().last().map(str::trim), Some(&replay[..]));
    let words: Vec<&str> = replay.split(' ').skip(1).collect();
    let again = simulator(&words);
    assert_eq!((again.status, again.error), (1, ended.error));
}

#[test]
fn a_run_that_cannot_be_judged_exits_with_2_and_says_why() {
    let folder = Folder::new("inconclusive");
    let cut = "\n[[faults.cut]]\nfrom = \"east\"\nto = \"west\"\nboth = true\n[[faults.cut]]\nfrom = \"east\"\nto = \"middle\"\nboth = true\n";
    let scenario = folder.scenario(&format!("{SCENARIO}deadline_ms = 1000\n{cut}"));
    let ended = simulator(&["run", &scenario]);
    assert_eq!(ended.status, 2, "{}{}", ended.out, ended.error);
    assert!(
        ended.error.contains("settled could not decide: ") && ended.error.contains("(size "),
        "{}",
        ended.error
    );
}

#[test]
fn help_and_version_are_no_mistakes_and_help_has_examples() {
    for arguments in [&["--help"][..], &["run", "--help"]] {
        let ended = simulator(arguments);
        assert_eq!(ended.status, 0);
        assert!(
            ended.out.contains("Examples:") && ended.out.contains("Exit status:"),
            "{}",
            ended.out
        );
    }
    assert_eq!(simulator(&["--version"]).status, 0);
}

#[test]
fn every_bundled_scenario_is_listed_with_its_description() {
    let ended = simulator(&["list"]);
    assert_eq!(ended.status, 0);
    for (name, description) in plimsoll_sim::bundled::descriptions() {
        let line = ended
            .out
            .lines()
            .find(|line| line.split_whitespace().next() == Some(name));
        assert!(line.is_some_and(|line| line.ends_with(&description)), "{name}");
    }
}

#[test]
fn wrong_arguments_exit_with_64() {
    assert_unusable(&[], &["Usage"]);
    assert_unusable(&["fly"], &["fly"]);
    assert_unusable(&["run"], &["<SCENARIO>"]);
    assert_unusable(&["run", "three-regions", "--seed", "many"], &["--seed", "many"]);
    assert_unusable(&["run", "three-regions", "--sed", "1"], &["--sed", "--seed"]);
}

#[test]
fn a_history_of_unknown_form_is_refused_before_the_run() {
    let folder = Folder::new("form");
    let history = folder.file("history.xml");
    assert_unusable(
        &["run", "three-regions", "--history", &history],
        &[&history, ".edn", ".jsonl"],
    );
    assert!(!PathBuf::from(history).exists());
}

#[test]
fn a_missing_scenario_is_named_with_those_that_there_are() {
    let known = plimsoll_sim::bundled::SCENARIOS.first().map_or("", |(name, _)| name);
    assert_unusable(&["run", "no-such-scenario"], &["no-such-scenario", known]);
    assert_unusable(&["run", "no/such/file.toml"], &["no/such/file.toml", "cannot be read"]);
}

#[test]
fn a_broken_scenario_is_told_by_file_and_line() {
    let folder = Folder::new("broken");
    let scenario = folder.scenario("[world]\nregions = [\n");
    assert_unusable(&["run", &scenario], &[&format!("{scenario}:")]);
    let scenario = folder.scenario(&SCENARIO.replace("strict_reads", "strict_raeds"));
    let line = SCENARIO
        .lines()
        .position(|line| line.starts_with("strict_reads"))
        .unwrap()
        + 1;
    assert_unusable(
        &["run", &scenario],
        &[&format!("{scenario}:{line}"), "strict_raeds", "strict_reads"],
    );
    let scenario = folder.scenario(&SCENARIO.replace("\"list-append\"", "\"list-apend\""));
    assert_unusable(
        &["run", &scenario],
        &[&format!("{scenario}:"), "list-apend", "list-append", "counter"],
    );
    let scenario = folder.scenario(&SCENARIO.replace("strict_reads = 0.2", "strict_reads = 1.2"));
    assert_unusable(
        &["run", &scenario],
        &[&format!("{scenario}:{line}: workload.strict_reads"), "0 to 1"],
    );
}

#[test]
fn a_region_without_a_delay_is_told_by_both_names() {
    let folder = Folder::new("delay");
    let scenario = folder.scenario(&SCENARIO.replace("middle.east = 40", ""));
    assert_unusable(
        &["run", &scenario],
        &["no delay between middle and east", "world.rtt_ms"],
    );
}

#[test]
fn an_unusable_setting_is_told_by_its_key() {
    let folder = Folder::new("setting");
    let scenario = folder.scenario(SCENARIO);
    assert_unusable(
        &["run", &scenario, "--set", "workload.keys"],
        &["workload.keys", "key=value"],
    );
    assert_unusable(&["run", &scenario, "--set", "workload.keyz=1"], &["keyz", "keys"]);
    assert_unusable(
        &["run", &scenario, "--set", "workload.keys=0"],
        &["workload.keys", "at least 1", "given by a setting"],
    );
    let transfer = [
        "run",
        &scenario,
        "--set",
        "workload.kind=transfer",
        "--set",
        "workload.keys=1",
    ];
    assert_unusable(&transfer, &["workload.keys", "2"]);
}

#[test]
fn a_closed_standard_output_is_an_error_and_the_files_are_written_all_the_same() {
    let folder = Folder::new("closed-output");
    let (scenario, json) = (folder.scenario(SCENARIO), folder.file("report.json"));
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let ended = Command::new(env!("CARGO_BIN_EXE_plimsoll-sim"))
        .args(["run", &scenario, "--json", &json])
        .stdout(writer)
        .output()
        .expect("the program starts");
    let error = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(74), "{error}");
    assert!(error.contains("standard output cannot be written"), "{error}");
    assert!(fs::metadata(&json).is_ok_and(|file| file.len() > 0));
}
