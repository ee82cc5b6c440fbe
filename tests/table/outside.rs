//! Tables from outside of transactions: rows and ranges at a snapshot, in both directions, and writes without a thunk of one's own.

use plimsoll::protocol::{ReadMode, Scan};
use plimsoll::runtime::ReadFailed;
use plimsoll::table::{RowError, Table};

use crate::rows::{Item, STOCK, item, open};

fn numbers(rows: &[((String, u32), Item)]) -> Vec<u32> {
    rows.iter().map(|((_, number), _)| *number).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_put_read_scanned_both_ways_and_deleted() {
    let database = open().await;
    let mut first = None;
    for number in 1..=5 {
        let put = STOCK.putting(("a", number), &item("pen", number)).unwrap();
        let committed = database.submit(&put).await.unwrap();
        first.get_or_insert(committed.timestamp);
    }
    let other = STOCK.putting(("b", 9), &item("ink", 9)).unwrap();
    database.submit(&other).await.unwrap();

    let found = database.row(ReadMode::Strict, STOCK, ("a", 3)).await.unwrap();
    assert_eq!(found, Some(item("pen", 3)));
    assert_eq!(database.row(ReadMode::Strict, STOCK, ("a", 6)).await.unwrap(), None);

    let strict = |scan| database.rows(ReadMode::Strict, STOCK, scan);
    let of_a = || STOCK.prefix(("a",));
    assert_eq!(numbers(&strict(Scan::forward(of_a(), 2)).await.unwrap()), [1, 2]);
    assert_eq!(numbers(&strict(Scan::backward(of_a(), 2)).await.unwrap()), [5, 4]);
    assert_eq!(
        numbers(
            &strict(Scan::backward(STOCK.range(("a", 2)..("a", 4)), 9))
                .await
                .unwrap()
        ),
        [3, 2]
    );
    assert_eq!(
        numbers(&strict(Scan::backward(STOCK.all(), 9)).await.unwrap()),
        [9, 5, 4, 3, 2, 1]
    );

    let at = ReadMode::At(first.expect("written").hlc);
    let then = database.rows(at, STOCK, Scan::backward(STOCK.all(), 9)).await.unwrap();
    assert_eq!(numbers(&then), [1], "the snapshot at the first write");

    let removed = database.submit(&STOCK.deleting(("a", 3))).await.unwrap().output;
    assert_eq!(removed, 1);
    assert_eq!(database.row(ReadMode::Strict, STOCK, ("a", 3)).await.unwrap(), None);
    database.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_another_type_is_told_of_with_its_table_and_key() {
    const MISTAKEN: Table<(String, u32), bool> = Table::new("stock");
    const OTHER_KEYS: Table<u8, Item> = Table::new("stock");
    let database = open().await;
    database
        .submit(&STOCK.putting(("a", 1), &item("pen", 1)).unwrap())
        .await
        .unwrap();
    let value = database.row(ReadMode::Strict, MISTAKEN, ("a", 1)).await;
    let Err(ReadFailed::Row(RowError::Value { table, key, .. })) = value else {
        panic!("an item is no truth: {value:?}")
    };
    assert_eq!((table, key), ("stock", STOCK.key(("a", 1))));
    let scan = Scan::forward(OTHER_KEYS.all(), 9);
    let rows = database.rows(ReadMode::Strict, OTHER_KEYS, scan).await;
    let Err(ReadFailed::Row(RowError::Key { table, key, at, .. })) = rows else {
        panic!("a shop and a number are no u8: {rows:?}")
    };
    assert_eq!((table, key, at), ("stock", STOCK.key(("a", 1)), 7));
    database.shutdown().await;
}
