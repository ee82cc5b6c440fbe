//! Why bytes were refused, and why a value was not encoded.

use super::Kind;

/// Why a value was not encoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The encoding would be larger than its bound.
    #[error("the encoding has {bytes} bytes, more than the limit of {limit}: make it smaller or split it")]
    Oversized {
        /// Its size in bytes.
        bytes: usize,
        /// The bound in bytes.
        limit: usize,
    },
    /// The type or the value has no encoding in this format.
    #[error("the value cannot be encoded: {reason}")]
    Unsupported {
        /// What the encoder says.
        reason: String,
    },
}

/// Why bytes were refused. Nothing of them was used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end before the envelope does.
    #[error("{bytes} bytes, but the envelope has at least {needed}: the rest is missing")]
    TooShort {
        /// The bytes there are.
        bytes: usize,
        /// The bytes there must be, as far as is known.
        needed: usize,
    },
    /// Another version of the format.
    #[error("format version {found}, but this build reads version {known}: run the same release on every node")]
    UnknownVersion {
        /// The version of the bytes.
        found: u8,
        /// The version that this build reads.
        known: u8,
    },
    /// Something else than what was expected.
    #[error("a {expected} (kind {}) was expected, but the bytes are of kind {found}", expected.byte())]
    WrongKind {
        /// The kind's byte.
        found: u8,
        /// What was expected.
        expected: Kind,
    },
    /// Larger than the bound, by its own word or in fact. Nothing was read or allocated.
    #[error("{bytes} bytes, more than the limit of {limit}")]
    Oversized {
        /// The size in bytes.
        bytes: usize,
        /// The bound in bytes.
        limit: usize,
    },
    /// The bytes are not those that were encoded.
    #[error(
        "the checksum is {stored:016x}, but the bytes have {computed:016x}: they were damaged on the way or on the disk"
    )]
    ChecksumMismatch {
        /// The checksum in the envelope.
        stored: u64,
        /// The checksum of the bytes.
        computed: u64,
    },
    /// The lists in the bytes claim more memory than an encoding of this size can need.
    #[error("lengths inside the {bytes} bytes claim more than {limit} bytes of memory")]
    ClaimsTooMuch {
        /// The size of the encoding in bytes.
        bytes: usize,
        /// The bound on claims in bytes, see [`claim_bytes_max`](super::claim_bytes_max).
        limit: usize,
    },
    /// The bytes are no encoding of the expected type.
    #[error("the bytes are not a {expected}: {reason}")]
    Malformed {
        /// The type that was expected.
        expected: &'static str,
        /// What the decoder says.
        reason: String,
    },
    /// There are bytes behind the end.
    #[error("{bytes} bytes follow the end")]
    TrailingBytes {
        /// How many.
        bytes: usize,
    },
}

impl DecodeError {
    /// What bincode's refusal of an encoding of `bytes` bytes means for whoever expected a `T`.
    pub(super) fn of_bincode<T>(error: bincode::error::DecodeError, bytes: usize) -> Self {
        let reason = match error {
            bincode::error::DecodeError::LimitExceeded => {
                let limit = super::claim_bytes_max(bytes);
                return Self::ClaimsTooMuch { bytes, limit };
            }
            bincode::error::DecodeError::UnexpectedEnd { .. } => "it ends too early".to_owned(),
            bincode::error::DecodeError::OtherString(reason) => reason,
            other => format!("{other:?}"),
        };
        Self::Malformed {
            expected: std::any::type_name::<T>(),
            reason,
        }
    }
}

impl EncodeError {
    /// What bincode's refusal means. *Given* how many bytes the whole encoding would have, and their bound.
    pub(super) fn of_bincode(error: bincode::error::EncodeError, bytes: impl FnOnce() -> usize, limit: usize) -> Self {
        match error {
            bincode::error::EncodeError::UnexpectedEnd => Self::Oversized { bytes: bytes(), limit },
            bincode::error::EncodeError::OtherString(reason) => Self::Unsupported { reason },
            other => Self::Unsupported {
                reason: format!("{other:?}"),
            },
        }
    }
}
