//! Each condition finds a row that breaks it, in data that are sound otherwise.

use std::collections::BTreeMap;

use plimsoll::key::{Key, Value};
use plimsoll::table::{Table, TableKey};
use plimsoll::time::Hlc;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::SCALE;
use crate::workload::conditions::{CONDITIONS, broken};
use crate::workload::load;
use crate::workload::schema::{
    CUSTOMER, DISTRICT, HISTORY, History, NEW_ORDER, NEXT_DELIVERY, ORDER, ORDER_LINE, STOCK, WAREHOUSE,
};

type Entries = BTreeMap<Key, Value>;

/// An order that the load has left undelivered, and one that it has not: tokens are numbers there.
const NEW: u128 = 25;
const DELIVERED: u128 = 3;

fn loaded() -> Entries {
    load::rows(&SCALE, 7).unwrap().into_iter().collect()
}

/// Changes one row.
fn change<K: TableKey, V: Serialize + DeserializeOwned>(
    entries: &mut Entries,
    table: Table<K, V>,
    key: K::Borrowed<'_>,
    with: impl FnOnce(&mut V),
) {
    let key = table.key(key);
    let mut row = table.decode_value(&key, &entries[&key]).unwrap();
    with(&mut row);
    entries.insert(key, table.encode_value(&row).unwrap());
}

fn remove<K: TableKey, V>(entries: &mut Entries, table: Table<K, V>, key: K::Borrowed<'_>) {
    assert!(entries.remove(&table.key(key)).is_some());
}

/// What is broken by `plant`, by the places of the conditions.
fn found(plant: impl FnOnce(&mut Entries)) -> Vec<usize> {
    let mut entries = loaded();
    plant(&mut entries);
    let broken = broken(&entries);
    let place = |name| CONDITIONS.iter().position(|condition| condition.name == name).unwrap();
    broken.into_iter().map(|(name, _)| place(name)).collect()
}

#[test]
fn what_is_loaded_breaks_nothing() {
    assert_eq!(broken(&loaded()), []);
    assert_eq!(
        load::rows(&SCALE, 7).unwrap().len(),
        loaded().len(),
        "no row is written twice"
    );
}

#[test]
fn money_that_only_the_warehouse_has_is_found() {
    assert_eq!(found(|entries| change(entries, WAREHOUSE, 1, |row| row.ytd += 1)), [0]);
}

#[test]
fn a_number_that_is_skipped_is_found_by_orders_and_by_new_orders() {
    let skip = |entries: &mut Entries| change(entries, DISTRICT, (1, 4), |row| row.next_order += 1);
    assert_eq!(found(skip), [1]);
    // The last one alone is delivered: the orders are sound, and the last new order is not the last.
    let last = u128::from(SCALE.orders);
    let deliver = |entries: &mut Entries| {
        remove(entries, NEW_ORDER, (1, 4, last));
        change(entries, ORDER, (1, 4, last), |row| row.carrier = Some(1));
    };
    assert!(found(deliver).contains(&1));
}

#[test]
fn a_gap_among_the_new_orders_is_found() {
    let places = found(|entries| remove(entries, NEW_ORDER, (2, 10, NEW)));
    assert!(places.contains(&2), "{places:?}");
    // The oldest leaves no gap.
    let oldest = u128::from(SCALE.orders * 7 / 10 + 1);
    let places = found(|entries| remove(entries, NEW_ORDER, (2, 10, oldest)));
    assert!(!places.contains(&2), "{places:?}");
}

#[test]
fn a_line_that_is_lost_is_found() {
    let lose = |entries: &mut Entries| remove(entries, ORDER_LINE, (1, 1, DELIVERED, 1));
    assert_eq!(found(lose), [3]);
    let count = |entries: &mut Entries| change(entries, ORDER, (1, 1, NEW), |row| row.lines += 1);
    assert_eq!(found(count), [3]);
}

#[test]
fn an_order_that_is_delivered_by_half_is_found() {
    let carrier = |entries: &mut Entries| change(entries, ORDER, (1, 1, NEW), |row| row.carrier = Some(3));
    assert_eq!(found(carrier), [4]);
    let line = |entries: &mut Entries| {
        // Without an amount, so that nobody owes it.
        change(entries, ORDER_LINE, (1, 1, NEW, 2), |row| {
            row.amount = 0;
            row.delivered = Some(Hlc::ZERO);
        });
    };
    assert_eq!(found(line), [4]);
}

#[test]
fn a_payment_that_nobody_took_is_found() {
    let pay = |entries: &mut Entries| {
        let history = History {
            customer: (1, 1, 1),
            amount: 7,
        };
        let (key, value) = HISTORY.entry((1, 1, NEW << 64), &history).unwrap();
        entries.insert(key, value);
        change(entries, CUSTOMER, (1, 1, 1), |row| row.balance -= 7);
    };
    assert_eq!(found(pay), [5]);
}

#[test]
fn a_customer_who_owes_something_else_is_found() {
    let owe = |entries: &mut Entries| change(entries, CUSTOMER, (2, 3, 4), |row| row.balance += 1);
    assert_eq!(found(owe), [6]);
}

#[test]
fn a_number_that_is_given_twice_and_deliveries_that_skip_one_are_found() {
    let twice = |entries: &mut Entries| change(entries, ORDER, (1, 1, DELIVERED), |row| row.number += 1);
    assert_eq!(found(twice), [7]);
    let skip = |entries: &mut Entries| change(entries, NEXT_DELIVERY, (1, 1), |next| *next += 1);
    assert_eq!(found(skip), [7]);
}

#[test]
fn stock_that_nobody_ordered_is_found() {
    assert_eq!(
        found(|entries| change(entries, STOCK, (1, 5), |row| row.sold += 1)),
        [8]
    );
}

#[test]
fn a_row_that_is_none_is_told_and_not_passed_over() {
    let spoil = |entries: &mut Entries| {
        entries.insert(WAREHOUSE.key(1), Value::new(vec![0xff]));
    };
    assert_eq!(found(spoil), [0]);
}
