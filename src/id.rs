//! Names of things: nodes, epochs, clusters, transactions and client requests.
//!
//! Realises sections 1 and 2 of the design. Nothing here makes an identity by itself: entropy and time
//! come in from the roof, so that a simulated run can be repeated.

use std::fmt;

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// One node of a cluster. Never reused: a node that lost its disk comes back under another id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(u32);

impl NodeId {
    /// The highest id, above every node's: the upper end of a bound that covers all nodes at one [`Hlc`](crate::time::Hlc).
    pub const MAX: Self = Self(u32::MAX);

    /// The node with this number.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number given to [`NodeId::new`].
    pub const fn number(self) -> u32 {
        self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

/// A numbered period with fixed members and coordinators. The first is [`Epoch::FIRST`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Epoch(u64);

impl Epoch {
    /// The epoch in which a new cluster starts.
    pub const FIRST: Self = Self(1);

    /// The epoch with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number of the epoch, from 1.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The epoch that a decree of this one begins.
    ///
    /// *Panics* after 2^64 epochs.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "e{}", self.0)
    }
}

/// Which cluster a frame or a file belongs to, so that two clusters cannot be mixed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct ClusterId(u128);

impl ClusterId {
    /// Its number.
    pub const fn number(self) -> u128 {
        self.0
    }

    /// The cluster with this number, drawn at random when the cluster is made.
    pub const fn new(number: u128) -> Self {
        Self(number)
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// One storage of one node, from its making on: a folder that was lost and made anew has another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct StorageId(u128);

impl StorageId {
    /// Its number.
    pub const fn number(self) -> u128 {
        self.0
    }

    /// The storage with this number, drawn at random when the storage is made.
    pub const fn new(number: u128) -> Self {
        Self(number)
    }
}

impl fmt::Display for StorageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// A client's name for one transaction, a UUIDv7: submitting the same id again gives the first outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TransactionId(u128);

impl TransactionId {
    /// A UUIDv7 of a time and ten random bytes.
    ///
    /// *Given* the milliseconds since the Unix epoch and bytes of good entropy (in simulation: of the
    /// seeded stream). The id is refused as expired by its time, see [`TransactionId::unix_millis`].
    pub fn from_parts(unix_millis: u64, random: [u8; 10]) -> Self {
        Self(
            uuid::Builder::from_unix_timestamp_millis(unix_millis, &random)
                .into_uuid()
                .as_u128(),
        )
    }

    /// The id of one of several transactions that belong together: the `number`th of those which this id stands for, with its time. The first
    /// has the id itself.
    ///
    /// Part of the format: the other 74 random bits are those of XXH3 of 128 bits over this id and the number, both little-endian.
    #[must_use]
    pub fn attempt(self, number: u32) -> Self {
        if number == 0 {
            return self;
        }
        let mut seed = self.0.to_le_bytes().to_vec();
        seed.extend(number.to_le_bytes());
        let mixed = xxhash_rust::xxh3::xxh3_128(&seed).to_le_bytes();
        let mut random = [0; 10];
        random.copy_from_slice(&mixed[..10]);
        Self::from_parts(self.unix_millis(), random)
    }

    /// The id as a UUID.
    pub fn uuid(self) -> Uuid {
        Uuid::from_u128(self.0)
    }

    /// An id from the 128 bits of a UUID.
    pub const fn from_u128(bits: u128) -> Self {
        Self(bits)
    }

    /// The 128 bits of the UUID.
    pub const fn as_u128(self) -> u128 {
        self.0
    }

    /// Milliseconds since the Unix epoch at which the id was made, from its first 48 bits.
    pub const fn unix_millis(self) -> u64 {
        (self.0 >> 80) as u64
    }
}

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uuid().fmt(f)
    }
}

/// The driver's name for one request that waits for an answer. Unique within one run of a node, and never sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);
