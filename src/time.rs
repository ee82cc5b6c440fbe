//! Time: hybrid timestamps, the clock that issues them, and the two clocks a step is told of.
//!
//! Realises section 2 of the design. A node never reads a clock by itself: every step receives [`Now`], which
//! holds the wall clock (for timestamps; it may be wrong, step and drift) and a monotonic clock (for
//! time-outs). [`HybridClock`] is `hlc-gen`'s generator on its manual source, with the *ceiling* on top: a durable
//! bound above which the node neither issues, promises nor acknowledges, and from which it starts after a restart.

use std::fmt;
use std::time::Duration;

use bincode::{Decode, Encode};
use hlc_gen::{HlcGenerator, HlcTimestamp};
use serde::{Deserialize, Serialize};

use crate::id::NodeId;

/// Bits of an [`Hlc`] that count within one millisecond.
const COUNTER_BITS: u32 = 22;
/// Milliseconds from the Unix epoch to 2024-01-01, where an [`Hlc`] begins to count.
const HLC_EPOCH_UNIX_MILLIS: u64 = 1_704_067_200_000;

/// A hybrid logical clock value: 42 bits of milliseconds since 2024-01-01 and a counter of 22 bits.
///
/// Bounds (positions, promises, watermarks) are values of this type and cover every timestamp at or below them,
/// of any node.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hlc(u64);

impl Hlc {
    /// Below every timestamp: nothing.
    pub const ZERO: Self = Self(0);
    /// Above every timestamp: what a coordinator promises that will never issue again in its epoch.
    pub const MAX: Self = Self(u64::MAX);

    /// The value with these 64 bits.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The 64 bits, ordered as the value.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The first value of a millisecond since the Unix epoch; [`Hlc::ZERO`] before 2024.
    pub const fn from_unix_millis(millis: u64) -> Self {
        Self(millis.saturating_sub(HLC_EPOCH_UNIX_MILLIS) << COUNTER_BITS)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn unix_millis(self) -> u64 {
        (self.0 >> COUNTER_BITS) + HLC_EPOCH_UNIX_MILLIS
    }

    /// The counter within the millisecond.
    pub const fn counter(self) -> u64 {
        self.0 & ((1 << COUNTER_BITS) - 1)
    }

    /// The value just above; [`Hlc::MAX`] stays.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The value just below; [`Hlc::ZERO`] stays.
    pub const fn prev(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// The value this much later, with the same counter; at most [`Hlc::MAX`].
    pub const fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add((duration.as_millis() as u64) << COUNTER_BITS))
    }

    /// The value this much earlier, with the same counter; at least [`Hlc::ZERO`].
    pub const fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub((duration.as_millis() as u64) << COUNTER_BITS))
    }
}

/// `milliseconds.counter` since 2024-01-01, or `max`.
impl fmt::Display for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::MAX => f.write_str("max"),
            _ => write!(f, "{}.{}", self.0 >> COUNTER_BITS, self.counter()),
        }
    }
}

impl fmt::Debug for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The identity and the place of a transaction: totally ordered and unique.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
pub struct Timestamp {
    /// When, by the coordinator's hybrid clock.
    pub hlc: Hlc,
    /// The coordinator that issued it; breaks ties.
    pub node: NodeId,
}

impl Timestamp {
    /// Above every timestamp at `hlc` and below all later ones: the bound of a snapshot at `hlc`.
    pub const fn last_at(hlc: Hlc) -> Self {
        Self { hlc, node: NodeId::MAX }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.hlc, self.node)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A reading of the wall clock: microseconds since the Unix epoch. May be wrong, and may go back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime(pub u64);

impl WallTime {
    /// Whole milliseconds since the Unix epoch.
    pub const fn unix_millis(self) -> u64 {
        self.0 / 1000
    }
}

/// A reading of the monotonic clock: microseconds since some moment of this run. Never goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Monotonic(pub u64);

impl Monotonic {
    /// A moment that never comes.
    pub const NEVER: Self = Self(u64::MAX);

    /// The moment this much later.
    pub const fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration.as_micros() as u64))
    }

    /// The moment this much earlier; at least the first.
    pub const fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(duration.as_micros() as u64))
    }

    /// The time from `earlier` to this moment; zero if it is not earlier.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// What a step is told of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Now {
    /// For timestamps.
    pub wall: WallTime,
    /// For time-outs.
    pub monotonic: Monotonic,
}

/// The hybrid clock of one node: issues strictly increasing values, at most up to its ceiling.
///
/// Invariant I-2: nothing at or below a value once issued is issued again, over restarts too, because every
/// value is at most the ceiling, the ceiling is durable before it is used, and a restart begins above it.
pub struct HybridClock {
    generator: HlcGenerator<hlc_gen::source::ManualClock>,
    ceiling: Hlc,
}

/// Why a position from elsewhere was refused: it lies too far above the own wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the position {position} is {ahead_ms} ms ahead of this node's clock")]
pub struct AheadOfClock {
    /// The refused position.
    pub position: Hlc,
    /// By how much it is ahead, in milliseconds.
    pub ahead_ms: u64,
}

impl HybridClock {
    /// A clock that issues only above `floor` (after a restart: the durable ceiling; of a new node: [`Hlc::ZERO`]) and
    /// nothing at all before [`HybridClock::raise_ceiling`].
    pub fn new(floor: Hlc) -> Self {
        let generator = HlcGenerator::manual(0);
        let clock = Self {
            generator,
            ceiling: floor,
        };
        clock.raise_to(floor);
        clock
    }

    /// The durable bound of everything issued, promised and acknowledged.
    pub fn ceiling(&self) -> Hlc {
        self.ceiling
    }

    /// Lifts the ceiling. *Given* that `ceiling` is durable already. A lower one changes nothing.
    pub fn raise_ceiling(&mut self, ceiling: Hlc) {
        self.ceiling = self.ceiling.max(ceiling);
    }

    /// The last value issued or observed.
    pub fn last(&self) -> Hlc {
        Hlc(self.generator.timestamp().as_u64())
    }

    /// The next value: above all issued and observed ones, and at or above the wall clock where that is ahead.
    ///
    /// *Gives* none when it would pass the ceiling, or when the counter of the millisecond is used up: wait until the
    /// ceiling has been raised, or until the clock moves.
    pub fn issue(&mut self, wall: WallTime) -> Option<Hlc> {
        if self.last().max(Hlc::from_unix_millis(wall.unix_millis())).next() > self.ceiling {
            return None;
        }
        self.generator.set_current_timestamp(wall.unix_millis() as i64);
        let issued = Hlc(self.generator.next_timestamp()?.as_u64());
        assert!(
            issued <= self.ceiling,
            "I-2: issued {issued} above the ceiling {}",
            self.ceiling
        );
        Some(issued)
    }

    /// Takes note of a position from elsewhere, so that what is issued next lies above it.
    ///
    /// *Errors* when it is more than `offset_max` ahead of `wall`; then nothing changed. [`Hlc::MAX`], the promise of a
    /// coordinator that has finished, is no reading of a clock and is passed over.
    pub fn observe(&mut self, position: Hlc, wall: WallTime, offset_max: Duration) -> Result<(), AheadOfClock> {
        if position == Hlc::MAX || position <= self.last() {
            return Ok(());
        }
        let ahead_ms = position.unix_millis().saturating_sub(wall.unix_millis());
        if u128::from(ahead_ms) > offset_max.as_millis() {
            return Err(AheadOfClock { position, ahead_ms });
        }
        self.raise_to(position);
        Ok(())
    }

    /// Lifts the clock to the start of an epoch, however far ahead that is: a majority has agreed on it.
    pub fn begin_epoch(&mut self, start: Hlc) {
        self.raise_to(start);
    }

    /// Sets the state of the generator to `position` if that is higher.
    fn raise_to(&self, position: Hlc) {
        if position <= self.last() {
            return;
        }
        if position.counter() == 0 {
            self.generator.set_current_timestamp(position.unix_millis() as i64);
            self.generator.next_timestamp();
        } else if let Ok(told) = HlcTimestamp::try_from(position.prev().0) {
            // The generator adds one to the counter of what it is told, so it is told the value below.
            self.generator.set_current_timestamp(0);
            let _ = self.generator.update(&told);
        }
        debug_assert_eq!(self.last(), position);
    }
}

impl Clone for HybridClock {
    fn clone(&self) -> Self {
        let clock = Self {
            generator: HlcGenerator::manual(0),
            ceiling: self.ceiling,
        };
        clock.raise_to(self.last());
        clock
    }
}

impl fmt::Debug for HybridClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HybridClock")
            .field("last", &self.last())
            .field("ceiling", &self.ceiling)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START_MS: u64 = HLC_EPOCH_UNIX_MILLIS + 1_000_000;

    fn at(ms: u64) -> WallTime {
        WallTime((START_MS + ms) * 1000)
    }

    fn clock_with_ceiling(ms: u64) -> HybridClock {
        let mut clock = HybridClock::new(Hlc::ZERO);
        clock.raise_ceiling(Hlc::from_unix_millis(START_MS + ms));
        clock
    }

    #[test]
    fn issues_increase_even_when_the_wall_clock_goes_back() {
        let mut clock = clock_with_ceiling(1000);
        let mut last = Hlc::ZERO;
        for wall in [at(5), at(5), at(3), at(900), at(0)] {
            let issued = clock.issue(wall).expect("below the ceiling");
            assert!(issued > last);
            last = issued;
        }
        assert_eq!(last.unix_millis(), START_MS + 900);
    }

    #[test]
    fn nothing_is_issued_above_the_ceiling() {
        let mut clock = clock_with_ceiling(10);
        assert!(clock.issue(at(9)).is_some());
        assert_eq!(clock.issue(at(11)), None);
        clock.raise_ceiling(Hlc::from_unix_millis(START_MS + 20));
        assert!(clock.issue(at(11)).is_some());
    }

    #[test]
    fn a_restarted_clock_begins_above_its_ceiling() {
        let mut clock = clock_with_ceiling(2000);
        let last = clock.issue(at(1)).expect("below the ceiling");
        let mut restarted = HybridClock::new(clock.ceiling());
        assert_eq!(restarted.issue(at(2)), None, "the old ceiling is used up");
        restarted.raise_ceiling(Hlc::from_unix_millis(START_MS + 4000));
        let issued = restarted.issue(at(2)).expect("below the new ceiling");
        assert!(issued > clock.ceiling() && issued > last);
    }

    #[test]
    fn observing_moves_the_clock_forward_but_not_beyond_the_offset() {
        let mut clock = clock_with_ceiling(10_000);
        let near = Hlc::from_unix_millis(START_MS + 400);
        let far = Hlc::from_unix_millis(START_MS + 600);
        let limit = Duration::from_millis(500);
        assert_eq!(clock.observe(near, at(0), limit), Ok(()));
        assert!(clock.issue(at(0)).expect("below the ceiling") > near);
        assert_eq!(
            clock.observe(far, at(0), limit),
            Err(AheadOfClock {
                position: far,
                ahead_ms: 600
            })
        );
        assert!(clock.last() < far);
        assert_eq!(clock.observe(Hlc::MAX, at(0), limit), Ok(()));
        assert!(clock.last() < far, "a finished coordinator's promise moves no clock");
    }

    #[test]
    fn a_clone_issues_what_the_original_would() {
        let mut clock = clock_with_ceiling(10_000);
        for (wall, observed) in [(at(1), 1), (at(2), 77), (at(80), 3)] {
            clock
                .observe(
                    Hlc::from_unix_millis(START_MS + observed).next(),
                    at(0),
                    Duration::from_secs(1),
                )
                .expect("near");
            clock.issue(wall);
            let mut twin = clock.clone();
            assert_eq!(twin.last(), clock.last());
            assert_eq!(twin.issue(at(0)), clock.clone().issue(at(0)));
        }
    }
}
