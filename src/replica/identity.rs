//! Whose a storage is: written once, when it is made.
//!
//! Realises the identity part of section 3.6 of the design. The file is written beside and renamed, so it is there whole or not at all.

use xxhash_rust::xxh3::xxh3_64;

use crate::id::{ClusterId, NodeId, StorageId};
use crate::store::StoreError;
use crate::store::disk::Disk;

/// The format of the file.
const FORMAT: u32 = 1;

const NAME: &str = "identity";
const NEW_NAME: &str = "identity.new";
const MAGIC: [u8; 8] = *b"plimsoll";
const BYTES: usize = 8 + 4 + 4 + 16 + 16 + 8;

/// Whose a storage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node of it.
    pub node: NodeId,
    /// This storage of that node.
    pub storage: StorageId,
}

impl Identity {
    /// Whose the storage on `disk` is; none if nobody has made one there.
    ///
    /// *Errors* when the file is damaged or of a later format, or the medium fails.
    pub fn load(disk: &dyn Disk) -> Result<Option<Self>, StoreError> {
        let failed = |action| move |error| StoreError::of_medium(disk, NAME, action, error);
        let names = disk.names().map_err(failed("list"))?;
        if !names.iter().any(|name| name == NAME) {
            return Ok(None);
        }
        let file = disk.open(NAME).map_err(failed("open"))?;
        let damaged = |reason: &str| StoreError::Damaged {
            file: format!("{}/{NAME}", disk.path()),
            place: "the whole file".to_owned(),
            reason: reason.to_owned(),
        };
        if file.len().map_err(failed("look at"))? != BYTES as u64 {
            return Err(damaged("it has not the length of an identity"));
        }
        let mut bytes = [0; BYTES];
        file.read(0, &mut bytes).map_err(failed("read"))?;
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let wide = |at: usize| {
            let mut wide = [0; 16];
            wide.copy_from_slice(&bytes[at..at + 16]);
            u128::from_le_bytes(wide)
        };
        if bytes[..8] != MAGIC || xxh3_64(&bytes[..BYTES - 8]).to_le_bytes() != bytes[BYTES - 8..] {
            return Err(damaged("its checksum is not that of its bytes"));
        }
        if word(8) > FORMAT {
            return Err(StoreError::Future {
                file: format!("{}/{NAME}", disk.path()),
                found: word(8),
                known: FORMAT,
            });
        }
        Ok(Some(Self {
            cluster: ClusterId::new(wide(16)),
            node: NodeId::new(word(12)),
            storage: StorageId::new(wide(32)),
        }))
    }

    /// Makes a storage of this identity, durably. *Given* that there is none on `disk`.
    pub fn create(self, disk: &dyn Disk) -> Result<(), StoreError> {
        let failed = |action| move |error| StoreError::of_medium(disk, NEW_NAME, action, error);
        let mut bytes = Vec::with_capacity(BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&self.node.number().to_le_bytes());
        bytes.extend_from_slice(&self.cluster.number().to_le_bytes());
        bytes.extend_from_slice(&self.storage.number().to_le_bytes());
        bytes.extend_from_slice(&xxh3_64(&bytes).to_le_bytes());
        let file = disk.open(NEW_NAME).map_err(failed("create"))?;
        file.set_len(0).map_err(failed("empty"))?;
        file.write(0, &bytes).map_err(failed("write"))?;
        file.sync().map_err(failed("sync"))?;
        disk.rename(NEW_NAME, NAME).map_err(failed("rename"))?;
        disk.sync().map_err(failed("sync the folder of"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::disk::{Crash, SimulatedDisk};

    const OWN: Identity = Identity {
        cluster: ClusterId::new(1 << 100),
        node: NodeId::new(3),
        storage: StorageId::new(7 << 90),
    };

    #[test]
    fn an_identity_is_there_whole_or_not_at_all_wherever_its_making_is_interrupted() {
        let whole = SimulatedDisk::new(1);
        assert_eq!(Identity::load(&whole).expect("sound"), None);
        OWN.create(&whole).expect("sound");
        for operation in 1..=whole.operations() {
            for seed in 0..20 {
                let disk = SimulatedDisk::new(1);
                disk.crash_at(operation);
                assert!(OWN.create(&disk).is_err());
                let left = disk.crash(Crash::Random(seed));
                let found = Identity::load(&left).expect("never damaged");
                assert!(found.is_none_or(|found| found == OWN));
                if found.is_none() {
                    OWN.create(&left).expect("it can be made again");
                    assert_eq!(Identity::load(&left.crash(Crash::LoseAll)).expect("sound"), Some(OWN));
                }
            }
        }
    }

    #[test]
    fn a_flipped_bit_is_found() {
        let disk = SimulatedDisk::new(1);
        OWN.create(&disk).expect("sound");
        for offset in 0..BYTES as u64 {
            let damaged = disk.fork().reopen();
            assert!(damaged.flip(NAME, offset, 5));
            assert!(
                matches!(Identity::load(&damaged), Err(StoreError::Damaged { .. })),
                "byte {offset}"
            );
        }
    }
}
