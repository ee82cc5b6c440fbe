//! The user's invariants, and every moment at which they are asked.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::seen::Sight;
use super::state::State;
use super::told::Told;

/// Entries that one run shows each invariant on the way, before it begins to leave out moments.
const ENTRIES_SHOWN: usize = 400_000;

/// What says why a state breaks a rule.
type Holds = Box<dyn Fn(&State<'_>) -> Result<(), String>>;

/// What says why the end breaks a rule.
type HoldsAtEnd = Box<dyn Fn(&State<'_>, &Told<'_>) -> Result<(), String>>;

/// A rule that holds at every moment.
pub(super) struct Invariant {
    pub(super) name: &'static str,
    pub(super) holds: Holds,
}

/// A rule about what clients were told and what is there in the end.
pub(super) struct AtEnd {
    pub(super) name: &'static str,
    pub(super) holds: HoldsAtEnd,
}

/// The invariants of one run: what broke each first.
pub(super) struct Invariants<'a> {
    invariants: &'a [Invariant],
    broken: Vec<Option<String>>,
    /// Transactions that were replayed, and of how many one is looked behind.
    replayed: u64,
    stride: u64,
    shown: usize,
    /// The last transaction behind which they held.
    held_after: Option<String>,
}

impl<'a> Invariants<'a> {
    pub(super) fn new(invariants: &'a [Invariant]) -> Self {
        Self {
            invariants,
            broken: vec![None; invariants.len()],
            replayed: 0,
            stride: 1,
            shown: 0,
            held_after: None,
        }
    }

    /// What the transactions so far come to. The one that breaks an invariant is named; where many entries make it dear, not every
    /// one is looked behind, and the last before is named too.
    pub(super) fn after_transaction(&mut self, state: &State<'_>, told: impl FnOnce() -> String) {
        self.replayed += 1;
        if self.invariants.is_empty() || !self.replayed.is_multiple_of(self.stride) {
            return;
        }
        self.shown += state.len();
        if self.shown > ENTRIES_SHOWN {
            self.shown = 0;
            self.stride *= 2;
        }
        let last = told();
        let since = match (self.stride, &self.held_after) {
            (1, _) | (_, None) => String::new(),
            (_, Some(held)) => format!(" (it held after {held})"),
        };
        self.ask(state, || format!("after {last}{since}"));
        self.held_after = Some(last);
    }

    /// What somebody saw.
    pub(super) fn on_sight(&mut self, sight: &Sight) {
        let state = State::new(&sight.entries, sight.at);
        self.ask(&state, || format!("in what {} found at {}", sight.whose, sight.at));
    }

    fn ask(&mut self, state: &State<'_>, when: impl Fn() -> String) {
        for (invariant, broken) in self.invariants.iter().zip(&mut self.broken) {
            if broken.is_none()
                && let Err(why) = guarded(|| (invariant.holds)(state))
            {
                *broken = Some(format!("{}: {why}", when()));
            }
        }
    }

    /// The invariants that were broken, and how; in the order in which they were given.
    pub(super) fn broken(self) -> Vec<(&'static str, Option<String>)> {
        let names = self.invariants.iter().map(|invariant| invariant.name);
        names.zip(self.broken).collect()
    }
}

/// What a closure of the user's says; a panic of it says the same as an error.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(panic_in_words(&*panic)))
}

/// The message of a panic.
pub(super) fn panic_in_words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panicked: {}", text.unwrap_or("without a message"))
}
