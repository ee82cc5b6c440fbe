//! The search itself: the model as `stateright` wants it, and what it found.
//!
//! One thread goes breadth first, so every state is first reached on a shortest way: the bound on the depth cuts nothing off that
//! a shorter way leads to, and the first counterexample is a shortest one.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use stateright::{Checker, HasDiscoveries, Model, Path, Property};

use crate::action::{self, Action};
use crate::property::{Invariant, Milestone};
use crate::settings::Settings;
use crate::state::State;
use crate::step;

/// The model, and what is counted while it is searched.
pub struct Cluster {
    settings: Settings,
    /// The properties that were found broken or reached: only the first finding of each counts, as it is the nearest.
    found: AtomicU32,
    /// States whose successors were asked for.
    expanded: AtomicUsize,
    /// Something could have happened beyond the depth.
    is_cut: AtomicBool,
}

/// What a search came to.
#[derive(Clone, Debug)]
pub struct Found {
    /// Different states.
    pub unique: usize,
    /// States generated, equal ones too.
    pub total: usize,
    /// Actions to the farthest state.
    pub depth: usize,
    /// Every state within the depth was looked at.
    pub is_exhaustive: bool,
    /// There was nothing beyond the depth: the bounds other than the depth end the search by themselves.
    pub is_whole: bool,
    /// The broken properties, each with a shortest way there.
    pub broken: Vec<(Invariant, Trace)>,
    /// What was seen to happen, and after how many actions at least.
    pub reached: Vec<(Milestone, usize)>,
}

/// A way to a state: the state before, and the action that left it; the last one without.
pub type Trace = Vec<(State, Option<Action>)>;

/// Searches everything within the bounds; ends early when a property is broken.
pub fn search(settings: &Settings) -> Found {
    let cluster = Cluster {
        settings: settings.clone(),
        found: AtomicU32::new(0),
        expanded: AtomicUsize::new(0),
        is_cut: AtomicBool::new(false),
    };
    let checker = cluster
        .checker()
        .threads(1)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    // Before the ways are followed once more, which counts too.
    let is_exhaustive = checker.model().expanded.load(Ordering::Relaxed) == checker.unique_state_count();
    let is_cut = checker.model().is_cut.load(Ordering::Relaxed);
    let discoveries = checker.discoveries();
    let steps = |path: &Path<State, Action>| path.clone().into_vec();
    let broken = Invariant::ALL
        .into_iter()
        .filter_map(|invariant| Some((invariant, steps(discoveries.get(invariant.name())?))));
    let reached = Milestone::ALL
        .into_iter()
        .filter_map(|milestone| Some((milestone, steps(discoveries.get(milestone.name())?).len() - 1)));
    Found {
        unique: checker.unique_state_count(),
        total: checker.state_count(),
        depth: checker.max_depth().saturating_sub(1),
        is_exhaustive,
        is_whole: is_exhaustive && !is_cut,
        broken: broken.collect(),
        reached: reached.collect(),
    }
}

impl Model for Cluster {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![self.settings.scene.state(&self.settings)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.expanded.fetch_add(1, Ordering::Relaxed);
        if state.broken.is_empty() && state.depth < self.settings.depth {
            action::possible(&self.settings, state, actions);
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let next = step::after(&self.settings, state, action);
        if !next.broken.is_empty() || next.depth < self.settings.depth {
            return Some(next);
        }
        if !self.is_cut.load(Ordering::Relaxed) {
            let mut beyond = Vec::new();
            action::possible(&self.settings, &next, &mut beyond);
            self.is_cut.store(!beyond.is_empty(), Ordering::Relaxed);
        }
        Some(next.strip())
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            always::<{ Invariant::Prefix as usize }>(),
            always::<{ Invariant::Promise as usize }>(),
            always::<{ Invariant::Stable as usize }>(),
            always::<{ Invariant::Cut as usize }>(),
            always::<{ Invariant::OneDecree as usize }>(),
            always::<{ Invariant::Order as usize }>(),
            always::<{ Invariant::Agreement as usize }>(),
            always::<{ Invariant::Durability as usize }>(),
            always::<{ Invariant::RealTime as usize }>(),
            always::<{ Invariant::StrictRead as usize }>(),
            always::<{ Invariant::Monotone as usize }>(),
            always::<{ Invariant::Complete as usize }>(),
            always::<{ Invariant::Sound as usize }>(),
        ];
        properties.extend([
            sometimes::<{ Milestone::Answered as usize }>(),
            sometimes::<{ Milestone::EpochChanged as usize }>(),
            sometimes::<{ Milestone::Reissued as usize }>(),
            sometimes::<{ Milestone::Inherited as usize }>(),
            sometimes::<{ Milestone::ReadAgain as usize }>(),
            sometimes::<{ Milestone::ReadAnswered as usize }>(),
            sometimes::<{ Milestone::RestartedVotes as usize }>(),
        ]);
        assert_eq!(properties.len(), Invariant::ALL.len() + Milestone::ALL.len());
        properties
    }
}

impl Cluster {
    /// Whether the property with this number is found for the first time.
    fn is_first(&self, number: usize) -> bool {
        self.found.fetch_or(1 << number, Ordering::Relaxed) & (1 << number) == 0
    }
}

fn always<const NUMBER: usize>() -> Property<Cluster> {
    Property::always(Invariant::ALL[NUMBER].name(), |model: &Cluster, state: &State| {
        !(state.broken.has(Invariant::ALL[NUMBER]) && model.is_first(NUMBER))
    })
}

fn sometimes<const NUMBER: usize>() -> Property<Cluster> {
    Property::sometimes(Milestone::ALL[NUMBER].name(), |model: &Cluster, state: &State| {
        state.reached.has(Milestone::ALL[NUMBER]) && model.is_first(Invariant::ALL.len() + NUMBER)
    })
}
