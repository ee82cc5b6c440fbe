//! The built-in thunks: what they write, return and refuse.

use plimsoll::key::{Key, Value};
use plimsoll::limits::VALUE_BYTES_MAX;
use plimsoll::thunk::{Append, CompareAndSet, Delete, Get, Increment, Merge, Operator, Put, PutIfAbsent};
use plimsoll::transaction::Abort;

use crate::{Map, evaluate};

#[test]
fn values_are_put_read_and_removed() {
    let stored = map(&[("a", "1")]);
    let put = Put {
        entries: [("b", "2"), ("a", "3"), ("b", "4")]
            .map(|(k, v)| (k.into(), v.into()))
            .into(),
    };
    let (output, stored) = evaluate(&put, &stored);
    assert_eq!((output, &stored), (Ok(()), &map(&[("a", "3"), ("b", "4")])));
    let keys = vec!["b".into(), "c".into(), "a".into()];
    let (output, _) = evaluate(&Get { keys: keys.clone() }, &stored);
    assert_eq!(output, Ok(vec![Some("4".into()), None, Some("3".into())]));
    assert_eq!(evaluate(&Delete { keys }, &stored), (Ok(2), Map::new()));
}

#[test]
fn compare_and_set_writes_only_over_what_was_expected_and_says_what_is_there() {
    let stored = map(&[("k", "old")]);
    let change = |expected: Option<&str>, new: Option<&str>| CompareAndSet {
        key: "k".into(),
        expected: expected.map(Value::from),
        new: new.map(Value::from),
    };
    assert_eq!(
        evaluate(&change(Some("old"), Some("new")), &stored),
        (Ok(()), map(&[("k", "new")]))
    );
    assert_eq!(evaluate(&change(Some("old"), None), &stored), (Ok(()), Map::new()));
    assert_eq!(
        evaluate(&change(None, Some("new")), &Map::new()),
        (Ok(()), map(&[("k", "new")]))
    );
    let (refused, after) = evaluate(&change(None, Some("new")), &stored);
    assert_eq!(
        refused,
        Err(Abort::Refused(r#"expected nothing at "k", found "old""#.into()))
    );
    assert_eq!(after, stored);
    let long = map(&[("k", &"x".repeat(50))]);
    let (refused, _) = evaluate(&change(Some("old"), None), &long);
    let text = refused.unwrap_err().to_string();
    assert!(text.ends_with(r#"xxx..." (50 bytes)"#), "{text}");
}

#[test]
fn a_value_is_put_where_there_is_none() {
    let put = PutIfAbsent {
        key: "k".into(),
        value: "new".into(),
    };
    assert_eq!(evaluate(&put, &Map::new()), (Ok(None), map(&[("k", "new")])));
    let stored = map(&[("k", "old")]);
    assert_eq!(evaluate(&put, &stored), (Ok(Some("old".into())), stored));
}

#[test]
fn numbers_count_and_bytes_grow() {
    let add = |amount| Increment {
        key: "n".into(),
        amount,
    };
    let (output, stored) = evaluate(&add(40), &Map::new());
    assert_eq!(output, Ok(40));
    let (output, stored) = evaluate(&add(-42), &stored);
    assert_eq!(output, Ok(-2));
    let (overflow, after) = evaluate(&add(i64::MIN), &stored);
    assert!(overflow.unwrap_err().to_string().contains("overflows"));
    assert_eq!(after, stored);
    let (malformed, _) = evaluate(&add(1), &map(&[("n", "text")]));
    let text = malformed.unwrap_err().to_string();
    assert!(text.contains(r#"add at "n""#) && text.contains("4 bytes"), "{text}");

    let append = |bytes: Value| Append { key: "l".into(), bytes };
    let (output, stored) = evaluate(&append("ab".into()), &Map::new());
    assert_eq!(output, Ok(2));
    assert_eq!(evaluate(&append("c".into()), &stored), (Ok(3), map(&[("l", "abc")])));
    let (full, _) = evaluate(
        &append(Value::new(vec![0; VALUE_BYTES_MAX - 100])),
        &map(&[("l", &"x".repeat(101))]),
    );
    assert!(matches!(full, Err(Abort::TooLarge { bytes, .. }) if bytes == VALUE_BYTES_MAX as u64 + 1));
}

#[test]
fn operands_are_merged_in_order_or_not_at_all() {
    let number = Operator::of_number;
    let merge = |operands: Vec<(&str, Operator, Value)>| Merge {
        operands: operands
            .into_iter()
            .map(|(key, op, value)| (key.into(), op, value))
            .collect(),
    };
    let (output, after) = evaluate(
        &merge(vec![
            ("n", Operator::Add, number(5)),
            ("m", Operator::Max, number(1)),
            ("n", Operator::Min, number(3)),
        ]),
        &Map::new(),
    );
    assert_eq!(output, Ok(()));
    assert_eq!(after, Map::from([("n".into(), number(3)), ("m".into(), number(1))]));
    let broken = merge(vec![
        ("n", Operator::Add, number(1)),
        ("m", Operator::Union, "?!".into()),
    ]);
    let (output, unchanged) = evaluate(&broken, &after);
    assert!(matches!(output, Err(Abort::Malformed(_))));
    assert_eq!(unchanged, after);
}

fn map(entries: &[(&str, &str)]) -> Map {
    entries
        .iter()
        .map(|(key, value)| (Key::from(*key), Value::from(*value)))
        .collect()
}
