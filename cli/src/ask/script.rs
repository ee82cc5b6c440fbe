//! Several operations as one transaction: a thunk of this program's own, and the words in which a user writes it.
//!
//! Each built-in thunk of the library does one thing. This one does several, all or none. It is known to the nodes that `plimsoll serve`
//! runs; the nodes of another program must register it, or refuse it.

use plimsoll::key::{Key, Value};
use plimsoll::thunk::{Evaluation, Operator, Registry, Thunk};
use plimsoll::transaction::{Abort, Footprint};
use serde::{Deserialize, Serialize};

use super::shown::Form;

/// One operation of a [`Script`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Operation {
    /// Read a key.
    Get { key: Key },
    /// Write a value.
    Put { key: Key, value: Value },
    /// Remove a key.
    Delete { key: Key },
    /// Combine an operand with what is there.
    Merge {
        key: Key,
        operator: Operator,
        operand: Value,
    },
    /// Refuse the whole transaction unless this is there; none: nothing.
    Expect { key: Key, expected: Option<Value> },
}

/// What an operation gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Gave {
    /// Nothing but its effect.
    Done,
    /// What is at the key after it; none: nothing.
    Value(Option<Value>),
    /// Whether there was something.
    Was(bool),
}

/// Operations that take effect in order, all or none. Each sees what those before it did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Script {
    /// The operations.
    pub(crate) operations: Vec<Operation>,
}

impl Thunk for Script {
    const NAME: &'static str = "shell.transaction";
    const VERSION: u32 = 1;
    type Output = Vec<Gave>;

    fn footprint(&self) -> Footprint {
        self.operations
            .iter()
            .fold(Footprint::new(), |footprint, operation| match operation {
                Operation::Get { key } | Operation::Expect { key, .. } => footprint.read(key.clone()),
                Operation::Put { key, .. } | Operation::Delete { key } | Operation::Merge { key, .. } => {
                    footprint.write(key.clone())
                }
            })
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<Vec<Gave>, Abort> {
        self.operations
            .iter()
            .map(|operation| operation.run(evaluation))
            .collect()
    }
}

impl Operation {
    fn run(&self, evaluation: &mut Evaluation<'_>) -> Result<Gave, Abort> {
        match self {
            Self::Get { key } => Ok(Gave::Value(evaluation.get(key)?)),
            Self::Put { key, value } => {
                evaluation.put(key, value.clone())?;
                Ok(Gave::Done)
            }
            Self::Delete { key } => {
                let was = evaluation.get(key)?.is_some();
                evaluation.delete(key)?;
                Ok(Gave::Was(was))
            }
            Self::Merge { key, operator, operand } => {
                evaluation.merge(key, *operator, operand)?;
                match operator {
                    Operator::Add | Operator::Min | Operator::Max => Ok(Gave::Value(evaluation.get(key)?)),
                    // What grows need not be sent back each time.
                    Operator::Append | Operator::Union => Ok(Gave::Done),
                }
            }
            Self::Expect { key, expected } => {
                let found = evaluation.get(key)?;
                if found == *expected {
                    return Ok(Gave::Done);
                }
                let shown = |value: &Option<Value>| match value {
                    None => "nothing".to_owned(),
                    // An abort is kept for minutes and has a bound of its own: it shows where a value begins.
                    Some(value) => Form::default().line(&value.as_bytes()[..value.as_bytes().len().min(64)]),
                };
                let (expected, found) = (shown(expected), shown(&found));
                Err(Abort::Refused(format!("expected {expected} at {key}, found {found}")))
            }
        }
    }

    /// What the operation is called.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Get { .. } => "get",
            Self::Put { .. } => "put",
            Self::Delete { .. } => "delete",
            Self::Merge { operator, .. } => match operator {
                Operator::Add => "add",
                Operator::Min => "min",
                Operator::Max => "max",
                Operator::Append => "append",
                Operator::Union => "union",
            },
            Self::Expect { expected: None, .. } => "absent",
            Self::Expect { .. } => "expect",
        }
    }

    /// The key that it is about.
    pub(crate) fn key(&self) -> &Key {
        match self {
            Self::Get { key }
            | Self::Put { key, .. }
            | Self::Delete { key }
            | Self::Merge { key, .. }
            | Self::Expect { key, .. } => key,
        }
    }

    /// Whether what it gives is a number by its nature.
    pub(crate) fn gives_number(&self) -> bool {
        matches!(self, Self::Merge { .. })
    }
}

/// The thunks that `plimsoll serve` knows: the built-in ones, those of the workloads of `plimsoll bench`, and [`Script`].
pub(crate) fn registry() -> Registry {
    let mut registry = plimsoll_sim::workload::registry();
    registry
        .register::<Script>()
        .expect("the name is short, not reserved, and no workload's");
    registry
}

/// The operations in a list of words.
///
/// *Errors* say which operation is wrong, counted from 1.
pub(crate) fn from_words(words: &[String], form: Form) -> Result<Script, String> {
    let mut operations = Vec::new();
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        let at = operations.len() + 1;
        let operation = operation(word, &mut words, form).map_err(|problem| format!("operation {at}: {problem}"))?;
        operations.push(operation);
    }
    Ok(Script { operations })
}

/// The operations in a text, one on each line. A value goes to the end of its line, blanks included; lines that are empty or begin with `#`
/// are passed over.
///
/// *Errors* say which line is wrong, counted from 1.
pub(crate) fn from_lines(text: &str, form: Form) -> Result<Script, String> {
    let mut operations = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let mut words = line.splitn(3, ' ');
        let word = words.next().unwrap_or_default();
        let parsed = operation(word, &mut words, form).and_then(|operation| match words.next() {
            None => Ok(operation),
            Some(more) => Err(format!("`{more}` is too much: `{word}` takes a key alone")),
        });
        operations.push(parsed.map_err(|problem| format!("line {number}: {problem}"))?);
    }
    Ok(Script { operations })
}

fn operation<'a>(word: &str, words: &mut impl Iterator<Item = &'a str>, form: Form) -> Result<Operation, String> {
    const WORDS: &str = "get, put, delete, add, min, max, append, union, expect, expect-number and absent";
    let known = [
        "get",
        "put",
        "delete",
        "add",
        "min",
        "max",
        "append",
        "union",
        "expect",
        "expect-number",
        "absent",
    ];
    if !known.contains(&word) {
        return Err(format!("there is no operation `{word}`: there are {WORDS}"));
    }
    let mut next = |what: &str| words.next().ok_or_else(|| format!("`{word}` lacks its {what}"));
    let key = form.key(next("key")?)?;
    let number = |text: &str| {
        let number = text.parse().map(Operator::of_number);
        number.map_err(|_| format!("`{text}` is no whole number of 64 bits"))
    };
    Ok(match word {
        "get" => Operation::Get { key },
        "delete" => Operation::Delete { key },
        "absent" => Operation::Expect { key, expected: None },
        "put" => Operation::Put {
            key,
            value: form.value(next("value")?)?,
        },
        "expect" => Operation::Expect {
            key,
            expected: Some(form.value(next("value")?)?),
        },
        "expect-number" => Operation::Expect {
            key,
            expected: Some(number(next("number")?)?),
        },
        "append" => Operation::Merge {
            key,
            operator: Operator::Append,
            operand: form.value(next("bytes")?)?,
        },
        "union" => {
            let element = vec![form.value(next("element")?)?.as_bytes().to_vec()];
            let operand = plimsoll::codec::encode_value(&element).map_err(|error| error.to_string())?;
            Operation::Merge {
                key,
                operator: Operator::Union,
                operand,
            }
        }
        _ => Operation::Merge {
            key,
            operator: match word {
                "add" => Operator::Add,
                "min" => Operator::Min,
                _ => Operator::Max,
            },
            operand: number(next("number")?)?,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Result<Script, String> {
        let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
        from_words(&words, Form::default())
    }

    #[test]
    fn words_and_lines_give_the_same_operations() {
        let of_words = words("put a 1 delete b add counter 5 expect c 7 absent d get e union s x expect-number n -2");
        let of_lines = from_lines(
            "put a 1\ndelete b\nadd counter 5\n\n# a remark\nexpect c 7\nabsent d\nget e\nunion s x\nexpect-number n -2\n",
            Form::default(),
        );
        assert_eq!(of_words, of_lines);
        let script = of_words.unwrap();
        let told: Vec<_> = script.operations.iter().map(Operation::word).collect();
        assert_eq!(
            told,
            ["put", "delete", "add", "expect", "absent", "get", "union", "expect"]
        );
    }

    #[test]
    fn a_value_on_a_line_keeps_its_blanks() {
        let script = from_lines("put a  b c ", Form::default()).unwrap();
        let value = Value::from(" b c ");
        assert_eq!(script.operations, [Operation::Put { key: "a".into(), value }]);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, expected) in [
            ("put a 1 drop b", "operation 2: there is no operation `drop`"),
            ("put a", "operation 1: `put` lacks its value"),
            ("add a x", "operation 1: `x` is no whole number of 64 bits"),
            ("add a 9223372036854775808", "is no whole number of 64 bits"),
        ] {
            let told = words(text).unwrap_err();
            assert!(told.contains(expected), "{text}: {told}");
        }
        let told = from_lines("get a\nget b c", Form::default()).unwrap_err();
        assert!(told.contains("line 2: `c` is too much"), "{told}");
        let hex = Form { hex: true };
        assert!(from_lines("get xyz", hex).unwrap_err().contains("is not hexadecimal"));
    }
}
