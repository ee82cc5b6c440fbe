//! What nodes say to each other. Every field says what its receiver may conclude from it.
//!
//! Realises sections 3.1, 3.2, 3.7 and 3.8 of the design. Messages may be lost, repeated, delayed, reordered and carried by a
//! third node: each says everything about itself, and none is an answer that only makes sense beside a question.

use std::sync::Arc;

use bincode::{Decode, Encode};

use super::decree::{Answer, Ballot, Decree};
use crate::id::{Epoch, NodeId};
use crate::lattice::Row;
use crate::time::Hlc;
use crate::transaction::{Record, ThunkId};

/// One message. A frame carries several.
#[derive(Clone, Debug, PartialEq, Hash, Encode, Decode)]
pub enum Message {
    /// A piece of a stream.
    Append(Append),
    /// How far one node has come.
    Row(Row),
    /// A request for a piece of a stream.
    Fetch(Fetch),
    /// Shall the epoch end?
    Prepare(Prepare),
    /// It is fenced here, and this is how far I am.
    Promise(Promise),
    /// Shall it end like this?
    Accept(Accept),
    /// I hold what it takes, and vote for it.
    Accepted(Accepted),
    /// Somebody else tries already.
    Outbid(Outbid),
    /// It has ended like this.
    Decided(Decree),
    /// I keep this stream no more.
    Gone(Gone),
    /// A request for a piece of a snapshot.
    SnapshotRequest(SnapshotRequest),
    /// A piece of a snapshot.
    SnapshotChunk(SnapshotChunk),
    /// Which code there is where.
    Declared(Declared),
}

impl Message {
    /// The epoch that the message speaks of; of a decree, the one that it ends.
    pub fn epoch(&self) -> Epoch {
        match self {
            Self::Append(append) => append.epoch,
            Self::Row(row) => row.epoch,
            Self::Fetch(fetch) => fetch.epoch,
            Self::Prepare(prepare) => prepare.epoch,
            Self::Promise(promise) => promise.epoch,
            Self::Accept(accept) => accept.decree.ends(),
            Self::Accepted(accepted) => accepted.epoch,
            Self::Outbid(outbid) => outbid.epoch,
            Self::Decided(decree) => decree.ends(),
            Self::Gone(gone) => gone.epoch,
            Self::SnapshotRequest(request) => request.epoch,
            Self::SnapshotChunk(chunk) => chunk.epoch,
            Self::Declared(declared) => declared.epoch,
        }
    }
}

/// "Promise me this ballot, and fence the epoch." The sender wants to end it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Prepare {
    /// The epoch to end.
    pub epoch: Epoch,
    /// The attempt, and whom to answer.
    pub ballot: Ballot,
}

/// "The epoch is fenced here, durably; I shall accept no lower ballot, and my row stays as the answer says."
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Promise {
    /// The epoch that is to end.
    pub epoch: Epoch,
    /// The ballot that is promised.
    pub ballot: Ballot,
    /// How far the sender is.
    pub answer: Answer,
}

/// "A majority has promised me this ballot; vote for this decree as soon as you durably hold the streams up to its cut."
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Accept {
    /// The ballot.
    pub ballot: Ballot,
    /// The decree.
    pub decree: Decree,
}

/// "I have accepted the ballot, durably, and durably hold the streams up to its decree's cut."
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Accepted {
    /// The epoch that is to end.
    pub epoch: Epoch,
    /// The ballot accepted.
    pub ballot: Ballot,
}

/// "I have promised a higher ballot." The receiver's attempt is lost.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Outbid {
    /// The epoch that is to end.
    pub epoch: Epoch,
    /// The ballot promised.
    pub ballot: Ballot,
}

/// "If you hold this stream up to `prev`, here is all of it up to `upto`, and its coordinator will never issue
/// anything at or below `upto` again." With no records it is a pure promise.
#[derive(Clone, Debug, PartialEq, Hash, Encode, Decode)]
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
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Fetch {
    /// The stream's epoch.
    pub epoch: Epoch,
    /// Whose stream is wanted.
    pub coordinator: NodeId,
    /// What the sender holds: everything up to here.
    pub after: Hlc,
}

/// "I keep no records of this stream at or below `through`." A receiver that holds the stream less far, and has not evaluated up to there,
/// needs a snapshot, for which it may ask the sender. Who holds or has evaluated that much concludes nothing: the message is old.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Gone {
    /// The stream's epoch. The sender may have forgotten all of it.
    pub epoch: Epoch,
    /// Whose stream was asked for.
    pub coordinator: NodeId,
    /// The sender has evaluated up to here at least, and so can serve a snapshot that reaches as far.
    pub through: Hlc,
}

/// "Send me a piece of a snapshot."
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct SnapshotRequest {
    /// The sender's epoch. A receiver in a later one sends decrees first: a snapshot may reach into an epoch only that its receiver knows.
    pub epoch: Epoch,
    /// The sender has evaluated up to here: a snapshot at or below is of no use to it.
    pub above: Hlc,
    /// The bound of the checkpoint of which it has pieces; none if it has none.
    pub bound: Option<Hlc>,
    /// Where the piece begins that it needs next, as drivers write it; empty: at the beginning.
    pub cursor: Vec<u8>,
}

/// "Here is a piece of a snapshot": the state of a replica at a bound below the start of every epoch after `epoch`. Nothing is concluded
/// from a piece; once all are there and make the whole that they name, their receiver may go on from the bound.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct SnapshotChunk {
    /// The epoch that the sender was in when it was asked. A receiver in an earlier one drops the piece.
    pub epoch: Epoch,
    /// The piece, as drivers write it. It says which checkpoint it belongs to.
    pub bytes: Vec<u8>,
}

/// "These nodes have this code, as far as I know, and here is of whom I know it." It says so whatever the epoch of its receiver.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Declared {
    /// The sender's epoch.
    pub epoch: Epoch,
    /// What the receiver was not known to know, ascending by node: the sender's own, and what it was told of others. None: there is nothing new.
    pub declarations: Vec<Declaration>,
    /// Of whom the sender knows a declaration, with its stamp, ascending by node. What is older or missing here is worth sending; the
    /// sender's own stamp tells this run of its process from the ones before, which knew other things.
    pub known: Vec<(NodeId, Hlc)>,
}

/// The thunks that one node has, and what keeps it from evaluating.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Declaration {
    /// Who declares.
    pub node: NodeId,
    /// From its clock, so that a later declaration has a higher one, over restarts too. It takes the place of every lower one.
    pub stamp: Hlc,
    /// What is registered there, ascending.
    pub thunks: Vec<ThunkId>,
    /// Its evaluation stands still before a record of this thunk, which is not registered there: more records of it do no more harm.
    pub blocked: Option<ThunkId>,
}
