//! `txn-status` and `resolve`: what became of a transaction whose end nobody told.

use clap::Args;
use plimsoll::Plimsoll;
use plimsoll::executor::Known;
use plimsoll::id::TransactionId;
use plimsoll::thunk::Resolution;
use plimsoll::transaction::Outcome;
use serde_json::{Value, json};

use super::{Answer, Failure};
use crate::ask::Ask;
use crate::ask::access::Access;
use crate::ask::shown::hex;
use crate::ask::submit::transaction_id;

const STATUS: &str = "\
It changes nothing, and a transaction that has no outcome yet may still get one: `plimsoll resolve` ends that.
Outcomes are kept for 10 minutes of the transaction's id.

Exit status:
  0  it is told what that node knows
  1  no node answered
  2  the arguments cannot be used; nothing was asked";

const RESOLVE: &str = "\
Afterwards the transaction has an outcome for ever: its own if it has one, else it is cancelled and never takes effect.

Exit status:
  0  the doubt has ended, and it is told how
  1  the doubt remains: try again; or the id is older than outcomes are kept, and whether it took effect is no longer known
  2  the arguments cannot be used; nothing was asked";

/// Tell what one node knows of a transaction.
#[derive(Args)]
#[command(after_help = STATUS)]
pub(crate) struct TxnStatusArguments {
    /// The id of the transaction.
    #[arg(value_parser = transaction_id)]
    id: TransactionId,
    #[command(flatten)]
    access: Access,
}

/// End the doubt about a transaction: tell its outcome, or cancel it.
#[derive(Args)]
#[command(after_help = RESOLVE)]
pub(crate) struct ResolveArguments {
    /// The id of the transaction.
    #[arg(value_parser = transaction_id)]
    id: TransactionId,
    #[command(flatten)]
    access: Access,
}

impl Ask for TxnStatusArguments {
    fn access(&self) -> &Access {
        &self.access
    }

    async fn ask(&self, database: &Plimsoll) -> Result<Answer, Failure> {
        let status = database.status(self.id).await;
        let status = status.map_err(|error| Failure::Failed(error.to_string()))?;
        let (text, mut json) = match status.known {
            Known::NotYet => ("no outcome yet".to_owned(), json!({ "outcome": "none" })),
            Known::Expired => (EXPIRED.to_owned(), json!({ "outcome": "expired" })),
            Known::Settled { effective, outcome } => {
                let resolution = Resolution::of(effective, &outcome);
                // An output may be too large for a resolution, and is not too large here.
                let (text, mut json) = told(&resolution);
                if let Outcome::Committed(output) = &outcome {
                    json["output"] = json!({ "hex": hex(output.as_bytes()) });
                }
                (text, json)
            }
        };
        json["id"] = json!(self.id.to_string());
        json["evaluated"] = json!(status.evaluated.to_string());
        Ok(Answer::new(text + "\n", json))
    }
}

const EXPIRED: &str = "expired: it can no longer take effect, and whether it did is no longer known";

/// An outcome in both forms.
fn told(resolution: &Resolution) -> (String, Value) {
    match resolution {
        Resolution::Committed { effective, output } => (
            format!("committed at {effective}"),
            json!({
                "outcome": "committed",
                "timestamp": effective.to_string(),
                "output": output.as_ref().map(|output| json!({ "hex": hex(output.as_bytes()) })),
            }),
        ),
        Resolution::Aborted { effective, abort } => (
            format!("aborted at {effective}: {abort}"),
            json!({ "outcome": "aborted", "timestamp": effective.to_string(), "reason": abort.to_string() }),
        ),
        Resolution::Cancelled { effective, by } => (
            format!("cancelled at {effective} by {by}: it never takes effect"),
            json!({ "outcome": "cancelled", "timestamp": effective.to_string(), "by": by.to_string() }),
        ),
        Resolution::Expired => (EXPIRED.to_owned(), json!({ "outcome": "expired" })),
    }
}

impl Ask for ResolveArguments {
    fn access(&self) -> &Access {
        &self.access
    }

    async fn ask(&self, database: &Plimsoll) -> Result<Answer, Failure> {
        let resolution = database.resolve(self.id).await;
        let resolution = resolution.map_err(|error| Failure::Failed(error.to_string()))?;
        let (text, mut json) = told(&resolution);
        json["id"] = json!(self.id.to_string());
        Ok(match resolution {
            Resolution::Expired => Answer::new("", json).failed(format!("{} is {text}", self.id)),
            _ => Answer::new(text + "\n", json),
        })
    }
}
