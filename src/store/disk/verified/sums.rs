//! The sums of all blocks, in memory, and what of them is to be written.

use std::collections::BTreeSet;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::store::disk::SECTOR_BYTES;

/// How many sums are written together: a sector of them.
const CHUNK_SUMS: usize = (SECTOR_BYTES / SUM_BYTES) as usize;

/// The size of a sum.
pub(super) const SUM_BYTES: u64 = size_of::<u64>() as u64;

/// Of a block that was never written: it is zeros.
const NEVER_WRITTEN: u64 = 0;

/// One sum for each block of the file.
#[derive(Debug, Default)]
pub(super) struct Sums {
    sums: Vec<u64>,
    /// The chunks in which something changed.
    changed: BTreeSet<usize>,
    /// How few blocks there were since the last time: what was written behind them is no more.
    cut: Option<usize>,
}

/// What is to be written of the sums.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Behind how many sums there are no more, before the runs are written.
    pub(super) cut: Option<u64>,
    /// Runs of sums, each with the number of its first.
    pub(super) runs: Vec<(u64, Vec<u8>)>,
}

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.cut.is_none() && self.runs.is_empty()
    }
}

impl Sums {
    /// Those of a file of so many blocks. *Given* the sums as bytes; what is missing was never written, and what is too much is
    /// no more.
    pub(super) fn from_bytes(bytes: &[u8], blocks: u64) -> Self {
        let sums = bytes.chunks_exact(size_of::<u64>()).map(|sum| {
            let sum = sum.try_into().expect("chunks have the size asked for");
            u64::from_le_bytes(sum)
        });
        let mut sums = Self {
            sums: sums.collect(),
            ..Self::default()
        };
        sums.set_blocks(blocks);
        sums
    }

    /// Follows the length of the file.
    pub(super) fn set_blocks(&mut self, blocks: u64) {
        let blocks = usize::try_from(blocks).expect("a sum for each block fits the memory");
        if blocks < self.sums.len() {
            self.cut = Some(self.cut.map_or(blocks, |cut| cut.min(blocks)));
            self.changed.split_off(&blocks.div_ceil(CHUNK_SUMS));
        }
        self.sums.resize(blocks, NEVER_WRITTEN);
    }

    /// Takes down what was written.
    pub(super) fn set(&mut self, block: u64, bytes: &[u8]) {
        let place = block as usize;
        self.sums[place] = sum(block, bytes);
        self.changed.insert(place / CHUNK_SUMS);
    }

    /// Whether these bytes were the last written; else why they were not.
    pub(super) fn verify(&self, block: u64, bytes: &[u8]) -> Result<(), String> {
        let expected = self.sums[block as usize];
        if expected == NEVER_WRITTEN {
            if bytes.iter().all(|byte| *byte == 0) {
                return Ok(());
            }
            return Err("it was never written, and is not zeros".to_owned());
        }
        let found = sum(block, bytes);
        if found == expected {
            return Ok(());
        }
        Err(format!("its sum is {found:016x}, and {expected:016x} was written"))
    }

    /// What changed since the last time.
    pub(super) fn take_changes(&mut self) -> Changes {
        let mut runs: Vec<(u64, Vec<u8>)> = Vec::new();
        let mut end = None;
        for chunk in std::mem::take(&mut self.changed) {
            let first = chunk * CHUNK_SUMS;
            let last = (first + CHUNK_SUMS).min(self.sums.len());
            let bytes = self.sums[first..last].iter().flat_map(|sum| sum.to_le_bytes());
            match runs.last_mut() {
                Some((_, run)) if end == Some(first) => run.extend(bytes),
                _ => runs.push((first as u64, bytes.collect())),
            }
            end = Some(last);
        }
        Changes {
            cut: self.cut.take().map(|cut| cut as u64),
            runs,
        }
    }
}

/// The sum of a block: it differs for every block and for the same bytes in another place.
fn sum(block: u64, bytes: &[u8]) -> u64 {
    xxh3_64_with_seed(bytes, block).max(NEVER_WRITTEN + 1)
}
