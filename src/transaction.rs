//! A transaction as it is stored and sent, and what became of it.
//!
//! Realises section 4 of the design, without the code of thunks: that is in [`thunk`](crate::thunk).

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bincode::{Decode, Encode};

use crate::id::TransactionId;
use crate::key::{Key, KeyRange, Value};
use crate::limits::ABORT_TEXT_BYTES_MAX;
use crate::time::{Hlc, Timestamp};

/// The name and version of a registered thunk.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct ThunkId {
    /// The registered name.
    pub name: Arc<str>,
    /// The version of its code: another behaviour needs another version.
    pub version: u32,
}

impl fmt::Display for ThunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} v{}", self.name, self.version)
    }
}

impl fmt::Debug for ThunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// All that a thunk may touch, known before it runs. Every list is sorted and holds nothing twice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Footprint {
    /// The keys it may read.
    pub reads: Vec<Key>,
    /// The ranges it may scan; a key in one of them may be read too.
    pub ranges: Vec<KeyRange>,
    /// The keys it may write; they may be read too.
    pub writes: Vec<Key>,
}

/// A client's transaction: which thunk, with which arguments.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Transaction {
    /// The client's name for it: the same id has at most one effect.
    pub id: TransactionId,
    /// The code to evaluate.
    pub thunk: ThunkId,
    /// The encoded arguments.
    pub arguments: Value,
    /// What the thunk may touch, computed from the arguments by the node that accepted it.
    pub footprint: Footprint,
}

/// A value and the transaction that wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Versioned {
    /// Where it was written.
    pub timestamp: Timestamp,
    /// The value.
    pub value: Value,
}

/// One transaction as stored in S-phase. Its coordinator is that of the stream which holds it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Record {
    /// Its place in the coordinator's stream.
    pub hlc: Hlc,
    /// What to evaluate.
    pub transaction: Transaction,
}

impl Record {
    /// About how many bytes the record takes in memory and in a frame: for bounds, not for sizes of buffers.
    pub fn weight(&self) -> usize {
        const FIXED_BYTES: usize = 64;
        const PER_KEY_BYTES: usize = 8;
        let footprint = &self.transaction.footprint;
        let keys = footprint.reads.iter().chain(&footprint.writes);
        let ranges = footprint
            .ranges
            .iter()
            .flat_map(|range| [Some(range.start()), range.end()])
            .flatten();
        let keys: usize = keys.chain(ranges).map(|key| key.as_bytes().len() + PER_KEY_BYTES).sum();
        FIXED_BYTES + self.transaction.thunk.name.len() + self.transaction.arguments.as_bytes().len() + keys
    }
}

/// Why a transaction was refused at evaluation: the same on every replica.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode, thiserror::Error)]
#[non_exhaustive]
pub enum Abort {
    /// The thunk refused, for a reason of its own.
    #[error("{0}")]
    Refused(String),
    /// The thunk touched a key outside its footprint.
    #[error(
        "thunk {thunk} {access} the key {key}, which its footprint does not declare: add it to the footprint by {}",
        declaring(access)
    )]
    Undeclared {
        /// The thunk that did it.
        thunk: ThunkId,
        /// What it did: `reads`, `scans` or `writes`.
        access: String,
        /// The key, or the first key of the range.
        key: Key,
    },
    /// The thunk panicked.
    #[error("thunk {thunk} panicked: {message}; return Abort::Refused for what it means to refuse")]
    Panicked {
        /// The thunk that did it.
        thunk: ThunkId,
        /// The panic's message.
        message: String,
    },
    /// A stored value or the arguments could not be decoded by the thunk.
    #[error("{0}")]
    Malformed(String),
    /// The id is older than outcomes are kept, so it may have taken effect before.
    #[error(
        "the transaction id was made {age_ms} ms before its timestamp, and outcomes are kept for {window_ms} ms: it may have taken effect before. Use a \
         new id if it was never submitted, or if its effect is to be found out by a read"
    )]
    Expired {
        /// The age of the id at the transaction's timestamp, in milliseconds.
        age_ms: u64,
        /// How long outcomes are kept, in milliseconds.
        window_ms: u64,
    },
    /// The time in the id lies too far ahead of the timestamp.
    #[error(
        "the transaction id was made {ahead_ms} ms after its timestamp, more than {limit_ms}: check the client's clock"
    )]
    FromFuture {
        /// By how much, in milliseconds.
        ahead_ms: u64,
        /// The bound, in milliseconds.
        limit_ms: u64,
    },
    /// A value or the output was larger than the bound.
    #[error("{what} has {bytes} bytes, more than the limit of {limit}: make it smaller, or split it")]
    TooLarge {
        /// What was too large.
        what: String,
        /// Its size in bytes.
        bytes: u64,
        /// The bound in bytes.
        limit: u64,
    },
    /// Thunks called each other too deep.
    #[error("thunk {thunk} was called within {limit} others: it may call itself without end")]
    TooDeep {
        /// The thunk that was not evaluated.
        thunk: ThunkId,
        /// How many may be evaluated within each other.
        limit: u64,
    },
    /// Another transaction, which was to end the doubt about this one, came first: see [`Resolve`](crate::thunk::Resolve).
    #[error("the transaction was cancelled by {by}, which resolved it before it came to be evaluated")]
    Cancelled {
        /// The id of that transaction.
        by: TransactionId,
    },
    /// What earlier stages of the transaction saw has changed since: see [`Guards`](crate::thunk::Guards).
    #[error("stale: written since the snapshot at {at}: {}; run the stages again", named(keys))]
    Stale {
        /// The snapshot that the stages saw.
        at: Hlc,
        /// What was written since: a few of the keys, and the start of a range in which something was deleted. At least one.
        keys: Vec<Key>,
    },
    /// A staged transaction that has waited longer has reserved a key that this one writes: see [`Reserve`](crate::thunk::Reserve).
    #[error("the key {key} is reserved until {until} by {by}, which has waited longer: run the stages again after it")]
    Reserved {
        /// The key.
        key: Key,
        /// The staged transaction that holds it.
        by: TransactionId,
        /// When it lets go of it, in timestamp time, unless it ends before.
        until: Hlc,
    },
    /// Evaluated twice over the same snapshot, the thunk did not do the same: see [`Registry::evaluate_twice`](crate::thunk::Registry::evaluate_twice).
    #[error(
        "thunk {thunk} is not deterministic: evaluated twice over the same snapshot with the same arguments, {what}; replicas would part over it. \
         Use now() for the time, rng() and uuid() for chance, BTreeMap and BTreeSet in place of HashMap and HashSet, and nothing that \
         outlasts one evaluation, such as a static"
    )]
    NotDeterministic {
        /// The thunk that was submitted; the cause may lie in one that it calls.
        thunk: ThunkId,
        /// What differed.
        what: String,
    },
}

/// What in a footprint allows an access.
fn declaring(access: &str) -> &'static str {
    match access {
        "writes" => "write(key)",
        "scans" => "scan(range), one that covers all that is scanned",
        _ => "read(key)",
    }
}

fn named(keys: &[Key]) -> String {
    let keys: Vec<_> = keys.iter().map(Key::to_string).collect();
    keys.join(", ")
}

impl Abort {
    /// The abort with its texts, keys and names cut to [`ABORT_TEXT_BYTES_MAX`]: what is kept and sent.
    #[must_use]
    pub fn within_bounds(mut self) -> Self {
        match &mut self {
            Self::Refused(text) | Self::Malformed(text) | Self::TooLarge { what: text, .. } => cut_text(text),
            Self::Undeclared { thunk, access, key } => {
                cut_name(thunk);
                cut_text(access);
                cut_key(key);
            }
            Self::Panicked { thunk, message } => {
                cut_name(thunk);
                cut_text(message);
            }
            Self::NotDeterministic { thunk, what } => {
                cut_name(thunk);
                cut_text(what);
            }
            Self::TooDeep { thunk, .. } => cut_name(thunk),
            Self::Stale { keys, .. } => keys.iter_mut().for_each(cut_key),
            Self::Reserved { key, .. } => cut_key(key),
            Self::Expired { .. } | Self::FromFuture { .. } | Self::Cancelled { .. } => {}
        }
        self
    }

    /// The abort without the wording that the compiler and libraries choose: equal on replicas of different builds.
    ///
    /// The message of a panic and the words of a decoder may change with a compiler or a library while the thunk stays the same, and a
    /// replica must not be taken for a diverging one because of them. Nor because of what exactly a thunk did that is
    /// [not deterministic](Abort::NotDeterministic).
    #[must_use]
    pub fn without_wording(&self) -> Cow<'_, Self> {
        match self {
            Self::Panicked { thunk, .. } => Cow::Owned(Self::Panicked {
                thunk: thunk.clone(),
                message: String::new(),
            }),
            Self::Malformed(_) => Cow::Owned(Self::Malformed(String::new())),
            Self::NotDeterministic { thunk, .. } => Cow::Owned(Self::NotDeterministic {
                thunk: thunk.clone(),
                what: String::new(),
            }),
            _ => Cow::Borrowed(self),
        }
    }
}

/// Cuts at a boundary of characters.
fn cut_text(text: &mut String) {
    text.truncate(text.floor_char_boundary(ABORT_TEXT_BYTES_MAX));
}

fn cut_key(key: &mut Key) {
    if key.as_bytes().len() > ABORT_TEXT_BYTES_MAX {
        *key = Key::new(&key.as_bytes()[..ABORT_TEXT_BYTES_MAX]);
    }
}

fn cut_name(thunk: &mut ThunkId) {
    if thunk.name.len() > ABORT_TEXT_BYTES_MAX {
        thunk.name = thunk.name[..thunk.name.floor_char_boundary(ABORT_TEXT_BYTES_MAX)].into();
    }
}

/// What became of a transaction at evaluation: the same on every replica.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Outcome {
    /// It took effect and gave this encoded output.
    Committed(Value),
    /// It took no effect, for this reason.
    Aborted(Abort),
}

/// One transaction's end: which, where, and how.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Settlement {
    /// The record that was evaluated.
    pub record: Timestamp,
    /// The transaction's id.
    pub id: TransactionId,
    /// Where it took effect: `record`, or the place of an earlier submission of the same id.
    pub effective: Timestamp,
    /// Its outcome; of an id that was submitted before, the first one.
    pub outcome: Outcome,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_abort_is_cut_between_characters_and_a_short_one_stays() {
        let short = Abort::Refused("no".into());
        assert_eq!(short.clone().within_bounds(), short);
        let Abort::Refused(text) = Abort::Refused("x".to_owned() + &"ü".repeat(ABORT_TEXT_BYTES_MAX)).within_bounds()
        else {
            panic!("the kind stays")
        };
        assert_eq!(
            text.len(),
            ABORT_TEXT_BYTES_MAX - 1,
            "half a character would not be text"
        );
        let thunk = ThunkId {
            name: "n".repeat(2 * ABORT_TEXT_BYTES_MAX).into(),
            version: 1,
        };
        let key = Key::new(vec![0; 2 * ABORT_TEXT_BYTES_MAX]);
        let access = "reads".to_owned();
        let Abort::Undeclared { thunk, key, .. } = Abort::Undeclared { thunk, access, key }.within_bounds() else {
            panic!("the kind stays")
        };
        assert_eq!(
            (thunk.name.len(), key.as_bytes().len()),
            (ABORT_TEXT_BYTES_MAX, ABORT_TEXT_BYTES_MAX)
        );
    }

    #[test]
    fn what_was_not_deterministic_is_cut_and_what_differed_does_not_count() {
        let thunk = ThunkId {
            name: "n".into(),
            version: 1,
        };
        let abort = |what: String| Abort::NotDeterministic {
            thunk: thunk.clone(),
            what,
        };
        let long = abort("x".repeat(2 * ABORT_TEXT_BYTES_MAX));
        let cut = abort("x".repeat(ABORT_TEXT_BYTES_MAX));
        assert_eq!(long.within_bounds(), cut);
        assert_eq!(abort("a".into()).without_wording(), abort("b".into()).without_wording());
    }

    #[test]
    fn only_what_builds_may_word_differently_loses_its_wording() {
        let malformed = |text: &str| Abort::Malformed(text.into());
        assert_eq!(malformed("a").without_wording(), malformed("b").without_wording());
        let refused = |text: &str| Abort::Refused(text.into());
        assert_ne!(refused("a").without_wording(), refused("b").without_wording());
    }
}
