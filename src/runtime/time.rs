//! The clocks of the machine: the one place where they are read.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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

    /// The same, counted from some time before.
    pub(crate) fn earlier(self, by: Duration) -> Self {
        let start = self.start.checked_sub(by).unwrap_or(self.start);
        Self { start }
    }

    pub(crate) fn now(&self) -> Now {
        Now {
            wall: wall(),
            monotonic: Monotonic(self.start.elapsed().as_micros() as u64),
        }
    }

    /// The moment of a monotonic reading.
    pub(crate) fn moment(&self, at: Monotonic) -> Instant {
        self.start + Duration::from_micros(at.0)
    }
}

/// The wall clock. A machine that is set to before 1970 has none, and its node is refused by the others.
#[allow(clippy::disallowed_methods, reason = "the roof reads the clocks and hands them down")]
pub(crate) fn wall() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(since.as_micros() as u64)
}

/// Wakes a thread that is parked.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

/// A thread that waits for several things and a deadline, and is nothing else's.
///
/// The thread itself sleeps, to within what the machine's timers can do. The timer of tokio counts whole milliseconds, which is as long as
/// a tick.
pub(crate) struct Waiter(Waker);

impl Waiter {
    /// This thread.
    pub(crate) fn of_this_thread() -> Self {
        Self(Waker::from(Arc::new(Unpark(thread::current()))))
    }

    /// Polls until something is ready, at most until `deadline`, if there is one: then gives none.
    #[allow(clippy::disallowed_methods, reason = "the roof reads the clocks")]
    pub(crate) fn wait<T>(
        &self,
        deadline: Option<Instant>,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Option<T> {
        let mut context = Context::from_waker(&self.0);
        loop {
            if let Poll::Ready(found) = poll(&mut context) {
                return Some(found);
            }
            // A wake that comes before the thread parks makes it go on at once.
            match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                None => thread::park(),
                Some(left) if left.is_zero() => return None,
                Some(left) => thread::park_timeout(left),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::disallowed_methods, reason = "the roof is tested by the real clock")]
    #[test]
    fn a_wait_ends_with_what_arrives_or_soon_after_its_deadline() {
        let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
        let (start, waiter) = (Instant::now(), Waiter::of_this_thread());
        let late = waiter.wait(Some(start + Duration::from_millis(5)), |context| {
            receiver.poll_recv(context)
        });
        assert_eq!(late, None::<Option<u32>>);
        assert!(start.elapsed() >= Duration::from_millis(5));
        let other = thread::Builder::new().spawn(move || {
            thread::sleep(Duration::from_millis(5));
            sender.try_send(7)
        });
        assert_eq!(waiter.wait(None, |context| receiver.poll_recv(context)), Some(Some(7)));
        let sent = other.expect("a thread").join().expect("no panic");
        assert_eq!(sent, Ok(()));
        let gone = waiter.wait(Some(start), |context| receiver.poll_recv(context));
        assert_eq!(gone, Some(None), "what is there is found, however late");
    }
}
