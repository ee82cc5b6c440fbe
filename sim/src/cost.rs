//! What work costs: processors that do one thing after the other, and a disk with group commit.
//!
//! Work is booked in nanoseconds and its end is told in microseconds of virtual time, rounded up. Whoever books must do so in
//! the order of the moments from which the work could begin.

use std::collections::VecDeque;

use plimsoll::protocol::SyncMark;

use crate::scenario::DiskConfig;

const NS_PER_US: u64 = 1_000;

/// Microseconds of a configuration as nanoseconds.
pub(crate) fn ns(micros: f64) -> u64 {
    (micros * 1e3).round() as u64
}

/// Milliseconds of a configuration as microseconds.
pub(crate) fn us(millis: f64) -> u64 {
    (millis * 1e3).round() as u64
}

/// What so many bytes cost at a price for 1,024 of them.
pub(crate) fn bytes_ns(bytes: usize, kib_ns: u64) -> u64 {
    (bytes as u64 * kib_ns) >> 10
}

/// A processor: does one thing after the other, in the order in which it is told of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    free_at_ns: u64,
    busy_ns: u64,
    slowness: Slowness,
}

/// How many thousandths of the usual time something takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slowness(u64);

impl Slowness {
    fn new(factor: f64) -> Self {
        Self((factor * 1e3).round() as u64)
    }

    fn of(self, cost_ns: u64) -> u64 {
        cost_ns * self.0 / 1_000
    }
}

impl Default for Slowness {
    fn default() -> Self {
        Self(1_000)
    }
}

impl Cpu {
    /// The moment at which something that is there at `time_us` can begin.
    pub fn begin(&mut self, time_us: u64) -> u64 {
        self.free_at_ns = self.free_at_ns.max(time_us * NS_PER_US);
        self.free_at_us()
    }

    /// Works on for this long, and gives the moment of the end.
    pub fn work(&mut self, cost_ns: u64) -> u64 {
        let cost_ns = self.slowness.of(cost_ns);
        self.free_at_ns += cost_ns;
        self.busy_ns += cost_ns;
        self.free_at_us()
    }

    /// Everything takes so many times as long from now on.
    pub fn slow(&mut self, factor: f64) {
        self.slowness = Slowness::new(factor);
    }

    /// Nothing is begun before `until_us`.
    pub fn pause(&mut self, until_us: u64) {
        self.free_at_ns = self.free_at_ns.max(until_us * NS_PER_US);
    }

    /// The machine stops: what was to be done is not done.
    pub fn crash(&mut self, time_us: u64) {
        self.free_at_ns = time_us * NS_PER_US;
    }

    /// For how long it has worked so far, in microseconds.
    pub fn busy_us(&self) -> u64 {
        self.busy_ns / NS_PER_US
    }

    fn free_at_us(&self) -> u64 {
        self.free_at_ns.div_ceil(NS_PER_US)
    }
}

/// A disk that syncs one thing after the other. What is written during a sync goes into the next one, together.
#[derive(Clone, Debug)]
pub struct Disk {
    sync_ns: u64,
    kib_ns: u64,
    slowness: Slowness,
    /// What the running sync makes durable; absent when none runs.
    syncing: Option<SyncMark>,
    /// What waits, in the order of writing.
    waiting: VecDeque<Write>,
    syncs: u64,
    bytes: u64,
}

#[derive(Clone, Copy, Debug)]
struct Write {
    at_us: u64,
    mark: SyncMark,
    bytes: usize,
}

impl Disk {
    /// A disk that has written nothing.
    pub fn new(config: &DiskConfig) -> Self {
        Self {
            sync_ns: ns(config.sync_us),
            kib_ns: ns(config.kib_us),
            slowness: Slowness::default(),
            syncing: None,
            waiting: VecDeque::new(),
            syncs: 0,
            bytes: 0,
        }
    }

    /// Takes something to be written at `at_us`.
    ///
    /// *Gives* the end of the sync that begins with it; nothing when a sync runs, which it must wait for.
    pub fn write(&mut self, at_us: u64, mark: SyncMark, bytes: usize) -> Option<u64> {
        self.waiting.push_back(Write { at_us, mark, bytes });
        if self.syncing.is_some() {
            None
        } else {
            self.begin(at_us)
        }
    }

    /// What the running sync makes durable; absent when none runs.
    pub fn syncing(&self) -> Option<SyncMark> {
        self.syncing
    }

    /// How long it takes to write and sync so many bytes, in microseconds.
    pub fn time_us(&self, bytes: usize) -> u64 {
        let cost_ns = self.slowness.of(self.sync_ns + bytes_ns(bytes, self.kib_ns));
        cost_ns.div_ceil(NS_PER_US)
    }

    /// The running sync has ended, now.
    ///
    /// *Gives* the mark up to which all is durable, and the end of the next sync where something waits.
    ///
    /// *Panics* when none runs.
    pub fn on_synced(&mut self, time_us: u64) -> (SyncMark, Option<u64>) {
        let mark = self.syncing.take().expect("a sync ends once");
        (mark, self.begin(time_us))
    }

    /// Syncs take so many times as long from the next one on.
    pub fn slow(&mut self, factor: f64) {
        self.slowness = Slowness::new(factor);
    }

    /// The machine stops: the running sync and what waits come to nothing.
    pub fn crash(&mut self) {
        self.syncing = None;
        self.waiting.clear();
    }

    /// How many syncs have begun.
    pub fn syncs(&self) -> u64 {
        self.syncs
    }

    /// How many bytes have been written.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn begin(&mut self, time_us: u64) -> Option<u64> {
        // A node runs a little ahead of the events, so what waits may be written only in a moment.
        let begin_us = self.waiting.front()?.at_us.max(time_us);
        let mut bytes = 0;
        while let Some(write) = self.waiting.pop_front_if(|write| write.at_us <= begin_us) {
            bytes += write.bytes;
            self.syncing = Some(write.mark);
        }
        self.syncs += 1;
        self.bytes += bytes as u64;
        Some(begin_us + self.time_us(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> Disk {
        Disk::new(&DiskConfig {
            sync_us: 100.0,
            kib_us: 10.0,
        })
    }

    #[test]
    fn what_is_written_during_a_sync_goes_into_the_next_one_together() {
        let mut disk = disk();
        assert_eq!(disk.write(1_000, SyncMark(1), 1_024), Some(1_110));
        assert_eq!(disk.write(1_010, SyncMark(2), 1_024), None);
        assert_eq!(disk.write(1_100, SyncMark(3), 2_048), None);
        assert_eq!(disk.on_synced(1_110), (SyncMark(1), Some(1_240)));
        assert_eq!(disk.on_synced(1_240), (SyncMark(3), None));
        assert_eq!(disk.write(2_000, SyncMark(4), 0), Some(2_100));
        assert_eq!((disk.syncs(), disk.bytes()), (3, 4_096));
    }

    #[test]
    fn a_write_that_is_still_to_come_begins_its_own_sync() {
        let mut disk = disk();
        assert_eq!(disk.write(1_000, SyncMark(1), 0), Some(1_100));
        assert_eq!(disk.write(1_120, SyncMark(2), 0), None);
        assert_eq!(disk.write(1_130, SyncMark(3), 0), None);
        assert_eq!(disk.on_synced(1_100), (SyncMark(1), Some(1_220)));
        assert_eq!(disk.on_synced(1_220), (SyncMark(2), Some(1_320)));
    }

    #[test]
    fn a_processor_does_one_thing_after_the_other_and_adds_up_parts_of_a_microsecond() {
        let mut cpu = Cpu::default();
        assert_eq!(cpu.begin(10), 10);
        assert_eq!(cpu.work(400), 11);
        assert_eq!(cpu.work(600), 11);
        assert_eq!(cpu.work(2_000), 13);
        assert_eq!(cpu.begin(12), 13, "it is busy until 13");
        assert_eq!(cpu.begin(20), 20, "it waited for work");
        assert_eq!(cpu.busy_us(), 3);
    }
}
