//! Several operations as one transaction: the words in which a user writes [`Operations`].

use plimsoll::key::Key;
use plimsoll::thunk::{Entry, Expected, Intent, Operation, Operations, Operator};

use super::shown::Form;

/// What an operation is called.
pub(crate) fn word(operation: &Operation) -> &'static str {
    match operation {
        Operation::Get { .. } => "get",
        Operation::Delete { .. } => "delete",
        Operation::Expect {
            expected: Expected::Absent,
            ..
        } => "absent",
        Operation::Expect { .. } => "expect",
        Operation::Write(Entry { on_conflict, .. }) => match on_conflict {
            Intent::Append(Operator::Add) => "add",
            Intent::Append(Operator::Min) => "min",
            Intent::Append(Operator::Max) => "max",
            Intent::Append(Operator::Append) => "append",
            Intent::Append(Operator::Union) => "union",
            Intent::Replace | Intent::Fail(_) | Intent::Ignore(_) => "put",
        },
    }
}

/// The operations in a list of words.
///
/// *Errors* say which operation is wrong, counted from 1.
pub(crate) fn from_words(words: &[String], form: Form) -> Result<Operations, String> {
    let mut operations = Vec::new();
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        let at = operations.len() + 1;
        let operation = operation(word, &mut words, form).map_err(|problem| format!("operation {at}: {problem}"))?;
        operations.push(operation);
    }
    Ok(Operations { operations })
}

/// The operations in a text, one on each line. A value goes to the end of its line, blanks included; lines that are empty or begin with `#`
/// are passed over.
///
/// *Errors* say which line is wrong, counted from 1.
pub(crate) fn from_lines(text: &str, form: Form) -> Result<Operations, String> {
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
    Ok(Operations { operations })
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
    let expect = |key: Key, expected| Operation::Expect { key, expected };
    Ok(match word {
        "get" => Operation::Get { key },
        "delete" => Operation::Delete { key },
        "absent" => expect(key, Expected::Absent),
        "put" => Operation::put(key, form.value(next("value")?)?),
        "expect" => expect(key, Expected::Value(form.value(next("value")?)?)),
        "expect-number" => expect(key, Expected::Value(number(next("number")?)?)),
        "append" => Operation::merge(key, Operator::Append, form.value(next("bytes")?)?),
        "union" => {
            let element = vec![form.value(next("element")?)?.as_bytes().to_vec()];
            let operand = plimsoll::codec::encode_value(&element).map_err(|error| error.to_string())?;
            Operation::merge(key, Operator::Union, operand)
        }
        _ => {
            let operator = match word {
                "add" => Operator::Add,
                "min" => Operator::Min,
                _ => Operator::Max,
            };
            Operation::merge(key, operator, number(next("number")?)?)
        }
    })
}

#[cfg(test)]
mod tests {
    use plimsoll::key::Value;

    use super::*;

    fn words(text: &str) -> Result<Operations, String> {
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
        let told: Vec<_> = script.operations.iter().map(word).collect();
        assert_eq!(
            told,
            ["put", "delete", "add", "expect", "absent", "get", "union", "expect"]
        );
    }

    #[test]
    fn a_value_on_a_line_keeps_its_blanks() {
        let script = from_lines("put a  b c ", Form::default()).unwrap();
        let value = Value::from(" b c ");
        assert_eq!(script.operations, [Operation::put("a".into(), value)]);
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
