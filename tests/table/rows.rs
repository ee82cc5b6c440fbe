//! Rows within thunks: typed reads, writes, scans and sums, and what they refuse.

use std::collections::BTreeMap;

use plimsoll::Plimsoll;
use plimsoll::runtime::SubmitError;
use plimsoll::table::{Number, Table};
use plimsoll::thunk::{Direction, Evaluation, Put, Thunk};
use plimsoll::transaction::{Abort, Footprint};
use serde::{Deserialize, Serialize};

pub(crate) const STOCK: Table<(String, u32), Item> = Table::new("stock");
const SOLD: Table<String, Number> = Table::new("sold");

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Item {
    pub(crate) name: String,
    pub(crate) left: u32,
}

pub(crate) fn item(name: &str, left: u32) -> Item {
    let name = name.to_owned();
    Item { name, left }
}

/// Takes one of an item, removes it when none is left, and tells of all in the shop, the last one first.
#[derive(Serialize, Deserialize)]
pub(crate) struct Sell {
    pub(crate) shop: String,
    pub(crate) number: u32,
}

impl Thunk for Sell {
    const NAME: &'static str = "sell";
    const VERSION: u32 = 1;
    type Output = Vec<((String, u32), Item)>;

    fn footprint(&self) -> Footprint {
        Footprint::new()
            .scan(STOCK.prefix((self.shop.as_str(),)))
            .write(STOCK.key((&self.shop, self.number)))
            .write(SOLD.key(&self.shop))
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<Self::Output, Abort> {
        let key = (self.shop.as_str(), self.number);
        let Some(mut item) = STOCK.get(evaluation, key)? else {
            return Err(Abort::Refused("sold out".into()));
        };
        item.left -= 1;
        if item.left > 0 {
            STOCK.put(evaluation, key, &item)?;
        } else {
            STOCK.delete(evaluation, key)?;
            assert!(!STOCK.contains(evaluation, key)?, "own writes are seen");
        }
        SOLD.add(evaluation, &self.shop, 1)?;
        let range = STOCK.prefix((self.shop.as_str(),));
        STOCK.scan(evaluation, &range, 10, Direction::Backward)
    }
}

/// Touches what its footprint does not declare.
#[derive(Serialize, Deserialize)]
struct Reach;

impl Thunk for Reach {
    const NAME: &'static str = "reach";
    const VERSION: u32 = 1;
    type Output = ();

    fn footprint(&self) -> Footprint {
        Footprint::new().read(SOLD.key("a"))
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<(), Abort> {
        SOLD.put(evaluation, "a", &Number(1))
    }
}

/// Bounds a number from both sides.
#[derive(Serialize, Deserialize)]
struct Clamp {
    low: i64,
    high: i64,
}

impl Thunk for Clamp {
    const NAME: &'static str = "clamp";
    const VERSION: u32 = 1;
    type Output = Option<i64>;

    fn footprint(&self) -> Footprint {
        Footprint::new().write(SOLD.key("a"))
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<Option<i64>, Abort> {
        SOLD.raise(evaluation, "a", self.low)?;
        SOLD.lower(evaluation, "a", self.high)?;
        Ok(SOLD.get(evaluation, "a")?.map(|number| number.0))
    }
}

pub(crate) async fn open() -> Plimsoll {
    let builder = Plimsoll::builder().replicas(1).thunk::<Sell>().thunk::<Reach>();
    builder.thunk::<Clamp>().open().await.expect("threads and memory")
}

fn aborted<O: std::fmt::Debug>(result: Result<O, SubmitError>) -> Abort {
    match result {
        Err(SubmitError::Aborted { abort, .. }) => abort,
        other => panic!("an abort was expected: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thunk_reads_writes_removes_and_scans_typed_rows() {
    let database = open().await;
    let entries = vec![
        STOCK.entry(("a", 1), &item("pen", 2)).unwrap(),
        STOCK.entry(("a", 2), &item("ink", 1)).unwrap(),
        STOCK.entry(("a\0", 3), &item("of another shop", 1)).unwrap(),
    ];
    database.submit(&Put { entries }).await.unwrap();
    let sell = |number| Sell {
        shop: "a".into(),
        number,
    };
    let left = database.submit(&sell(1)).await.unwrap().output;
    let (pen, ink) = (("a".to_owned(), 1), ("a".to_owned(), 2));
    assert_eq!(left, [(ink, item("ink", 1)), (pen.clone(), item("pen", 1))]);
    let left = database.submit(&sell(2)).await.unwrap().output;
    assert_eq!(left, [(pen, item("pen", 1))]);
    assert_eq!(
        aborted(database.submit(&sell(2)).await),
        Abort::Refused("sold out".into())
    );
    assert_eq!(
        database.submit(&SOLD.adding("a", 5)).await.unwrap().output,
        7,
        "two were sold"
    );
    database.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_bounded_and_an_absent_one_takes_the_bound() {
    let database = open().await;
    let mut seen = BTreeMap::new();
    for (low, high) in [(3, 9), (5, 9), (1, 4)] {
        let output = database.submit(&Clamp { low, high }).await.unwrap().output;
        seen.insert((low, high), output);
    }
    assert_eq!(
        seen,
        BTreeMap::from([((3, 9), Some(3)), ((5, 9), Some(5)), ((1, 4), Some(4))])
    );
    database.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_undeclared_or_of_another_type_aborts_and_names_table_and_key() {
    /// The same table in the mind of somebody who believes it to hold text.
    const MISTAKEN: Table<(String, u32), String> = Table::new("stock");
    let database = open().await;
    let Abort::Undeclared { key, .. } = aborted(database.submit(&Reach).await) else {
        panic!("a write that is not declared")
    };
    assert_eq!(key, SOLD.key("a"));

    let text = "x".repeat(200);
    database
        .submit(&MISTAKEN.putting(("a", 1), &text).unwrap())
        .await
        .unwrap();
    let sell = Sell {
        shop: "a".into(),
        number: 1,
    };
    let Abort::Malformed(text) = aborted(database.submit(&sell).await) else {
        panic!("text is no item")
    };
    assert!(
        text.starts_with(
            "the value at \"stock\\x00a\\x00\\x00\\x00\\x00\\x00\\x01\" of table stock is none of its type: "
        ),
        "{text}"
    );
    database.shutdown().await;
}
