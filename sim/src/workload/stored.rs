//! How the workloads' data are stored: a key of a kind and a number, and a value that is one number or a list of them.
//!
//! Nothing is compressed and nothing is typed beyond this: a value that was mangled anywhere is to be seen as such.

use plimsoll::key::{Key, KeyRange, Value};
use plimsoll::transaction::Abort;

use super::AnswerError;

/// Bytes of one stored number.
const NUMBER_BYTES: usize = 8;

/// The kinds of data: the first byte of a key.
const REGISTER: u8 = b'r';
const LIST: u8 = b'l';
const COUNTER: u8 = b'c';

pub(super) fn register_key(number: u64) -> Key {
    key(REGISTER, number)
}

pub(super) fn list_key(number: u64) -> Key {
    key(LIST, number)
}

pub(super) fn counter_key(number: u64) -> Key {
    key(COUNTER, number)
}

fn key(kind: u8, number: u64) -> Key {
    let mut bytes = [kind; 1 + NUMBER_BYTES];
    bytes[1..].copy_from_slice(&number.to_be_bytes());
    Key::new(bytes)
}

/// Where all counters are.
pub fn counter_range() -> KeyRange {
    KeyRange::prefix(Key::new(vec![COUNTER]))
}

/// The number and the value of a counter, of an entry of the store; absent where the entry is no counter.
///
/// *Errors* where the value of a counter is not in the form of one.
pub fn counter_of(key: &[u8], value: &Value) -> Option<Result<(u64, i64), AnswerError>> {
    let number = u64::from_be_bytes(key.strip_prefix(&[COUNTER])?.try_into().ok()?);
    Some(decode_counter(value).map(|value| (number, value)))
}

pub(super) fn encode_register(register: u64) -> Value {
    Value::new(register.to_le_bytes())
}

pub(super) fn decode_register(value: &Value) -> Result<u64, AnswerError> {
    number(value, "a register").map(u64::from_le_bytes)
}

/// As the operator that adds to a stored number has it.
pub(super) fn encode_counter(counter: i64) -> Value {
    Value::new(counter.to_le_bytes())
}

pub(super) fn decode_counter(value: &Value) -> Result<i64, AnswerError> {
    number(value, "a counter").map(i64::from_le_bytes)
}

pub(super) fn encode_list(elements: &[u64]) -> Value {
    let bytes: Vec<u8> = elements.iter().flat_map(|element| element.to_le_bytes()).collect();
    Value::new(bytes)
}

pub(super) fn decode_list(value: &Value) -> Result<Vec<u64>, AnswerError> {
    let (elements, rest) = value.as_bytes().as_chunks::<NUMBER_BYTES>();
    if !rest.is_empty() {
        return Err(malformed("a list", value));
    }
    Ok(elements.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect())
}

fn number(value: &Value, what: &str) -> Result<[u8; NUMBER_BYTES], AnswerError> {
    value.as_bytes().try_into().map_err(|_| malformed(what, value))
}

fn malformed(what: &str, value: &Value) -> AnswerError {
    AnswerError::Undecodable {
        what: format!("the stored value of {what}"),
        why: format!("it has {} bytes: {value:?}", value.as_bytes().len()),
    }
}

impl From<AnswerError> for Abort {
    /// A thunk that finds a value in another form can only abort; the clients take that for a wrong answer.
    fn from(error: AnswerError) -> Self {
        Self::Malformed(error.to_string())
    }
}
