//! The thunk of the lists in two versions, so that a cluster can be upgraded under its load.

use plimsoll::thunk::{Evaluation, Registry, Thunk};
use plimsoll::transaction::{Abort, Footprint, ThunkId};
use serde::{Deserialize, Serialize};

use super::thunks::ListTransaction;
use super::{Call, Seen, Work};

/// The second version: it takes the arguments of the first and does the same, by code of its own.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct SecondListTransaction(ListTransaction);

impl Thunk for SecondListTransaction {
    const NAME: &'static str = ListTransaction::NAME;
    const VERSION: u32 = ListTransaction::VERSION + 1;
    type Output = Vec<Seen>;

    fn footprint(&self) -> Footprint {
        self.0.footprint()
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<Vec<Seen>, Abort> {
        self.0.evaluate(evaluation)
    }
}

/// Code for transactions on lists, as it lies on a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListCode {
    /// The first version alone.
    First,
    /// Both.
    Both,
    /// The second version alone.
    Second,
}

impl ListCode {
    /// The registry of a node with this code and the built-in thunks.
    pub fn registry(self) -> Registry {
        let mut registry = Registry::with_builtins();
        let registered = match self {
            Self::First => registry.register::<ListTransaction>().map(drop),
            Self::Second => registry.register::<SecondListTransaction>().map(drop),
            Self::Both => registry
                .register::<ListTransaction>()
                .and_then(Registry::register::<SecondListTransaction>)
                .map(drop),
        };
        registered.expect("the name is short, and the versions are distinct");
        registry
    }
}

/// The same transaction on lists by the second version of its thunk, under a name of its own in the history. A read stays as it is.
pub fn in_second_version(call: Call) -> Call {
    match call.work {
        Work::Transaction { thunk, arguments } if thunk == ThunkId::of::<ListTransaction>() => Call {
            function: "txn-2",
            work: Work::Transaction {
                thunk: ThunkId::of::<SecondListTransaction>(),
                arguments,
            },
            ..call
        },
        work => Call { work, ..call },
    }
}
