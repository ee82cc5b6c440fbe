//! `put`, `delete` and `txn`: transactions.

use std::io::{IsTerminal, Read};

use clap::Args;
use plimsoll::Plimsoll;
use plimsoll::limits::RECORD_BYTES_MAX;
use plimsoll::runtime::Committed;
use plimsoll::thunk::{Delete, Gave, Operation, Operations, Operator, Put, Written};
use serde_json::{Map, Value, json};

use super::{Answer, Failure};
use crate::ask::Ask;
use crate::ask::access::Access;
use crate::ask::script;
use crate::ask::shown::{Form, Found};
use crate::ask::submit::{Identity, submit};

const EXIT_STATUS: &str = "\
Exit status:
  0  the transaction took effect
  1  it did not, or nobody knows: the message says which, and so does `outcome` of --json
  2  the arguments cannot be used; nothing was submitted";

const OPERATIONS: &str = "\
Operations, which take effect in this order, all or none; each sees what those before it did:
  get KEY                read the key
  put KEY VALUE          write the value
  delete KEY             remove the key; tells whether there was something
  add KEY N              add the number to the one that is there (nothing counts as 0); tells the sum
  min KEY N, max KEY N   keep the smaller, the larger of the two numbers; tells which
  append KEY BYTES       append to the bytes that are there
  union KEY ELEMENT      add an element to the set that is there
  expect KEY VALUE       refuse the whole transaction unless this value is there
  expect-number KEY N    the same of a number
  absent KEY             refuse it unless nothing is there

Without arguments the operations are read from standard input, one on each line. There a value goes to the end of its line, and lines that are
empty or begin with # are passed over.

A number is stored in eight bytes, not as text: `put c 7` and then `add c 1` is refused, and so is `expect c 7` of a counter.
What one transaction cannot do: scan a range (its keys must be known before it runs; see `plimsoll scan`), branch, or compute
a value from what it read: for that write a thunk, which is a function in a program that links the library. One transaction has at
most 1 MiB and 10,000 keys.";

/// Write one key.
#[derive(Args)]
#[command(after_help = EXIT_STATUS)]
pub(crate) struct PutArguments {
    /// The key.
    key: String,
    /// The value.
    #[arg(allow_negative_numbers = true)]
    value: String,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    identity: Identity,
    #[command(flatten)]
    access: Access,
}

/// Remove one key.
#[derive(Args)]
#[command(after_help = EXIT_STATUS)]
pub(crate) struct DeleteArguments {
    /// The key.
    key: String,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    identity: Identity,
    #[command(flatten)]
    access: Access,
}

/// Run several operations as one transaction.
#[derive(Args)]
#[command(after_help = format!("{OPERATIONS}\n\n{EXIT_STATUS}"))]
pub(crate) struct TxnArguments {
    /// The operations, as in `put a 1 delete b add counter 5`; see below. Default: from standard input.
    #[arg(value_name = "OPERATION", allow_negative_numbers = true)]
    operations: Vec<String>,
    #[command(flatten)]
    found: Found,
    /// Tell what it would do at a snapshot that sees everything answered before, and submit nothing.
    #[arg(long, conflicts_with = "id")]
    dry_run: bool,
    #[command(flatten)]
    identity: Identity,
    #[command(flatten)]
    access: Access,
}

impl Ask for PutArguments {
    fn access(&self) -> &Access {
        &self.access
    }

    async fn ask(&self, database: &Plimsoll) -> Result<Answer, Failure> {
        let key = self.form.key(&self.key).map_err(Failure::Usage)?;
        let value = self.form.value(&self.value).map_err(Failure::Usage)?;
        let entries = vec![(key, value)];
        let tell = |committed: &Committed<()>| (place(committed), Map::new());
        Ok(submit(database, self.identity, &Put { entries }, tell).await)
    }
}

impl Ask for DeleteArguments {
    fn access(&self) -> &Access {
        &self.access
    }

    async fn ask(&self, database: &Plimsoll) -> Result<Answer, Failure> {
        let keys = vec![self.form.key(&self.key).map_err(Failure::Usage)?];
        let tell = |committed: &Committed<u64>| {
            let was = committed.output > 0;
            let text = if was { "removed" } else { "there was nothing" };
            let json = Map::from_iter([("removed".to_owned(), json!(was))]);
            (format!("{text}, {}", place(committed)), json)
        };
        Ok(submit(database, self.identity, &Delete { keys }, tell).await)
    }
}

/// Where a transaction took effect, for a reader.
fn place<O>(committed: &Committed<O>) -> String {
    format!("committed {} at {}\n", committed.id, committed.timestamp)
}

impl TxnArguments {
    fn script(&self) -> Result<Operations, Failure> {
        let script = match self.operations.is_empty() {
            false => script::from_words(&self.operations, self.found.form),
            true => script::from_lines(&standard_input()?, self.found.form),
        };
        let script = script.map_err(Failure::Usage)?;
        match script.operations.is_empty() {
            true => Err(Failure::Usage("there are no operations: give at least one".to_owned())),
            false => Ok(script),
        }
    }
}

impl Ask for TxnArguments {
    fn access(&self) -> &Access {
        &self.access
    }

    async fn ask(&self, database: &Plimsoll) -> Result<Answer, Failure> {
        let script = self.script()?;
        if self.dry_run {
            return self.try_out(database, &script).await;
        }
        let tell = |committed: &Committed<Vec<Gave>>| self.tell(&script.operations, committed);
        Ok(submit(database, self.identity, &script, tell).await)
    }
}

impl TxnArguments {
    fn tell(&self, operations: &[Operation], committed: &Committed<Vec<Gave>>) -> (String, Map<String, Value>) {
        let (text, results) = self.results(operations, &committed.output);
        let json = Map::from_iter([("results".to_owned(), results)]);
        (text + &place(committed), json)
    }

    async fn try_out(&self, database: &Plimsoll, script: &Operations) -> Result<Answer, Failure> {
        let run = database.dry_run(script).await;
        let run = run.map_err(|error| Failure::Failed(error.to_string()))?;
        let at = run.at.to_string();
        let output = match run.outcome {
            Ok(output) => output,
            Err(abort) => {
                let json = json!({ "outcome": "would abort", "at": at, "reason": abort.to_string() });
                return Ok(Answer::new("", json).failed(format!("it would abort: {abort}")));
            }
        };
        let (mut text, results) = self.results(&script.operations, &output);
        let mut writes = Vec::new();
        for (key, value) in &run.writes {
            let line = self.found.form.line(key.as_bytes());
            text += &match value {
                Some(value) => format!("would write\t{line}\t{}\n", self.found.line(value)),
                None => format!("would delete\t{line}\n"),
            };
            let value = value.as_ref().map(|value| self.found.json(value));
            writes.push(json!({ "key": self.found.form.json(key.as_bytes()), "value": value }));
        }
        text += &format!("nothing was submitted, seen at {at}\n");
        let json = json!({ "outcome": "would commit", "at": at, "results": results, "writes": writes });
        Ok(Answer::new(text, json))
    }

    /// What each operation gave.
    fn results(&self, operations: &[Operation], output: &[Gave]) -> (String, Value) {
        let mut text = String::new();
        let mut results = Vec::new();
        for (operation, gave) in operations.iter().zip(output) {
            let (word, key) = (script::word(operation), operation.key().as_bytes());
            let mut json = json!({ "operation": word, "key": self.found.form.json(key) });
            let mut of_value = |found: Found, value: Option<&plimsoll::key::Value>| {
                json["value"] = value.map_or(json!(null), |value| found.json(value));
                value.map_or("nothing".to_owned(), |value| found.line(value))
            };
            let line = match gave {
                Gave::Met | Gave::Written(Written::Done) => "done".to_owned(),
                Gave::Value(value) => of_value(self.found, value.as_ref()),
                Gave::Written(Written::Ignored { value, .. }) => of_value(self.found, value.as_ref()),
                Gave::Written(Written::Number(number)) => {
                    let found = Found {
                        number: true,
                        ..self.found
                    };
                    of_value(found, Some(&Operator::of_number(*number)))
                }
                Gave::Removed(was) => {
                    json["removed"] = json!(was);
                    if *was { "removed" } else { "there was nothing" }.to_owned()
                }
            };
            let key = self.found.form.line(key);
            text += &format!("{word}\t{key}\t{line}\n");
            results.push(json);
        }
        (text, json!(results))
    }
}

/// What is there to be read, up to a little more than one transaction can hold.
fn standard_input() -> Result<String, Failure> {
    const BYTES_MAX: u64 = 4 * RECORD_BYTES_MAX as u64;
    let mut text = String::new();
    if std::io::stdin().is_terminal() {
        eprintln!("one operation on each line, then the end of the input (Ctrl-D):");
    }
    let read = std::io::stdin().lock().take(BYTES_MAX).read_to_string(&mut text);
    match read {
        Ok(bytes) if (bytes as u64) < BYTES_MAX => Ok(text),
        Ok(_) => Err(Failure::Usage(format!(
            "standard input has {BYTES_MAX} bytes or more, and one transaction at most {RECORD_BYTES_MAX}: split it"
        ))),
        Err(error) => Err(Failure::Usage(format!("standard input cannot be read: {error}"))),
    }
}
