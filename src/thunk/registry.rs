//! The thunks that a node knows, by name and version.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use super::twice::{self, Effects};
use super::unwind::catch;
use super::{Evaluation, Guarded, Reserve, Thunk, View, register_builtins};
use crate::codec::{self, DecodeError, EncodeError};
use crate::key::{Key, KeyRange, Value};
use crate::limits::{THUNK_NAME_BYTES_MAX, THUNKS_MAX};
use crate::time::Timestamp;
use crate::transaction::{Abort, Footprint, Outcome, ThunkId, Transaction};

/// How the names of thunks begin that belong to Plimsoll. Nobody else's may.
pub const RESERVED_PREFIX: &str = "plimsoll.";

/// The thunks that can be submitted to and evaluated by a node. A clone is a copy of the list, not of the code.
#[derive(Clone, Default)]
pub struct Registry {
    thunks: BTreeMap<ThunkId, Arc<dyn Code>>,
    evaluates_twice: bool,
}

/// Why a thunk was not registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The name and version are taken.
    #[error("thunk {0} is registered already: give one of the two another name, or a changed one the next version")]
    Twice(ThunkId),
    /// The name is empty or too long.
    #[error("the thunk name {name:?} has {bytes} bytes: a name has 1 to {THUNK_NAME_BYTES_MAX}")]
    Name {
        /// The name.
        name: String,
        /// Its length in bytes.
        bytes: usize,
    },
    /// The name is Plimsoll's own.
    #[error(
        "the thunk name {name:?} begins with {RESERVED_PREFIX:?}, which is kept for Plimsoll's own: choose another"
    )]
    Reserved {
        /// The name.
        name: String,
    },
    /// There are as many as nodes tell each other of.
    #[error(
        "{THUNKS_MAX} thunks are registered, and there can be no more: leave out versions that nobody submits any more"
    )]
    TooMany,
}

/// No such thunk is registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownThunk {
    /// What was asked for.
    pub thunk: ThunkId,
    /// The versions registered under that name.
    pub versions: Vec<u32>,
}

/// Why there is no footprint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FootprintError {
    /// The thunk is not registered.
    #[error(transparent)]
    UnknownThunk(#[from] UnknownThunk),
    /// The arguments are not the thunk's.
    #[error("the arguments of thunk {thunk} cannot be decoded: {error}; submit a value of the thunk's own type")]
    Arguments {
        /// The thunk.
        thunk: ThunkId,
        /// What is wrong.
        error: DecodeError,
    },
    /// The thunk would touch a key of the system.
    #[error(
        "the footprint of thunk {thunk} names the key {key}, which belongs to Plimsoll, as all do that begin with \\xff\\xff: choose another"
    )]
    System {
        /// The thunk.
        thunk: ThunkId,
        /// The key.
        key: Key,
    },
    /// The thunk cannot be guarded.
    #[error("thunk {thunk} is a transaction by itself: it cannot be the last stage of another")]
    NotGuardable {
        /// The thunk.
        thunk: ThunkId,
    },
    /// The thunk's own code panicked over the arguments.
    #[error("thunk {thunk} panicked over its footprint: {message}; the footprint must exist for all arguments")]
    Panicked {
        /// The thunk.
        thunk: ThunkId,
        /// The panic's message.
        message: String,
    },
}

impl std::error::Error for UnknownThunk {}

/// What to do about a thunk that is not known.
const REGISTER_IT: &str =
    "register it, by `.thunk::<T>()` before the database is opened or by `Plimsoll::register` while it runs";

impl fmt::Display for UnknownThunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "thunk {} is not registered on this node", self.thunk)?;
        match &self.versions[..] {
            [] => write!(f, ": {REGISTER_IT}"),
            versions => write!(
                f,
                ": of {} it has the versions {versions:?}; use one of them, or {REGISTER_IT}",
                self.thunk.name
            ),
        }
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.thunks.keys()).finish()
    }
}

impl Registry {
    /// No thunks at all.
    pub fn new() -> Self {
        Self::default()
    }

    /// The built-in thunks.
    pub fn with_builtins() -> Self {
        let mut registry = Self::new();
        register_builtins(&mut registry).expect("the names of the built-in thunks are short and distinct");
        registry
    }

    /// Adds a thunk.
    ///
    /// *Errors* when its name and version are taken or its name is unusable; then nothing changed.
    pub fn register<T: Thunk>(&mut self) -> Result<&mut Self, RegistryError> {
        if T::NAME.starts_with(RESERVED_PREFIX) {
            return Err(RegistryError::Reserved { name: T::NAME.into() });
        }
        self.add::<T>()
    }

    /// Adds a thunk, which may be Plimsoll's own.
    pub(super) fn add<T: Thunk>(&mut self) -> Result<&mut Self, RegistryError> {
        if T::NAME.is_empty() || T::NAME.len() > THUNK_NAME_BYTES_MAX {
            return Err(RegistryError::Name {
                name: T::NAME.into(),
                bytes: T::NAME.len(),
            });
        }
        let id = ThunkId::of::<T>();
        if self.thunks.contains_key(&id) {
            return Err(RegistryError::Twice(id));
        }
        if self.thunks.len() >= THUNKS_MAX {
            return Err(RegistryError::TooMany);
        }
        self.thunks.insert(id, Arc::new(CodeOf::<T>(PhantomData)));
        Ok(self)
    }

    /// From now on every thunk is evaluated twice, over the same snapshot and with the same arguments. One whose outcome or writes differ is not deterministic,
    /// and its transaction aborts with [`Abort::NotDeterministic`], which names the thunk and what differed.
    ///
    /// For development and tests. Deterministic thunks come to the same with and without it, so members of one cluster may differ in it; a thunk that is not deterministic makes
    /// replicas part in either case. What chance decides may come out alike twice: what this does not find need not be deterministic. A thunk that panics is not evaluated
    /// again, so that the panic is reported once; a panic of a nested thunk that the outer one passes over is reported twice.
    ///
    /// *Cost*: every evaluation costs twice as much. Nothing where it is not asked for.
    pub fn evaluate_twice(&mut self) -> &mut Self {
        self.evaluates_twice = true;
        self
    }

    /// What is registered, ascending.
    pub fn ids(&self) -> impl Iterator<Item = &ThunkId> {
        self.thunks.keys()
    }

    /// Whether `thunk` is registered.
    pub fn contains(&self, thunk: &ThunkId) -> bool {
        self.thunks.contains_key(thunk)
    }

    /// The footprint of `thunk` with these arguments, [in order](Footprint::in_order).
    ///
    /// *Errors* when it is not registered, when the arguments are not its own, and when its code panics, which is caught.
    pub fn footprint(&self, thunk: &ThunkId, arguments: &Value) -> Result<Footprint, FootprintError> {
        if Guarded::is(thunk) {
            let guarded = codec::decode_value::<Guarded>(arguments);
            let thunk = || thunk.clone();
            let guarded = guarded.map_err(|error| FootprintError::Arguments { thunk: thunk(), error })?;
            return guarded.whole_footprint(self);
        }
        let footprint = self.own_footprint(thunk, arguments)?;
        let keys = footprint.reads.iter().chain(&footprint.writes);
        let mut keys = keys.chain(footprint.ranges.iter().map(KeyRange::start));
        match keys.find(|key| key.is_system()) {
            Some(key) if *thunk != ThunkId::of::<Reserve>() => Err(FootprintError::System {
                thunk: thunk.clone(),
                key: key.clone(),
            }),
            _ => Ok(footprint),
        }
    }

    fn own_footprint(&self, thunk: &ThunkId, arguments: &Value) -> Result<Footprint, FootprintError> {
        let code = self.code(thunk)?;
        let thunk = || thunk.clone();
        match catch(|| code.footprint(arguments)) {
            Ok(Ok(footprint)) => Ok(footprint.in_order()),
            Ok(Err(error)) => Err(FootprintError::Arguments { thunk: thunk(), error }),
            Err(message) => Err(FootprintError::Panicked {
                thunk: thunk(),
                message,
            }),
        }
    }

    /// Evaluates `transaction` at `now` over `view`. *Gives* its outcome and, if it committed, its writes.
    ///
    /// A panic of the thunk is caught and is an abort; the process's panic hook reports it first, as any other.
    ///
    /// *Errors* when the thunk is not registered: nothing can be said of the outcome.
    pub fn evaluate(
        &self,
        transaction: &Transaction,
        now: Timestamp,
        view: &dyn View,
    ) -> Result<(Outcome, BTreeMap<Key, Option<Value>>), UnknownThunk> {
        if Guarded::is(&transaction.thunk) {
            return Guarded::evaluate_in(self, transaction, now, view);
        }
        let code = self.code(&transaction.thunk)?;
        let evaluate = || evaluate_once(code, transaction, now, view);
        let effects = evaluate();
        Ok(match self.evaluates_twice {
            false => effects,
            true => twice::agreed(&transaction.thunk, effects, evaluate),
        })
    }

    fn code(&self, thunk: &ThunkId) -> Result<&dyn Code, UnknownThunk> {
        self.thunks.get(thunk).map(Arc::as_ref).ok_or_else(|| {
            let of_name = self.thunks.keys().filter(|known| known.name == thunk.name);
            UnknownThunk {
                thunk: thunk.clone(),
                versions: of_name.map(|known| known.version).collect(),
            }
        })
    }
}

fn evaluate_once(code: &dyn Code, transaction: &Transaction, now: Timestamp, view: &dyn View) -> Effects {
    let mut evaluation = Evaluation::new(transaction, now, view);
    let result = catch(|| code.evaluate(&transaction.arguments, &mut evaluation)).unwrap_or_else(|message| {
        let thunk = transaction.thunk.clone();
        Err(Abort::Panicked { thunk, message })
    });
    // A fault aborts the transaction even if the thunk passed over it.
    match evaluation.finish().and_then(|writes| Ok((result?, writes))) {
        Ok((output, writes)) => (Outcome::Committed(output), writes),
        Err(abort) => (Outcome::Aborted(abort.within_bounds()), BTreeMap::new()),
    }
}

/// A thunk without its type.
trait Code: Send + Sync {
    fn footprint(&self, arguments: &Value) -> Result<Footprint, DecodeError>;
    fn evaluate(&self, arguments: &Value, evaluation: &mut Evaluation<'_>) -> Result<Value, Abort>;
}

/// Stands for the code of `T`; holds nothing of it.
struct CodeOf<T>(PhantomData<fn() -> T>);

impl<T: Thunk> Code for CodeOf<T> {
    fn footprint(&self, arguments: &Value) -> Result<Footprint, DecodeError> {
        Ok(codec::decode_value::<T>(arguments)?.footprint())
    }

    fn evaluate(&self, arguments: &Value, evaluation: &mut Evaluation<'_>) -> Result<Value, Abort> {
        let thunk =
            codec::decode_value::<T>(arguments).map_err(|error| Abort::Malformed(format!("arguments: {error}")))?;
        let output = thunk.evaluate(evaluation)?;
        codec::encode_value(&output).map_err(|error| match error {
            EncodeError::Oversized { bytes, limit } => Abort::TooLarge {
                what: "the output".into(),
                bytes: bytes as u64,
                limit: limit as u64,
            },
            error => Abort::Malformed(format!("output: {error}")),
        })
    }
}

impl ThunkId {
    /// The name and version of a thunk.
    pub fn of<T: Thunk>() -> Self {
        Self {
            name: T::NAME.into(),
            version: T::VERSION,
        }
    }
}
