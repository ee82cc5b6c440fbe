//! Rows of typed tables in a stage.

use serde::de::DeserializeOwned;

use super::Stage;
use crate::protocol::Scan;
use crate::table::{Table, TableKey};
use crate::transaction::Abort;

impl Stage {
    /// The row of `table` at `key`; absent where there is none.
    ///
    /// *Errors* when what is stored is of another type; passed on by the closure it is a refusal.
    pub async fn row<K: TableKey, V: DeserializeOwned>(
        &self,
        table: Table<K, V>,
        key: K::Borrowed<'_>,
    ) -> Result<Option<V>, Abort> {
        let key = table.key(key);
        let found = self.get(key.clone()).await;
        Ok(found.map(|value| table.decode_value(&key, &value)).transpose()?)
    }

    /// The rows of `table` that a scan finds.
    ///
    /// *Given* a range of this table: [`all`](Table::all), [`range`](Table::range), [`prefix`](Table::prefix).
    ///
    /// *Errors* as [`row`](Stage::row).
    pub async fn rows<K: TableKey, V: DeserializeOwned>(
        &self,
        table: Table<K, V>,
        scan: Scan,
    ) -> Result<Vec<(K, V)>, Abort> {
        let found = self.scan(scan.range, scan.limit, scan.direction).await;
        let rows = found.iter().map(|(key, value)| table.decode_row(key, value));
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
