//! What a client asks of a node over the network, and what it is answered.
//!
//! A transaction travels as its id, its thunk and its arguments: the node computes the footprint itself and believes nobody's.

use bincode::{Decode, Encode};

use super::calls::Tried;
use super::changes::ChangesReply;
use super::directory::Directory;
use super::replica::ReplicaStatus;
use crate::client;
use crate::codec::{decode_plain, decode_value, encode_plain};
use crate::executor::{Answer, ChangesQuery, ReadError, Status};
use crate::id::TransactionId;
use crate::key::Value;
use crate::protocol::{Change, Query, ReadMode, Reply};
use crate::thunk::{Registry, Resolve};
use crate::time::Hlc;
use crate::transaction::{ThunkId, Transaction};

/// What is asked.
#[derive(Clone, Debug, Encode, Decode)]
pub(super) enum Request {
    Submit {
        id: TransactionId,
        thunk: ThunkId,
        arguments: Value,
    },
    Read {
        mode: ReadMode,
        query: Query,
    },
    Change(Change),
    Status(TransactionId),
    Inspect,
    /// Where nodes are, as far as the caller knows; a client's is empty.
    Directory(Directory),
    DryRun {
        mode: ReadMode,
        id: TransactionId,
        thunk: ThunkId,
        arguments: Value,
    },
    Changes(ChangesQuery),
}

impl Request {
    /// Whether it changes nothing, and every node would answer it with as much.
    pub(super) fn is_read(&self) -> bool {
        matches!(self, Self::Read { .. } | Self::DryRun { .. } | Self::Changes(_))
    }
}

/// What is answered.
#[derive(Clone, Debug, Encode, Decode)]
pub(super) enum Response {
    Reply(Reply),
    Rows(Result<(Hlc, Answer), ReadError>),
    Status(Status),
    Inspected(Box<ReplicaStatus>),
    /// Where nodes are, as far as the node knows.
    Directory(Directory),
    /// The replica has stopped, and has not seen the request.
    Stopped,
    /// The replica has stopped with the request under way.
    Lost,
    /// These bytes are no request.
    Malformed(String),
    Tried(Result<(Hlc, Tried), ReadError>),
    Changes(ChangesReply),
}

/// *Gives* nothing for bytes that are none.
pub(super) fn decode<T: Decode<()>>(bytes: &[u8]) -> Result<T, String> {
    decode_plain(bytes).map_err(|error| error.to_string())
}

pub(super) fn encode(value: &impl Encode) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_plain(value, &mut bytes);
    bytes
}

/// The transaction of a request. *Errors* with what is wrong with it.
pub(super) fn admit(
    registry: &Registry,
    id: TransactionId,
    thunk: ThunkId,
    arguments: Value,
) -> Result<Transaction, String> {
    if thunk != ThunkId::of::<Resolve>() {
        return client::admit(registry, id, thunk, arguments).map_err(|error| error.to_string());
    }
    let resolve: Resolve = decode_value(&arguments).map_err(|error| error.to_string())?;
    Ok(client::resolve(id, resolve.target))
}
