//! The clocks of the machine: the one place where they are read.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::time::{Monotonic, Now, WallTime};

/// Clocks, counted from the start of the process' replica.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clocks {
    start: Instant,
}

#[allow(clippy::disallowed_methods, reason = "the roof reads the clocks and hands them down")]
impl Clocks {
    pub(crate) fn start() -> Self {
        Self { start: Instant::now() }
    }

    pub(crate) fn now(&self) -> Now {
        Now {
            wall: wall(),
            monotonic: Monotonic(self.start.elapsed().as_micros() as u64),
        }
    }

    /// The moment of a monotonic reading.
    pub(crate) fn moment(&self, at: Monotonic) -> Instant {
        self.start + std::time::Duration::from_micros(at.0)
    }
}

/// The wall clock. A machine that is set to before 1970 has none, and its node is refused by the others.
#[allow(clippy::disallowed_methods, reason = "the roof reads the clocks and hands them down")]
pub(crate) fn wall() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(since.as_micros() as u64)
}
