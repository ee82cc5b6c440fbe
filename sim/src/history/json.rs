//! The history as lines of JSON, one object per entry, and back.
//!
//! The form is near to what outside checkers read: `value` is a list of `[operation, key, argument]`. Where a read holds
//! `null`, a fourth element tells what cannot be seen from the rest: `"register"` (a register, not read), `"unwritten"` (a
//! register, read as never written) and `"list"` (a list, not read, where the same key is a register too or the entry is an
//! `ok`). Histories of other programs need none of them: see [`History::read_json_lines`].

use std::collections::BTreeSet;
use std::io::{self, BufRead, Write};

use plimsoll::id::{NodeId, TransactionId};
use plimsoll::time::{Hlc, Timestamp};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{Entry, History, MicroOperation, Phase, function};

/// Distinct function names that one file may have: each one that is not known stays in memory for ever.
const FUNCTIONS_MAX: usize = 1000;

/// Function names that need no memory of their own.
const FUNCTIONS_KNOWN: [&str; 6] = [
    "txn",
    "transfer",
    "read",
    function::STRICT_READ,
    function::SNAPSHOT_READ,
    function::AFTER_READ,
];

/// Why a recorded history could not be read. Nothing of it is kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadHistoryError {
    /// The input itself failed.
    #[error("line {line}: cannot be read: {source}")]
    Input {
        /// The line, from 1.
        line: usize,
        /// What the input said.
        source: io::Error,
    },
    /// The line is no JSON object.
    #[error("line {line}: not a JSON object: {source}; write one object per line")]
    Json {
        /// The line, from 1.
        line: usize,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// A field is missing or holds something else than it should.
    #[error("line {line}: field {field:?}: {problem}")]
    Field {
        /// The line, from 1.
        line: usize,
        /// The field.
        field: &'static str,
        /// What is wrong and what is expected.
        problem: String,
    },
}

/// One line as it is written; the order of the fields is the order in the file.
#[derive(Serialize)]
struct Line<'a> {
    index: usize,
    r#type: &'static str,
    process: u64,
    time: u64,
    f: &'a str,
    value: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    region: usize,
}

impl History {
    /// Writes one JSON object per entry: index, type, process, time in nanoseconds, f, value, id, timestamp, error and
    /// region; the last three and id only where there are any.
    ///
    /// *Errors* of `out`, and `InvalidData` for a time beyond 2^64 nanoseconds; what was written before stays written.
    pub fn write_json_lines(&self, mut out: impl Write) -> io::Result<()> {
        let registers = self.register_keys();
        for (index, entry) in self.entries.iter().enumerate() {
            let line = Line {
                index,
                r#type: entry.phase.name(),
                process: entry.process,
                time: super::nanoseconds(entry)?,
                f: entry.function,
                value: entry
                    .value
                    .iter()
                    .map(|step| step_to_json(step, entry.phase, &registers))
                    .collect(),
                id: entry.id.map(|id| id.to_string()),
                timestamp: entry
                    .timestamp
                    .map(|at| json!({"hlc": at.hlc.bits(), "node": at.node.number()})),
                error: entry.error.as_deref(),
                region: entry.region,
            };
            serde_json::to_writer(&mut out, &line)?;
            out.write_all(b"\n")?;
        }
        out.flush()
    }

    /// Reads what [`History::write_json_lines`] wrote, or the history of another program in the same form.
    ///
    /// *Given* one object per line; empty lines are passed over. `index`, `id`, `timestamp`, `error` and `region` may be
    /// missing or null. Times are cut to whole microseconds. A `["r", key, null]` without a fourth element reads a register
    /// if `key` is elsewhere in the file a register and not a list, and else a list; in an `ok` it means never written or
    /// empty.
    ///
    /// *Errors* name the line and the field. Whether the entries fit together is for the checkers to say.
    pub fn read_json_lines(input: impl BufRead) -> Result<Self, ReadHistoryError> {
        let mut reader = Reader::default();
        for (number, line) in input.lines().enumerate() {
            let number = number + 1;
            let line = line.map_err(|source| ReadHistoryError::Input { line: number, source })?;
            if line.trim().is_empty() {
                continue;
            }
            let object: Map<String, Value> =
                serde_json::from_str(&line).map_err(|source| ReadHistoryError::Json { line: number, source })?;
            reader
                .read(&object)
                .map_err(|(field, problem)| ReadHistoryError::Field {
                    line: number,
                    field,
                    problem,
                })?;
        }
        Ok(reader.finish())
    }

    fn register_keys(&self) -> BTreeSet<u64> {
        let steps = self.entries.iter().flat_map(|entry| &entry.value);
        steps
            .filter_map(|step| match step {
                MicroOperation::Write { key, .. } | MicroOperation::ReadRegister { key, .. } => Some(*key),
                _ => None,
            })
            .collect()
    }
}

fn step_to_json(step: &MicroOperation, phase: Phase, registers: &BTreeSet<u64>) -> Value {
    match step {
        MicroOperation::Append { key, element } => json!(["append", key, element]),
        MicroOperation::ReadList { key, elements: None } if phase == Phase::Ok || registers.contains(key) => {
            json!(["r", key, null, "list"])
        }
        MicroOperation::ReadList { key, elements } => json!(["r", key, elements]),
        MicroOperation::Write { key, value } => json!(["w", key, value]),
        MicroOperation::ReadRegister { key, value: None } => json!(["r", key, null, "register"]),
        MicroOperation::ReadRegister { key, value: Some(None) } => json!(["r", key, null, "unwritten"]),
        MicroOperation::ReadRegister {
            key,
            value: Some(value),
        } => json!(["r", key, value]),
        MicroOperation::Add { key, amount } => json!(["add", key, amount]),
        MicroOperation::ReadCounter { key, value } => json!(["counter", key, value]),
    }
}

/// A field that cannot be used, and why.
type Problem = (&'static str, String);

/// What has been read so far.
#[derive(Default)]
struct Reader {
    entries: Vec<Entry>,
    functions: BTreeSet<&'static str>,
    index_last: Option<u64>,
    lists: BTreeSet<u64>,
    registers: BTreeSet<u64>,
    /// Reads of which only the whole file can tell the kind: entry and step. They stand in `entries` as reads of lists.
    undetermined: Vec<(usize, usize)>,
}

impl Reader {
    fn read(&mut self, object: &Map<String, Value>) -> Result<(), Problem> {
        if let Some(index) = present(object, "index") {
            let index = index.as_u64().ok_or_else(|| expected("index", "a number", index))?;
            if self.index_last.is_some_and(|last| index <= last) {
                return Err((
                    "index",
                    format!("{index} is not above the one before: sort the file by index"),
                ));
            }
            self.index_last = Some(index);
        }
        let phase = required(object, "type")?;
        let phase = phase
            .as_str()
            .and_then(Phase::from_name)
            .ok_or_else(|| expected("type", "one of \"invoke\", \"ok\", \"fail\", \"info\"", phase))?;
        let time = number(required(object, "time")?, "time")?;
        let entry = Entry {
            process: number(required(object, "process")?, "process")?,
            time_us: time / 1000,
            phase,
            function: self.function(required(object, "f")?)?,
            value: self.steps(required(object, "value")?, phase)?,
            id: present(object, "id").map(id_from_json).transpose()?,
            timestamp: present(object, "timestamp").map(timestamp_from_json).transpose()?,
            error: present(object, "error").map(text_from_json),
            region: present(object, "region").map_or(Ok(0), |region| number(region, "region"))? as usize,
        };
        self.entries.push(entry);
        Ok(())
    }

    fn function(&mut self, value: &Value) -> Result<&'static str, Problem> {
        let name = value.as_str().ok_or_else(|| expected("f", "a name", value))?;
        if let Some(known) = FUNCTIONS_KNOWN.into_iter().find(|known| *known == name) {
            return Ok(known);
        }
        if let Some(known) = self.functions.get(name) {
            return Ok(known);
        }
        if self.functions.len() == FUNCTIONS_MAX {
            return Err((
                "f",
                format!("more than {FUNCTIONS_MAX} different names: put what differs into \"value\""),
            ));
        }
        // Entries hold names for ever, and a program reads few histories: the leak is bounded by the names in a file.
        let name: &'static str = Box::leak(name.to_owned().into_boxed_str());
        self.functions.insert(name);
        Ok(name)
    }

    fn steps(&mut self, value: &Value, phase: Phase) -> Result<Vec<MicroOperation>, Problem> {
        let steps = value
            .as_array()
            .ok_or_else(|| expected("value", "a list of [operation, key, argument]", value))?;
        let entry = self.entries.len();
        let mut read = Vec::with_capacity(steps.len());
        for (place, step) in steps.iter().enumerate() {
            match step.as_array().map(Vec::as_slice) {
                Some([Value::String(name), key, argument, mark @ ..]) => {
                    let key = number(key, "value")?;
                    let mark = mark.first().and_then(Value::as_str);
                    if name == "r" && argument.is_null() && mark.is_none() {
                        self.undetermined.push((entry, place));
                    }
                    read.push(self.step(name, key, argument, mark, phase)?);
                }
                _ => return Err(expected("value", "a list of [operation, key, argument]", step)),
            }
        }
        Ok(read)
    }

    fn step(
        &mut self,
        name: &str,
        key: u64,
        argument: &Value,
        mark: Option<&str>,
        phase: Phase,
    ) -> Result<MicroOperation, Problem> {
        let step = match (name, argument, mark) {
            ("append", element, _) => MicroOperation::Append {
                key,
                element: number(element, "value")?,
            },
            ("w", value, _) => MicroOperation::Write {
                key,
                value: number(value, "value")?,
            },
            ("add", amount, _) => MicroOperation::Add {
                key,
                amount: signed(amount)?,
            },
            ("counter", Value::Null, _) => MicroOperation::ReadCounter { key, value: None },
            ("counter", value, _) => MicroOperation::ReadCounter {
                key,
                value: Some(signed(value)?),
            },
            ("r", Value::Null, Some("register")) => MicroOperation::ReadRegister { key, value: None },
            ("r", Value::Null, Some("unwritten")) => MicroOperation::ReadRegister { key, value: Some(None) },
            ("r", Value::Null, Some("list")) => MicroOperation::ReadList { key, elements: None },
            ("r", Value::Null, Some(mark)) => {
                return Err((
                    "value",
                    format!("unknown mark {mark:?} of a read; known are list, register, unwritten"),
                ));
            }
            ("r", Value::Null, None) => MicroOperation::ReadList {
                key,
                elements: (phase == Phase::Ok).then(Vec::new),
            },
            ("r", Value::Array(elements), _) => MicroOperation::ReadList {
                key,
                elements: Some(
                    elements
                        .iter()
                        .map(|element| number(element, "value"))
                        .collect::<Result<_, _>>()?,
                ),
            },
            ("r", value, _) => MicroOperation::ReadRegister {
                key,
                value: Some(Some(number(value, "value")?)),
            },
            (name, _, _) => {
                return Err((
                    "value",
                    format!("unknown operation {name:?}; known are append, r, w, add, counter"),
                ));
            }
        };
        match step {
            MicroOperation::Append { key, .. } | MicroOperation::ReadList { key, .. }
                if mark.is_some() || !argument.is_null() =>
            {
                self.lists.insert(key);
            }
            MicroOperation::Write { key, .. } | MicroOperation::ReadRegister { key, .. } => {
                self.registers.insert(key);
            }
            _ => {}
        }
        Ok(step)
    }

    fn finish(mut self) -> History {
        for (entry, place) in self.undetermined {
            let entry = &mut self.entries[entry];
            if let MicroOperation::ReadList { key, .. } = entry.value[place]
                && self.registers.contains(&key)
                && !self.lists.contains(&key)
            {
                entry.value[place] = MicroOperation::ReadRegister {
                    key,
                    value: (entry.phase == Phase::Ok).then_some(None),
                };
            }
        }
        History { entries: self.entries }
    }
}

fn present<'a>(object: &'a Map<String, Value>, field: &str) -> Option<&'a Value> {
    object.get(field).filter(|value| !value.is_null())
}

fn required<'a>(object: &'a Map<String, Value>, field: &'static str) -> Result<&'a Value, Problem> {
    present(object, field).ok_or_else(|| (field, "missing".to_owned()))
}

fn expected(field: &'static str, what: &str, found: &Value) -> Problem {
    let mut found = found.to_string();
    if let Some((cut, _)) = found.char_indices().nth(80) {
        found.truncate(cut);
        found.push_str("...");
    }
    (field, format!("expected {what}, found {found}"))
}

fn number(value: &Value, field: &'static str) -> Result<u64, Problem> {
    value
        .as_u64()
        .ok_or_else(|| expected(field, "a whole number from 0 to 2^64 - 1", value))
}

fn signed(value: &Value) -> Result<i64, Problem> {
    value
        .as_i64()
        .ok_or_else(|| expected("value", "a whole number of 64 bits", value))
}

fn id_from_json(value: &Value) -> Result<TransactionId, Problem> {
    value
        .as_str()
        .and_then(|text| uuid::Uuid::parse_str(text).ok())
        .map(|uuid| TransactionId::from_u128(uuid.as_u128()))
        .ok_or_else(|| expected("id", "a UUID", value))
}

fn timestamp_from_json(value: &Value) -> Result<Timestamp, Problem> {
    let part = |name| value.get(name).and_then(Value::as_u64);
    match (part("hlc"), part("node").and_then(|node| u32::try_from(node).ok())) {
        (Some(hlc), Some(node)) => Ok(Timestamp {
            hlc: Hlc::from_bits(hlc),
            node: NodeId::new(node),
        }),
        _ => Err(expected(
            "timestamp",
            "{\"hlc\": number, \"node\": number of 32 bits}",
            value,
        )),
    }
}

/// An error of another program may be any JSON; ours are texts.
fn text_from_json(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
