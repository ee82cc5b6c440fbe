//! Conflict intents: what a write does where something else is found than its client had read, and several operations as one transaction.

use std::collections::BTreeMap;

use plimsoll::id::NodeId;
use plimsoll::key::{Key, Value};
use plimsoll::thunk::{
    CompareAndSet, Delete, Expected, Gave, Intent, Merge, Operation, Operations, Operator, Put, PutIfAbsent, Registry,
    Thunk, Write, Written,
};
use plimsoll::time::{Hlc, Timestamp};
use plimsoll::transaction::Abort;
use proptest::prelude::*;

use crate::database::{Database, START_MS, number};

/// The timestamp of a replica's n-th transaction.
fn version(transaction: u64) -> Timestamp {
    let hlc = Hlc::from_unix_millis(START_MS + transaction);
    let node = NodeId::new(1);
    Timestamp { hlc, node }
}

/// A replica whose first transaction wrote `k`.
fn database() -> Database {
    let mut database = Database::of(Registry::with_builtins());
    database.store(&[("k", "1".into())]);
    database
}

fn refused(text: &str) -> Abort {
    Abort::Refused(text.to_owned())
}

fn stored(database: &Database) -> BTreeMap<Key, Value> {
    database.contents()
}

#[test]
fn what_was_expected_is_there_and_every_intent_writes() {
    for expected in [
        Expected::Present,
        Expected::Value("1".into()),
        Expected::Version(version(1)),
    ] {
        let fail = Write::new().fail("k", "2", expected.clone());
        let ignore = Write::new().ignore("k", "2", expected);
        for write in [fail, ignore, Write::new().replace("k", "2")] {
            let mut database = database();
            assert_eq!(database.run(&write), Ok(vec![Written::Done]), "{write:?}");
            assert_eq!(stored(&database)[&"k".into()], "2".into());
        }
    }
    let absent = Write::new()
        .fail("a", "1", Expected::Absent)
        .ignore("b", "2", Expected::Absent);
    let mut database = database();
    assert_eq!(database.run(&absent), Ok(vec![Written::Done, Written::Done]));
    assert_eq!(stored(&database).len(), 3);
}

#[test]
fn something_else_is_there_and_the_abort_says_what_was_expected_and_what_was_found() {
    let (first, other) = (version(1), version(7));
    for (key, expected, text) in [
        (
            "k",
            Expected::Absent,
            r#"expected nothing at "k", found "1""#.to_owned(),
        ),
        (
            "x",
            Expected::Present,
            r#"expected a value at "x", found nothing"#.to_owned(),
        ),
        (
            "k",
            Expected::Value("2".into()),
            r#"expected "2" at "k", found "1""#.to_owned(),
        ),
        (
            "x",
            Expected::Value("2".into()),
            r#"expected "2" at "x", found nothing"#.to_owned(),
        ),
        (
            "k",
            Expected::Version(other),
            format!(r#"expected the version {other} at "k", found the version {first}"#),
        ),
        (
            "x",
            Expected::Version(other),
            format!(r#"expected the version {other} at "x", found nothing"#),
        ),
    ] {
        let mut database = database();
        let before = stored(&database);
        let write = Write::new().replace("other", "1").fail(key, "3", expected.clone());
        assert_eq!(database.run(&write), Err(refused(&text)));
        assert_eq!(stored(&database), before, "nothing of the transaction took effect");
        // An expectation by itself is refused in the same words.
        let key = Key::from(key);
        let operations = vec![Operation::Expect { key, expected }];
        assert_eq!(database.run(&Operations { operations }), Err(refused(&text)));
    }
}

#[test]
fn something_else_is_there_and_what_ignores_it_says_so_while_the_rest_takes_effect() {
    let mut database = database();
    let write = Write::new()
        .ignore("k", "2", Expected::Version(version(7)))
        .ignore("x", "2", Expected::Present)
        .replace("other", "1");
    let ignored = Written::Ignored {
        value: Some("1".into()),
        version: Some(version(1)),
    };
    let nothing = Written::Ignored {
        value: None,
        version: None,
    };
    assert_eq!(database.run(&write), Ok(vec![ignored, nothing, Written::Done]));
    let expected = [("k", "1"), ("other", "1")].map(|(key, value)| (Key::from(key), Value::from(value)));
    assert_eq!(stored(&database), BTreeMap::from(expected));
}

#[test]
fn a_value_was_replaced_and_written_again_and_only_its_version_tells() {
    let mut database = database();
    database.store(&[("k", "2".into())]);
    database.store(&[("k", "1".into())]);
    let by_version = Write::new().fail("k", "3", Expected::Version(version(1)));
    let text = format!(
        r#"expected the version {} at "k", found the version {}"#,
        version(1),
        version(3)
    );
    assert_eq!(database.run(&by_version), Err(refused(&text)));
    let by_value = Write::new().fail("k", "3", Expected::Value("1".into()));
    assert_eq!(database.run(&by_value), Ok(vec![Written::Done]));
}

#[test]
fn a_key_was_deleted_and_its_version_is_no_longer_there() {
    let mut database = database();
    let keys = vec!["k".into()];
    assert_eq!(database.run(&Delete { keys }), Ok(1));
    let write = Write::new().fail("k", "2", Expected::Version(version(1)));
    let text = format!(r#"expected the version {} at "k", found nothing"#, version(1));
    assert_eq!(database.run(&write), Err(refused(&text)));
}

#[test]
fn entries_see_the_values_before_them_and_the_version_that_the_transaction_found() {
    let mut database = database();
    let write = Write::new()
        .replace("k", "2")
        .fail("k", "3", Expected::Value("2".into()))
        .fail("k", "4", Expected::Version(version(1)))
        .ignore("k", "5", Expected::Absent);
    let ignored = Written::Ignored {
        value: Some("4".into()),
        version: Some(version(1)),
    };
    let done = || Written::Done;
    assert_eq!(database.run(&write), Ok(vec![done(), done(), done(), ignored]));
    assert_eq!(stored(&database)[&"k".into()], "4".into());
}

#[test]
fn numbers_are_told_after_they_were_combined_and_what_grows_is_not() {
    let mut database = database();
    let write = Write::new()
        .append("sum", number(5), Operator::Add)
        .append("sum", number(-7), Operator::Add)
        .append("sum", number(3), Operator::Max)
        .append("k", "23456789", Operator::Append);
    let told = [5, -2, 3].map(Written::Number).into_iter().chain([Written::Done]);
    assert_eq!(database.run(&write), Ok(told.collect()));
    assert_eq!(stored(&database)[&"k".into()], "123456789".into());
    let abort = database
        .run(&Write::new().append("k", number(1), Operator::Add))
        .expect_err("no number");
    assert_eq!(
        abort.to_string(),
        "add at \"k\" by thunk plimsoll.write v1: 9 bytes are no number of eight bytes"
    );
}

#[test]
fn operations_take_effect_in_order_and_say_what_each_gave() {
    let mut database = database();
    let get = |key: &str| Operation::Get { key: key.into() };
    let delete = |key: &str| Operation::Delete { key: key.into() };
    let operations = vec![
        get("k"),
        Operation::put("a".into(), "2".into()),
        get("a"),
        delete("k"),
        delete("k"),
        get("k"),
        Operation::merge("n".into(), Operator::Add, number(4)),
        Operation::Expect {
            key: "n".into(),
            expected: Expected::Value(number(4)),
        },
    ];
    let expected = vec![
        Gave::Value(Some("1".into())),
        Gave::Written(Written::Done),
        Gave::Value(Some("2".into())),
        Gave::Removed(true),
        Gave::Removed(false),
        Gave::Value(None),
        Gave::Written(Written::Number(4)),
        Gave::Met,
    ];
    assert_eq!(database.run(&Operations { operations }), Ok(expected));
    let stored_now = [("a", "2".into()), ("n", number(4))].map(|(key, value)| (Key::from(key), value));
    assert_eq!(stored(&database), BTreeMap::from(stored_now));
}

#[test]
fn a_key_that_is_only_read_or_expected_is_not_declared_as_written() {
    let operations = vec![
        Operation::Get { key: "r".into() },
        Operation::Expect {
            key: "e".into(),
            expected: Expected::Absent,
        },
        Operation::put("w".into(), "1".into()),
        Operation::Delete { key: "d".into() },
    ];
    let footprint = Operations { operations }.footprint();
    assert_eq!(footprint.reads, ["e", "r"].map(Key::from));
    assert_eq!(footprint.writes, ["d", "w"].map(Key::from));
}

#[test]
fn the_arguments_of_a_write_are_part_of_the_format() {
    let write = Write::new()
        .fail("a", "1", Expected::Version(version(0)))
        .ignore("b", "2", Expected::Absent)
        .replace("c", "3")
        .append("d", number(1), Operator::Union);
    let bytes = plimsoll::client::arguments(&write).expect("plain data");
    let hex: String = bytes.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        hex,
        "04016101310003fd000000009782950501016201320100016301330201640801000000000000000304"
    );
}

/// A value of few, so that expectations are met at times.
fn few() -> impl Strategy<Value = Option<Value>> {
    prop::option::of((0..3_i64).prop_map(number))
}

proptest! {
    /// One key under every intent comes to what the built-in thunk of that purpose comes to.
    #[test]
    fn an_entry_comes_to_what_the_thunk_for_one_key_comes_to(before in few(), expected in few(), value in 0..3_i64) {
        let entry = |intent: &str| match intent {
            "fail" => Write::new().fail("k", number(value), Expected::of(expected.clone())),
            "ignore" => Write::new().ignore("k", number(value), Expected::Absent),
            "append" => Write::new().append("k", number(value), Operator::Add),
            _ => Write::new().replace("k", number(value)),
        };
        for intent in ["fail", "ignore", "append", "replace"] {
            let [mut one, mut other] = [(); 2].map(|()| {
                let mut database = Database::of(Registry::with_builtins());
                database.store(&before.clone().map(|value| ("k", value)).into_iter().collect::<Vec<_>>());
                database
            });
            let of_write = one.run(&entry(intent)).map(|written| written[0].clone());
            let (key, value) = (Key::from("k"), number(value));
            match intent {
                "fail" => {
                    let swap = CompareAndSet { key, expected: expected.clone(), new: Some(value) };
                    prop_assert_eq!(of_write.map(|_| ()), other.run(&swap));
                }
                "ignore" => {
                    let found = other.run(&PutIfAbsent { key, value }).expect("declared");
                    let of_write = of_write.expect("it is only left out");
                    prop_assert_eq!(matches!(of_write, Written::Ignored { .. }), found.is_some());
                }
                "append" => other.run(&Merge { operands: vec![(key, Operator::Add, value)] }).expect("no overflow"),
                _ => other.run(&Put { entries: vec![(key, value)] }).expect("declared"),
            }
            prop_assert_eq!(one.contents(), other.contents());
        }
    }
}

#[test]
fn an_intent_is_what_its_builder_says() {
    let write = Write::new()
        .replace("k", "1")
        .fail("k", "1", Expected::Absent)
        .ignore("k", "1", Expected::Present)
        .append("k", "1", Operator::Append);
    let intents: Vec<_> = write.entries.into_iter().map(|entry| entry.on_conflict).collect();
    let expected = [
        Intent::Replace,
        Intent::Fail(Expected::Absent),
        Intent::Ignore(Expected::Present),
        Intent::Append(Operator::Append),
    ];
    assert_eq!(intents, expected);
}
