//! Tables in staged transactions: an index is looked up, and the row that it names is written.

use plimsoll::client::staged::Stage;
use plimsoll::protocol::{ReadMode, Scan};
use plimsoll::runtime::{StagedError, SubmitError};
use plimsoll::table::Table;
use plimsoll::thunk::Put;
use plimsoll::transaction::Abort;

use crate::rows::{STOCK, item, open};

/// Where something of a name is in stock.
const PLACES: Table<(String, String, u32), ()> = Table::new("places");

#[tokio::test(flavor = "multi_thread")]
async fn stages_find_a_row_by_an_index_and_write_it() {
    let database = open().await;
    let entries = vec![
        STOCK.entry(("a", 1), &item("pen", 2)).unwrap(),
        STOCK.entry(("b", 7), &item("pen", 5)).unwrap(),
        PLACES.entry(("pen", "a", 1), &()).unwrap(),
        PLACES.entry(("pen", "b", 7), &()).unwrap(),
        PLACES.entry(("pencil", "c", 9), &()).unwrap(),
    ];
    database.submit(&Put { entries }).await.unwrap();
    let take_last = |name: &'static str| {
        let stages = async move |stage: Stage| {
            let places = stage.rows(PLACES, Scan::backward(PLACES.prefix((name,)), 1)).await?;
            let Some(((_, shop, number), ())) = places.first() else {
                return Err(Abort::Refused(format!("there is no {name}")));
            };
            let mut found = stage.row(STOCK, (shop, *number)).await?.expect("the index is right");
            found.left -= 1;
            let put = STOCK.putting((shop, *number), &found);
            put.map_err(|error| Abort::Refused(error.to_string()))
        };
        database.staged(stages)
    };
    take_last("pen").await.unwrap();
    let row = |key| database.row(ReadMode::Strict, STOCK, key);
    assert_eq!(row(("b", 7)).await.unwrap(), Some(item("pen", 4)));
    assert_eq!(row(("a", 1)).await.unwrap(), Some(item("pen", 2)));
    let Err(StagedError::Submit(SubmitError::Aborted { abort, .. })) = take_last("ink").await else {
        panic!("there is none")
    };
    assert_eq!(abort, Abort::Refused("there is no ink".into()));
    database.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_another_type_ends_the_stages_and_names_table_and_key() {
    const MISTAKEN: Table<(String, u32), bool> = Table::new("stock");
    let database = open().await;
    let entry = STOCK.putting(("a", 1), &item("pen", 2)).unwrap();
    database.submit(&entry).await.unwrap();
    let stages = async |stage: Stage| {
        stage.row(MISTAKEN, ("a", 1)).await?;
        Ok(STOCK.deleting(("a", 1)))
    };
    let Err(StagedError::Submit(SubmitError::Aborted { abort, .. })) = database.staged(stages).await else {
        panic!("an item is no truth")
    };
    let text = abort.to_string();
    assert!(
        text.starts_with("the value at \"stock\\x00a") && text.contains("of table stock"),
        "{text}"
    );
    database.shutdown().await;
}
