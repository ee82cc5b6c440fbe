//! A failing scenario made smaller: delta debugging over its faults, then over its load.
//!
//! Realises the shrinking of section 8 of the design. A change is kept if the run still fails by the same check. Every run uses
//! the seed of the failure, so what is found is replayed with it. What is within the [budget] stays within it: else what is found would be that a cluster
//! does not survive what it need not.

use crate::run::run;
use crate::scenario::{Arrivals, FaultsConfig, Scenario};
use crate::swarm::budget;

/// The most runs that are made.
const RUNS_MAX: usize = 250;

/// A smaller scenario that fails as the first one did.
#[derive(Clone, Debug, PartialEq)]
pub struct Shrunk {
    /// The scenario, without a swarm.
    pub scenario: Scenario,
    /// The check that fails.
    pub check: String,
    /// How many runs it took.
    pub runs: usize,
}

/// Makes `scenario` smaller. *Gives* none if it does not fail with this seed.
///
/// *Given* a concrete scenario, see [`draw`](crate::swarm::draw).
pub fn shrink(scenario: &Scenario, seed: u64) -> Option<Shrunk> {
    let check = failing_check(scenario, seed)?;
    let mut fails = |smaller: &Scenario| failing_check(smaller, seed).as_ref() == Some(&check);
    let mut shrinker = Shrinker::new(scenario, RUNS_MAX, &mut fails);
    shrinker.runs = 1;
    shrinker.drop_faults();
    shrinker.quieten();
    shrinker.lighten();
    shrinker.drop_faults();
    Some(Shrunk {
        scenario: shrinker.scenario,
        runs: shrinker.runs,
        check,
    })
}

/// The same of the faults alone, with at most so many runs.
///
/// *Given* a scenario that fails, and what says whether another one fails alike.
pub fn shrink_faults(scenario: &Scenario, runs_max: usize, fails: &mut dyn FnMut(&Scenario) -> bool) -> Scenario {
    let mut shrinker = Shrinker::new(scenario, runs_max, fails);
    // Most mistakes of a thunk need no fault at all.
    let mut calm = scenario.clone();
    let FaultsConfig {
        beyond_budget, planted, ..
    } = scenario.faults;
    calm.faults = FaultsConfig {
        beyond_budget,
        planted,
        ..FaultsConfig::default()
    };
    if !shrinker.attempt(calm) {
        shrinker.drop_faults();
        shrinker.quieten();
    }
    shrinker.scenario
}

/// The first check that fails.
fn failing_check(scenario: &Scenario, seed: u64) -> Option<String> {
    let finished = run("shrinking", scenario, seed, &mut |_| {}).ok()?;
    let first = finished.report.violations.first()?;
    Some(first.check.clone())
}

struct Shrinker<'a> {
    scenario: Scenario,
    fails: &'a mut dyn FnMut(&Scenario) -> bool,
    /// Whether the scenario is within the budget.
    is_within: bool,
    runs: usize,
    runs_max: usize,
}

impl<'a> Shrinker<'a> {
    fn new(scenario: &Scenario, runs_max: usize, fails: &'a mut dyn FnMut(&Scenario) -> bool) -> Self {
        Self {
            scenario: scenario.clone(),
            fails,
            is_within: budget::check(scenario).is_ok(),
            runs: 0,
            runs_max,
        }
    }

    /// Takes `smaller` if it still fails. *Gives* whether it does.
    fn attempt(&mut self, smaller: Scenario) -> bool {
        let is_beyond = self.is_within && budget::check(&smaller).is_err();
        if self.runs >= self.runs_max || smaller == self.scenario || is_beyond {
            return false;
        }
        self.runs += 1;
        let fails = (self.fails)(&smaller);
        if fails {
            self.scenario = smaller;
        }
        fails
    }

    /// Leaves out ever smaller parts of the list of faults.
    fn drop_faults(&mut self) {
        let mut size = listed(&self.scenario.faults).div_ceil(2);
        while size > 0 {
            let mut begin = 0;
            while begin < listed(&self.scenario.faults) {
                let mut smaller = self.scenario.clone();
                leave_out(&mut smaller.faults, begin, begin + size);
                if !self.attempt(smaller) {
                    begin += size;
                }
            }
            size /= 2;
        }
    }

    /// Turns off what befalls every frame.
    fn quieten(&mut self) {
        let offs: [fn(&mut Scenario); 8] = [
            |scenario| scenario.faults.loss = 0.0,
            |scenario| scenario.faults.duplicate = 0.0,
            |scenario| scenario.faults.reorder = 0.0,
            |scenario| scenario.faults.late = 0.0,
            |scenario| scenario.world.network.jitter_ms = 0.0,
            |scenario| scenario.world.clock.offset_ms_max = 0.0,
            |scenario| scenario.world.clock.drift_ppm_max = 0.0,
            |scenario| {
                scenario.workload.retry = 0.0;
                scenario.workload.resolve = 0.0;
                scenario.workload.status = 0.0;
                scenario.workload.double_submit = 0.0;
            },
        ];
        for off in offs {
            let mut smaller = self.scenario.clone();
            off(&mut smaller);
            self.attempt(smaller);
        }
    }

    /// Fewer clients, slower ones, a shorter load.
    fn lighten(&mut self) {
        let lighter: [fn(&mut Scenario); 4] = [
            |scenario| scenario.workload.clients_per_region = scenario.workload.clients_per_region.div_ceil(2),
            |scenario| {
                if let Arrivals::Closed { think_ms } = &mut scenario.workload.arrivals {
                    *think_ms = (*think_ms * 2.0).min(2_000.0);
                }
            },
            |scenario| scenario.workload.keys = scenario.workload.keys.div_ceil(2),
            |scenario| {
                // A window of the faults may not outlive its own beginning; the faults keep their moments.
                scenario.world.load_s = (scenario.world.load_s * 0.8).max(scenario.world.warm_up_s + 0.5);
            },
        ];
        for step in lighter {
            for _ in 0..6 {
                let mut smaller = self.scenario.clone();
                step(&mut smaller);
                if !self.attempt(smaller) {
                    break;
                }
            }
        }
    }
}

/// How many faults stand in lists.
fn listed(faults: &FaultsConfig) -> usize {
    faults.cut.len()
        + faults.crash.len()
        + faults.lose_disk.len()
        + faults.disk.len()
        + faults.pause.len()
        + faults.slow.len()
        + faults.clock_step.len()
        + faults.change.len()
}

/// Leaves out the faults with these numbers, counted through all lists.
fn leave_out(faults: &mut FaultsConfig, begin: usize, end: usize) {
    let mut number = 0;
    let mut stays = || {
        number += 1;
        !(begin..end).contains(&(number - 1))
    };
    faults.cut.retain(|_| stays());
    faults.crash.retain(|_| stays());
    faults.lose_disk.retain(|_| stays());
    faults.disk.retain(|_| stays());
    faults.pause.retain(|_| stays());
    faults.slow.retain(|_| stays());
    faults.clock_step.retain(|_| stays());
    faults.change.retain(|_| stays());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundled;

    #[test]
    fn what_does_not_matter_is_left_out_and_what_is_left_still_fails() {
        let settings = [
            "world.load_s=6",
            "world.warm_up_s=0.5",
            "world.drain_s=5",
            "faults.planted=\"other-order\"",
            "faults.crash=[{place=5,at_s=2,restart_after_s=1},{place=4,at_s=4}]",
            "faults.pause=[{place=3,at_s=3,for_s=1}]",
            "faults.loss=0.05",
        ];
        let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let scenario = bundled::load("crash", &settings).unwrap();
        let shrunk = shrink(&scenario, 1).expect("a planted bug fails");
        assert_eq!(listed(&shrunk.scenario.faults), 0, "{:?}", shrunk.scenario.faults);
        assert!(shrunk.scenario.world.load_s < 6.0);
        let text = toml::to_string(&shrunk.scenario).unwrap();
        let read = Scenario::parse("shrunk.toml", &text, &[]).unwrap();
        assert_eq!(read, shrunk.scenario);
        assert_eq!(failing_check(&read, 1), Some(shrunk.check));
    }

    #[test]
    fn a_scenario_that_passes_is_not_shrunk() {
        let settings = [
            "world.load_s=2".to_owned(),
            "world.warm_up_s=0".to_owned(),
            "faults.crash=[]".to_owned(),
        ];
        assert_eq!(shrink(&bundled::load("crash", &settings).unwrap(), 1), None);
    }
}
