//! A database, and the thunks of the tests.

use plimsoll::Plimsoll;
use plimsoll::key::{Key, Value};
use plimsoll::thunk::{Evaluation, Put, Thunk};
use plimsoll::transaction::{Abort, Footprint};
use serde::{Deserialize, Serialize};

pub(crate) async fn database() -> Plimsoll {
    let builder = Plimsoll::builder().replicas(3).thunk::<PutNumbers>();
    builder.open().await.unwrap()
}

pub(crate) async fn put(database: &Plimsoll, entries: &[(&str, &str)]) {
    let entries = entries
        .iter()
        .map(|(key, value)| (Key::from(*key), Value::from(*value)));
    let entries = entries.collect();
    database.submit(&Put { entries }).await.unwrap();
}

pub(crate) fn text(value: Option<Value>) -> Option<String> {
    value.map(|value| String::from_utf8(value.as_bytes().to_vec()).unwrap())
}

/// Writes numbers to keys. Its output is how many.
#[derive(Serialize, Deserialize)]
pub(crate) struct PutNumbers(pub(crate) Vec<(Key, u64)>);

impl Thunk for PutNumbers {
    const NAME: &'static str = "put-numbers";
    const VERSION: u32 = 1;
    type Output = usize;

    fn footprint(&self) -> Footprint {
        Footprint::new().write_all(self.0.iter().map(|(key, _)| key.clone()))
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<usize, Abort> {
        for (key, number) in &self.0 {
            evaluation.put_as(key, number)?;
        }
        Ok(self.0.len())
    }
}
