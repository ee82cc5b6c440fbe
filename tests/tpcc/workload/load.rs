//! The data that is there from the first, as the standard has it, but for texts that nothing reads.

use plimsoll::codec::EncodeError;
use plimsoll::key::{Key, Value};
use plimsoll::thunk::Put;
use plimsoll::time::Hlc;

use super::schema::{
    CUSTOMER, CUSTOMER_BY_NAME, Customer, DISTRICT, District, HISTORY, History, ITEM, Item, LAST_ORDER, NEW_ORDER,
    NEXT_DELIVERY, ORDER, ORDER_LINE, Order, OrderLine, RECENT_MAX, RECENT_ORDERS, STOCK, Stock, WAREHOUSE, Warehouse,
};
use super::{Dice, Scale, Seeded, Token, between, last_name, percent};

/// Rows of one transaction.
const ROWS: usize = 1_000;

/// What each customer has paid, and what that makes of each district.
const PAID: i64 = 1_000;

type Rows = Vec<(Key, Value)>;

/// Transactions that write everything, in any order.
pub(crate) fn puts(scale: &Scale, seed: u64) -> Result<Vec<Put>, EncodeError> {
    let rows = rows(scale, seed)?;
    let puts = rows.chunks(ROWS).map(|rows| Put { entries: rows.to_vec() });
    Ok(puts.collect())
}

/// Every row.
pub(crate) fn rows(scale: &Scale, seed: u64) -> Result<Rows, EncodeError> {
    let mut dice = Seeded::new(seed);
    let mut rows = Rows::new();
    for number in 1..=scale.items {
        let item = Item {
            price: i64::from(between(100, 10_000, &mut dice)),
            name: format!("item {number}"),
        };
        rows.push(ITEM.entry(number, &item)?);
    }
    for warehouse in 1..=scale.warehouses {
        let row = Warehouse {
            tax: i64::from(between(0, 2_000, &mut dice)),
            ytd: i64::from(scale.districts * scale.customers) * PAID,
        };
        rows.push(WAREHOUSE.entry(warehouse, &row)?);
        for item in 1..=scale.items {
            let stock = Stock {
                quantity: between(10, 100, &mut dice),
                sold: 0,
                orders: 0,
                remote_orders: 0,
            };
            rows.push(STOCK.entry((warehouse, item), &stock)?);
        }
        for district in 1..=scale.districts {
            add_district(scale, (warehouse, district), &mut dice, &mut rows)?;
        }
    }
    Ok(rows)
}

fn add_district(scale: &Scale, (w, d): (u32, u32), dice: &mut dyn Dice, rows: &mut Rows) -> Result<(), EncodeError> {
    let district = District {
        tax: i64::from(between(0, 2_000, dice)),
        ytd: i64::from(scale.customers) * PAID,
        next_order: scale.orders + 1,
    };
    rows.push(DISTRICT.entry((w, d), &district)?);
    for number in 1..=scale.customers {
        let customer = Customer {
            first: format!("{:06}", between(0, 999_999, dice)),
            last: last_name((number - 1) % scale.names()),
            has_bad_credit: percent(10, dice),
            discount: i64::from(between(0, 5_000, dice)),
            balance: -PAID,
            paid: PAID,
            payments: 1,
            deliveries: 0,
            data: String::new(),
        };
        let (last, first) = (customer.last.as_str(), customer.first.as_str());
        rows.push(CUSTOMER_BY_NAME.entry((w, d, last, first, number), &())?);
        rows.push(CUSTOMER.entry((w, d, number), &customer)?);
        let history = History {
            customer: (w, d, number),
            amount: PAID,
        };
        rows.push(HISTORY.entry((w, d, Token::from(number)), &history)?);
    }
    // Each customer has an order at most: in the standard one each, in random order.
    let mut customers: Vec<u32> = (1..=scale.customers).collect();
    let delivered = scale.orders * 7 / 10;
    for number in 1..=scale.orders {
        let left = customers.len() as u64;
        let customer = customers.swap_remove(dice.below(left) as usize);
        let lines = between(5, 15, dice).min(scale.items);
        let token = Token::from(number);
        let is_delivered = number <= delivered;
        let order = Order {
            number,
            customer,
            entered: Hlc::ZERO,
            carrier: is_delivered.then(|| between(1, 10, dice)),
            lines,
            is_local: true,
        };
        rows.push(ORDER.entry((w, d, token), &order)?);
        rows.push(LAST_ORDER.entry((w, d, customer), &token)?);
        if !is_delivered {
            rows.push(NEW_ORDER.entry((w, d, token), &number)?);
        }
        for line in 1..=lines {
            let row = OrderLine {
                item: between(1, scale.items, dice),
                supplier: w,
                quantity: 5,
                // What was delivered before has been paid before.
                amount: if is_delivered {
                    0
                } else {
                    i64::from(between(1, 999_999, dice))
                },
                delivered: is_delivered.then_some(Hlc::ZERO),
            };
            rows.push(ORDER_LINE.entry((w, d, token, line), &row)?);
        }
    }
    rows.push(NEXT_DELIVERY.entry((w, d), &(delivered + 1))?);
    let first_recent = scale.orders.saturating_sub(RECENT_MAX as u32) + 1;
    let recent = (first_recent..=scale.orders).map(Token::from).collect();
    rows.push(RECENT_ORDERS.entry((w, d), &recent)?);
    Ok(())
}
