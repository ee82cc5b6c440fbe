//! The conditions of consistency of the standard (3.3.2), each over one consistent view of everything.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use plimsoll::key::{Key, KeyRange, Value};
use plimsoll::table::{Table, TableKey};
use serde::de::DeserializeOwned;

use super::schema::{
    CUSTOMER, DISTRICT, HISTORY, NEW_ORDER, NEXT_DELIVERY, ORDER, ORDER_LINE, Order, STOCK, WAREHOUSE,
};

/// Everything at one moment.
pub(crate) trait Picture {
    /// The entries in a range, ascending.
    fn within(&self, range: &KeyRange) -> Vec<(Key, Value)>;
}

impl Picture for BTreeMap<Key, Value> {
    fn within(&self, range: &KeyRange) -> Vec<(Key, Value)> {
        let from = self.range(range.start()..);
        let within = from.take_while(|(key, _)| range.contains(key));
        within.map(|(key, value)| (key.clone(), value.clone())).collect()
    }
}

/// A condition.
#[derive(Clone, Copy)]
pub(crate) struct Condition {
    pub(crate) name: &'static str,
    /// *Errors* with where it does not hold.
    pub(crate) holds: fn(&dyn Picture) -> Result<(), String>,
}

/// All of them. The first four are asked for everywhere; the others are further ones of the standard, and two of this way to keep orders.
pub(crate) const CONDITIONS: [Condition; 9] = [
    Condition {
        name: "W_YTD = sum of D_YTD",
        holds: warehouses_have_what_districts_have,
    },
    Condition {
        name: "D_NEXT_O_ID - 1 = max O_ID = max NO_O_ID",
        holds: next_order_follows_the_last,
    },
    Condition {
        name: "max - min + 1 = count of NEW_ORDER",
        holds: new_orders_have_no_gap,
    },
    Condition {
        name: "sum O_OL_CNT = count of ORDER_LINE",
        holds: orders_have_their_lines,
    },
    Condition {
        name: "O_CARRIER_ID is null if and only if there is a NEW_ORDER, and so is OL_DELIVERY_D",
        holds: orders_are_delivered_whole,
    },
    Condition {
        name: "D_YTD = sum of H_AMOUNT",
        holds: districts_have_what_was_paid,
    },
    Condition {
        name: "C_BALANCE = sum of delivered OL_AMOUNT - sum of H_AMOUNT",
        holds: customers_owe_what_was_delivered,
    },
    Condition {
        name: "each O_ID from 1 on is there once, and deliveries go on at the oldest",
        holds: order_numbers_are_given_once,
    },
    Condition {
        name: "S_YTD = sum of OL_QUANTITY that was sold since the load",
        holds: stocks_have_sold_what_was_ordered,
    },
];

/// The names of the conditions that do not hold, each with where.
pub(crate) fn broken(picture: &dyn Picture) -> Vec<(&'static str, String)> {
    let broken = |condition: &Condition| Some((condition.name, (condition.holds)(picture).err()?));
    CONDITIONS.iter().filter_map(broken).collect()
}

fn rows<K: TableKey, V: DeserializeOwned>(picture: &dyn Picture, table: Table<K, V>) -> Result<Vec<(K, V)>, String> {
    let found = picture.within(&table.all());
    let rows = found.iter().map(|(key, value)| table.decode_row(key, value));
    rows.collect::<Result<_, _>>().map_err(|error| error.to_string())
}

/// Sums by a key.
fn sums<K: Ord, N: std::iter::Sum<N> + std::ops::AddAssign + Default>(
    each: impl IntoIterator<Item = (K, N)>,
) -> BTreeMap<K, N> {
    let mut sums = BTreeMap::new();
    for (key, number) in each {
        *sums.entry(key).or_default() += number;
    }
    sums
}

/// Whether two sums agree of every key; what one lacks is nothing.
fn agree<K: Ord + Debug, N: Default + PartialEq + Debug>(
    left: (&str, &BTreeMap<K, N>),
    right: (&str, &BTreeMap<K, N>),
) -> Result<(), String> {
    let none = N::default();
    for key in left.1.keys().chain(right.1.keys()) {
        let (one, other) = (left.1.get(key).unwrap_or(&none), right.1.get(key).unwrap_or(&none));
        if one != other {
            return Err(format!("{} of {key:?} is {one:?}, {} {other:?}", left.0, right.0));
        }
    }
    Ok(())
}

fn warehouses_have_what_districts_have(picture: &dyn Picture) -> Result<(), String> {
    let warehouses = sums(rows(picture, WAREHOUSE)?.into_iter().map(|(w, row)| (w, row.ytd)));
    let districts = sums(rows(picture, DISTRICT)?.into_iter().map(|((w, _), row)| (w, row.ytd)));
    agree(("W_YTD", &warehouses), ("the sum of D_YTD", &districts))
}

/// The numbers of a table's orders by district.
fn numbers<V: DeserializeOwned>(
    picture: &dyn Picture,
    table: Table<(u32, u32, super::Token), V>,
    number: impl Fn(&V) -> u32,
) -> Result<BTreeMap<(u32, u32), Vec<u32>>, String> {
    let mut numbers: BTreeMap<_, Vec<u32>> = BTreeMap::new();
    for ((w, d, _), row) in rows(picture, table)? {
        numbers.entry((w, d)).or_default().push(number(&row));
    }
    Ok(numbers)
}

fn next_order_follows_the_last(picture: &dyn Picture) -> Result<(), String> {
    let orders = numbers(picture, ORDER, |order| order.number)?;
    let new_orders = numbers(picture, NEW_ORDER, |number| *number)?;
    for (district, row) in rows(picture, DISTRICT)? {
        let last = row.next_order - 1;
        let last_of =
            |numbers: &BTreeMap<_, Vec<u32>>| numbers.get(&district).and_then(|all| all.iter().max().copied());
        if last_of(&orders).unwrap_or(0) != last {
            let found = last_of(&orders);
            return Err(format!("D_NEXT_O_ID - 1 of {district:?} is {last}, max O_ID {found:?}"));
        }
        if let Some(found) = last_of(&new_orders).filter(|found| *found != last) {
            return Err(format!(
                "D_NEXT_O_ID - 1 of {district:?} is {last}, max NO_O_ID {found}"
            ));
        }
    }
    Ok(())
}

fn new_orders_have_no_gap(picture: &dyn Picture) -> Result<(), String> {
    for (district, numbers) in numbers(picture, NEW_ORDER, |number| *number)? {
        let (Some(low), Some(high)) = (numbers.iter().min(), numbers.iter().max()) else {
            continue;
        };
        if (high - low + 1) as usize != numbers.len() {
            let count = numbers.len();
            return Err(format!("{district:?} has {count} new orders from {low} to {high}"));
        }
    }
    Ok(())
}

fn orders_have_their_lines(picture: &dyn Picture) -> Result<(), String> {
    let orders = rows(picture, ORDER)?.into_iter();
    let wanted = sums(orders.map(|((w, d, _), order)| ((w, d), u64::from(order.lines))));
    let lines = sums(
        rows(picture, ORDER_LINE)?
            .into_iter()
            .map(|((w, d, ..), _)| ((w, d), 1)),
    );
    agree(("the sum of O_OL_CNT", &wanted), ("the count of ORDER_LINE", &lines))
}

fn orders_are_delivered_whole(picture: &dyn Picture) -> Result<(), String> {
    let new_orders: BTreeSet<_> = rows(picture, NEW_ORDER)?.into_iter().map(|(key, _)| key).collect();
    let mut undelivered = BTreeSet::new();
    for (key, order) in rows(picture, ORDER)? {
        if order.carrier.is_none() {
            undelivered.insert(key);
        }
    }
    if let Some(key) = new_orders.symmetric_difference(&undelivered).next() {
        return Err(format!("the order {key:?} is delivered and new, or neither"));
    }
    for ((w, d, token, number), line) in rows(picture, ORDER_LINE)? {
        if line.delivered.is_none() != undelivered.contains(&(w, d, token)) {
            return Err(format!(
                "line {number} of the order {:?} is not as the order is",
                (w, d, token)
            ));
        }
    }
    Ok(())
}

fn districts_have_what_was_paid(picture: &dyn Picture) -> Result<(), String> {
    let districts = sums(rows(picture, DISTRICT)?.into_iter().map(|(key, row)| (key, row.ytd)));
    let paid = sums(
        rows(picture, HISTORY)?
            .into_iter()
            .map(|((w, d, _), row)| ((w, d), row.amount)),
    );
    agree(("D_YTD", &districts), ("the sum of H_AMOUNT", &paid))
}

fn customers_owe_what_was_delivered(picture: &dyn Picture) -> Result<(), String> {
    let orders: BTreeMap<_, Order> = rows(picture, ORDER)?.into_iter().collect();
    let mut owed: BTreeMap<(u32, u32, u32), i64> = BTreeMap::new();
    for ((w, d, token, _), line) in rows(picture, ORDER_LINE)? {
        if let (Some(order), Some(_)) = (orders.get(&(w, d, token)), line.delivered) {
            *owed.entry((w, d, order.customer)).or_default() += line.amount;
        }
    }
    for (_, row) in rows(picture, HISTORY)? {
        *owed.entry(row.customer).or_default() -= row.amount;
    }
    let balances = sums(
        rows(picture, CUSTOMER)?
            .into_iter()
            .map(|(key, row)| (key, row.balance)),
    );
    agree(
        ("C_BALANCE", &balances),
        ("what was delivered, less what was paid,", &owed),
    )
}

fn order_numbers_are_given_once(picture: &dyn Picture) -> Result<(), String> {
    for (district, mut numbers) in numbers(picture, ORDER, |order| order.number)? {
        numbers.sort_unstable();
        let expected: Vec<u32> = (1..=numbers.len() as u32).collect();
        if numbers != expected {
            return Err(format!("the orders of {district:?} are {numbers:?}"));
        }
    }
    let new_orders = numbers(picture, NEW_ORDER, |number| *number)?;
    let districts: BTreeMap<_, _> = rows(picture, DISTRICT)?.into_iter().collect();
    for (district, next) in rows(picture, NEXT_DELIVERY)? {
        let oldest = new_orders
            .get(&district)
            .and_then(|numbers| numbers.iter().min().copied());
        let behind = districts.get(&district).map(|row| row.next_order);
        if oldest.or(behind) != Some(next) {
            let why = format!("deliveries of {district:?} go on at {next}, the oldest new order is {oldest:?}");
            return Err(why);
        }
    }
    Ok(())
}

fn stocks_have_sold_what_was_ordered(picture: &dyn Picture) -> Result<(), String> {
    let stocks = rows(picture, STOCK)?.into_iter();
    let sold = sums(stocks.map(|(key, row)| (key, u64::from(row.sold))));
    let orders: BTreeMap<_, Order> = rows(picture, ORDER)?.into_iter().collect();
    let since_the_load = |key: &(u32, u32, super::Token)| {
        let entered = orders.get(key).map(|order| order.entered);
        entered.is_some_and(|entered| entered != plimsoll::time::Hlc::ZERO)
    };
    let lines = rows(picture, ORDER_LINE)?.into_iter();
    let lines = lines.filter(|((w, d, token, _), _)| since_the_load(&(*w, *d, *token)));
    let ordered = sums(lines.map(|(_, line)| ((line.supplier, line.item), u64::from(line.quantity))));
    agree(("S_YTD", &sold), ("the sum of OL_QUANTITY", &ordered))
}
