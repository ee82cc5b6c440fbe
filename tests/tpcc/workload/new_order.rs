//! New order: one thunk, whose footprint its arguments give.

use std::collections::BTreeSet;

use plimsoll::thunk::{Evaluation, Thunk};
use plimsoll::transaction::{Abort, Footprint};
use serde::{Deserialize, Serialize};

use super::schema::{
    CUSTOMER, DISTRICT, ITEM, LAST_ORDER, NEW_ORDER, ORDER, ORDER_LINE, Order, OrderLine, RECENT_MAX, RECENT_ORDERS,
    STOCK, WAREHOUSE, present,
};
use super::{Dice, Scale, Token, any_customer, any_item, between, percent};

/// Why an order of an item that does not exist comes to nothing.
pub(crate) const NO_SUCH_ITEM: &str = "item number is not valid";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct NewOrder {
    pub(crate) warehouse: u32,
    pub(crate) district: u32,
    pub(crate) customer: u32,
    pub(crate) token: Token,
    pub(crate) lines: Vec<Wanted>,
}

/// A line of an order before it is one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Wanted {
    pub(crate) item: u32,
    pub(crate) supplier: u32,
    pub(crate) quantity: u32,
}

/// What became of an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Placed {
    pub(crate) number: u32,
    pub(crate) total: i64,
}

impl NewOrder {
    /// Five to fifteen lines of different items, one in a hundred from another warehouse; one order in a hundred names an item that does not
    /// exist, in its last line.
    pub(crate) fn draw(scale: &Scale, token: Token, dice: &mut dyn Dice) -> Self {
        let warehouse = between(1, scale.warehouses, dice);
        let lines = between(5, 15, dice).min(scale.items);
        let mut items = BTreeSet::new();
        let mut wanted = Vec::new();
        while (wanted.len() as u32) < lines {
            let item = any_item(scale, dice);
            if !items.insert(item) {
                continue;
            }
            let supplier = match percent(1, dice) {
                true => other_warehouse(scale, warehouse, dice),
                false => warehouse,
            };
            let quantity = between(1, 10, dice);
            wanted.push(Wanted {
                item,
                supplier,
                quantity,
            });
        }
        if percent(1, dice)
            && let Some(last) = wanted.last_mut()
        {
            last.item = scale.items + 1;
        }
        Self {
            warehouse,
            district: between(1, scale.districts, dice),
            customer: any_customer(scale, dice),
            token,
            lines: wanted,
        }
    }
}

/// Another warehouse than `home`, if there is one.
pub(crate) fn other_warehouse(scale: &Scale, home: u32, dice: &mut dyn Dice) -> u32 {
    match scale.warehouses {
        1 => home,
        all => (home + between(0, all - 2, dice)) % all + 1,
    }
}

impl Thunk for NewOrder {
    const NAME: &'static str = "tpcc.new-order";
    const VERSION: u32 = 1;
    type Output = Placed;

    fn footprint(&self) -> Footprint {
        let (w, d, c, token) = (self.warehouse, self.district, self.customer, self.token);
        let lines = (1..)
            .zip(&self.lines)
            .map(|(number, _)| ORDER_LINE.key((w, d, token, number)));
        let stocks = self.lines.iter().map(|line| STOCK.key((line.supplier, line.item)));
        Footprint::new()
            .read(WAREHOUSE.key(w))
            .read(CUSTOMER.key((w, d, c)))
            .read_all(self.lines.iter().map(|line| ITEM.key(line.item)))
            .write(DISTRICT.key((w, d)))
            .write(ORDER.key((w, d, token)))
            .write(NEW_ORDER.key((w, d, token)))
            .write(LAST_ORDER.key((w, d, c)))
            .write(RECENT_ORDERS.key((w, d)))
            .write_all(lines)
            .write_all(stocks)
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<Placed, Abort> {
        let (w, d, c, token) = (self.warehouse, self.district, self.customer, self.token);
        if ORDER.contains(evaluation, (w, d, token))? {
            return Err(Abort::Refused("there is an order with this token".to_owned()));
        }
        let warehouse = present(WAREHOUSE.get(evaluation, w)?, "the warehouse")?;
        let customer = present(CUSTOMER.get(evaluation, (w, d, c))?, "the customer")?;
        let mut district = present(DISTRICT.get(evaluation, (w, d))?, "the district")?;
        let number = district.next_order;
        district.next_order += 1;
        DISTRICT.put(evaluation, (w, d), &district)?;
        let order = Order {
            number,
            customer: c,
            entered: evaluation.now().hlc,
            carrier: None,
            lines: self.lines.len() as u32,
            is_local: self.lines.iter().all(|line| line.supplier == w),
        };
        ORDER.put(evaluation, (w, d, token), &order)?;
        NEW_ORDER.put(evaluation, (w, d, token), &number)?;
        LAST_ORDER.put(evaluation, (w, d, c), &token)?;
        let mut recent = RECENT_ORDERS.get(evaluation, (w, d))?.unwrap_or_default();
        recent.push(token);
        recent.drain(..recent.len().saturating_sub(RECENT_MAX));
        RECENT_ORDERS.put(evaluation, (w, d), &recent)?;
        let mut sum = 0;
        for (line, wanted) in (1..).zip(&self.lines) {
            // What has been written before goes with the refusal.
            let item = ITEM.get(evaluation, wanted.item)?;
            let item = item.ok_or_else(|| Abort::Refused(NO_SUCH_ITEM.to_owned()))?;
            self.take_from_stock(wanted, evaluation)?;
            let amount = item.price * i64::from(wanted.quantity);
            sum += amount;
            let row = OrderLine {
                item: wanted.item,
                supplier: wanted.supplier,
                quantity: wanted.quantity,
                amount,
                delivered: None,
            };
            ORDER_LINE.put(evaluation, (w, d, token, line), &row)?;
        }
        let total = sum * (10_000 - customer.discount) / 10_000 * (10_000 + warehouse.tax + district.tax) / 10_000;
        Ok(Placed { number, total })
    }
}

impl NewOrder {
    fn take_from_stock(&self, wanted: &Wanted, evaluation: &mut Evaluation<'_>) -> Result<(), Abort> {
        let place = (wanted.supplier, wanted.item);
        let mut stock = present(STOCK.get(evaluation, place)?, "the stock")?;
        let refill = if stock.quantity >= wanted.quantity + 10 { 0 } else { 91 };
        stock.quantity = stock.quantity + refill - wanted.quantity;
        stock.sold += wanted.quantity;
        stock.orders += 1;
        stock.remote_orders += u32::from(wanted.supplier != self.warehouse);
        STOCK.put(evaluation, place, &stock)
    }
}
