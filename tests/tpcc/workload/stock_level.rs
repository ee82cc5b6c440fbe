//! Stock level: how many of the items that a district sold of late are nearly out of stock, in stages.

use std::collections::BTreeSet;

use plimsoll::client::staged::Stage;
use plimsoll::protocol::Scan;
use plimsoll::thunk::{Evaluation, Thunk};
use plimsoll::transaction::{Abort, Footprint};
use serde::{Deserialize, Serialize};

use super::schema::{ORDER_LINE, RECENT_ORDERS, STOCK, present};
use super::{Dice, Scale, between};

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StockLevel {
    warehouse: u32,
    district: u32,
    threshold: u32,
}

/// The last stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CountLow {
    pub(crate) warehouse: u32,
    pub(crate) threshold: u32,
    /// The items of the last orders.
    pub(crate) items: BTreeSet<u32>,
}

impl StockLevel {
    pub(crate) fn draw(scale: &Scale, dice: &mut dyn Dice) -> Self {
        Self {
            warehouse: between(1, scale.warehouses, dice),
            district: between(1, scale.districts, dice),
            threshold: between(10, 20, dice),
        }
    }

    pub(crate) async fn stages(self, stage: Stage) -> Result<CountLow, Abort> {
        let (w, d) = (self.warehouse, self.district);
        let mut items = BTreeSet::new();
        for token in stage.row(RECENT_ORDERS, (w, d)).await?.unwrap_or_default() {
            let lines = Scan::forward(ORDER_LINE.prefix((w, d, token)), usize::MAX);
            let lines = stage.rows(ORDER_LINE, lines).await?;
            items.extend(lines.into_iter().map(|(_, line)| line.item));
        }
        Ok(CountLow {
            warehouse: w,
            threshold: self.threshold,
            items,
        })
    }
}

impl Thunk for CountLow {
    const NAME: &'static str = "tpcc.count-low";
    const VERSION: u32 = 1;
    type Output = u32;

    fn footprint(&self) -> Footprint {
        Footprint::new().read_all(self.items.iter().map(|item| STOCK.key((self.warehouse, *item))))
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<u32, Abort> {
        let mut low = 0;
        for item in &self.items {
            let stock = present(STOCK.get(evaluation, (self.warehouse, *item))?, "the stock")?;
            low += u32::from(stock.quantity < self.threshold);
        }
        Ok(low)
    }
}
