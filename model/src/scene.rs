//! Where a search begins: states that a script leads to, so that what takes many steps is searched from close by.

use clap::ValueEnum;

use crate::action::Action;
use crate::settings::{Disk, Settings};
use crate::state::{Spent, State};
use crate::step;

/// A state to begin from. All but the first are of three nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Scene {
    /// All nodes have started; nothing is in flight.
    Genesis,
    /// A transaction of n1 is answered; n3 has promised beyond it and has not got it.
    Answered,
    /// A transaction of n1 is on its disk; n2 and n3 have promised beyond it, and have it, but not on their disks; n2 has
    /// begun to end the epoch without n1.
    Promised,
    /// n2 and n3 have gone on to another epoch without n1, which does not know.
    Parted,
}

/// One line of a script.
enum Line {
    Do(Action),
    /// The newest frame of a link arrives.
    Newest(usize, usize),
    /// The oldest one arrives after a silence at the receiver.
    OldestLate(usize, usize),
    /// Everything in flight is lost.
    Lose,
}

use Action::{Submit, Sync};
use Line::{Do, Lose, Newest, OldestLate};

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
                OldestLate(N3, N2),
            ],
            Self::Parted => &[
                Do(Submit(N3)),
                Newest(N3, N1),
                // So that the next epoch starts above all that n1 has promised.
                Newest(N1, N3),
                OldestLate(N3, N2),
                // All of n3's stream up to the cut, of which n1 will hear nothing.
                Newest(N3, N1),
                Newest(N2, N3),
                Newest(N3, N2),
                Newest(N2, N3),
                Newest(N3, N2),
                // What n2 lacks up to the cut; it votes, and that decides.
                Newest(N1, N2),
                Newest(N2, N3),
                Lose,
            ],
        }
    }

    /// Whether the scene can be played with these settings.
    ///
    /// *Errors*: what to set otherwise.
    pub fn check(self, settings: &Settings) -> Result<(), &'static str> {
        match self {
            Self::Genesis => Ok(()),
            _ if settings.nodes != 3 => Err("this scene is of three nodes: add --nodes 3"),
            Self::Promised if settings.disk != Disk::Slow => Err("this scene is of slow disks: add --disk slow"),
            Self::Parted if settings.disk != Disk::Instant => Err("this scene is of instant disks: add --disk instant"),
            _ => Ok(()),
        }
    }

    /// The state that the script leads to. The bounds count from there.
    ///
    /// *Panics* when the settings do not fit, or when the script breaks a property: then there is nothing to search from.
    pub fn state(self, settings: &Settings) -> State {
        assert_eq!(self.check(settings), Ok(()), "the scene {self:?} does not fit");
        let mut state = step::genesis(settings);
        for line in self.script() {
            let action = match *line {
                Do(action) => action,
                Newest(from, to) => Action::deliver(from, to, newest(&state, from, to)),
                OldestLate(from, to) => Action::deliver_late(from, to, 0),
                Lose => {
                    state.lose_frames();
                    continue;
                }
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
