//! Where a search begins: states that a script of actions leads to, so that what takes many steps is searched from close by.

use clap::ValueEnum;

use crate::action::Action;
use crate::settings::Settings;
use crate::state::{Spent, State};
use crate::step;

/// A state to begin from. All but the first take three nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Scene {
    /// All nodes have started; nothing is in flight.
    Genesis,
}

impl Scene {
    fn script(self) -> Vec<Action> {
        match self {
            Self::Genesis => Vec::new(),
        }
    }

    /// The state that the script leads to. The bounds count from there.
    ///
    /// *Panics* when the script does not fit the settings.
    pub fn state(self, settings: &Settings) -> State {
        let mut state = step::genesis(settings);
        for action in self.script() {
            state = step::after(settings, &state, action);
        }
        state.spent = Spent::default();
        state.depth = 0;
        state.seal()
    }
}
