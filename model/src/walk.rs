//! Random walks: far deeper than a search comes, and proof of nothing.
//!
//! A walk takes one of the possible actions after another until nothing can happen any more. Those that do not come to an end are
//! counted: there the nodes answer frames with frames for ever, with no time passing (`docs/model.md` says when).

use std::fmt;

use crate::action;
use crate::property::{Invariant, Milestone, Reached};
use crate::report::describe;
use crate::search::Trace;
use crate::settings::Settings;
use crate::step;

/// A walk that has not ended after so many actions is left.
pub const ACTIONS_MAX: usize = 1_000;

/// What came of some walks.
#[derive(Clone, Debug, Default)]
pub struct Walked {
    /// How many there were.
    pub walks: u64,
    /// Actions, of all walks.
    pub actions: usize,
    /// The longest walk.
    pub longest: usize,
    /// Walks that had not ended after [`ACTIONS_MAX`].
    pub endless: u64,
    /// In how many walks each of [`Milestone::ALL`] was reached.
    pub reached: [u64; Milestone::ALL.len()],
    /// The first walk that broke a property: its seed, and its way.
    pub failed: Option<(u64, Trace)>,
}

/// Walks with one seed after another; ends early when a property is broken.
pub fn walk(settings: &Settings, seeds: impl IntoIterator<Item = u64>) -> Walked {
    let mut walked = Walked::default();
    for seed in seeds {
        let trace = one(settings, seed);
        let (last, _) = trace.last().expect("a walk has a first state");
        walked.walks += 1;
        walked.actions += trace.len() - 1;
        walked.longest = walked.longest.max(trace.len() - 1);
        count(&mut walked.reached, last.reached);
        walked.endless += u64::from(trace.len() > ACTIONS_MAX);
        if !last.broken.is_empty() {
            walked.failed = Some((seed, trace));
            break;
        }
    }
    walked
}

fn one(settings: &Settings, seed: u64) -> Trace {
    let mut random = seed;
    let mut trace: Trace = Vec::new();
    let mut state = settings.scene.state(settings);
    let mut actions = Vec::new();
    while trace.len() <= ACTIONS_MAX && state.broken.is_empty() {
        actions.clear();
        action::possible(settings, &state, &mut actions);
        if actions.is_empty() {
            break;
        }
        let action = actions[(draw(&mut random) % actions.len() as u64) as usize];
        let next = step::after(settings, &state, action);
        trace.push((state, Some(action)));
        state = next;
    }
    trace.push((state, None));
    trace
}

fn count(counts: &mut [u64], reached: Reached) {
    for (count, milestone) in counts.iter_mut().zip(Milestone::ALL) {
        *count += u64::from(reached.has(milestone));
    }
}

/// The next number of SplitMix64.
fn draw(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Shows the figures, how often each milestone was reached, and the way of the walk that failed.
impl fmt::Display for Walked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} walks of {} actions in all, the longest of {}; {} did not end",
            self.walks, self.actions, self.longest, self.endless
        )?;
        for (milestone, count) in Milestone::ALL.iter().zip(self.reached) {
            writeln!(f, "  {:<42} in {count} walks", milestone.name())?;
        }
        let Some((seed, trace)) = &self.failed else {
            return writeln!(f, "  all {} properties hold", Invariant::ALL.len());
        };
        let broken = trace.last().map(|(last, _)| last.broken).unwrap_or_default();
        writeln!(f, "the walk with seed {seed} breaks {broken}:\n{}", describe(trace))
    }
}
