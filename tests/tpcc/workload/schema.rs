//! The tables. Money is in cents, rates are in hundredths of a percent, times are those of transactions.

use plimsoll::table::Table;
use plimsoll::time::Hlc;
use plimsoll::transaction::Abort;
use serde::{Deserialize, Serialize};

use super::Token;

/// By warehouse.
pub(crate) const WAREHOUSE: Table<u32, Warehouse> = Table::new("warehouse");
/// By warehouse and number.
pub(crate) const DISTRICT: Table<(u32, u32), District> = Table::new("district");
/// By warehouse, district and number.
pub(crate) const CUSTOMER: Table<(u32, u32, u32), Customer> = Table::new("customer");
/// By warehouse, district, last name, first name and number.
pub(crate) const CUSTOMER_BY_NAME: Table<(u32, u32, String, String, u32), ()> = Table::new("customer-by-name");
/// By warehouse, district and token.
pub(crate) const ORDER: Table<(u32, u32, Token), Order> = Table::new("order");
/// The numbers of the orders that are not delivered.
pub(crate) const NEW_ORDER: Table<(u32, u32, Token), u32> = Table::new("new-order");
/// By warehouse, district, token of the order, and number.
pub(crate) const ORDER_LINE: Table<(u32, u32, Token, u32), OrderLine> = Table::new("order-line");
/// By warehouse and item.
pub(crate) const STOCK: Table<(u32, u32), Stock> = Table::new("stock");
/// By number.
pub(crate) const ITEM: Table<u32, Item> = Table::new("item");
/// Payments, by the warehouse and the district that took them, and token.
pub(crate) const HISTORY: Table<(u32, u32, Token), History> = Table::new("history");
/// The last order of a customer.
pub(crate) const LAST_ORDER: Table<(u32, u32, u32), Token> = Table::new("last-order");
/// The last orders of a district, the newest behind: at most [`RECENT_MAX`].
pub(crate) const RECENT_ORDERS: Table<(u32, u32), Vec<Token>> = Table::new("recent-orders");
/// The number of the first order of a district that is not delivered, or of the next one that there will be.
pub(crate) const NEXT_DELIVERY: Table<(u32, u32), u32> = Table::new("next-delivery");

/// Orders whose lines a look at the stock level goes through.
pub(crate) const RECENT_MAX: usize = 20;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Warehouse {
    pub(crate) tax: i64,
    pub(crate) ytd: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct District {
    pub(crate) tax: i64,
    pub(crate) ytd: i64,
    pub(crate) next_order: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Customer {
    pub(crate) first: String,
    pub(crate) last: String,
    pub(crate) has_bad_credit: bool,
    pub(crate) discount: i64,
    pub(crate) balance: i64,
    pub(crate) paid: i64,
    pub(crate) payments: u32,
    pub(crate) deliveries: u32,
    pub(crate) data: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) number: u32,
    pub(crate) customer: u32,
    pub(crate) entered: Hlc,
    /// Who delivered it; absent until then.
    pub(crate) carrier: Option<u32>,
    pub(crate) lines: u32,
    pub(crate) is_local: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct OrderLine {
    pub(crate) item: u32,
    pub(crate) supplier: u32,
    pub(crate) quantity: u32,
    pub(crate) amount: i64,
    /// Absent until then.
    pub(crate) delivered: Option<Hlc>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stock {
    pub(crate) quantity: u32,
    pub(crate) sold: u32,
    pub(crate) orders: u32,
    pub(crate) remote_orders: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Item {
    pub(crate) price: i64,
    pub(crate) name: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct History {
    /// Warehouse, district and number.
    pub(crate) customer: (u32, u32, u32),
    pub(crate) amount: i64,
}

/// A row that is always there. A thunk that misses one has not refused, it is wrong: the test kit tells the two apart by this.
pub(crate) fn present<V>(row: Option<V>, what: &str) -> Result<V, Abort> {
    row.ok_or_else(|| Abort::Malformed(format!("{what} has no row")))
}
