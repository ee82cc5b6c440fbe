//! What goes wrong with a simulated disk, by plan or by chance.

/// What one operation of a disk meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// A read gives an error.
    ReadError,
    /// A write gives an error, and any of its sectors may have been written.
    WriteError,
    /// A sync gives an error. Any of what was unsynced is durable, and the rest is gone.
    SyncError,
    /// A write that needs more room finds none, perhaps after a part of it; one that needs none is made. The next one finds room again.
    Full,
    /// A write is acknowledged and never becomes durable; it is read back from the cache until the machine stops.
    LostWrite,
    /// A write is acknowledged and nothing becomes of it but that the file grows: what is read back is what stood there before.
    StaleRead,
    /// A write becomes durable at another place of the file, whole sectors away; it is read back from the cache until the
    /// machine stops. Where the file has no other place for it, nothing happens.
    MisdirectedWrite,
}

impl Fault {
    /// What it is counted as.
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadError => "read error",
            Self::WriteError => "write error",
            Self::SyncError => "sync error",
            Self::Full => "full",
            Self::LostWrite => "lost write",
            Self::StaleRead => "stale read",
            Self::MisdirectedWrite => "misdirected write",
        }
    }

    /// What kind of operation meets it.
    pub(super) fn target(self) -> Target {
        match self {
            Self::ReadError => Target::Read,
            Self::WriteError | Self::Full | Self::LostWrite | Self::StaleRead | Self::MisdirectedWrite => Target::Write,
            Self::SyncError => Target::Sync,
        }
    }
}

/// What a process asks of a disk, as far as faults tell it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Read,
    Write,
    Sync,
}

/// How probable each fault is, for every operation that can meet it: from 0, never, to 1, always.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FaultRates {
    /// Of [`Fault::ReadError`], for each read.
    pub read_error: f64,
    /// Of [`Fault::WriteError`], for each write.
    pub write_error: f64,
    /// Of [`Fault::SyncError`], for each sync of a file or of the names.
    pub sync_error: f64,
    /// Of [`Fault::LostWrite`], for each write.
    pub lost_write: f64,
    /// Of [`Fault::StaleRead`], for each write.
    pub stale_read: f64,
    /// Of [`Fault::MisdirectedWrite`], for each write.
    pub misdirected_write: f64,
}

impl FaultRates {
    pub(super) fn of(&self, target: Target) -> Vec<(Fault, f64)> {
        let rates = [
            (Fault::ReadError, self.read_error),
            (Fault::WriteError, self.write_error),
            (Fault::SyncError, self.sync_error),
            (Fault::LostWrite, self.lost_write),
            (Fault::StaleRead, self.stale_read),
            (Fault::MisdirectedWrite, self.misdirected_write),
        ];
        rates
            .into_iter()
            .filter(|(fault, _)| fault.target() == target)
            .collect()
    }
}
