//! `bench`: a database under load.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use plimsoll_sim::scenario::{Distribution, WorkloadConfig, WorkloadKind};

use super::{Failure, print};
use crate::ask::access::Place;
use crate::bench::report::Report;
use crate::bench::target::{Durability, EmbeddedSettings, RemoteSettings, Where};
use crate::bench::{Plan, Verdict, measure};

/// What an account holds at the start of `transfer`: so much that hardly any transfer finds too little.
const BALANCE: u64 = 1_000_000;

/// What a workload does, and how a run of it is judged.
const WORKLOADS: &str = "\
Workloads:
  transfer  95 %: move 1 to 5 from one account to another, refused where too little is there; 5 %: read 10 accounts
            (all where there are at most 100). At the end the sum of all accounts is unchanged and none is negative.
  counter   Add 1 to one counter by a merge operator. At the end the sum of all has grown by what was committed, and
            by some of what is unknown.
  ycsb      YCSB+T: 4 read-modify-writes of different keys. Nothing is checked at the end: see --history.
  retwis    A small social network: 5 % add a user, 15 % follow, 30 % post, 50 % read a timeline, 1 to 10 keys each.
            Nothing is checked at the end: see --history.
  put2      Two blind writes in one transaction: one value to both keys of a pair (0 and 1, 2 and 3, ...). At the end
            both keys of every pair hold the same. Needs an even number of keys.

A key that was never written counts as an account of 1,000,000, a counter of 0, or a register without a value: nothing is loaded
before. What is checked is read by strict reads once everything has been answered.

Exit status:
  0  measured, and what was checked holds
  1  not measured, or what was checked does not hold
  2  the arguments cannot be used; nothing was done";

#[derive(Args)]
#[command(after_help = WORKLOADS)]
pub(crate) struct BenchArguments {
    /// What the clients do; see below.
    #[arg(long, value_enum, default_value_t = WorkloadName::Transfer)]
    workload: WorkloadName,
    /// How many keys there are: accounts, counters or registers.
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    keys: u64,
    /// Which keys are chosen: `uniform`; `zipf:THETA`, the key of rank r with probability proportional to r^-THETA; or `hot:K`, only
    /// the first K.
    #[arg(long, value_name = "uniform|zipf:THETA|hot:K", default_value = "uniform", value_parser = distribution)]
    dist: Distribution,
    /// How many clients there are. Each has one call open at a time, and without --rate makes the next when it has its answer.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    clients: u32,
    /// How long is measured, in seconds; it may be a fraction.
    #[arg(long, value_name = "S", default_value = "10", value_parser = seconds)]
    seconds: Duration,
    /// How long the same load runs before it is measured, in seconds.
    #[arg(long, value_name = "S", default_value = "1", value_parser = seconds_or_none)]
    warm_up: Duration,
    /// Measure a cluster that runs elsewhere, with the credentials of a client in this folder, in place of a database in this process. Its nodes sync
    /// what they answer.
    #[arg(long, value_name = "DIR", requires = "nodes", conflicts_with_all = ["durability", "replicas", "folder", "tick"])]
    cluster: Option<PathBuf>,
    /// A node of that cluster and where it is, once for each.
    #[arg(
        long = "node",
        id = "nodes",
        value_name = "N=HOST:PORT",
        requires = "cluster",
        value_delimiter = ','
    )]
    nodes: Vec<Place>,
    /// What a transaction has survived when it is answered. `fsync`: it lies in a file of a majority of the replicas, each in its own folder
    /// and each synced to the disk. `none`: it lies in the memory of a majority of the replicas of this process; no file is
    /// written, and nothing is left when the process ends.
    #[arg(long, value_enum, default_value_t = Durability::Fsync)]
    durability: Durability,
    /// How many replicas the database has, all within this process.
    #[arg(long, value_name = "1|3|5", default_value = "3", value_parser = replicas)]
    replicas: u32,
    /// Open loop: calls arrive by a Poisson process, this many a second for all clients together, and wait where no client is
    /// free. Latency counts from the arrival, so that slow answers hide nothing. Default: a closed loop.
    #[arg(long, value_name = "R", value_parser = rate)]
    rate: Option<f64>,
    /// Where the replicas keep their files; it stays, and a database that is there already is used. Default: a new folder on a real disk (one of
    /// the folder for temporary files, /var/tmp and the current folder), removed at the end.
    #[arg(long, value_name = "PATH")]
    folder: Option<PathBuf>,
    /// How long a client waits for an answer, in seconds. After it the end of the call is unknown.
    #[arg(long, value_name = "S", default_value = "10", value_parser = seconds)]
    deadline: Duration,
    /// The tick of the replicas in milliseconds: each sends every other one at most one frame in it. A shorter one answers sooner and costs more
    /// processor time. Default: that of the library, 0.5 ms.
    #[arg(long, value_name = "MS", value_parser = tick)]
    tick: Option<Duration>,
    /// The seed of the clients' draws and of the arrivals.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Write what the clients saw, warm-up and last reads included, to this file in the form of the simulator's histories, which its
    /// checkers read: EDN for .edn, lines of JSON for .json, .jsonl and .ndjson. It is kept in memory until the end, some
    /// hundred bytes for each call. The database must be a new one.
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
}

/// Which transactions are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum WorkloadName {
    Transfer,
    Counter,
    Ycsb,
    Retwis,
    Put2,
}

impl WorkloadName {
    fn kind(self) -> WorkloadKind {
        match self {
            Self::Transfer => WorkloadKind::Transfer,
            Self::Counter => WorkloadKind::Counter,
            Self::Ycsb => WorkloadKind::YcsbT,
            Self::Retwis => WorkloadKind::Retwis,
            Self::Put2 => WorkloadKind::Put2,
        }
    }
}

fn distribution(text: &str) -> Result<Distribution, String> {
    match text.split_once(':') {
        None if text == "uniform" => Ok(Distribution::Uniform),
        Some(("zipf", theta)) => match theta.parse::<f64>() {
            Ok(theta) if theta.is_finite() && theta >= 0.0 => Ok(Distribution::Zipf { theta }),
            _ => Err(format!("theta is a number from 0 on, such as 0.99, not `{theta}`")),
        },
        Some(("hot", keys)) => match keys.parse::<u64>() {
            Ok(keys) if keys > 0 => Ok(Distribution::Hot { keys }),
            _ => Err(format!("the number of hot keys is 1 or more, not `{keys}`")),
        },
        _ => Err("give `uniform`, `zipf:THETA` such as zipf:0.99, or `hot:K` such as hot:10".to_owned()),
    }
}

pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    match seconds_or_none(text) {
        Ok(Duration::ZERO) => Err("it must be more than 0 seconds".to_owned()),
        other => other,
    }
}

fn seconds_or_none(text: &str) -> Result<Duration, String> {
    const SECONDS_MAX: f64 = 86_400.0;
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=SECONDS_MAX).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(format!("give a number of seconds up to {SECONDS_MAX}")),
    }
}

fn replicas(text: &str) -> Result<u32, String> {
    match text {
        "1" => Ok(1),
        "3" => Ok(3),
        "5" => Ok(5),
        _ => Err("a database has 1, 3 or 5 replicas".to_owned()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    const RATE_MAX: f64 = 10_000_000.0;
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= RATE_MAX => Ok(rate),
        _ => Err(format!("give a number of calls a second above 0, up to {RATE_MAX}")),
    }
}

fn tick(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(ms) if (0.01..=100.0).contains(&ms) => Ok(Duration::from_secs_f64(ms / 1e3)),
        _ => Err("give a number of milliseconds from 0.01 to 100".to_owned()),
    }
}

/// Measures, and prints what came of it.
pub(crate) fn run(arguments: &BenchArguments, as_json: bool) -> Result<(), Failure> {
    let plan = plan(arguments)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // Answers come from other threads: they must not wait behind what the clients ask next.
        .global_queue_interval(2)
        .build()
        .map_err(|error| Failure::Failed(format!("the clients' threads cannot be started: {error}")))?;
    let outcome = runtime.block_on(measure(&plan))?;
    if let (Some(path), Some(history)) = (&arguments.history, &outcome.history) {
        let failed = |error| Failure::Failed(format!("{} cannot be written: {error}", path.display()));
        history.write_to_file(path).map_err(failed)?;
    }
    let verdict = outcome.verdict.clone();
    let report = Report::new(&plan, outcome);
    match as_json {
        true => print(&report.json())?,
        false => print(report.text().as_bytes())?,
    }
    match verdict {
        Verdict::Holds(_) | Verdict::None if report.wrong_answers == 0 => Ok(()),
        // The report says which.
        _ => {
            eprintln!("error: {}", report.what_is_wrong());
            Err(Failure::Told)
        }
    }
}

fn plan(arguments: &BenchArguments) -> Result<Plan, Failure> {
    if let Some(problem) = arguments.history.as_deref().and_then(unusable_history) {
        return Err(Failure::Usage(problem));
    }
    if arguments.durability == Durability::None && arguments.folder.is_some() {
        let text = "--folder is of no use with --durability none, which writes no file: leave one of the two out";
        return Err(Failure::Usage(text.to_owned()));
    }
    let name = arguments
        .workload
        .to_possible_value()
        .expect("no workload is hidden from the command line");
    let workload = WorkloadConfig {
        kind: arguments.workload.kind(),
        keys: arguments.keys,
        distribution: arguments.dist,
        initial_balance: BALANCE,
        ..WorkloadConfig::default()
    };
    // What does not fit together is to be told before a database is opened.
    plimsoll_sim::workload::build(&workload)
        .map_err(|error| Failure::Usage(format!("--keys {} does not fit: {error}", arguments.keys)))?;
    Ok(Plan {
        workload_name: name.get_name().to_owned(),
        workload,
        clients: arguments.clients,
        measured: arguments.seconds,
        warm_up: arguments.warm_up,
        rate: arguments.rate,
        seed: arguments.seed,
        is_recorded: arguments.history.is_some(),
        deadline: arguments.deadline,
        place: match &arguments.cluster {
            Some(credentials) => Where::There(RemoteSettings {
                credentials: credentials.clone(),
                nodes: arguments.nodes.clone(),
            }),
            None => Where::Here(EmbeddedSettings {
                replicas: arguments.replicas,
                durability: arguments.durability,
                folder: arguments.folder.clone(),
                tick: arguments.tick,
            }),
        },
    })
}

/// What is wrong with the name of a history file; found before the run, not after it.
fn unusable_history(path: &Path) -> Option<String> {
    let ending = path.extension().and_then(|ending| ending.to_str());
    if !matches!(ending, Some("edn" | "json" | "jsonl" | "ndjson")) {
        let path = path.display();
        return Some(format!(
            "--history {path}: the name must end in .edn, .json, .jsonl or .ndjson"
        ));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder
        .filter(|folder| !folder.is_dir())
        .map(|folder| format!("--history {}: there is no folder {}", path.display(), folder.display()))
}
