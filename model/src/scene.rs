//! Where a search begins: states that a script leads to, so that what takes many steps is searched from close by.

use clap::ValueEnum;

use crate::action::Action;
use crate::settings::Settings;
use crate::state::{Spent, State};
use crate::step;

/// A state to begin from. All but the first are of three nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Scene {
    /// All nodes have started; nothing is in flight.
    Genesis,
    /// A transaction of n1 is answered; n3 has promised beyond it and has not got it.
    Answered,
    /// A transaction of n1 is on its disk; n2 and n3 have promised beyond it, and have it but not on their disks (if they are slow).
    Promised,
    /// n2 and n3 have gone on to another epoch without n1, which does not know.
    Parted,
}

/// One line of a script.
enum Line {
    Do(Action),
    /// The newest frame of a link arrives.
    Newest(usize, usize),
    /// The same, after a silence at the receiver.
    NewestLate(usize, usize),
}

use Action::{Submit, Sync};
use Line::{Do, Newest, NewestLate};

const N1: usize = 0;
const N2: usize = 1;
const N3: usize = 2;

impl Scene {
    fn script(self) -> &'static [Line] {
        match self {
            Self::Genesis => &[],
            Self::Answered => &[
                Do(Submit(N1)),
                Newest(N1, N2),
                Do(Sync(N1)),
                Do(Sync(N2)),
                Newest(N2, N1),
                // Another transaction tells n3 of the time, and not of the first one.
                Do(Submit(N2)),
                Newest(N2, N3),
                Newest(N3, N1),
                Do(Sync(N2)),
                Do(Sync(N3)),
            ],
            Self::Promised => &[
                Do(Submit(N1)),
                Newest(N1, N2),
                Newest(N1, N3),
                Newest(N2, N1),
                Newest(N3, N1),
                Do(Sync(N1)),
            ],
            Self::Parted => &[
                Do(Submit(N3)),
                Newest(N3, N1),
                NewestLate(N3, N2),
                Do(Sync(N2)),
                Newest(N2, N3),
                Do(Sync(N3)),
                Newest(N3, N2),
                Newest(N2, N3),
                Do(Sync(N2)),
                Do(Sync(N3)),
                Newest(N3, N2),
                Do(Sync(N2)),
                Newest(N2, N3),
                Do(Sync(N3)),
            ],
        }
    }

    /// The state that the script leads to. The bounds count from there.
    ///
    /// *Panics* when the script does not fit the settings, or breaks a property: then there is nothing to search from.
    pub fn state(self, settings: &Settings) -> State {
        assert!(
            self == Self::Genesis || settings.nodes == 3,
            "the scene {self:?} is of three nodes"
        );
        let mut state = step::genesis(settings);
        for line in self.script() {
            let action = match *line {
                Do(action) => action,
                Newest(from, to) => Action::deliver(from, to, newest(&state, from, to)),
                NewestLate(from, to) => Action::deliver_late(from, to, newest(&state, from, to)),
            };
            state = step::after(settings, &state, action);
            assert!(
                state.broken.is_empty(),
                "{} is broken on the way to the scene {self:?}",
                state.broken
            );
        }
        state.spent = Spent::default();
        state.depth = 0;
        state.seal()
    }
}

fn newest(state: &State, from: usize, to: usize) -> usize {
    let newest = state.link(from, to).len().checked_sub(1);
    newest.expect("a script delivers only what is in flight")
}
