//! Typed reads of tables from outside of transactions.

use serde::de::DeserializeOwned;

use super::{Plimsoll, ReadFailed};
use crate::protocol::{Query, ReadMode, Scan};
use crate::table::{Table, TableKey};

impl Plimsoll {
    /// One row of a table at a snapshot; absent if there is none.
    ///
    /// *Errors*: nothing was read; trying again is safe, but for [`ReadFailed::Row`]: what is stored is none of the table's type.
    pub async fn row<K: TableKey, V: DeserializeOwned>(
        &self,
        mode: ReadMode,
        table: Table<K, V>,
        key: K::Borrowed<'_>,
    ) -> Result<Option<V>, ReadFailed> {
        let key = table.key(key);
        let rows = self.read(mode, Query::keys([key.clone()])).await?;
        let found = rows.answer.keys.into_iter().next().flatten();
        let row = found.map(|versioned| table.decode_value(&key, &versioned.value));
        Ok(row.transpose()?)
    }

    /// The rows of a table that a scan finds at a snapshot: `Scan::backward(POSTS.prefix(("ann",)), 10)` gives the last ten posts of Ann's, the last one
    /// first.
    ///
    /// *Given* a range of this table: [`all`](Table::all), [`range`](Table::range), [`prefix`](Table::prefix).
    ///
    /// *Errors* as [`row`](Plimsoll::row). A replica elsewhere refuses what is too large for one answer: ask for less at a time, at the snapshot of the
    /// first answer of [`read`](Plimsoll::read).
    pub async fn rows<K: TableKey, V: DeserializeOwned>(
        &self,
        mode: ReadMode,
        table: Table<K, V>,
        scan: Scan,
    ) -> Result<Vec<(K, V)>, ReadFailed> {
        let rows = self.read(mode, Query::scan(scan)).await?;
        let entries = rows.answer.ranges.iter().flatten();
        let typed = entries.map(|(key, versioned)| table.decode_row(key, &versioned.value));
        Ok(typed.collect::<Result<_, _>>()?)
    }
}
