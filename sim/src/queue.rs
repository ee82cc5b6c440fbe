//! The queue of events: by time, and at one time in the order in which they were put in.
//!
//! Entries are small and are copied; what an event carries lies in a [`Slab`] beside the queue, whose places are used again.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Events to come.
#[derive(Clone, Debug)]
pub struct Queue<E> {
    heap: BinaryHeap<Entry<E>>,
    sequence: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry<E> {
    time_us: u64,
    sequence: u64,
    event: E,
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    /// Turned round, because the heap gives its greatest entry first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.time_us, other.sequence).cmp(&(self.time_us, self.sequence))
    }
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self {
            heap: BinaryHeap::new(),
            sequence: 0,
        }
    }
}

impl<E: Copy> Queue<E> {
    /// Puts in an event that happens at `time_us`.
    pub fn push(&mut self, time_us: u64, event: E) {
        self.sequence += 1;
        let sequence = self.sequence;
        self.heap.push(Entry {
            time_us,
            sequence,
            event,
        });
    }

    /// Takes out the first event and its time.
    pub fn pop(&mut self) -> Option<(u64, E)> {
        self.heap.pop().map(|entry| (entry.time_us, entry.event))
    }

    /// The time of the first event.
    pub fn next_us(&self) -> Option<u64> {
        self.heap.peek().map(|entry| entry.time_us)
    }

    /// How many events are to come.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether no event is to come.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}

/// Things with a small number each. Numbers of things that were taken out are given again.
#[derive(Clone, Debug)]
pub struct Slab<T> {
    places: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Slab<T> {
    /// Keeps a thing, and gives its number.
    pub fn insert(&mut self, thing: T) -> u32 {
        match self.free.pop() {
            Some(place) => {
                self.places[place as usize] = Some(thing);
                place
            }
            None => {
                self.places.push(Some(thing));
                (self.places.len() - 1) as u32
            }
        }
    }

    /// Takes out the thing with this number.
    ///
    /// *Panics* when there is none: every number is taken once.
    pub fn take(&mut self, place: u32) -> T {
        let thing = self.places[place as usize].take().expect("a number is taken once");
        self.free.push(place);
        thing
    }

    /// How many things are kept.
    pub fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Seed;

    #[test]
    fn events_come_by_time_and_at_one_time_in_order_of_putting_in() {
        let mut random = Seed(1).stream("queue");
        let mut queue = Queue::default();
        let mut expected = Vec::new();
        for number in 0..1_000_u32 {
            let time_us = random.below(50);
            queue.push(time_us, number);
            expected.push((time_us, number));
        }
        expected.sort_unstable();
        let mut taken = Vec::new();
        while let Some(next_us) = queue.next_us() {
            let event = queue.pop().unwrap();
            assert_eq!(event.0, next_us);
            taken.push(event);
        }
        assert_eq!(taken, expected);
        assert!(queue.is_empty());
    }

    #[test]
    fn places_are_used_again() {
        let mut slab = Slab::default();
        let (a, b) = (slab.insert("a"), slab.insert("b"));
        assert_eq!(slab.take(a), "a");
        assert_eq!(slab.insert("c"), a);
        assert_eq!((slab.take(b), slab.len()), ("b", 1));
    }
}
