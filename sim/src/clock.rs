//! Wall clocks that are wrong: an offset and a drift per node, kept within a bound.
//!
//! A clock begins somewhere within the bound and runs a little fast or slow; at the bound it turns round, as a clock that is
//! kept by a time service does. The monotonic clock of every node is virtual time itself.

use plimsoll::time::{Monotonic, Now, WallTime};

use crate::random::Stream;
use crate::scenario::ClockConfig;

/// Milliseconds since the Unix epoch at which every run begins: 2026-01-01, 00:00:00.
pub const START_UNIX_MS: u64 = 1_767_225_600_000;

/// The wall clock of one node.
#[derive(Clone, Debug, PartialEq)]
pub struct Clock {
    /// The furthest from true time, in nanoseconds.
    offset_ns_max: i64,
    /// How far from true time at the start, in nanoseconds.
    offset_ns: i64,
    /// Nanoseconds that the clock gains in a second.
    drift_ns_per_s: i64,
    /// By how much it was set forward since.
    set_ns: i64,
}

impl Clock {
    /// A clock with offset and drift drawn uniformly from what the scenario allows.
    pub fn new(config: &ClockConfig, random: &mut Stream) -> Self {
        let mut within = |bound: f64| ((random.unit() * 2.0 - 1.0) * bound).round() as i64;
        Self {
            offset_ns_max: (config.offset_ms_max * 1e6).round() as i64,
            offset_ns: within(config.offset_ms_max * 1e6),
            drift_ns_per_s: within(config.drift_ppm_max * 1e3),
            set_ns: 0,
        }
    }

    /// Sets the clock forward by so much; negative: back.
    pub fn set(&mut self, by_ns: i64) {
        self.set_ns += by_ns;
    }

    /// What the node's two clocks show at a moment of virtual time.
    pub fn now(&self, time_us: u64) -> Now {
        let true_ns = i128::from(START_UNIX_MS) * 1_000_000 + i128::from(time_us) * 1_000;
        let shown_ns = true_ns + i128::from(self.offset_ns_at(time_us));
        Now {
            wall: WallTime((shown_ns / 1_000) as u64),
            monotonic: Monotonic(time_us),
        }
    }

    /// How far the wall clock is ahead of true time at a moment of virtual time, in nanoseconds.
    pub fn offset_ns_at(&self, time_us: u64) -> i64 {
        self.drifted_ns_at(time_us) + self.set_ns
    }

    fn drifted_ns_at(&self, time_us: u64) -> i64 {
        let bound = i128::from(self.offset_ns_max);
        if bound == 0 {
            return 0;
        }
        let gained = i128::from(time_us) * i128::from(self.drift_ns_per_s) / 1_000_000;
        // The offset goes up and down between the bounds: unfolded, it is a straight line.
        let unfolded = (i128::from(self.offset_ns) + bound + gained).rem_euclid(4 * bound);
        let folded = if unfolded > 2 * bound {
            4 * bound - unfolded
        } else {
            unfolded
        };
        (folded - bound) as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Seed;

    #[test]
    fn a_clock_drifts_to_its_bound_and_turns_round() {
        let clock = Clock {
            offset_ns_max: 1_000_000,
            offset_ns: 900_000,
            drift_ns_per_s: 50_000,
            set_ns: 0,
        };
        let at = |seconds: u64| clock.offset_ns_at(seconds * 1_000_000);
        assert_eq!((at(0), at(1), at(2), at(3)), (900_000, 950_000, 1_000_000, 950_000));
        assert_eq!((at(42), at(43)), (-1_000_000, -950_000));
        assert_eq!(at(82), 1_000_000, "there and back in 80 s");
    }

    #[test]
    fn no_clock_is_ever_further_off_than_the_bound() {
        let config = ClockConfig {
            offset_ms_max: 100.0,
            drift_ppm_max: 20_000.0,
        };
        let mut random = Seed(1).stream("clock");
        let mut furthest = 0;
        for _ in 0..200 {
            let clock = Clock::new(&config, &mut random);
            for step in 0..200 {
                furthest = furthest.max(clock.offset_ns_at(step * 333_333).abs());
            }
        }
        assert!((90_000_000..=100_000_000).contains(&furthest), "{furthest}");
    }

    #[test]
    fn a_right_clock_shows_true_time() {
        let clock = Clock::new(&ClockConfig::default(), &mut Seed(1).stream("clock"));
        let now = clock.now(1_234_567);
        assert_eq!(now.wall, WallTime(START_UNIX_MS * 1_000 + 1_234_567));
        assert_eq!(now.monotonic, Monotonic(1_234_567));
    }
}
