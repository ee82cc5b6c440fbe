//! Rolling upgrades under load and faults: the order that is safe, and the ones that are not.
//!
//! Each node starts with its own code, which changes when it is started again. Clients submit transactions on lists by the first version of
//! a thunk and by the second; what they saw is judged as ever.

use std::sync::Arc;

use plimsoll_sim::check::{Checks, Observed, Verdict, Workload as Judged};
use plimsoll_sim::client::{Doubts, Fleet, FleetSettings, Mix, Pace};
use plimsoll_sim::clock::START_UNIX_MS;
use plimsoll_sim::history::{Entry, Phase};
use plimsoll_sim::random::{Seed, Stream};
use plimsoll_sim::scenario::Scenario;
use plimsoll_sim::workload::{Call, ListCode, Workload, build, in_second_version};
use plimsoll_sim::world::{Ending, Run, World};

const LOAD_S: f64 = 16.0;

/// The three nodes of a data centre with a bad network: frames are lost, come twice and overtake each other.
fn scenario(crashes: &str) -> Scenario {
    let text = format!(
        r#"
[world]
regions = ["us-east-1"]
nodes_per_region = 3
delays = "aws"
load_s = {LOAD_S:?}
drain_s = 20

[world.network]
jitter_ms = 0.2

[world.profile]
base = "lan"
active_tick_ms = 5.0

[workload]
kind = "list-append"
keys = 20

[faults]
loss = 0.01
duplicate = 0.01
reorder = 0.01
reorder_extra_ms = 5.0
until_s = 14.0
{crashes}
"#
    );
    Scenario::parse("upgrade", &text, &[]).unwrap_or_else(|error| panic!("{error}"))
}

/// A node's crash or orderly end, and its start 800 ms later.
fn restart(node: usize, at_s: f64, resign: bool) -> String {
    let number = node + 1;
    format!("[[faults.crash]]\nplace = {number}\nat_s = {at_s:?}\nrestart_after_s = 0.8\nresign = {resign}\n")
}

/// Transactions of both versions, by the number of the call.
struct Mixed {
    lists: Box<dyn Workload>,
    calls: u64,
    is_second: fn(u64) -> bool,
}

impl Workload for Mixed {
    fn transaction(&mut self, random: &mut Stream) -> Call {
        self.calls += 1;
        let call = self.lists.transaction(random);
        match (self.is_second)(self.calls) {
            true => in_second_version(call),
            false => call,
        }
    }

    fn read(&mut self, random: &mut Stream) -> Call {
        self.lists.read(random)
    }

    fn final_reads(&mut self) -> Vec<Call> {
        self.lists.final_reads()
    }
}

/// What came of an upgrade.
struct Outcome {
    run: Run,
    entries: Vec<Entry>,
}

/// Runs the cluster, which starts with the first version everywhere. *Given* which code lies on which node from when on, and which calls are of
/// the second version.
///
/// *Panics* where a checker finds fault with it.
fn upgrade(seed: u64, scenario: &Scenario, installs: &[(f64, usize, ListCode)], is_second: fn(u64) -> bool) -> Outcome {
    let settings = FleetSettings {
        seed: Seed(seed),
        nodes: vec![vec![0, 1, 2]],
        clients_per_region: 6,
        pace: Pace::Closed { think_us: 20_000 },
        mix: Mix {
            strict_reads: 0.1,
            ..Mix::default()
        },
        doubts: Doubts {
            retry: 1.0,
            ..Doubts::default()
        },
        deadline_us: 250_000,
        refused_wait_us: 20_000,
        wall_start_us: START_UNIX_MS * 1_000,
        warm_up_us: 0,
        load_us: (LOAD_S * 1e6) as u64,
    };
    let workload: Box<dyn Workload> = Box::new(Mixed {
        lists: build(&scenario.workload).expect("uniform"),
        calls: 0,
        is_second,
    });
    let fleet = Fleet::new(settings, workload);
    let first = Arc::new(ListCode::First.registry());
    let mut world = World::new(scenario, Seed(seed), fleet, &first).unwrap_or_else(|problems| panic!("{problems:?}"));
    for (at_s, node, code) in installs {
        world.install(*at_s, *node, Arc::new(code.registry()));
    }
    let (run, fleet) = world.run(&mut |_| {}, &mut |_, _| {});
    assert_eq!(fleet.final_reads_unanswered(), Some(0), "seed {seed}");
    let history = fleet.into_recorder().history;
    let observed = Observed {
        history: &history,
        replicas: &run.replicas,
        watermarks: &run.watermarks,
        finals: &[],
    };
    for (name, verdict) in Checks::new(Judged::ListAppend).run(&observed) {
        assert!(matches!(verdict, Verdict::Pass), "seed {seed}, {name}: {verdict:?}");
    }
    assert!(run.breaches.is_empty(), "seed {seed}: {:?}", run.breaches);
    assert!(
        matches!(run.ending, Ending::Settled { .. }),
        "seed {seed}: {:?}",
        run.ending
    );
    Outcome {
        run,
        entries: history.entries,
    }
}

impl Outcome {
    /// How often evaluation stopped before unknown code, by node.
    fn blocked(&self) -> Vec<u64> {
        self.run.nodes.iter().map(|node| node.counters.blocked).collect()
    }

    /// The ends of calls of one kind within these seconds.
    fn ends<'a>(&'a self, function: &'a str, from_s: f64, until_s: f64) -> impl Iterator<Item = &'a Entry> {
        let within = move |entry: &&Entry| {
            entry.phase != Phase::Invoke
                && entry.function == function
                && (from_s * 1e6..until_s * 1e6).contains(&(entry.time_us as f64))
        };
        self.entries.iter().filter(within)
    }

    fn answered(&self, function: &str, from_s: f64, until_s: f64) -> usize {
        let ends = self.ends(function, from_s, until_s);
        ends.filter(|entry| entry.phase == Phase::Ok).count()
    }

    /// The words of all refusals of a kind within these seconds.
    fn refusals<'a>(&'a self, function: &'a str, from_s: f64, until_s: f64) -> Vec<&'a str> {
        let ends = self.ends(function, from_s, until_s);
        let refused = ends.filter(|entry| entry.phase == Phase::Fail);
        refused.filter_map(|entry| entry.error.as_deref()).collect()
    }
}

#[test]
fn a_new_version_is_refused_with_the_nodes_that_lack_it_until_the_last_one_has_it_and_nothing_blocks() {
    for seed in 1..=3 {
        // One is killed, the others end in order; and one more crash on the way, of a node that has the new code.
        let crashes = [
            restart(0, 3.0, true),
            restart(1, 5.0, seed % 2 == 0),
            restart(0, 6.5, false),
            restart(2, 8.0, true),
        ];
        let installs = [
            (3.0, 0, ListCode::Both),
            (5.0, 1, ListCode::Both),
            (8.0, 2, ListCode::Both),
        ];
        let outcome = upgrade(seed, &scenario(&crashes.concat()), &installs, |call| {
            call.is_multiple_of(2)
        });
        assert_eq!(outcome.blocked(), [0, 0, 0], "seed {seed}");
        assert_eq!(outcome.answered("txn-2", 0.0, 8.0), 0, "seed {seed}");
        // At a node that has the new code, while others have not.
        let early = outcome.refusals("txn-2", 3.8, 5.0);
        let named = "thunk workload.lists v2 is not registered on n2 and n3: start those nodes with its code first";
        assert!(early.iter().any(|why| why.contains(named)), "seed {seed}: {early:?}");
        let late = outcome.refusals("txn-2", 5.8, 8.0);
        let named = "thunk workload.lists v2 is not registered on n3: start that node with its code first";
        assert!(late.iter().any(|why| why.contains(named)), "seed {seed}: {late:?}");
        assert_eq!(
            outcome.refusals("txn-2", 11.0, LOAD_S),
            Vec::<&str>::new(),
            "seed {seed}"
        );
        for function in ["txn", "txn-2"] {
            let answered = outcome.answered(function, 11.0, LOAD_S);
            assert!(answered > 100, "seed {seed}, {function}: {answered}");
        }
        let lacking = outcome.refusals("txn", 0.0, LOAD_S);
        let lacking = lacking.iter().filter(|why| why.contains("not registered"));
        assert_eq!(lacking.count(), 0, "seed {seed}: the old version is taken throughout");
    }
}

#[test]
fn the_old_version_is_removed_once_nobody_submits_it_and_nothing_blocks() {
    for seed in 1..=2 {
        let add = [0, 1, 2].map(|node| (1.0 + node as f64 * 1.5, node, ListCode::Both));
        let remove = [0, 1, 2].map(|node| (10.0 + node as f64 * 1.5, node, ListCode::Second));
        let installs: Vec<_> = add.into_iter().chain(remove).collect();
        let crashes: Vec<_> = installs
            .iter()
            .map(|(at_s, node, _)| restart(*node, *at_s, true))
            .collect();
        // About a thousand calls are made before 7 s.
        let outcome = upgrade(seed, &scenario(&crashes.concat()), &installs, |call| call > 1_000);
        assert_eq!(outcome.blocked(), [0, 0, 0], "seed {seed}");
        assert_eq!(
            outcome.ends("txn", 9.0, LOAD_S).count(),
            0,
            "seed {seed}: nobody submits it"
        );
        assert!(outcome.answered("txn", 0.0, 9.0) > 500, "seed {seed}");
        let answered = outcome.answered("txn-2", 10.0, LOAD_S);
        assert!(answered > 300, "seed {seed}: {answered}");
    }
}

#[test]
fn a_node_that_loses_the_old_version_too_early_blocks_alone_and_goes_on_when_it_is_back() {
    for seed in 1..=3 {
        let add = [0, 1, 2].map(|node| (1.0 + node as f64 * 1.2, node, ListCode::Both));
        // Killed in the middle of transactions of the old version.
        let mistake = [(7.0, 1, ListCode::Second), (11.0, 1, ListCode::Both)];
        let installs: Vec<_> = add.into_iter().chain(mistake).collect();
        let crashes: Vec<_> = installs
            .iter()
            .map(|(at_s, node, _)| restart(*node, *at_s, *at_s < 7.0))
            .collect();
        let outcome = upgrade(seed, &scenario(&crashes.concat()), &installs, |call| {
            call.is_multiple_of(2)
        });
        let blocked = outcome.blocked();
        assert!(
            blocked[0] == 0 && blocked[2] == 0 && blocked[1] > 0,
            "seed {seed}: {blocked:?}"
        );
        // It is blocked from its start to its next one: it runs and evaluates nothing.
        let bounds = |from_s: f64, until_s: f64| {
            let of_node = outcome.run.watermarks.iter().filter(|sample| sample.node.number() == 2);
            let within = of_node.filter(move |sample| (from_s * 1e6..until_s * 1e6).contains(&(sample.time_us as f64)));
            within.map(|sample| sample.evaluated).collect::<Vec<_>>()
        };
        let stopped = bounds(9.0, 11.0);
        assert!(stopped.len() > 3, "seed {seed}: it runs");
        assert!(
            stopped.windows(2).all(|pair| pair[0] == pair[1]),
            "seed {seed}: it stands still"
        );
        assert!(bounds(13.0, LOAD_S).last() > stopped.last(), "seed {seed}: it goes on");
        for function in ["txn", "txn-2"] {
            let answered = outcome.answered(function, 9.0, 11.0);
            assert!(
                answered > 30,
                "seed {seed}, {function}: {answered} while one is blocked"
            );
        }
        // It cannot be spared any more, so it keeps nobody from the version that it lacks.
        assert_eq!(outcome.refusals("txn", 9.0, 11.0), Vec::<&str>::new(), "seed {seed}");
        assert_eq!(outcome.refusals("txn", 13.5, LOAD_S), Vec::<&str>::new(), "seed {seed}");
    }
}
