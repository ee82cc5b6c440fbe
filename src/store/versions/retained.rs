//! Flushed layers whose covered versions are in memory alone.
//!
//! A version that a newer one of the same flush covers is needed for nothing but reads of older snapshots, and these end after a while. To
//! write it and remove it again would be most of what a flush does, so a flush writes the newest version of each key, as long as
//! there is room to keep the whole layer until nobody may read a snapshot below the flush any more. A restart forgets these snapshots: the
//! oldest is the bound of that flush then.

use std::collections::VecDeque;
use std::sync::Arc;

use super::layer::Layer;
use super::table::Settled;
use crate::time::{Hlc, Timestamp};

/// A layer of which the disk has the newest versions.
#[derive(Debug)]
struct Retained {
    layer: Layer,
    /// The evaluated bound at which it was flushed: from there on the disk is enough.
    upto: Hlc,
    /// Which flush that was.
    flush: u64,
}

/// The layers that are kept, and those that nobody needs any more.
#[derive(Debug, Default)]
pub(super) struct RetainedLayers {
    /// Ascending.
    layers: VecDeque<Retained>,
    /// What they are reckoned to take.
    bytes: u64,
    /// What they may take.
    bytes_max: u64,
    discarded: Discarded,
}

/// What is only to be dropped, which takes long: by the thread that writes the next flush, and not by the one that evaluates.
#[derive(Debug, Default)]
pub(super) struct Discarded {
    layers: Vec<Layer>,
    outcomes: Vec<Arc<Vec<Settled>>>,
}

impl RetainedLayers {
    pub(super) fn set_bytes_max(&mut self, bytes_max: u64) {
        self.bytes_max = bytes_max;
    }

    /// Whether another layer can be kept.
    pub(super) fn has_room_for(&self, layer: &Layer) -> bool {
        self.bytes + layer.memory_bytes() < self.bytes_max
    }

    /// Keeps a layer whose newest versions were flushed by this flush at the evaluated bound `upto`, which is above all others.
    pub(super) fn keep(&mut self, layer: Layer, upto: Hlc, flush: u64) {
        self.bytes += layer.memory_bytes();
        self.layers.push_back(Retained { layer, upto, flush });
    }

    /// The layer of this flush, which is the last one, if it is kept: what a snapshot sees of it is on disk too, but sooner found here.
    pub(super) fn of_last(&self, flush: u64) -> Option<&Layer> {
        let last = self.layers.back().filter(|last| last.flush == flush);
        last.map(|last| &last.layer)
    }

    /// No snapshot below `oldest` is read any more.
    pub(super) fn release(&mut self, oldest: Hlc) {
        while let Some(Retained { layer, .. }) = self.layers.pop_front_if(|first| first.upto <= oldest) {
            self.bytes -= layer.memory_bytes();
            self.discarded.layers.push(layer);
        }
    }

    /// The layers in which a snapshot at `at` has to look before it looks on disk, newest first.
    ///
    /// Of one that was flushed at or below `at` the newest version is seen, or nothing of it, and the disk has that. Of layers above that were
    /// not kept the snapshot sees nothing.
    pub(super) fn seen_at(&self, at: Timestamp) -> impl Iterator<Item = &Layer> {
        let newest_first = self.layers.iter().rev();
        newest_first
            .take_while(move |retained| at < Timestamp::last_at(retained.upto))
            .map(|retained| &retained.layer)
    }

    /// Leaves what was flushed to be dropped.
    pub(super) fn discard(&mut self, layer: Option<Layer>, outcomes: Arc<Vec<Settled>>) {
        self.discarded.layers.extend(layer);
        self.discarded.outcomes.push(outcomes);
    }

    /// What is only to be dropped.
    pub(super) fn take_discarded(&mut self) -> Discarded {
        std::mem::take(&mut self.discarded)
    }
}
