//! The world with the production core, a replica that only counts, and clients that only submit and read.

use std::collections::BTreeMap;

use plimsoll::id::TransactionId;
use plimsoll::key::{Key, Value};
use plimsoll::lattice::Digest;
use plimsoll::protocol::{Batch, Evaluated, Query, ReadMode};
use plimsoll::time::Timestamp;
use plimsoll::transaction::{Footprint, Outcome, Settlement, ThunkId, Transaction};

use super::*;
use crate::bound::commit_ms;
use crate::check::{FinalEntry, monotone_watermarks, replica_agreement};
use crate::clock::START_UNIX_MS;
use crate::port::{Answer, ClientRequest, RequestBody};

const THREE: &str = "
[world]
regions = [\"us-east-1\", \"eu-west-1\", \"ap-northeast-1\"]
delays = \"aws\"
load_s = 5
drain_s = 10
";

/// A register per key: a transaction writes its own id to the key that its arguments name.
#[derive(Default)]
struct Registers {
    versions: BTreeMap<Key, Vec<(Timestamp, Value)>>,
    /// Evaluates something else than it should.
    is_corrupt: bool,
}

impl Replica for Registers {
    fn admit(&self, id: TransactionId, thunk: ThunkId, arguments: Value) -> Result<Transaction, String> {
        if &*thunk.name != "write" {
            return Err(format!("no thunk {thunk}"));
        }
        let footprint = Footprint {
            writes: vec![Key::new(arguments.as_bytes().to_vec())],
            ..Footprint::default()
        };
        Ok(Transaction {
            id,
            thunk,
            arguments,
            footprint,
        })
    }

    fn evaluate(&mut self, batch: Batch) -> Evaluated {
        let mut settlements = Vec::new();
        for (timestamp, record) in batch.records {
            let transaction = &record.transaction;
            let mut output = Value::new(transaction.id.as_u128().to_be_bytes().to_vec());
            if self.is_corrupt {
                output = Value::from("corrupt");
            }
            let versions = self
                .versions
                .entry(transaction.footprint.writes[0].clone())
                .or_default();
            versions.push((timestamp, output.clone()));
            settlements.push(Settlement {
                record: timestamp,
                id: transaction.id,
                effective: timestamp,
                outcome: Outcome::Committed(output),
            });
        }
        Evaluated {
            upto: batch.upto,
            settlements,
            digests: vec![Digest::default()],
            flushed: batch.upto,
            blocked: None,
        }
    }

    fn read(&self, at: Hlc, query: &Query) -> Answer {
        let latest = |key: &Key| {
            let versions = self.versions.get(key)?;
            let below = versions.partition_point(|(timestamp, _)| timestamp.hlc <= at);
            below.checked_sub(1).map(|last| versions[last].1.clone())
        };
        Answer {
            keys: query.keys.iter().map(latest).collect(),
            ranges: Vec::new(),
        }
    }

    fn state(&self) -> Vec<FinalEntry> {
        let latest = self
            .versions
            .iter()
            .filter_map(|(key, versions)| Some((key, versions.last()?)));
        latest
            .map(|(key, (timestamp, value))| FinalEntry {
                key: key.as_bytes().to_vec(),
                timestamp: *timestamp,
                value_hash: content_of(value),
            })
            .collect()
    }
}

/// One client at each node: writes, then reads what it wrote in each mode in turn, for ever.
struct Writers {
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
    fn new(nodes: usize, pause_us: u64) -> Self {
        Self {
            nodes,
            pause_us,
            calls: 0,
            open: vec![None; nodes],
            last_ids: vec![None; nodes],
            is_stopped: false,
            commit_us: vec![Vec::new(); nodes],
            refusals: Vec::new(),
            strict_reads: 0,
        }
    }

    fn key(client: usize) -> Vec<u8> {
        format!("key {client}").into_bytes()
    }
}

impl Clients for Writers {
    fn start(&mut self, actions: &mut Vec<Action>) {
        for client in 0..self.nodes {
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
                    keys: vec![Key::new(Self::key(client))],
                    ranges: Vec::new(),
                },
            },
            None => {
                self.last_ids[client] = Some(id);
                let name = if self.calls.is_multiple_of(97) {
                    "other"
                } else {
                    "write"
                };
                RequestBody::Submit {
                    id,
                    thunk: ThunkId {
                        name: name.into(),
                        version: 1,
                    },
                    arguments: Value::new(Self::key(client)),
                }
            }
        };
        self.open[client] = Some((self.calls, now_us));
        let call = self.calls;
        actions.push(Action::Send {
            node: client,
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
                let expected = Value::new(written.as_u128().to_be_bytes().to_vec());
                assert_eq!(answer.keys, [Some(expected)], "a strict read sees what was answered");
                self.strict_reads += 1;
            }
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
    let nodes = scenario.check().unwrap().node_count();
    let world = World::new(scenario, Seed(seed), Writers::new(nodes, pause_us), |_| {
        Registers::default()
    })
    .unwrap();
    world.run(&mut |_| {})
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
        writers.refusals.iter().all(|why| why == "no thunk other v1"),
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

#[test]
fn a_replica_that_computes_something_else_is_seen_by_the_checkers() {
    let scenario = scenario(&["world.load_s=1"]);
    let replica = |place| Registers {
        is_corrupt: place == 2,
        ..Registers::default()
    };
    let mut writers = Writers::new(3, 5_000);
    // The third client would see the wrong values itself.
    writers.nodes = 2;
    let world = World::new(&scenario, Seed(1), writers, replica).unwrap();
    let (run, _) = world.run(&mut |_| {});
    assert!(replica_agreement(&run.replicas).is_fail());
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

#[test]
fn progress_is_told_and_a_bad_scenario_is_refused() {
    let scenario = scenario(&["world.load_s=1"]);
    let world = World::new(&scenario, Seed(1), Writers::new(3, 10_000), |_| Registers::default()).unwrap();
    let mut told = Vec::new();
    let (run, _) = world.run(&mut |progress| told.push(progress));
    assert_eq!(told.last().unwrap().events, run.events);
    let mut bad = scenario;
    bad.world.regions.clear();
    let refused = World::new(&bad, Seed(1), Writers::new(3, 10_000), |_| Registers::default());
    assert_eq!(refused.err().unwrap()[0].key, "world.regions");
}
