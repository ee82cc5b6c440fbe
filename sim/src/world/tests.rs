//! The world with the production core and executor, and clients that only write and read.

use std::sync::Arc;

use plimsoll::client::arguments;
use plimsoll::id::TransactionId;
use plimsoll::key::{Key, Value};
use plimsoll::protocol::{Evaluated, Query, ReadMode};
use plimsoll::thunk::{Put, Registry, Thunk};
use plimsoll::transaction::{Outcome, ThunkId};

use super::*;
use crate::bound::commit_ms;
use crate::check::{monotone_watermarks, replica_agreement};
use crate::clock::START_UNIX_MS;
use crate::port::{ClientRequest, RequestBody};

const THREE: &str = "
[world]
regions = [\"us-east-1\", \"eu-west-1\", \"ap-northeast-1\"]
delays = \"aws\"
load_s = 5
drain_s = 10
";

fn builtins() -> Arc<Registry> {
    Arc::new(Registry::with_builtins())
}

/// What is wrong with a replica.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    Outcomes,
    Digests,
}

impl Fault {
    fn distort(self, evaluated: &mut Evaluated) {
        match self {
            Self::None => {}
            Self::Outcomes => {
                for settlement in &mut evaluated.settlements {
                    settlement.outcome = Outcome::Committed("corrupt".into());
                }
            }
            Self::Digests => {
                for digest in &mut evaluated.digests {
                    digest.value += 1;
                }
            }
        }
    }
}

/// Clients at each node in turn. Each writes, then reads strictly what it wrote, for ever.
struct Writers {
    clients: usize,
    nodes: usize,
    pause_us: u64,
    calls: u64,
    /// By client: the call that is open, when it was sent, and the id that was written last.
    open: Vec<Option<(u64, u64)>>,
    last_ids: Vec<Option<TransactionId>>,
    is_stopped: bool,
    /// By client: how long each transaction took, in microseconds.
    commit_us: Vec<Vec<u64>>,
    refusals: Vec<String>,
    strict_reads: u64,
}

impl Writers {
    fn new(nodes: usize, clients: usize, pause_us: u64) -> Self {
        Self {
            clients,
            nodes,
            pause_us,
            calls: 0,
            open: vec![None; clients],
            last_ids: vec![None; clients],
            is_stopped: false,
            commit_us: vec![Vec::new(); clients],
            refusals: Vec::new(),
            strict_reads: 0,
        }
    }

    fn key(client: usize) -> Key {
        Key::from(format!("key {client}").as_str())
    }

    /// What a transaction writes.
    fn value(id: TransactionId) -> Value {
        Value::new(id.as_u128().to_be_bytes())
    }
}

impl Clients for Writers {
    fn start(&mut self, actions: &mut Vec<Action>) {
        for client in 0..self.clients {
            // The ceiling is durable by then.
            actions.push(Action::WakeAt { client, time_us: 1_000 });
        }
    }

    fn on_wake(&mut self, now_us: u64, client: usize, actions: &mut Vec<Action>) {
        if self.is_stopped {
            return;
        }
        self.calls += 1;
        let mut random = [0; 10];
        random[..8].copy_from_slice(&self.calls.to_be_bytes());
        let id = TransactionId::from_parts(START_UNIX_MS + now_us / 1_000, random);
        let body = match self.last_ids[client] {
            Some(_) => RequestBody::Read {
                mode: ReadMode::Strict,
                query: Query {
                    keys: vec![Self::key(client)],
                    ranges: Vec::new(),
                },
            },
            None => {
                self.last_ids[client] = Some(id);
                let is_known = !self.calls.is_multiple_of(97);
                let put = Put {
                    entries: vec![(Self::key(client), Self::value(id))],
                };
                RequestBody::Submit {
                    id,
                    thunk: ThunkId {
                        name: if is_known { Put::NAME } else { "other" }.into(),
                        version: Put::VERSION,
                    },
                    arguments: arguments(&put).expect("bytes can be encoded"),
                }
            }
        };
        self.open[client] = Some((self.calls, now_us));
        let call = self.calls;
        actions.push(Action::Send {
            node: client % self.nodes,
            request: ClientRequest { client, call, body },
        });
    }

    fn on_response(&mut self, now_us: u64, client: usize, response: ClientResponse, actions: &mut Vec<Action>) {
        let (call, sent_us) = self.open[client].take().expect("a call is open");
        assert_eq!(call, response.call);
        match response.body {
            ResponseBody::Settled(settlement) => {
                assert_eq!(Some(settlement.id), self.last_ids[client]);
                self.commit_us[client].push(now_us - sent_us);
            }
            ResponseBody::Rows { answer, .. } => {
                let written = self.last_ids[client].take().expect("something was written");
                let read = answer.keys[0].as_ref().map(|versioned| &versioned.value);
                assert_eq!(
                    read,
                    Some(&Self::value(written)),
                    "a strict read sees what was answered"
                );
                self.strict_reads += 1;
            }
            ResponseBody::Status(status) => unreachable!("nobody asked, but {status:?} came"),
            ResponseBody::Refused(why) => {
                self.last_ids[client] = None;
                self.refusals.push(why);
            }
            ResponseBody::Unknown(why) => panic!("unknown: {why}"),
        }
        actions.push(Action::WakeAt {
            client,
            time_us: now_us + self.pause_us,
        });
    }

    fn is_idle(&self) -> bool {
        self.open.iter().all(Option::is_none)
    }

    fn stop(&mut self) {
        self.is_stopped = true;
    }
}

fn scenario(settings: &[&str]) -> Scenario {
    let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
    Scenario::parse("test.toml", THREE, &settings).unwrap()
}

fn run(scenario: &Scenario, seed: u64, pause_us: u64) -> (Run, Writers) {
    let nodes = scenario.first_members().len();
    let world = World::new(scenario, Seed(seed), Writers::new(nodes, nodes, pause_us), &builtins()).unwrap();
    world.run(&mut |_| {}, &mut |_, _| {})
}

#[track_caller]
fn assert_sound(run: &Run) {
    assert!(matches!(run.ending, Ending::Settled { .. }), "{:?}", run.ending);
    assert_eq!(run.breaches, []);
    assert!(replica_agreement(&run.replicas).is_pass());
    assert!(monotone_watermarks(&run.watermarks).is_pass());
    assert_eq!(run.messages.undecodable, 0);
    assert!(run.nodes.iter().all(|node| node.divergence.is_none()));
}

#[test]
fn three_regions_commit_settle_and_agree() {
    let scenario = scenario(&[]);
    let (run, writers) = run(&scenario, 1, 10_000);
    assert_sound(&run);
    let committed: usize = writers.commit_us.iter().map(Vec::len).sum();
    assert!(committed > 50, "{committed}");
    assert_eq!(run.replicas[0].evaluated.len(), committed);
    assert!(writers.strict_reads > 50);
    assert!(
        writers.refusals.iter().all(|why| why.contains("other v1")),
        "{:?}",
        writers.refusals
    );
    assert_eq!(
        run.watermarks.len(),
        3 * (run.watermarks.last().unwrap().time_us / SAMPLE_US) as usize
    );
    assert!(run.network.lost + run.network.cut + run.network.duplicated == 0);
}

#[test]
fn latency_is_above_the_bound_and_near_it() {
    let scenario = scenario(&[]);
    let topology = scenario.check().unwrap();
    let (_, writers) = run(&scenario, 1, 10_000);
    for (node, commits) in writers.commit_us.iter().enumerate() {
        let mut commits = commits.clone();
        commits.sort_unstable();
        let median_ms = commits[commits.len() / 2] as f64 / 1e3;
        let bound_ms = commit_ms(&topology, node);
        assert!(median_ms > bound_ms, "{median_ms} at {node}, bound {bound_ms}");
        assert!(median_ms < bound_ms + 15.0, "{median_ms} at {node}, bound {bound_ms}");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_gives_another() {
    let faulty = [
        "faults.loss=0.1",
        "faults.duplicate=0.1",
        "faults.reorder=0.1",
        "faults.reorder_extra_ms=30",
        "world.network.jitter_ms=1",
        "world.clock.offset_ms_max=5",
        "world.load_s=2",
    ];
    let of = |seed| run(&scenario(&faulty), seed, 5_000).0;
    let (first, again, other) = (of(1), of(1), of(2));
    assert_eq!((first.trace_hash, first.events), (again.trace_hash, again.events));
    assert_eq!(first.event_counts, again.event_counts);
    assert_eq!(first.last_events, again.last_events);
    assert_ne!(first.trace_hash, other.trace_hash);
}

#[test]
fn a_lossy_network_with_wrong_clocks_settles() {
    let scenario = scenario(&[
        "faults.loss=0.2",
        "faults.duplicate=0.1",
        "faults.reorder=0.2",
        "faults.reorder_extra_ms=50",
        "world.network.jitter_ms=1",
        "world.clock.offset_ms_max=100",
        "world.clock.drift_ppm_max=100",
    ]);
    for seed in 1..=3 {
        let (run, writers) = run(&scenario, seed, 5_000);
        assert_sound(&run);
        assert!(writers.strict_reads > 10);
        let happened = [
            run.network.lost,
            run.network.duplicated,
            run.network.held_back,
            run.network.overtaking,
        ];
        assert!(happened.iter().all(|count| *count > 50), "{happened:?}");
    }
}

#[test]
fn two_nodes_that_reach_each_other_only_through_a_third_settle() {
    let scenario = scenario(&["faults.cut=[{from=\"us-east-1\",to=\"eu-west-1\",both=true}]"]);
    let (run, writers) = run(&scenario, 1, 5_000);
    assert_sound(&run);
    assert!(run.network.cut > 100);
    assert!(writers.commit_us.iter().all(|commits| commits.len() > 3));
}

#[test]
fn a_cluster_without_a_majority_is_found_not_to_live() {
    let cut = "faults.cut=[{from=\"us-east-1\",to=\"eu-west-1\",both=true},{from=\"us-east-1\",to=\"ap-northeast-1\",both=true},\
        {from=\"eu-west-1\",to=\"ap-northeast-1\",both=true}]";
    let (run, _) = run(&scenario(&[cut, "world.load_s=1", "world.drain_s=2"]), 1, 5_000);
    let Ending::OutOfTime { awaited } = &run.ending else {
        panic!("{:?}", run.ending);
    };
    assert!(
        awaited.iter().any(|what| what == "clients still wait for answers"),
        "{awaited:?}"
    );
}

/// The third replica is faulty, and has no clients, who would see it themselves.
fn run_with_fault(scenario: &Scenario, fault: Fault) -> Run {
    let writers = Writers::new(3, 2, 5_000);
    let mut world = World::new(scenario, Seed(1), writers, &builtins()).unwrap();
    world.outside.distort = Some(Box::new(move |place, evaluated| {
        if place == 2 {
            fault.distort(evaluated);
        }
    }));
    world.run(&mut |_| {}, &mut |_, _| {}).0
}

#[test]
fn a_replica_with_other_outcomes_is_seen_by_the_checkers() {
    let scenario = scenario(&["world.load_s=1"]);
    assert!(replica_agreement(&run_with_fault(&scenario, Fault::None).replicas).is_pass());
    assert!(replica_agreement(&run_with_fault(&scenario, Fault::Outcomes).replicas).is_fail());
}

#[test]
fn a_replica_with_other_digests_is_quarantined_and_awaited_in_vain() {
    let run = run_with_fault(&scenario(&["world.drain_s=3"]), Fault::Digests);
    let divergence = run.nodes[2].divergence.as_ref().expect("it is quarantined");
    assert_eq!(divergence.peers.len(), 2);
    let dump = run.nodes[2].dump.as_ref().expect("it shows what it had evaluated");
    for digest in [divergence.own, divergence.majority] {
        assert!(dump.contains(&format!("{:016x}", digest.value)), "{dump}");
    }
    assert!(run.nodes[..2].iter().all(|node| node.dump.is_none()));
    let Ending::OutOfTime { awaited } = &run.ending else {
        panic!("{:?}", run.ending);
    };
    assert!(
        awaited
            .iter()
            .any(|what| what.starts_with("n3 in ap-northeast-1 has evaluated to")),
        "{awaited:?}"
    );
}

/// The own record must be durable in Ireland before Virginia hears of it: 70.5 ms there and back, and the sync between.
#[test]
fn a_slow_disk_makes_commits_slow() {
    let median_us = |settings: &[&str]| {
        let mut commits = run(&scenario(settings), 1, 10_000).1.commit_us.remove(0);
        commits.sort_unstable();
        commits[commits.len() / 2]
    };
    let (quick, slow) = (median_us(&[]), median_us(&["world.disk.sync_us=40000"]));
    assert!(quick < 90_000 && slow > 70_500 + 40_000, "{quick} and {slow}");
}

/// The processors are busy half of the time, so that most inputs find work before them.
#[test]
fn slow_processors_make_commits_slow_and_the_cluster_settles() {
    let (quick, _) = run(&scenario(&[]), 1, 1_000);
    let (slow, writers) = run(&scenario(&["world.cpu.frame_us=1000"]), 1, 1_000);
    assert_sound(&slow);
    assert!(writers.strict_reads > 50);
    assert!(slow.nodes[0].protocol_busy_us > 1_500_000, "{:?}", slow.nodes[0]);
    assert!(slow.replicas[0].evaluated.len() < quick.replicas[0].evaluated.len());
}

#[test]
fn progress_is_told_and_a_bad_scenario_is_refused() {
    let scenario = scenario(&["world.load_s=1"]);
    let world = World::new(&scenario, Seed(1), Writers::new(3, 3, 10_000), &builtins()).unwrap();
    let mut told = Vec::new();
    let (run, _) = world.run(&mut |progress| told.push(progress), &mut |_, _| {});
    assert_eq!(told.last().unwrap().events, run.events);
    let mut bad = scenario;
    bad.world.regions.clear();
    let refused = World::new(&bad, Seed(1), Writers::new(3, 3, 10_000), &builtins());
    assert_eq!(refused.err().unwrap()[0].key, "world.regions");
}

/// Run by [`two_processes_give_the_same_trace`] in a process of its own.
#[test]
fn prints_its_trace_hash() {
    let (run, _) = run(
        &scenario(&["world.load_s=1", "world.network.jitter_ms=1", "faults.loss=0.1"]),
        1,
        5_000,
    );
    println!("trace {:016x}", run.trace_hash);
}

#[test]
fn two_processes_give_the_same_trace() {
    let trace = || {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "world::tests::prints_its_trace_hash", "--nocapture"])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let at = text.find("trace ").expect("the hash is printed");
        text[at..at + "trace ".len() + 16].to_owned()
    };
    assert_eq!(trace(), trace());
}

#[test]
fn every_scenario_settles_within_its_limit() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let settings = ["world.load_s=2".to_owned(), "world.warm_up_s=0".to_owned()];
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            // The classic failures have moments of their own, and tests.
            continue;
        }
        let mut scenario = Scenario::load(&path, &settings).unwrap();
        for cut in &mut scenario.faults.cut {
            cut.from_s = 0.5;
            cut.until_s = cut.until_s.map(|_| 1.0);
        }
        let (run, writers) = run(&scenario, 1, 20_000);
        assert_sound(&run);
        assert!(writers.strict_reads > 0);
    }
}

#[test]
fn a_node_comes_back_with_an_empty_disk_and_nobody_takes_anything_from_it() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/lost-disk.toml");
    let lost = Scenario::load(&path, &[]).unwrap();
    let mut kept = lost.clone();
    kept.faults.lose_disk.clear();
    for (scenario, is_lost) in [(&lost, true), (&kept, false)] {
        // Nobody asks the one that loses its disk.
        let writers = Writers::new(2, 2, 20_000);
        let (run, _) = World::new(scenario, Seed(1), writers, &builtins())
            .unwrap()
            .run(&mut |_| {}, &mut |_, _| {});
        assert_sound(&run);
        assert_eq!(run.messages.foreign > 0, is_lost);
        assert_eq!(run.faults.contains_key("lose-disk"), is_lost);
    }
}

/// For measuring the event loop by hand: many clients, a minute of virtual time. Prints how many events there were.
#[test]
#[ignore = "takes long without optimisation"]
fn a_busy_minute() {
    let scenario = Scenario::parse("test.toml", THREE, &["world.load_s=60".to_owned()]).unwrap();
    for (clients, pause_us) in [(3, 10_000), (300, 0)] {
        let world = World::new(&scenario, Seed(1), Writers::new(3, clients, pause_us), &builtins()).unwrap();
        let (run, _) = world.run(&mut |_| {}, &mut |_, _| {});
        println!("{clients} clients: {} events", run.events);
        println!("{:?}\n{:?}\n{:?}", run.event_counts, run.messages, run.network);
        println!("{:?}", run.nodes[0]);
    }
}
