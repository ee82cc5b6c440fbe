//! Tables of Arrow record batches: appended, upserted, refused, and the same bytes on every replica.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BinaryArray, DictionaryArray, Float64Array, Int32Array, Int64Array, ListArray, NullArray,
    RecordBatch, StringArray, StructArray, UInt8Array,
    types::{Int8Type, Int32Type},
};
use arrow_schema::{DataType, Field, Metadata, Schema};
use plimsoll::client;
use plimsoll::executor::SerialExecutor;
use plimsoll::id::{NodeId, TransactionId};
use plimsoll::key::{Key, Value};
use plimsoll::limits::VALUE_BYTES_MAX;
use plimsoll::protocol::{Batch, Query};
use plimsoll::store::MemoryVersions;
use plimsoll::thunk::arrow::{self, Append, BatchError, Upsert, Upserted};
use plimsoll::thunk::{Put, Registry, Thunk};
use plimsoll::time::{Hlc, Timestamp};
use plimsoll::transaction::{Abort, Record, ThunkId};
use proptest::prelude::*;

const START_MS: u64 = 1_800_000_000_000;

/// A replica that evaluates everything twice, so that a difference shows.
struct Database {
    executor: SerialExecutor<MemoryVersions>,
    now_ms: u64,
}

impl Database {
    fn new() -> Self {
        let mut registry = Registry::with_builtins();
        arrow::register(&mut registry).expect("the names are free");
        registry.evaluate_twice();
        let executor = SerialExecutor::new(Arc::new(registry), MemoryVersions::default());
        let now_ms = START_MS;
        Self { executor, now_ms }
    }

    fn run<T: Thunk>(&mut self, thunk: &T) -> Result<T::Output, Abort> {
        self.now_ms += 1;
        let id = TransactionId::from_parts(self.now_ms, [0; 10]);
        let arguments = client::arguments(thunk).expect("plain data");
        let transaction = client::admit(self.executor.registry(), id, ThunkId::of::<T>(), arguments).expect("sound");
        let hlc = Hlc::from_unix_millis(self.now_ms);
        let node = NodeId::new(1);
        let records = vec![(Timestamp { hlc, node }, Arc::new(Record { hlc, transaction }))];
        let evaluated = self.executor.evaluate(&Batch { records, upto: hlc });
        client::output::<T>(&evaluated.settlements[0].outcome).expect("an output of this thunk")
    }

    fn value(&self, key: &str) -> Option<Value> {
        let keys = vec![Key::from(key)];
        let query = Query {
            keys,
            ..Query::default()
        };
        let answer = self.executor.read(Hlc::from_unix_millis(self.now_ms), &query);
        answer
            .expect("it is the newest")
            .keys
            .remove(0)
            .map(|found| found.value)
    }

    fn table(&self, key: &str) -> RecordBatch {
        arrow::decode(&self.value(key).expect("something is there")).expect("it is a table")
    }
}

fn users(rows: &[(i64, &str)]) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|(id, _)| *id)));
    let names: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|(_, name)| *name)));
    RecordBatch::try_from_iter([("id", ids), ("name", names)]).expect("columns of one length")
}

fn one_column(name: &str, column: impl Array + 'static) -> RecordBatch {
    let column: ArrayRef = Arc::new(column);
    RecordBatch::try_from_iter([(name, column)]).expect("one column")
}

fn append(key: &str, batch: &RecordBatch) -> Append {
    Append::new().batch(key, batch).expect("it can be stored")
}

fn upsert(key: &str, column: &str, batch: &RecordBatch) -> Upsert {
    Upsert::new().batch(key, column, batch).expect("it can be stored")
}

fn malformed(result: Result<impl std::fmt::Debug, Abort>) -> String {
    match result {
        Err(Abort::Malformed(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn batches_are_appended_below_what_is_there() {
    let mut database = Database::new();
    assert_eq!(
        database.run(&append("t", &users(&[(1, "ann"), (2, "bob")]))),
        Ok(vec![2])
    );
    assert_eq!(database.run(&append("t", &users(&[(1, "again")]))), Ok(vec![3]));
    assert_eq!(database.run(&append("t", &users(&[]))), Ok(vec![3]));
    assert_eq!(database.table("t"), users(&[(1, "ann"), (2, "bob"), (1, "again")]));
}

#[test]
fn several_tables_are_written_in_one_transaction_or_none() {
    let mut database = Database::new();
    let both = append("a", &users(&[(1, "ann")]))
        .batch("b", &users(&[(2, "bob")]))
        .and_then(|both| both.batch("a", &users(&[(3, "cid")])))
        .expect("they can be stored");
    assert_eq!(database.run(&both), Ok(vec![1, 1, 2]));
    let other = one_column("id", Int64Array::from(vec![9]));
    let fails = append("a", &users(&[(4, "dan")]))
        .batch("b", &other)
        .expect("it can be stored");
    malformed(database.run(&fails));
    assert_eq!(
        database.table("a"),
        users(&[(1, "ann"), (3, "cid")]),
        "nothing took effect"
    );
    assert_eq!(database.table("b"), users(&[(2, "bob")]));
}

#[test]
fn rows_take_the_place_of_those_with_the_same_key_and_new_ones_come_last() {
    let mut database = Database::new();
    let run = |database: &mut Database, rows: &[(i64, &str)]| {
        let outcome = database
            .run(&upsert("t", "id", &users(rows)))
            .expect("the columns are alike");
        let Upserted { replaced, added, rows } = outcome[0];
        (replaced, added, rows)
    };
    assert_eq!(run(&mut database, &[(3, "cid"), (1, "ann")]), (0, 2, 2));
    assert_eq!(run(&mut database, &[(2, "bob"), (1, "anne"), (0, "zoe")]), (1, 2, 4));
    assert_eq!(
        database.table("t"),
        users(&[(3, "cid"), (1, "anne"), (2, "bob"), (0, "zoe")])
    );
    // The last of a batch counts, where the first of them stands.
    assert_eq!(run(&mut database, &[(9, "x"), (3, "y"), (9, "z"), (3, "w")]), (1, 1, 5));
    let expected = users(&[(3, "w"), (1, "anne"), (2, "bob"), (0, "zoe"), (9, "z")]);
    assert_eq!(database.table("t"), expected);
    assert_eq!(run(&mut database, &[]), (0, 0, 5));
    assert_eq!(database.table("t"), expected);
}

#[test]
fn a_key_was_appended_twice_and_an_upsert_leaves_one_of_them() {
    let mut database = Database::new();
    let rows = users(&[(1, "a"), (2, "b"), (1, "c"), (2, "d")]);
    database.run(&append("t", &rows)).expect("nothing is there");
    let outcome = database.run(&upsert("t", "id", &users(&[(1, "e")])));
    let (replaced, added, rows) = (1, 0, 3);
    assert_eq!(outcome, Ok(vec![Upserted { replaced, added, rows }]));
    assert_eq!(database.table("t"), users(&[(1, "e"), (2, "b"), (2, "d")]));
}

#[test]
fn text_and_bytes_and_small_integers_tell_rows_too() {
    for column in [
        Arc::new(StringArray::from(vec!["a", "b"])) as ArrayRef,
        Arc::new(BinaryArray::from_vec(vec![b"a", b"b"])),
        Arc::new(UInt8Array::from(vec![0, 255])),
        Arc::new(arrow_array::LargeStringArray::from(vec!["a", "b"])),
        Arc::new(arrow_array::LargeBinaryArray::from_vec(vec![b"a", b""])),
        Arc::new(arrow_array::UInt64Array::from(vec![0, u64::MAX])),
        Arc::new(arrow_array::Int8Array::from(vec![-1, 1])),
    ] {
        let mut database = Database::new();
        let batch = RecordBatch::try_from_iter([("k", column)]).expect("one column");
        let upsert = upsert("t", "k", &batch);
        let added = database.run(&upsert).expect("nothing is there")[0];
        assert_eq!((added.replaced, added.added), (0, 2), "{batch:?}");
        let replaced = database.run(&upsert).expect("the columns are alike")[0];
        assert_eq!((replaced.replaced, replaced.added), (2, 0), "{batch:?}");
        assert_eq!(database.table("t"), batch);
    }
}

#[test]
fn rows_that_cannot_be_told_apart_are_refused_where_they_are_made_and_where_they_are_sent() {
    let mut database = Database::new();
    for (batch, expected) in [
        (
            one_column("k", Float64Array::from(vec![1.0])),
            "rows cannot be told by the column `k` of type Float64: take one of integers, Utf8, LargeUtf8, Binary or LargeBinary",
        ),
        (
            one_column("k", Int32Array::from(vec![Some(1), None])),
            "row 1 has no value in the column `k`, by which rows are told",
        ),
        (
            users(&[(1, "ann")]),
            "there is no column `k` to tell rows by: there are `id`, `name`",
        ),
    ] {
        let refused = Upsert::new().batch("t", "k", &batch).expect_err("it cannot tell rows");
        assert_eq!(refused.to_string(), expected);
        let batches = vec![("t".into(), "k".into(), arrow::encode(&batch).expect("it can be stored"))];
        let text = malformed(database.run(&Upsert { batches }));
        assert_eq!(text, format!("the table at \"t\": {expected}"));
    }
    assert_eq!(database.value("t"), None);
}

#[test]
fn other_columns_are_refused_in_words_that_say_which() {
    let field = |name: &str, data_type| Field::new(name, data_type, false);
    let batch = |fields: Vec<Field>| RecordBatch::new_empty(Arc::new(Schema::new(fields)));
    let (id, name) = (field("id", DataType::Int64), field("name", DataType::Utf8));
    for (given, expected) in [
        (
            vec![id.clone()],
            "the columns differ at number 2: stored is `name` of Utf8, given is none",
        ),
        (
            vec![id.clone(), field("name", DataType::Binary)],
            "the columns differ at number 2: stored is `name` of Utf8, given is `name` of Binary",
        ),
        (
            vec![name.clone(), id.clone()],
            "the columns differ at number 1: stored is `id` of Int64, given is `name` of Utf8",
        ),
        (
            vec![id.clone().with_nullable(true), name.clone()],
            "the columns differ at number 1: stored is `id` of Int64, given is `id` of Int64, with nulls",
        ),
        (
            vec![
                id.clone().with_metadata(Metadata::from_iter([("unit", "m")])),
                name.clone(),
            ],
            "the columns differ at number 1: stored is `id` of Int64, given is `id` of Int64, with other metadata",
        ),
        (
            vec![id.clone(), name.clone(), id.clone()],
            "the columns differ at number 3: stored is none, given is `id` of Int64",
        ),
    ] {
        let mut database = Database::new();
        database
            .run(&append("t", &batch(vec![id.clone(), name.clone()])))
            .expect("nothing is there");
        let expected = format!("the table at \"t\": {expected}");
        assert_eq!(malformed(database.run(&append("t", &batch(given.clone())))), expected);
        let upsert = upsert("t", if given[0].name() == "id" { "id" } else { "name" }, &batch(given));
        assert_eq!(malformed(database.run(&upsert)), expected);
    }
}

#[test]
fn what_is_not_the_same_bytes_for_the_same_rows_is_not_stored() {
    let words: DictionaryArray<Int8Type> = vec!["a", "b", "a"].into_iter().collect();
    let item = Arc::new(Field::new("item", words.data_type().clone(), true));
    let nested = ListArray::new_null(Arc::clone(&item), 1);
    let within = StructArray::new_null(vec![item].into(), 1);
    for batch in [
        one_column("c", words),
        one_column("c", nested),
        one_column("c", within),
        one_column("c", NullArray::new(3)),
        one_column("c", StructArray::new_empty_fields(3, None)),
        one_column("c", arrow_array::StringViewArray::from(vec!["a"])),
        one_column("c", arrow_array::FixedSizeBinaryArray::new_null(0, 3)),
    ] {
        let refused = arrow::encode(&batch).expect_err("it is no plain column");
        assert!(matches!(refused, BatchError::Type { .. }), "{refused}");
        assert!(
            refused.to_string().starts_with("the column `c` is of type "),
            "{refused}"
        );
    }
    let none = RecordBatch::new_empty(Arc::new(Schema::empty()));
    assert_eq!(arrow::encode(&none), Err(BatchError::NoColumns));
}

#[test]
fn lists_and_structs_and_nulls_are_stored_and_combined() {
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), None, Some(vec![])]);
    let numbers: ArrayRef = Arc::new(Int32Array::from(vec![None, Some(2), Some(3)]));
    let within = StructArray::try_from(vec![("n", Arc::clone(&numbers))]).expect("columns of one length");
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    let columns: [(&str, ArrayRef); 4] = [
        ("id", ids),
        ("lists", Arc::new(lists)),
        ("within", Arc::new(within)),
        ("numbers", numbers),
    ];
    let batch = RecordBatch::try_from_iter(columns).expect("columns of one length");
    let mut database = Database::new();
    database
        .run(&append("t", &batch.slice(1, 2)))
        .expect("nothing is there");
    database
        .run(&upsert("t", "id", &batch.slice(0, 2)))
        .expect("the columns are alike");
    let table = database.table("t");
    assert_eq!(table.slice(0, 2), batch.slice(1, 2));
    assert_eq!(table.slice(2, 1), batch.slice(0, 1));
}

#[test]
fn a_table_grows_beyond_a_value_and_the_abort_says_to_split_it() {
    let mut database = Database::new();
    let half = one_column("b", BinaryArray::from_vec(vec![&vec![7; VALUE_BYTES_MAX / 2][..]]));
    database.run(&append("t", &half)).expect("it fits");
    let Err(abort @ Abort::TooLarge { .. }) = database.run(&append("t", &half)) else {
        panic!("two halves and a header do not fit")
    };
    let text = abort.to_string();
    assert!(
        text.starts_with("the table at \"t\", of 2 rows, has 10")
            && text.ends_with("bytes, more than the limit of 1048576: make it smaller, or split it"),
        "{text}"
    );
    assert_eq!(database.table("t"), half, "nothing took effect");
    let whole = one_column("b", BinaryArray::from_vec(vec![&vec![7; VALUE_BYTES_MAX][..]]));
    let refused = Append::new().batch("t", &whole).expect_err("a header does not fit");
    assert!(
        refused
            .to_string()
            .ends_with("more than 1048576: split it over several keys"),
        "{refused}"
    );
}

#[test]
fn what_is_no_table_is_refused_whether_it_is_stored_or_sent() {
    let mut database = Database::new();
    let entries = vec![("t".into(), "no table".into())];
    database.run(&Put { entries }).expect("declared");
    let text = malformed(database.run(&append("t", &users(&[]))));
    assert!(
        text.starts_with("the value at \"t\": not a whole stream of Arrow's IPC format, uncompressed: "),
        "{text}"
    );
    for sent in [Value::default(), "no table".into()] {
        let batches = vec![("u".into(), sent)];
        let text = malformed(database.run(&Append { batches }));
        assert!(
            text.starts_with("the batch for the table at \"u\": not a whole stream"),
            "{text}"
        );
    }
}

#[test]
fn metadata_reach_the_bytes_in_one_order_and_those_of_the_first_batch_stay() {
    let with_metadata = |names: &[usize], text: &str| {
        let metadata = names.iter().map(|name| (format!("name {name}"), text.to_owned()));
        let users = users(&[(1, "ann")]);
        let schema = users
            .schema()
            .as_ref()
            .clone()
            .with_metadata(metadata.collect::<Metadata>());
        users.with_schema(Arc::new(schema)).expect("the columns are the same")
    };
    let ascending: Vec<usize> = (0..32).collect();
    let descending: Vec<usize> = (0..32).rev().collect();
    let first = with_metadata(&ascending, "1");
    assert_eq!(arrow::encode(&first), arrow::encode(&with_metadata(&descending, "1")));
    let mut database = Database::new();
    database.run(&append("t", &first)).expect("nothing is there");
    database
        .run(&append("t", &with_metadata(&[5], "2")))
        .expect("the columns are alike");
    assert_eq!(database.table("t").schema(), first.schema());
}

/// Should these change with the library, the thunks need another version: replicas of the two builds would part.
#[test]
fn the_stored_bytes_are_part_of_the_format() {
    let mut database = Database::new();
    database
        .run(&append("t", &users(&[(1, "ann"), (2, "bob")])))
        .expect("nothing is there");
    database
        .run(&upsert("t", "id", &users(&[(2, "ben"), (3, "cid")])))
        .expect("the columns are alike");
    let value = database.value("t").expect("it was written");
    let digest = format!(
        "{} bytes, {:016x}",
        value.as_bytes().len(),
        xxhash_rust::xxh3::xxh3_64(value.as_bytes())
    );
    assert_eq!(digest, "448 bytes, ad9d540db4b68916");
}

#[test]
fn damaged_streams_are_refused_or_read_and_take_no_memory_for_what_they_only_claim() {
    let sound = arrow::encode(&users(&[(1, "ann"), (2, "bob")])).expect("it can be stored");
    let mut database = Database::new();
    // The library's panics are caught; the hook would tell of each.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.location().is_none_or(|place| !place.file().contains("/arrow-")) {
            hook(panic);
        }
    }));
    for place in 0..sound.as_bytes().len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut bytes = sound.as_bytes().to_vec();
            bytes[place] = value;
            let batches = vec![("t".into(), Value::new(bytes))];
            match database.run(&Append { batches }) {
                Ok(_) | Err(Abort::Malformed(_) | Abort::TooLarge { .. }) => {}
                Err(other) => panic!("byte {place} is {value}: {other}"),
            }
        }
    }
    for length in 0..sound.as_bytes().len() {
        let cut = Value::new(&sound.as_bytes()[..length]);
        if let Ok(batch) = arrow::decode(&cut) {
            // The end of a stream may be left out; nothing else.
            assert_eq!(batch.num_rows() % 2, 0, "cut at {length}");
        }
    }
}

/// What an upsert is, in a list of rows.
fn upserted(table: &mut Vec<(i64, String)>, rows: &[(i64, String)]) {
    for (id, name) in rows {
        match table.iter_mut().find(|(other, _)| other == id) {
            Some(row) => row.1.clone_from(name),
            None => table.push((*id, name.clone())),
        }
    }
}

proptest! {
    #[test]
    fn upserts_do_what_a_list_of_rows_shows(batches in prop::collection::vec(prop::collection::vec((0..8_i64, "[a-c]{0,3}"), 0..6), 1..6)) {
        let mut database = Database::new();
        let mut table = Vec::new();
        for rows in &batches {
            upserted(&mut table, rows);
            let borrowed: Vec<_> = rows.iter().map(|(id, name)| (*id, name.as_str())).collect();
            database.run(&upsert("t", "id", &users(&borrowed))).expect("the columns are alike");
            let expected: Vec<_> = table.iter().map(|(id, name)| (*id, name.as_str())).collect();
            prop_assert_eq!(database.table("t"), users(&expected));
        }
    }
}
