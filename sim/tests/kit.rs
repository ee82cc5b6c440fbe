//! The test kit: sound thunks pass, planted mistakes are found, and what is said of them runs them again.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU64, Ordering};

use plimsoll::key::{Key, Value};
use plimsoll::thunk::{Append, Evaluation, Increment, Put, Thunk};
use plimsoll::transaction::{Abort, Footprint};
use plimsoll_sim::Kit;
use plimsoll_sim::kit::{CallEnd, Failed, State};
use plimsoll_sim::scenario::{CrashConfig, FaultsConfig, Place, Planted};
use serde::{Deserialize, Serialize};

const ACCOUNTS: u64 = 5;
const START: i64 = 100;

fn account(number: u64) -> Key {
    Key::from(format!("account-{number}").as_str())
}

/// Gives every account what it holds in the beginning.
#[derive(Serialize, Deserialize)]
struct Open;

impl Thunk for Open {
    const NAME: &'static str = "open";
    const VERSION: u32 = 1;
    type Output = ();

    fn footprint(&self) -> Footprint {
        Footprint::new().write_all((0..ACCOUNTS).map(account))
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<(), Abort> {
        (0..ACCOUNTS).try_for_each(|number| evaluation.put_as(&account(number), &START))
    }
}

/// Moves money; with a fee that nobody gets.
#[derive(Serialize, Deserialize)]
struct Transfer {
    from: u64,
    to: u64,
    amount: i64,
    fee: i64,
}

impl Thunk for Transfer {
    const NAME: &'static str = "transfer";
    const VERSION: u32 = 1;
    type Output = i64;

    fn footprint(&self) -> Footprint {
        Footprint::new().write_all([account(self.from), account(self.to)])
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<i64, Abort> {
        let (from, to) = (account(self.from), account(self.to));
        let left = evaluation.get_as::<i64>(&from)?.unwrap_or(0) - self.amount - self.fee;
        if left < 0 {
            return Err(Abort::Refused("balance too low".into()));
        }
        let more = evaluation.get_as::<i64>(&to)?.unwrap_or(0) + self.amount;
        evaluation.put_as(&from, &left)?;
        evaluation.put_as(&to, &more)?;
        Ok(left)
    }
}

/// Puts out how often something was evaluated in this process, divided by a number.
#[derive(Serialize, Deserialize)]
struct Counts<const DIVISOR: u64> {
    key: Key,
}

static EVALUATED: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

impl<const DIVISOR: u64> Thunk for Counts<DIVISOR> {
    const NAME: &'static str = "counts";
    const VERSION: u32 = 1;
    type Output = u64;

    fn footprint(&self) -> Footprint {
        Footprint::new().write(self.key.clone())
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<u64, Abort> {
        let count = EVALUATED[DIVISOR as usize].fetch_add(1, Ordering::Relaxed) / DIVISOR;
        evaluation.put_as(&self.key, &count)?;
        Ok(count)
    }
}

fn counts<const DIVISOR: u64>() -> Failed {
    let kit = Kit::new().workload(|random| Counts::<DIVISOR> {
        key: account(random.below(3)),
    });
    *kit.seconds(3).check().unwrap_err()
}

/// Writes where its footprint does not say.
#[derive(Serialize, Deserialize)]
struct Strays;

impl Thunk for Strays {
    const NAME: &'static str = "strays";
    const VERSION: u32 = 1;
    type Output = ();

    fn footprint(&self) -> Footprint {
        Footprint::new()
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<(), Abort> {
        evaluation.put_as(&Key::from("elsewhere"), &1_u8)
    }
}

fn total(state: &State<'_>) -> Result<(), String> {
    let total: i64 = state
        .all_as::<i64>("account-")?
        .iter()
        .map(|(_, balance)| balance)
        .sum();
    match total == ACCOUNTS as i64 * START {
        true => Ok(()),
        false => Err(format!("all accounts together hold {total}")),
    }
}

/// *Given* the fee that each transfer loses.
fn bank(fee: i64) -> Kit {
    Kit::new()
        .swarm_faults()
        .setup(Open)
        .workload(move |random| {
            let from = random.below(ACCOUNTS);
            let to = (from + 1 + random.below(ACCOUNTS - 1)) % ACCOUNTS;
            let amount = 1 + random.below(30) as i64;
            Transfer { from, to, amount, fee }
        })
        .invariant("total", total)
}

fn names(failed: &Failed) -> Vec<&str> {
    failed.checks.iter().map(|(name, _)| &name[..]).collect()
}

#[test]
fn no_money_is_lost_in_twenty_seeds_of_faults() {
    let passed = bank(0).seeds(1..=20).run();
    assert_eq!(passed.seeds, 20);
    assert!(passed.committed > 1_000, "{passed:?}");
    assert!(
        passed.faults.contains_key("crash") && passed.faults.contains_key("loss"),
        "{passed:?}"
    );
    assert_eq!(passed.undecided, [""; 0]);
}

#[test]
fn a_thunk_that_loses_money_is_found_and_the_message_says_which_transaction_and_how_to_run_it_again() {
    let failed = bank(1).seeds(5..=20).check().unwrap_err();
    assert_eq!((failed.seed, names(&failed)), (5, vec!["total"]), "{failed}");
    let text = failed.to_string();
    assert!(text.starts_with("seed 5 failed: total"), "{text}");
    assert!(text.contains("after transfer {\"from\":"), "{text}");
    assert!(text.contains("all accounts together hold 499"), "{text}");
    assert!(text.contains("it fails without any of the"), "{text}");
    let replay = "PLIMSOLL_SEED=5 cargo test -p plimsoll-sim \
                  a_thunk_that_loses_money_is_found_and_the_message_says_which_transaction_and_how_to_run_it_again -- --exact --nocapture";
    assert!(
        text.ends_with(replay) || std::thread::current().name() == Some("main"),
        "{text}"
    );
    let trace = std::fs::read_to_string(failed.trace.unwrap()).unwrap();
    assert!(
        trace.contains("  process 1 ") && trace.contains("-> committed at"),
        "{trace}"
    );
}

#[test]
#[should_panic(expected = "seed 1 failed: total")]
fn a_run_panics_with_what_failed() {
    bank(1).run();
}

#[test]
fn a_thunk_that_comes_to_something_else_each_time_is_named() {
    let failed = counts::<1>();
    let (_, why) = failed.checks.iter().find(|(name, _)| name == "answers").unwrap();
    assert!(
        why.contains("counts v1") && why.contains("not deterministic"),
        "{failed}"
    );
}

#[test]
fn a_thunk_that_comes_to_the_same_twice_and_to_something_else_elsewhere_is_caught_by_the_replicas_and_by_the_replay() {
    let failed = counts::<2>();
    let names = names(&failed);
    assert!(
        names.contains(&"replica-agreement") && names.contains(&"replay"),
        "{failed}"
    );
}

#[test]
fn a_thunk_that_leaves_its_footprint_is_a_wrong_answer() {
    let failed = Kit::new().workload(|_| Strays).seconds(2).check().unwrap_err();
    let (_, why) = failed.checks.iter().find(|(name, _)| name == "answers").unwrap();
    assert!(why.contains("which its footprint does not declare"), "{failed}");
}

#[test]
fn a_cluster_that_reads_stale_is_caught_by_what_the_kit_reads() {
    let faults = FaultsConfig {
        planted: Some(Planted::StaleStrictRead),
        ..FaultsConfig::default()
    };
    let failed = bank(0).faults(faults).seeds(1..=20).check().unwrap_err();
    assert_eq!(names(&failed), ["witness"], "{failed}");
}

#[test]
fn a_cluster_that_evaluates_in_another_order_is_caught_by_the_replay() {
    let faults = FaultsConfig {
        planted: Some(Planted::OtherOrder),
        ..FaultsConfig::default()
    };
    let failed = bank(0).faults(faults).check().unwrap_err();
    let names = names(&failed);
    assert!(
        names.contains(&"replica-agreement") && names.contains(&"replay"),
        "{failed}"
    );
}

#[test]
fn what_clients_were_told_is_there_in_the_end() {
    let log = Key::from("log");
    let kit = Kit::new()
        .swarm_faults()
        .weighted(2, |random| Increment {
            key: "counter".into(),
            amount: 1 + random.below(9) as i64,
        })
        .workload(|random| Append {
            key: "log".into(),
            bytes: Value::new(vec![random.below(256) as u8]),
        })
        .at_end("the counter holds what was acknowledged", |state, told| {
            let counter = state.get(&Key::from("counter")).map_or(0, |value| {
                i64::from_le_bytes(value.as_bytes().try_into().unwrap_or_default())
            });
            let (mut sure, mut unsure) = (0, 0);
            for call in told.of::<Increment>() {
                match call.end {
                    CallEnd::Committed { .. } => sure += call.submitted.amount,
                    CallEnd::Unknown => unsure += call.submitted.amount,
                    CallEnd::Nothing(_) => {}
                }
            }
            match (sure..=sure + unsure).contains(&counter) {
                true => Ok(()),
                false => Err(format!("{counter}, with {sure} acknowledged and {unsure} unknown")),
            }
        })
        .at_end("the log is as long as it was acknowledged", move |state, told| {
            let length = state.get(&log).map_or(0, |value| value.as_bytes().len());
            let calls = told.of::<Append>();
            let is_sure = |end: &CallEnd<_>| matches!(end, CallEnd::Committed { .. });
            let least = calls.iter().filter(|call| is_sure(&call.end)).count();
            // A panic says it as well as an error.
            assert!((least..=calls.len()).contains(&length), "{length} of {least}");
            Ok(())
        });
    let passed = kit.seeds(1..=8).run();
    assert!(passed.committed > 400, "{passed:?}");
}

#[test]
fn an_invariant_that_panics_is_one_that_is_broken() {
    let kit = bank(0).invariant("few", |state| {
        assert!(state.len() < 3, "{} keys", state.len());
        Ok(())
    });
    let failed = kit.check().unwrap_err();
    assert_eq!(names(&failed), ["few"]);
    assert!(failed.checks[0].1.contains("panicked: 5 keys"), "{failed}");
}

#[test]
fn the_faults_that_a_failure_needs_are_named_and_the_others_are_not() {
    let crash = |node, at_s| CrashConfig {
        place: Place::Node(node),
        at_s,
        restart_after_s: Some(0.5),
        at_sync: None,
        at_send: None,
        resign: false,
    };
    let faults = FaultsConfig {
        crash: vec![crash(1, 1.5), crash(2, 5.0)],
        loss: 0.05,
        until_s: Some(5.0),
        ..FaultsConfig::default()
    };
    // Nobody waits for longer than a tenth of a second, but where a node is down.
    let kit = Kit::new().faults(faults).clients(3).seconds(6);
    let kit = kit.workload(|random| Put {
        entries: vec![(account(random.below(3)), Value::new(vec![random.below(9) as u8]))],
    });
    let kit = kit.scenario(|scenario| {
        scenario.workload.retry = 0.0;
        scenario.workload.resolve = 0.0;
        scenario.workload.status = 0.0;
    });
    let kit = kit.at_end("every end is known", |_, told| {
        let calls = told.of::<Put>();
        let unknown = calls.iter().filter(|call| call.end == CallEnd::Unknown).count();
        (unknown == 0).then_some(()).ok_or_else(|| format!("{unknown} are not"))
    });
    let failed = kit.seeds([1]).check().unwrap_err();
    assert_eq!(names(&failed), ["every end is known"], "{failed}");
    assert_eq!((failed.faults_drawn, failed.faults.count()), (3, 1), "{failed}");
    assert!(
        failed.to_string().contains("of the 3 faults of the seed 1 are needed"),
        "{failed}"
    );
    assert!(failed.to_string().contains("[[crash]]"), "{failed}");
}

#[test]
fn a_set_up_that_is_refused_fails_and_says_so() {
    let kit = bank(0).setup(Transfer {
        from: 0,
        to: 1,
        amount: 1_000,
        fee: 0,
    });
    let failed = kit.check().unwrap_err();
    let (_, why) = failed.checks.iter().find(|(name, _)| name == "set-up").unwrap();
    assert!(
        why.contains("transfer of the set-up was aborted: balance too low"),
        "{failed}"
    );
}

#[test]
#[should_panic(expected = "a kit without a workload")]
fn a_kit_without_a_workload_is_not_run() {
    Kit::new().run();
}

#[test]
fn the_same_seed_comes_to_the_same_end() {
    let fails = || bank(1).seeds([7]).check().unwrap_err();
    assert_eq!(fails(), fails());
}

/// A test within the test: run by the one below, with a seed in its environment.
#[test]
#[ignore = "fails on purpose"]
fn inner() {
    bank(1).seeds(1..=3).run();
}

fn run_inner(seed: &str) -> Output {
    let this: PathBuf = std::env::current_exe().unwrap();
    let arguments = ["inner", "--exact", "--ignored", "--nocapture"];
    Command::new(this)
        .args(arguments)
        .env("PLIMSOLL_SEED", seed)
        .output()
        .unwrap()
}

#[test]
fn a_seed_in_the_environment_is_the_one_that_is_run_and_gives_the_same_message() {
    let told = String::from_utf8(run_inner("17").stderr).unwrap();
    assert!(told.contains("seed 17 failed: total"), "{told}");
    assert!(!told.contains("seed 1 failed"), "{told}");
    let direct = bank(1).seeds([17]).name("inner").check().unwrap_err();
    for (_, why) in &direct.checks {
        assert!(told.contains(why), "{told}\nand\n{why}");
    }
    let told = String::from_utf8(run_inner("seventeen").stderr).unwrap();
    assert!(
        told.contains("PLIMSOLL_SEED is \"seventeen\": set it to one seed"),
        "{told}"
    );
}
