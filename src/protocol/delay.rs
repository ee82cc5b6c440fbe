//! Measured delay to a peer and back, and the patience that follows from it.
//!
//! The estimator of RFC 6298 (smoothed round trip and its mean deviation). A sample is the time from sending a position
//! until a row acknowledges it, so it holds the peer's sync and tick too: just what a time-out has to wait for.

use std::time::Duration;

use crate::time::{Hlc, Monotonic};

/// The round trip to one peer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Delay {
    estimate: Option<Estimate>,
    /// The one position that is being timed. Only one at a time, and none that was sent again (Karn's rule).
    timing: Option<(Hlc, Monotonic)>,
}

/// A smoothed time and its mean deviation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Estimate {
    smoothed: Duration,
    deviation: Duration,
}

impl Estimate {
    /// The estimate from a first sample, with a generous deviation.
    fn first(sample: Duration) -> Self {
        Self {
            smoothed: sample,
            deviation: sample / 2,
        }
    }

    /// The estimate with one sample more.
    pub(crate) fn with(self, sample: Duration) -> Self {
        Self {
            deviation: (self.deviation * 3 + self.smoothed.abs_diff(sample)) / 4,
            smoothed: (self.smoothed * 7 + sample) / 8,
        }
    }

    /// What hardly any sample exceeds: four deviations more, at least `margin` more.
    pub(crate) fn upper(&self, margin: Duration) -> Duration {
        self.smoothed + (self.deviation * 4).max(margin)
    }
}

impl Delay {
    /// A position was sent for the first time.
    pub(crate) fn on_sent(&mut self, position: Hlc, now: Monotonic) {
        if self.timing.is_none() {
            self.timing = Some((position, now));
        }
    }

    /// Something was sent again: an acknowledgement could be of either sending.
    pub(crate) fn on_sent_again(&mut self) {
        self.timing = None;
    }

    /// The peer has acknowledged up to `position`.
    pub(crate) fn on_acknowledged(&mut self, position: Hlc, now: Monotonic) {
        let Some((timed, sent_at)) = self.timing else { return };
        if position < timed {
            return;
        }
        self.timing = None;
        let sample = now.since(sent_at);
        self.estimate = Some(
            self.estimate
                .map_or(Estimate::first(sample), |known| known.with(sample)),
        );
    }

    /// About how long a message of the peer was on its way; nothing before the first sample.
    pub(crate) fn one_way(&self) -> Duration {
        self.estimate.map_or(Duration::ZERO, |estimate| estimate.smoothed / 2)
    }

    /// How long to wait for an answer before doubting: the round trip and four deviations, at least `margin` more than
    /// the round trip. Before the first sample a generous guess.
    pub(crate) fn patience(&self, margin: Duration) -> Duration {
        const FIRST_GUESS: Duration = Duration::from_millis(500);
        let upper = self.estimate.map(|estimate| estimate.upper(margin));
        upper.unwrap_or(FIRST_GUESS.max(margin))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::hlc;
    use super::*;

    fn ms(ms: u64) -> Monotonic {
        Monotonic(ms * 1000)
    }

    #[test]
    fn patience_settles_above_a_steady_round_trip() {
        let mut delay = Delay::default();
        let margin = Duration::from_millis(10);
        assert_eq!(delay.patience(margin), Duration::from_millis(500));
        for place in 1..50 {
            delay.on_sent(hlc(place), ms(place * 1000));
            delay.on_acknowledged(hlc(place), ms(place * 1000 + 150));
        }
        assert_eq!(delay.patience(margin), Duration::from_millis(160));
    }

    #[test]
    fn what_was_sent_again_gives_no_sample() {
        let mut delay = Delay::default();
        delay.on_sent(hlc(1), ms(0));
        delay.on_sent_again();
        delay.on_acknowledged(hlc(1), ms(900));
        assert_eq!(delay, Delay::default());
    }
}
