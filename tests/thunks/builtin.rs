//! Every built-in thunk: what it does, and when it aborts.

use std::collections::{BTreeMap, BTreeSet};

use plimsoll::codec;
use plimsoll::key::{Key, Value};
use plimsoll::limits::VALUE_BYTES_MAX;
use plimsoll::thunk::{
    Append, CompareAndSet, Delete, Get, Increment, Merge, Operator, Put, PutIfAbsent, Registry, Thunk,
};
use plimsoll::transaction::{Abort, Footprint, Outcome, ThunkId};

use crate::database::{Database, number};

/// A replica with these entries.
fn database(entries: &[(&str, Value)]) -> Database {
    let mut database = Database::of(Registry::with_builtins());
    database.store(entries);
    database
}

fn keys(names: &[&str]) -> Vec<Key> {
    names.iter().map(|name| Key::from(*name)).collect()
}

fn contents(entries: &[(&str, Value)]) -> BTreeMap<Key, Value> {
    let entries = entries.iter().map(|(key, value)| (Key::from(*key), value.clone()));
    entries.collect()
}

/// Runs the thunk with a footprint that declares nothing, as no honest coordinator would stamp it.
fn assert_undeclared<T: Thunk>(thunk: &T, verb: &str) {
    let stored = [("k", number(1))];
    let mut database = database(&stored);
    let mut transaction = database.admit(thunk);
    transaction.footprint = Footprint::new();
    let (thunk, access) = (ThunkId::of::<T>(), verb.to_owned());
    let key = Key::from("k");
    let abort = Abort::Undeclared { thunk, access, key };
    assert_eq!(database.evaluate(transaction), Outcome::Aborted(abort));
    assert_eq!(database.contents(), contents(&stored));
}

#[test]
fn get_gives_values_in_the_order_asked_and_none_where_there_is_none() {
    let mut database = database(&[("a", "1".into()), ("b", "2".into())]);
    let get = Get {
        keys: keys(&["b", "x", "a", "b"]),
    };
    let expected = vec![Some("2".into()), None, Some("1".into()), Some("2".into())];
    assert_eq!(database.run(&get), Ok(expected));
    assert_undeclared(&Get { keys: keys(&["k"]) }, "reads");
}

#[test]
fn put_replaces_and_the_last_of_two_values_stays() {
    let mut database = database(&[("a", "old".into())]);
    let entries = vec![
        ("b".into(), "1".into()),
        ("a".into(), "new".into()),
        ("b".into(), "2".into()),
    ];
    assert_eq!(database.run(&Put { entries }), Ok(()));
    assert_eq!(database.contents(), contents(&[("a", "new".into()), ("b", "2".into())]));
    let entries = vec![("k".into(), "v".into())];
    assert_undeclared(&Put { entries }, "writes");
}

#[test]
fn delete_counts_what_was_there_and_a_key_named_twice_once() {
    let mut database = database(&[("a", "1".into()), ("b", "2".into())]);
    let delete = Delete {
        keys: keys(&["a", "x", "a"]),
    };
    assert_eq!(database.run(&delete), Ok(1));
    assert_eq!(database.contents(), contents(&[("b", "2".into())]));
    assert_undeclared(&Delete { keys: keys(&["k"]) }, "reads");
}

#[test]
fn compare_and_set_writes_or_removes_what_was_expected() {
    let mut database = database(&[]);
    for (expected, new) in [
        (None, Some("1")),
        (Some("1"), Some("2")),
        (Some("2"), None),
        (None, None),
    ] {
        let swap = CompareAndSet {
            key: "k".into(),
            expected: expected.map(Value::from),
            new: new.map(Value::from),
        };
        assert_eq!(database.run(&swap), Ok(()));
        assert_eq!(database.contents().get(&Key::from("k")), swap.new.as_ref());
    }
    let swap = CompareAndSet {
        key: "k".into(),
        expected: None,
        new: None,
    };
    assert_undeclared(&swap, "reads");
}

#[test]
fn compare_and_set_finds_something_else_and_says_what() {
    let mut database = database(&[("k", "2".into())]);
    let swap = CompareAndSet {
        key: "k".into(),
        expected: Some("1".into()),
        new: None,
    };
    let reason = "expected \"1\" at \"k\", found \"2\"".to_owned();
    assert_eq!(database.run(&swap), Err(Abort::Refused(reason)));
    assert_eq!(database.contents(), contents(&[("k", "2".into())]));
}

#[test]
fn put_if_absent_writes_once_and_then_gives_what_is_there() {
    let mut database = database(&[]);
    let put = |value: &str| PutIfAbsent {
        key: "k".into(),
        value: value.into(),
    };
    assert_eq!(database.run(&put("1")), Ok(None));
    assert_eq!(database.run(&put("2")), Ok(Some("1".into())));
    assert_eq!(database.contents(), contents(&[("k", "1".into())]));
    assert_undeclared(&put("1"), "reads");
}

#[test]
fn increment_counts_from_nothing_and_refuses_to_overflow() {
    let mut database = database(&[("text", "abc".into())]);
    let increment = |key: &str, amount| Increment {
        key: key.into(),
        amount,
    };
    assert_eq!(database.run(&increment("k", 5)), Ok(5));
    assert_eq!(database.run(&increment("k", -7)), Ok(-2));
    let abort = database.run(&increment("k", i64::MIN)).expect_err("too low");
    assert_eq!(
        abort.to_string(),
        "add at \"k\" by thunk plimsoll.increment v1: the sum overflows 64 bits"
    );
    let abort = database.run(&increment("text", 1)).expect_err("no number");
    assert_eq!(
        abort.to_string(),
        "add at \"text\" by thunk plimsoll.increment v1: 3 bytes are no number of eight bytes"
    );
    assert_eq!(
        database.contents(),
        contents(&[("k", number(-2)), ("text", "abc".into())])
    );
    assert_undeclared(&increment("k", 1), "writes");
}

#[test]
fn append_gives_the_new_length_until_the_value_is_too_large() {
    let mut database = database(&[]);
    let append = |bytes: usize| Append {
        key: "k".into(),
        bytes: Value::new(vec![b'x'; bytes]),
    };
    assert_eq!(
        database.run(&append(VALUE_BYTES_MAX / 2)),
        Ok(VALUE_BYTES_MAX as u64 / 2)
    );
    assert_eq!(database.run(&append(VALUE_BYTES_MAX / 2)), Ok(VALUE_BYTES_MAX as u64));
    let abort = database.run(&append(1)).expect_err("one byte too many");
    assert_eq!(
        abort.to_string(),
        "the value for \"k\" has 1048577 bytes, more than the limit of 1048576: make it smaller, or split it"
    );
    assert_eq!(database.contents()[&Key::from("k")].as_bytes().len(), VALUE_BYTES_MAX);
    assert_undeclared(&append(1), "writes");
}

fn set(items: &[&str]) -> Value {
    let items: BTreeSet<&[u8]> = items.iter().map(|item| item.as_bytes()).collect();
    codec::encode_value(&items).expect("plain data")
}

#[test]
fn merge_applies_every_operator_in_order() {
    let mut database = database(&[("log", "a".into()), ("set", set(&["x"]))]);
    let operands = vec![
        ("sum".into(), Operator::Add, number(2)),
        ("sum".into(), Operator::Add, number(3)),
        ("low".into(), Operator::Min, number(4)),
        ("low".into(), Operator::Min, number(-4)),
        ("high".into(), Operator::Max, number(-4)),
        ("high".into(), Operator::Max, number(4)),
        ("log".into(), Operator::Append, "b".into()),
        ("set".into(), Operator::Union, set(&["w", "x"])),
    ];
    assert_eq!(database.run(&Merge { operands }), Ok(()));
    let expected = [
        ("sum", number(5)),
        ("low", number(-4)),
        ("high", number(4)),
        ("log", "ab".into()),
        ("set", set(&["w", "x"])),
    ];
    assert_eq!(database.contents(), contents(&expected));
}

#[test]
fn the_last_operand_of_a_merge_is_malformed_and_none_is_applied() {
    let stored = [("set", Value::from("no set"))];
    let mut database = database(&stored);
    let operands = vec![
        ("sum".into(), Operator::Add, number(2)),
        ("set".into(), Operator::Union, set(&["x"])),
    ];
    let abort = database.run(&Merge { operands }).expect_err("not a set");
    let text = abort.to_string();
    assert!(
        text.starts_with("union at \"set\" by thunk plimsoll.merge v1: not a set: "),
        "{text}"
    );
    assert_eq!(database.contents(), contents(&stored));
    let operands = vec![("k".into(), Operator::Add, number(2))];
    assert_undeclared(&Merge { operands }, "writes");
}
