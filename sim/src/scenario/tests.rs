use super::*;

const SOUND: &str = "
[world]
regions = [\"us-east-1\", \"eu-west-1\"]
delays = \"aws\"
load_s = 10
";

fn problems(text: &str, settings: &[&str]) -> Vec<String> {
    let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
    match Scenario::parse("test.toml", text, &settings) {
        Ok(scenario) => panic!("accepted: {scenario:?}"),
        Err(error) => {
            let all = error.to_string();
            assert_eq!(all.matches("test.toml").count(), error.problems.len(), "{all}");
            error
                .problems
                .into_iter()
                .map(|problem| {
                    ScenarioError {
                        file: "test.toml".to_owned(),
                        problems: vec![problem],
                    }
                    .to_string()
                })
                .collect()
        }
    }
}

#[track_caller]
fn assert_says(text: &str, settings: &[&str], parts: &[&str]) {
    let problems = problems(text, settings);
    assert!(
        problems
            .iter()
            .any(|problem| parts.iter().all(|part| problem.contains(part))),
        "{parts:?} are not in {problems:#?}"
    );
}

#[test]
fn a_sound_scenario_gives_one_node_per_region_and_the_delays_of_its_table() {
    let scenario = Scenario::parse("test.toml", SOUND, &[]).unwrap();
    let topology = scenario.check().unwrap();
    assert_eq!(topology.node_count(), 2);
    assert_eq!(topology.rtt_ms(0, 1), 70.5);
    assert_eq!(scenario.world.drain_s, 30.0);
    assert_eq!(scenario.workload, WorkloadConfig::default());
}

#[test]
fn an_unknown_key_is_refused_with_its_line_and_the_accepted_ones() {
    let text = format!("{SOUND}[world.network]\nloss = 0.2\n");
    assert_says(&text, &[], &["test.toml:7", "unknown field `loss`", "jitter_ms"]);
    assert_says(
        &format!("{SOUND}\n[workload]\nkind = \"bank\"\n"),
        &[],
        &[
            "test.toml:8",
            "unknown variant `bank`",
            "transfer",
            "ycsb+t",
            "list-append",
        ],
    );
}

#[test]
fn a_wrong_type_is_refused_with_its_line() {
    assert_says(
        &SOUND.replace("10", "\"ten\""),
        &[],
        &["test.toml:5", "invalid type: string \"ten\"", "f64"],
    );
}

#[test]
fn a_setting_goes_before_the_file_and_an_unknown_one_is_refused() {
    let settings = ["faults.loss=0.2".to_owned(), "world.profile.base=lan".to_owned()];
    let scenario = Scenario::parse("test.toml", SOUND, &settings).unwrap();
    assert_eq!(scenario.faults.loss, 0.2);
    assert_eq!(
        scenario.world.profile.resolve(),
        plimsoll::protocol::config::Profile::lan()
    );
    assert_says(
        SOUND,
        &["faults.lost=0.2"],
        &["faults.lost=0.2", "unknown field `lost`", "loss"],
    );
    assert_says(
        SOUND,
        &["faults.loss=2"],
        &["faults.loss: 2 is outside 0 to 1 (given by a setting)"],
    );
}

#[test]
fn an_unknown_region_is_refused_with_near_names() {
    assert_says(
        &SOUND.replace("eu-west-1", "eu-wst-1"),
        &[],
        &[
            "test.toml:3",
            "eu-wst-1 is not in the Aws table",
            "nearest names are eu-west-1",
        ],
    );
    assert_says(
        &format!("{SOUND}[[faults.cut]]\nfrom = \"us-east-1\"\nto = \"eu-west-2\"\n"),
        &[],
        &[
            "test.toml:8: faults.cut.0.to",
            "eu-west-2 is not in world.regions: it has us-east-1, eu-west-1",
        ],
    );
}

#[test]
fn a_pair_without_a_delay_is_named_with_what_to_set() {
    assert_says(
        &SOUND.replace("delays = \"aws\"", ""),
        &[],
        &[
            "test.toml:3",
            "no delay between us-east-1 and eu-west-1",
            "world.rtt_ms.\"us-east-1\".\"eu-west-1\"",
        ],
    );
}

#[test]
fn given_round_trips_go_before_the_table_and_hold_both_ways() {
    let text = "
[world]
regions = [\"here\", \"us-east-1\", \"eu-west-1\"]
delays = \"aws\"
load_s = 1
[world.rtt_ms.here]
us-east-1 = 60
eu-west-1 = 150
";
    let topology = Scenario::parse("test.toml", text, &[]).unwrap().check().unwrap();
    assert_eq!([topology.rtt_ms(0, 1), topology.rtt_ms(1, 0)], [60.0, 60.0]);
    assert_eq!(topology.rtt_ms(2, 0), 150.0);
    assert_eq!(topology.rtt_ms(1, 2), 70.5);
    assert_eq!(topology.one_way_ms(0, 0), 0.0);
}

#[test]
fn nodes_may_be_placed_one_by_one() {
    let text = format!("{SOUND}[[world.node]]\nregion = \"eu-west-1\"\n[[world.node]]\nregion = \"us-east-1\"\n");
    let topology = Scenario::parse("test.toml", &text, &[]).unwrap().check().unwrap();
    assert_eq!((topology.region_of(0), topology.region_of(1)), (1, 0));
    assert_says(
        &text.replace("us-east-1\"\n", "eu-west-1\"\n"),
        &[],
        &["world.node: us-east-1 has no node"],
    );
    assert_says(&text, &["world.nodes_per_region=2"], &["keep one of the two"]);
}

#[test]
fn everything_wrong_is_said_at_once() {
    let settings = [
        "world.warm_up_s=11",
        "world.clock.offset_ms_max=-1",
        "world.cpu.frame_us=nan",
        "world.nodes_per_region=16",
        "workload.keys=0",
        "workload.strict_reads=0.6",
        "workload.snapshot_reads=0.6",
        "workload.retry=0.5",
        "workload.resolve=0.51",
        "workload.double_submit=1.1",
        "workload.distribution={hot={keys=0}}",
        "faults.reorder=0.1",
        "faults.until_s=0",
    ];
    for (setting, part) in settings.iter().zip([
        "11 s of warm-up do not fit into 10 s",
        "-1 is outside 0",
        "NaN is outside",
        "32 nodes are more than",
        "at least 1 key",
        "more than all calls",
        "more than all calls",
        "more than there are",
        "workload.resolve: with it clients would pursue 1.01",
        "workload.double_submit: 1.1 is outside 0",
        "workload.distribution.hot.keys: 0 is outside 1",
        "set faults.reorder_extra_ms",
        "faults.until_s: ends at 0 s",
    ]) {
        let all = problems(SOUND, &settings);
        assert!(
            all.iter().any(|problem| problem.contains(part)),
            "{setting}: {part} is not in {all:#?}"
        );
    }
}

#[test]
fn a_missing_file_is_named() {
    let error = Scenario::load(Path::new("no/such/file.toml"), &[])
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("no/such/file.toml: cannot be read: "), "{error}");
}

#[test]
fn every_scenario_that_comes_with_the_simulator_is_sound_and_says_what_it_shows() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            // The classic failures have tests of their own.
            continue;
        }
        match Scenario::load(&path, &[]) {
            Ok(scenario) => assert!(!scenario.description.is_empty(), "{}", path.display()),
            Err(error) => panic!("{error}"),
        }
        count += 1;
    }
    assert!(count >= 12, "{count}");
}
