//! What a kit that failed says: which seed, what failed, which faults it takes, where the trace is, and the command that runs it again.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::scenario::FaultsConfig;

/// The environment variable that chooses one seed.
pub(super) const SEED_VARIABLE: &str = "PLIMSOLL_SEED";

/// A seed with which a check failed.
#[derive(Clone, Debug, PartialEq)]
pub struct Failed {
    /// The seed.
    pub seed: u64,
    /// Each check that failed, by its name, and why: the user's own, or one of the simulator's.
    pub checks: Vec<(String, String)>,
    /// The faults that are left when everything has been taken away without which it fails all the same.
    pub faults: FaultsConfig,
    /// How many faults the seed had drawn.
    pub faults_drawn: usize,
    /// Where everything that happened was written; absent where it could not be.
    pub trace: Option<PathBuf>,
    /// The command that runs this seed again.
    pub replay: String,
}

/// What seeds without a failure came to together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Passed {
    /// How many seeds were run.
    pub seeds: u64,
    /// Virtual time of all runs together, in seconds.
    pub virtual_seconds: f64,
    /// Transactions that clients were told have committed, without those of the set-up.
    pub committed: u64,
    /// How often stages were run again because what they had read had changed.
    pub reruns: u64,
    /// How often the stages of one transaction were run at most.
    pub runs_max: u32,
    /// How often each kind of fault really happened.
    pub faults: std::collections::BTreeMap<String, u64>,
    /// Checks that could not decide, with the seed and why.
    pub undecided: Vec<String>,
}

impl std::error::Error for Failed {}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.checks.iter().map(|(name, _)| &name[..]).collect();
        writeln!(f, "seed {} failed: {}", self.seed, names.join(", "))?;
        for (name, why) in &self.checks {
            writeln!(f, "\n{name}: {why}")?;
        }
        match (self.faults_drawn, self.faults.count()) {
            (0, _) => writeln!(f, "\nno fault was drawn")?,
            (drawn, 0) => writeln!(f, "\nit fails without any of the {drawn} faults of the seed")?,
            (drawn, left) => {
                writeln!(f, "\nof the {drawn} faults of the seed {left} are needed:")?;
                let table = toml::to_string(&self.faults).unwrap_or_else(|_| format!("{:?}", self.faults));
                // What is left at nothing says nothing.
                let silent = ["= 0.0", "= false", "= []"];
                for line in table
                    .lines()
                    .filter(|line| !silent.iter().any(|end| line.ends_with(end)))
                {
                    writeln!(f, "  {line}")?;
                }
            }
        }
        if let Some(trace) = &self.trace {
            writeln!(f, "\neverything that happened: {}", trace.display())?;
        }
        write!(f, "\nreplay with:\n  {}", self.replay)
    }
}

/// The seed that the environment asks for.
///
/// *Panics* where what it asks for is no number.
pub(super) fn seed_asked_for() -> Option<u64> {
    let text = std::env::var(SEED_VARIABLE).ok()?;
    match text.trim().parse() {
        Ok(seed) => Some(seed),
        Err(_) => panic!("{SEED_VARIABLE} is {text:?}: set it to one seed, a number, or not at all"),
    }
}

/// The name of the test that runs, if it has one: the test harness names threads after tests.
pub(super) fn test_name() -> Option<String> {
    let thread = std::thread::current();
    thread.name().filter(|name| *name != "main").map(ToOwned::to_owned)
}

/// The command that runs `seed` again.
pub(super) fn replay(seed: u64, test: Option<&str>) -> String {
    match test {
        Some(test) => {
            let package = std::env::var("CARGO_PKG_NAME").map_or_else(|_| String::new(), |name| format!(" -p {name}"));
            format!("{SEED_VARIABLE}={seed} cargo test{package} {test} -- --exact --nocapture")
        }
        None => {
            let arguments: Vec<String> = std::env::args().collect();
            format!("{SEED_VARIABLE}={seed} {}", arguments.join(" "))
        }
    }
}

/// Writes a trace to the folder of temporary files. *Gives* where; none where it could not be written.
pub(super) fn write_trace(seed: u64, test: Option<&str>, trace: &str) -> Option<PathBuf> {
    let name: String = test.unwrap_or("run").replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let path = Path::new(&std::env::temp_dir()).join(format!("plimsoll-{name}-seed-{seed}.txt"));
    std::fs::write(&path, trace).is_ok().then_some(path)
}
