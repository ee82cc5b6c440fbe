//! The test kit: one's own thunks, workload and invariants in a simulated cluster with faults, from a `#[test]`.
//!
//! [`Kit`] puts the user's closures where the simulator has its own workloads: the same world, clients, faults and checks, and
//! beside them the checks that need to know thunks. Those that know nothing of a workload (invariants of the protocol, agreement of replicas,
//! durability, liveness, real time, and so on) are those of every run; that every output is that of a serial execution is shown by
//! replaying the thunks. `docs/testing.md` is the page about it; tests are in `tests/kit.rs`.

mod failure;
mod invariant;
mod kinds;
mod prepared;
mod replay;
mod scripts;
mod seed;
mod seen;
mod state;
mod told;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use plimsoll::client::arguments;
use plimsoll::client::staged::{Stage, Staging};
use plimsoll::thunk::Thunk;
use plimsoll::transaction::{Abort, ThunkId};

pub use failure::{Failed, Passed};
use invariant::{AtEnd, Invariant, panic_in_words};
use kinds::Kinds;
use scripts::{Draw, Drawn, Source};
use seed::SeedRun;
pub use state::State;
pub use told::{Call, CallEnd, Told};

use crate::check::Verdict;
use crate::random::Stream;
use crate::scenario::{FaultsConfig, Problem, Scenario, SwarmConfig};
use crate::shrink::shrink_faults;
use crate::swarm;

/// Runs that are made at most to find out which faults a failure needs.
const SHRINK_RUNS_MAX: usize = 40;

/// The share of the clients' calls that read everything, of each of three kinds of reads.
const LOOKS: f64 = 0.04;

/// What changes a scenario.
type Adjust = Box<dyn Fn(&mut Scenario)>;

/// A simulated cluster with one's own thunks, and what is to hold in it.
///
/// Without anything said there are 3 nodes, 6 clients that submit for 6 virtual seconds, no faults, and the seeds 1 to 10.
///
/// ```
/// use plimsoll::thunk::Increment;
/// use plimsoll_sim::Kit;
///
/// let passed = Kit::new()
///     .workload(|random| Increment { key: format!("counter-{}", random.below(3)).as_str().into(), amount: 1 })
///     .invariant("few keys", |state| match state.len() {
///         0..=3 => Ok(()),
///         more => Err(format!("{more} counters")),
///     })
///     .seeds(1..=2)
///     .run();
/// assert!(passed.committed > 50);
/// ```
pub struct Kit {
    name: Option<String>,
    nodes: usize,
    spares: usize,
    clients: usize,
    load_s: f64,
    kinds: Kinds,
    setup: Vec<Drawn>,
    sources: Rc<Vec<Source>>,
    staging: Staging,
    invariants: Vec<Invariant>,
    at_end: Vec<AtEnd>,
    faults: FaultsConfig,
    swarm: Option<SwarmConfig>,
    adjust: Vec<Adjust>,
    seeds: Vec<u64>,
}

impl Default for Kit {
    fn default() -> Self {
        Self::new()
    }
}

impl Kit {
    /// Three nodes and no workload yet.
    pub fn new() -> Self {
        Self {
            name: None,
            nodes: 3,
            spares: 0,
            clients: 6,
            load_s: 6.0,
            kinds: Kinds::default(),
            setup: Vec::new(),
            sources: Rc::new(Vec::new()),
            staging: Staging::default(),
            invariants: Vec::new(),
            at_end: Vec::new(),
            faults: FaultsConfig::default(),
            swarm: None,
            adjust: Vec::new(),
            seeds: (1..=10).collect(),
        }
    }

    /// What the command that replays a seed calls the test, where the harness does not say: with `--test-threads=1` it does not.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// So many nodes from the first, each a replica: 1 to 31.
    #[must_use]
    pub fn nodes(mut self, nodes: usize) -> Self {
        self.nodes = nodes;
        self
    }

    /// So many nodes beside them that changes of the members may let join.
    #[must_use]
    pub fn spares(mut self, spares: usize) -> Self {
        self.spares = spares;
        self
    }

    /// So many clients, each with one call open at a time.
    #[must_use]
    pub fn clients(mut self, clients: usize) -> Self {
        self.clients = clients;
        self
    }

    /// For so many virtual seconds clients submit. Faults of a swarm lie between the first second and the last: give them 4 at least.
    #[must_use]
    pub fn seconds(mut self, seconds: impl Into<f64>) -> Self {
        self.load_s = seconds.into();
        self
    }

    /// A thunk that others [call](plimsoll::thunk::Evaluation::call); those of the workload and the set-up are known anyway.
    ///
    /// *Panics* where another type has its name and version; so do all that name a thunk.
    #[must_use]
    pub fn thunk<T: Thunk>(mut self) -> Self {
        self.kinds.add::<T>();
        self
    }

    /// A transaction that is submitted and answered before clients begin. Several are submitted in the order given. Invariants are
    /// asked from the last one on.
    #[must_use]
    pub fn setup<T: Thunk>(mut self, thunk: T) -> Self {
        self.kinds.add::<T>();
        self.setup.push(drawn(&thunk));
        self
    }

    /// What clients submit: given random numbers, the next transaction. Of several, each is asked as often as every other.
    ///
    /// *Given* a closure that draws from its argument and from nothing else; else a seed does not mean the same run twice.
    #[must_use]
    pub fn workload<T: Thunk>(self, draw: impl Fn(&mut Stream) -> T + 'static) -> Self {
        self.weighted(1, draw)
    }

    /// The same, asked `weight` times as often as one of weight 1.
    ///
    /// *Panics* where the weight is 0.
    #[must_use]
    pub fn weighted<T: Thunk>(mut self, weight: u32, draw: impl Fn(&mut Stream) -> T + 'static) -> Self {
        self.kinds.add::<T>();
        let draw = Draw::Thunk(Box::new(move |random| drawn(&draw(random))));
        self.asking(weight, draw)
    }

    /// A workload in [stages](plimsoll::client::staged): given random numbers, the next transaction's.
    ///
    /// *Given* a closure that draws from its argument and from nothing else, and gives stages, which may be run several times; they await what they
    /// read through their [`Stage`] and nothing else.
    ///
    /// ```
    /// use plimsoll::client::staged::Stage;
    /// use plimsoll::key::{Key, KeyRange};
    /// use plimsoll::thunk::Increment;
    /// use plimsoll::transaction::Abort;
    /// use plimsoll_sim::Kit;
    ///
    /// /// Counts in a key of its own, if nobody has; else in the one that all share.
    /// async fn count(stage: Stage, number: u64) -> Result<Increment, Abort> {
    ///     let own = Key::from(format!("counter-{number}").as_str());
    ///     let key = match stage.get(own.clone()).await {
    ///         None => own,
    ///         Some(_) => Key::from("all"),
    ///     };
    ///     Ok(Increment { key, amount: 1 })
    /// }
    ///
    /// let passed = Kit::new()
    ///     .staged(|random| {
    ///         let number = random.below(100);
    ///         move |stage| count(stage, number)
    ///     })
    ///     .invariant("own keys are counted in once", |state| {
    ///         let counters = state.range(&KeyRange::prefix(Key::from("counter-")));
    ///         let more = counters.into_iter().find(|(_, value)| value.as_bytes() != 1_i64.to_le_bytes());
    ///         more.map_or(Ok(()), |(key, _)| Err(format!("{key} was counted in again")))
    ///     })
    ///     .seeds(1..=2)
    ///     .run();
    /// assert!(passed.committed > 50);
    /// ```
    #[must_use]
    pub fn staged<T, F>(self, draw: impl Fn(&mut Stream) -> F + 'static) -> Self
    where
        T: Thunk,
        F: AsyncFn(Stage) -> Result<T, Abort> + 'static,
    {
        self.weighted_staged(1, draw)
    }

    /// The same, asked `weight` times as often as a workload of weight 1.
    ///
    /// *Panics* where the weight is 0.
    #[must_use]
    pub fn weighted_staged<T, F>(mut self, weight: u32, draw: impl Fn(&mut Stream) -> F + 'static) -> Self
    where
        T: Thunk,
        F: AsyncFn(Stage) -> Result<T, Abort> + 'static,
    {
        self.kinds.add::<T>();
        self.asking(weight, Draw::stages(draw))
    }

    /// How staged transactions go about it. One that is stale in all of its runs has aborted.
    #[must_use]
    pub fn staging(mut self, staging: Staging) -> Self {
        self.staging = staging;
        self
    }

    fn asking(mut self, weight: u32, draw: Draw) -> Self {
        assert!(weight > 0, "a workload of weight 0 is never asked");
        let weight = u64::from(weight);
        let sources = Rc::get_mut(&mut self.sources).expect("nobody else holds the sources before a run");
        sources.push(Source { weight, draw });
        self
    }

    /// A rule that holds at every moment: it is asked of every snapshot that a client reads, of every replica in the end, and behind every
    /// transaction of the replay, so that the first one that breaks it is named.
    ///
    /// *Given* what says why it is broken, by an error or a panic.
    #[must_use]
    pub fn invariant(mut self, name: &'static str, holds: impl Fn(&State<'_>) -> Result<(), String> + 'static) -> Self {
        let holds = Box::new(holds);
        self.invariants.push(Invariant { name, holds });
        self
    }

    /// A rule about what clients were told and what is there in the end, as a strict read sees it.
    #[must_use]
    pub fn at_end(
        mut self,
        name: &'static str,
        holds: impl Fn(&State<'_>, &Told<'_>) -> Result<(), String> + 'static,
    ) -> Self {
        let holds = Box::new(holds);
        self.at_end.push(AtEnd { name, holds });
        self
    }

    /// Each seed draws its own faults, of all classes and within what a cluster is promised to survive.
    #[must_use]
    pub fn swarm_faults(self) -> Self {
        self.swarm(SwarmConfig::default())
    }

    /// Each seed draws its own faults, of these classes.
    #[must_use]
    pub fn swarm(mut self, swarm: SwarmConfig) -> Self {
        self.swarm = Some(swarm);
        self
    }

    /// These faults, the same with every seed; those that a swarm draws come on top.
    #[must_use]
    pub fn faults(mut self, faults: FaultsConfig) -> Self {
        self.faults = faults;
        self
    }

    /// Changes anything else of the scenario: delays, clocks, disks, what clients do about unknown ends.
    #[must_use]
    pub fn scenario(mut self, adjust: impl Fn(&mut Scenario) + 'static) -> Self {
        self.adjust.push(Box::new(adjust));
        self
    }

    /// The seeds that are run, unless `PLIMSOLL_SEED` in the environment names one.
    #[must_use]
    pub fn seeds(mut self, seeds: impl IntoIterator<Item = u64>) -> Self {
        self.seeds = seeds.into_iter().collect();
        self
    }

    /// Runs every seed.
    ///
    /// *Gives* what they came to together.
    ///
    /// *Panics* at the first seed with which a check fails: with what failed, the faults that it takes, and the command that replays it; and where the kit
    /// cannot be run.
    #[track_caller]
    pub fn run(&self) -> Passed {
        match self.check() {
            Ok(passed) => passed,
            Err(failed) => panic!("{failed}"),
        }
    }

    /// Runs every seed; the first one twice, as two runs of one seed must be the same.
    ///
    /// *Errors* with the first seed with which a check fails.
    ///
    /// *Panics* where the kit cannot be run: without workload, client or seed, with a scenario that is none, or a `PLIMSOLL_SEED` that is no number.
    #[track_caller]
    pub fn check(&self) -> Result<Passed, Box<Failed>> {
        assert!(
            !self.sources.is_empty(),
            "a kit without a workload: say what clients submit"
        );
        assert!(!self.seeds.is_empty(), "a kit without seeds runs nothing");
        let asked = failure::seed_asked_for();
        let seeds = asked.map_or_else(|| self.seeds.clone(), |seed| vec![seed]);
        let mut passed = Passed::default();
        for (place, seed) in seeds.iter().enumerate() {
            let scenario = swarm::draw(&self.undrawn(), *seed);
            let run = self.judged(&scenario, *seed);
            let mut failures = run.failures();
            if failures.is_empty() && place == 0 {
                failures.extend(differs(&run, &self.judged(&scenario, *seed)));
            }
            if !failures.is_empty() {
                return Err(Box::new(self.failed(&scenario, *seed, failures, &run.trace)));
            }
            if asked.is_some()
                && let Some(path) = failure::write_trace(*seed, self.test().as_deref(), &run.trace)
            {
                eprintln!("seed {seed} passed; everything that happened: {}", path.display());
            }
            passed.add(*seed, run);
        }
        Ok(passed)
    }

    fn test(&self) -> Option<String> {
        self.name.clone().or_else(failure::test_name)
    }

    /// The scenario of all seeds.
    fn undrawn(&self) -> Scenario {
        let node = "{ region = \"here\" }";
        let spare = "{ region = \"here\", is_spare = true }";
        let nodes: Vec<&str> = [vec![node; self.nodes], vec![spare; self.spares]].concat();
        // A round trip of 20 ms: enough for transactions to be under way side by side, and few enough ticks to be quick.
        let text = format!(
            "[world]
            regions = [\"here\"]
            node = [{}]
            rtt_ms = {{ here = {{ here = 20.0 }} }}
            load_s = {:?}
            invariants = \"full\"
            [world.profile]
            suspect_after_ms = 800
            [workload]
            clients_per_region = {}
            arrivals = {{ closed = {{ think_ms = 50 }} }}
            strict_reads = {LOOKS}
            snapshot_reads = {LOOKS}
            after_reads = {LOOKS}
            deadline_ms = 3000
            retry = 0.5
            resolve = 0.4
            status = 0.1
            double_submit = 0.05",
            nodes.join(", "),
            self.load_s,
            self.clients,
        );
        let scenario = Scenario::parse("the kit", &text, &[]);
        let mut scenario = scenario.unwrap_or_else(|error| panic!("the kit cannot be run: {error}"));
        scenario.faults = self.faults.clone();
        scenario.swarm.clone_from(&self.swarm);
        for adjust in &self.adjust {
            adjust(&mut scenario);
        }
        if let Err(problems) = scenario.check() {
            panic!("the kit cannot be run: {}", in_words(&problems));
        }
        scenario
    }

    /// One run with all verdicts. A panic in it is one that failed.
    fn judged(&self, scenario: &Scenario, seed: u64) -> SeedRun {
        let run = catch_unwind(AssertUnwindSafe(|| self.simulate(scenario, seed)));
        match run {
            Ok(Ok(run)) => run,
            Ok(Err(problems)) => panic!("the kit cannot be run with seed {seed}: {}", in_words(&problems)),
            Err(panic) => SeedRun::of_panic(panic_in_words(&*panic)),
        }
    }

    fn failed(&self, scenario: &Scenario, seed: u64, checks: Vec<(String, String)>, trace: &str) -> Failed {
        let first = &checks[0].0;
        let mut fails = |smaller: &Scenario| {
            let failures = self.judged(smaller, seed).failures();
            failures.iter().any(|(name, _)| name == first)
        };
        let smaller = match scenario.faults.count() {
            0 => scenario.clone(),
            _ => shrink_faults(scenario, SHRINK_RUNS_MAX, &mut fails),
        };
        let test = self.test();
        Failed {
            seed,
            faults: smaller.faults,
            faults_drawn: scenario.faults.count(),
            trace: failure::write_trace(seed, test.as_deref(), trace),
            replay: failure::replay(seed, test.as_deref()),
            checks,
        }
    }
}

/// *Panics* where serde refuses, which is for the author of the thunk to know of.
fn drawn<T: Thunk>(thunk: &T) -> Drawn {
    let arguments = arguments(thunk);
    Drawn {
        name: T::NAME,
        thunk: ThunkId::of::<T>(),
        arguments: arguments.unwrap_or_else(|error| panic!("{} cannot be encoded: {error}", T::NAME)),
    }
}

fn in_words(problems: &[Problem]) -> String {
    let each: Vec<String> = problems
        .iter()
        .map(|problem| format!("{}: {}", problem.key, problem.message))
        .collect();
    each.join("; ")
}

/// In what two runs of one seed differ.
fn differs(first: &SeedRun, second: &SeedRun) -> Option<(String, String)> {
    (first.trace_hash != second.trace_hash).then(|| {
        let why = format!(
            "two runs of this seed differ (traces {:016x} and {:016x}): a thunk, or a closure of the workload, depends on more than its \
             arguments, its reads and the random numbers that it is given",
            first.trace_hash, second.trace_hash
        );
        ("same-twice".to_owned(), why)
    })
}

impl SeedRun {
    fn of_panic(message: String) -> Self {
        let violation = crate::check::Violation::new("panic", message, Vec::new());
        Self {
            trace_hash: 0,
            virtual_us: 0,
            committed: 0,
            reruns: 0,
            runs_max: 0,
            faults: Default::default(),
            verdicts: vec![("panic".to_owned(), Verdict::Fail(vec![violation]))],
            trace: String::new(),
        }
    }
}

impl Passed {
    fn add(&mut self, seed: u64, run: SeedRun) {
        self.seeds += 1;
        self.virtual_seconds += run.virtual_us as f64 / 1e6;
        self.committed += run.committed;
        self.reruns += run.reruns;
        self.runs_max = self.runs_max.max(run.runs_max);
        for (kind, times) in run.faults {
            *self.faults.entry(kind).or_default() += times;
        }
        for (name, verdict) in run.verdicts {
            if let Verdict::Unknown { why, .. } = verdict {
                self.undecided.push(format!("{name} of seed {seed}: {why}"));
            }
        }
    }
}
