//! What nodes say to each other. Every field says what its receiver may conclude from it.
//!
//! Realises sections 3.1, 3.2, 3.7 and 3.8 of the design. Messages may be lost, repeated, delayed, reordered and carried by a
//! third node: each says everything about itself, and none is an answer that only makes sense beside a question.

use std::sync::Arc;

use bincode::{Decode, Encode};

use crate::id::{Epoch, NodeId};
use crate::lattice::Row;
use crate::time::Hlc;
use crate::transaction::Record;

/// One message. A frame carries several.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum Message {
    /// A piece of a stream.
    Append(Append),
    /// How far one node has come.
    Row(Row),
    /// A request for a piece of a stream.
    Fetch(Fetch),
}

/// "If you hold this stream up to `prev`, here is all of it up to `upto`, and its coordinator will never issue
/// anything at or below `upto` again." With no records it is a pure promise.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Append {
    /// The stream's epoch. A receiver in another epoch concludes nothing.
    pub epoch: Epoch,
    /// Whose stream. The sender may be another node that relays it.
    pub coordinator: NodeId,
    /// The receiver must hold the stream up to here, or it has missed records and concludes nothing.
    pub prev: Hlc,
    /// With `prev` held, the receiver holds the stream up to here.
    pub upto: Hlc,
    /// All records in `prev < hlc <= upto`, ascending.
    pub records: Vec<Arc<Record>>,
}

/// "Send me this stream after `after`, and for a while what comes next, because I do not get it from its coordinator."
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Fetch {
    /// The stream's epoch.
    pub epoch: Epoch,
    /// Whose stream is wanted.
    pub coordinator: NodeId,
    /// What the sender holds: everything up to here.
    pub after: Hlc,
}
