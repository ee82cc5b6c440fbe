//! What waits for one peer: bounded in number and bytes, filled without waiting.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::protocol::message::Message;

/// The messages of one frame, and about how many bytes they have.
pub(super) struct Waiting {
    pub(super) messages: Vec<Message>,
    bytes: usize,
}

impl Waiting {
    pub(super) fn new(messages: Vec<Message>) -> Self {
        let bytes = messages.iter().map(weight).sum();
        Self { messages, bytes }
    }
}

/// About how many bytes a message has. Those without records or pieces are small.
fn weight(message: &Message) -> usize {
    const SMALL_BYTES: usize = 256;
    SMALL_BYTES
        + match message {
            Message::Append(append) => append.records.iter().map(|record| record.weight()).sum(),
            Message::SnapshotChunk(chunk) => chunk.bytes.len(),
            _ => 0,
        }
}

/// A queue with many hands that fill it and one that empties it.
pub(super) struct Queue {
    frames_max: usize,
    bytes_max: usize,
    state: Mutex<State>,
    filled: Notify,
}

#[derive(Default)]
struct State {
    frames: VecDeque<Waiting>,
    bytes: usize,
}

impl Queue {
    pub(super) fn new(frames_max: usize, bytes_max: usize) -> Self {
        Self {
            frames_max,
            bytes_max,
            state: Mutex::default(),
            filled: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is one step, so what a panicking thread leaves is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there was room. One frame always has, however large.
    pub(super) fn push(&self, waiting: Waiting) -> bool {
        let mut state = self.state();
        let is_full = state.frames.len() >= self.frames_max || state.bytes + waiting.bytes > self.bytes_max;
        if is_full && !state.frames.is_empty() {
            return false;
        }
        state.bytes += waiting.bytes;
        state.frames.push_back(waiting);
        drop(state);
        self.filled.notify_one();
        true
    }

    /// Waits until there is something, and *gives* the first of it: up to `bytes` of them, at least one frame.
    pub(super) async fn take(&self, bytes: usize) -> Vec<Waiting> {
        loop {
            let taken = self.take_now(bytes);
            if !taken.is_empty() {
                return taken;
            }
            // What was pushed since has left its mark: this then returns at once.
            self.filled.notified().await;
        }
    }

    fn take_now(&self, bytes: usize) -> Vec<Waiting> {
        let mut state = self.state();
        let mut taken = Vec::new();
        let mut sum = 0;
        while let Some(next) = state.frames.front() {
            if !taken.is_empty() && sum + next.bytes > bytes {
                break;
            }
            sum += next.bytes;
            taken.extend(state.frames.pop_front());
        }
        state.bytes -= sum;
        taken
    }

    /// Drops all, and *gives* how many frames that were.
    pub(super) fn clear(&self) -> usize {
        let mut state = self.state();
        state.bytes = 0;
        std::mem::take(&mut state.frames).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Epoch;
    use crate::protocol::message::SnapshotChunk;

    fn chunk(bytes: usize) -> Waiting {
        let bytes = vec![0; bytes];
        let epoch = Epoch::FIRST;
        Waiting::new(vec![Message::SnapshotChunk(SnapshotChunk { epoch, bytes })])
    }

    #[test]
    fn a_full_queue_refuses_and_an_empty_one_takes_any_frame() {
        let queue = Queue::new(2, 1_000);
        assert!(queue.push(chunk(5_000)), "nothing else waits");
        assert!(!queue.push(chunk(0)), "too many bytes");
        assert_eq!(queue.clear(), 1);
        assert!(queue.push(chunk(0)) && queue.push(chunk(0)));
        assert!(!queue.push(chunk(0)), "too many frames");
        assert_eq!(queue.take_now(1).len(), 1, "at least one");
        assert_eq!(queue.take_now(1_000).len(), 1);
        assert_eq!(queue.take_now(1_000).len(), 0);
        assert_eq!(queue.state().bytes, 0);
    }
}
