//! Scenarios: what a run is, as a TOML file says it.
//!
//! Three blocks: `[world]` (regions, nodes, delays, clocks, costs), `[workload]` (what the clients do) and `[faults]`. Unknown
//! keys are refused, every duration has its unit in its name, and settings given beside the file go before it. A scenario says
//! nothing of the seed: the same one is run with many.

mod faults;
mod problem;
mod source;
mod swarm;
mod validate;
mod workload;
mod world;

use std::path::Path;

use serde::{Deserialize, Serialize};

pub use faults::{
    ChangeConfig, ClockStepConfig, CrashConfig, CutConfig, DiskFault, DiskFaultConfig, FaultsConfig, LoseDiskConfig,
    PauseConfig, Place, Planted, SlowConfig, SlowPart,
};
pub use problem::{Problem, ScenarioError};
pub use swarm::{FaultClass, SwarmConfig, SwarmMode};
pub use workload::{Arrivals, CounterMode, Distribution, WorkloadConfig, WorkloadKind};
pub use world::{
    ClockConfig, CpuConfig, DelayTable, DiskConfig, InvariantsConfig, NetworkConfig, NodePlace, ProfileBase,
    ProfileConfig, WorldConfig,
};

use crate::topology::Topology;

/// What a run is.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What the scenario shows, in a sentence.
    #[serde(default)]
    pub description: String,
    /// Where the nodes are and what they are made of.
    pub world: WorldConfig,
    /// What the clients do.
    #[serde(default)]
    pub workload: WorkloadConfig,
    /// What goes wrong.
    #[serde(default)]
    pub faults: FaultsConfig,
    /// What each seed draws for itself; absent: nothing.
    pub swarm: Option<SwarmConfig>,
}

impl Scenario {
    /// The scenario in a file.
    ///
    /// *Given* settings `key.path=value` that go before what the file says.
    ///
    /// *Errors* when the file cannot be read or is no sound scenario: see [`Scenario::parse`].
    pub fn load(path: &Path, settings: &[String]) -> Result<Self, ScenarioError> {
        let file = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&file, &text, settings),
            Err(error) => Err(ScenarioError {
                problems: vec![Problem {
                    line: None,
                    key: String::new(),
                    message: format!("cannot be read: {error}"),
                }],
                file,
            }),
        }
    }

    /// The scenario in a text.
    ///
    /// *Given* the name of its file, for errors, and settings `key.path=value` that go before what the text says.
    ///
    /// *Errors* with the first syntax error or unknown key, or else with everything that [`Scenario::check`] finds.
    pub fn parse(file: &str, text: &str, settings: &[String]) -> Result<Self, ScenarioError> {
        let fail = |problems| ScenarioError {
            file: file.to_owned(),
            problems,
        };
        let scenario = deserialize(text, settings).map_err(|problem| fail(vec![problem]))?;
        scenario.check().map_err(|mut problems| {
            for problem in &mut problems {
                if is_set(settings, &problem.key) {
                    problem.message.push_str(" (given by a setting)");
                } else {
                    problem.line = source::line_of(text, &problem.key);
                }
            }
            fail(problems)
        })?;
        Ok(scenario)
    }

    /// The numbers of the nodes that are members of the first epoch, counted from 1.
    pub fn first_members(&self) -> Vec<u32> {
        let is_spare = |number: &u32| {
            self.world
                .node
                .get(*number as usize - 1)
                .is_some_and(|node| node.is_spare)
        };
        (1..=self.world.node_count())
            .filter(|number| !is_spare(number))
            .collect()
    }

    /// The numbers of the nodes that are not.
    pub fn spares(&self) -> Vec<u32> {
        let first = self.first_members();
        (1..=self.world.node_count())
            .filter(|number| !first.contains(number))
            .collect()
    }

    /// Whether the scenario can be run, and where its nodes are.
    ///
    /// *Errors* with every problem, each with its key but without a line.
    pub fn check(&self) -> Result<Topology, Vec<Problem>> {
        validate::validate(self)
    }
}

/// Without settings the text is read as it is, so that an error can say where in it.
fn deserialize(text: &str, settings: &[String]) -> Result<Scenario, Problem> {
    let in_file = |error: &toml::de::Error| Problem {
        line: error.span().map(|span| source::line_at(text, span.start)),
        key: String::new(),
        message: error.to_string().trim_end().to_owned(),
    };
    if settings.is_empty() {
        return toml::from_str(text).map_err(|error| in_file(&error));
    }
    let mut table: toml::Table = toml::from_str(text).map_err(|error| in_file(&error))?;
    for setting in settings {
        source::set(&mut table, setting).map_err(|message| Problem {
            line: None,
            key: String::new(),
            message,
        })?;
    }
    Scenario::deserialize(table).map_err(|error| match toml::from_str::<Scenario>(text) {
        Err(error) => in_file(&error),
        Ok(_) => Problem {
            line: None,
            key: String::new(),
            message: format!("with {}: {}", settings.join(" "), error.to_string().trim_end()),
        },
    })
}

fn is_set(settings: &[String], key: &str) -> bool {
    let mut paths = settings
        .iter()
        .filter_map(|setting| setting.split_once('='))
        .map(|(path, _)| path.trim());
    paths.any(|path| key == path || key.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

#[cfg(test)]
mod tests;
