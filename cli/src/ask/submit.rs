//! What becomes of a transaction, in words and in JSON.

use clap::Args;
use plimsoll::Plimsoll;
use plimsoll::id::TransactionId;
use plimsoll::runtime::{Committed, SubmitError};
use plimsoll::thunk::Thunk;
use serde_json::{Map, Value, json};

use crate::command::Answer;

/// Under which id a transaction is submitted.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Identity {
    /// The id of the transaction, a UUIDv7 of the last minutes. Submitted again under the same id it takes effect once, and the answer is the first
    /// outcome. Default: a new one.
    #[arg(long, value_name = "ID", value_parser = transaction_id)]
    pub(crate) id: Option<TransactionId>,
}

/// The id of a transaction, as it is printed.
pub(crate) fn transaction_id(text: &str) -> Result<TransactionId, String> {
    match uuid::Uuid::try_parse(text) {
        Ok(id) if id.get_version_num() == 7 => Ok(TransactionId::from_u128(id.as_u128())),
        _ => Err("the id of a transaction is a UUIDv7, such as 019aa5d2-6a31-7c3e-8d60-5a3f0c1b2e4d".to_owned()),
    }
}

/// Submits a transaction. *Gives* what to say of it: of one that took effect, what `tell` adds.
pub(crate) async fn submit<T: Thunk>(
    database: &Plimsoll,
    identity: Identity,
    thunk: &T,
    tell: impl FnOnce(&Committed<T::Output>) -> (String, Map<String, Value>),
) -> Answer {
    let result = match identity.id {
        Some(id) => database.submit_as(id, thunk).await,
        None => database.submit(thunk).await,
    };
    match result {
        Ok(committed) => {
            let (text, more) = tell(&committed);
            let mut json = Map::from_iter([
                ("outcome".to_owned(), json!("committed")),
                ("id".to_owned(), json!(committed.id.to_string())),
                ("timestamp".to_owned(), json!(committed.timestamp.to_string())),
            ]);
            json.extend(more);
            Answer::new(text, Value::Object(json))
        }
        Err(error) => failed(&error),
    }
}

/// What to say of a transaction that has no output.
fn failed(error: &SubmitError) -> Answer {
    let json = match error {
        SubmitError::Aborted { id, timestamp, abort } => json!({
            "outcome": "aborted", "id": id.to_string(), "timestamp": timestamp.to_string(), "reason": abort.to_string(),
        }),
        SubmitError::Unknown { id, why } => json!({
            "outcome": "unknown", "id": id.to_string(), "reason": why.to_string(),
        }),
        SubmitError::Output { id, timestamp, error } => json!({
            "outcome": "committed", "id": id.to_string(), "timestamp": timestamp.to_string(), "reason": error.to_string(),
        }),
        // It did certainly nothing.
        other => json!({ "outcome": "refused", "reason": other.to_string() }),
    };
    Answer::new("", json).failed(error.to_string())
}
