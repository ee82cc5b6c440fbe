//! Keys and values as a user writes and reads them.
//!
//! They are bytes. On the command line they are text in UTF-8, or hexadecimal digits with `--hex`. In JSON they are strings
//! where they are UTF-8, else `{"hex": "..."}`, and always that with `--hex`.

use std::fmt::Write;

use plimsoll::key::{Key, Value};
use plimsoll::thunk::Operator;
use serde_json::json;

/// How bytes are written and read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::Args)]
pub(crate) struct Form {
    /// Keys and values are hexadecimal digits, two for each byte, both those given and those printed.
    #[arg(long)]
    pub(crate) hex: bool,
}

impl Form {
    fn bytes(self, text: &str) -> Result<Vec<u8>, String> {
        match self.hex {
            false => Ok(text.as_bytes().to_vec()),
            true => unhex(text).ok_or_else(|| {
                format!("`{text}` is not hexadecimal: with --hex give two of the digits 0-9 and a-f for each byte")
            }),
        }
    }

    /// The key that a user wrote.
    pub(crate) fn key(self, text: &str) -> Result<Key, String> {
        Ok(Key::new(self.bytes(text)?))
    }

    /// The value that a user wrote.
    pub(crate) fn value(self, text: &str) -> Result<Value, String> {
        Ok(Value::new(self.bytes(text)?))
    }

    /// Bytes on one line: text where that is what they plainly are, else in quotes with escapes.
    pub(crate) fn line(self, bytes: &[u8]) -> String {
        let is_plain = |text: &&str| !text.starts_with('"') && !text.chars().any(char::is_control);
        match str::from_utf8(bytes).ok().filter(is_plain) {
            _ if self.hex => hex(bytes),
            Some(text) => text.to_owned(),
            // What a terminal would take for commands must not reach it.
            None => format!("\"{}\"", bytes.escape_ascii()),
        }
    }

    /// Bytes in JSON.
    pub(crate) fn json(self, bytes: &[u8]) -> serde_json::Value {
        match str::from_utf8(bytes) {
            Ok(text) if !self.hex => json!(text),
            _ => json!({ "hex": hex(bytes) }),
        }
    }
}

/// How what was found is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::Args)]
pub(crate) struct Found {
    #[command(flatten)]
    pub(crate) form: Form,
    /// Values that were found are printed as numbers where they are numbers: eight bytes, as `add`, `min` and `max` store them.
    #[arg(long)]
    pub(crate) number: bool,
}

impl Found {
    fn as_number(self, value: &Value) -> Option<i64> {
        Operator::number(value).ok().filter(|_| self.number)
    }

    /// A value on one line.
    pub(crate) fn line(self, value: &Value) -> String {
        self.as_number(value)
            .map_or_else(|| self.form.line(value.as_bytes()), |number| number.to_string())
    }

    /// A value in JSON.
    pub(crate) fn json(self, value: &Value) -> serde_json::Value {
        self.as_number(value)
            .map_or_else(|| self.form.json(value.as_bytes()), |number| json!(number))
    }
}

/// Two digits for each byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut digits, byte| {
        write!(digits, "{byte:02x}").expect("a string takes everything");
        digits
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let byte = |[high, low]: &[u8; 2]| u8::try_from(digit(*high)? * 16 + digit(*low)?).ok();
    rest.is_empty().then(|| pairs.iter().map(byte).collect())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_goes_there_and_back_and_nothing_else_is_taken_for_it() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(unhex(&hex(&all)), Some(all));
        assert_eq!(unhex(""), Some(Vec::new()));
        assert_eq!(unhex("FfA0"), Some(vec![255, 160]));
        for text in ["f", "fff", "0x", "g0", "+1", "é"] {
            assert_eq!(unhex(text), None, "{text}");
        }
    }

    #[test]
    fn a_line_is_plain_text_or_quoted_and_never_both() {
        let line = |bytes: &[u8]| Form::default().line(bytes);
        assert_eq!(line("Zürich 1".as_bytes()), "Zürich 1");
        assert_eq!(line(b"\x1b[2J"), r#""\x1b[2J""#);
        assert_eq!(line(b"a\nb"), r#""a\nb""#);
        assert_eq!(line(b"\"a\""), r#""\"a\"""#, "what looks quoted is quoted");
        assert_eq!(line(&[255]), r#""\xff""#);
        assert_eq!(Form { hex: true }.line(b"a\n"), "610a");
    }

    #[test]
    fn json_holds_strings_bytes_and_numbers() {
        let text = Found::default();
        assert_eq!(text.json(&Value::from("a\n")), json!("a\n"));
        assert_eq!(text.json(&Value::new(vec![255])), json!({ "hex": "ff" }));
        let form = Form { hex: true };
        let hex = Found { form, number: false };
        assert_eq!(hex.json(&Value::from("a")), json!({ "hex": "61" }));
        let number = Found { number: true, ..text };
        assert_eq!(number.json(&Operator::of_number(-3)), json!(-3));
        assert_eq!(number.line(&Value::from("text")), "text", "four bytes are no number");
    }
}
