//! TPC-C over typed tables: its five transactions, its data, and its conditions of consistency. One implementation for the simulator
//! (`sim/tests/tpcc.rs`), an embedded database (`tests/tpcc/`) and the example `tpcc`; `docs/workloads.md` says what is as in the standard and what is not.
//!
//! A transaction here declares the keys that it writes before it runs, and the number of an order is known only when it is evaluated: it is the next
//! of its district. So orders lie under a [`Token`] that the client makes, which is of its time, and their number is in the row. The new
//! order is then one ordinary thunk, which nothing makes stale. What the number was the key for in the standard is found otherwise: the oldest order that is not
//! delivered by the number of it and a scan of the new orders, which begins with the oldest tokens; the last orders of a district and the last of a
//! customer by rows that name their tokens.

#![allow(dead_code, reason = "each of those who include it uses a part of it")]

pub(crate) mod conditions;
pub(crate) mod delivery;
pub(crate) mod load;
pub(crate) mod new_order;
pub(crate) mod order_status;
pub(crate) mod payment;
pub(crate) mod schema;
pub(crate) mod stock_level;

use plimsoll::client::staged::Stage;
use plimsoll::protocol::Scan;
use plimsoll::transaction::Abort;
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};

use schema::CUSTOMER_BY_NAME;

/// The place of an order or of a payment in its district: the time and then randomness, as in a UUID of version 7. In the simulator, where the draws
/// of a workload know no time, it is random, and who scans for the oldest meets those who write more often.
pub(crate) type Token = u128;

/// How much there is. Numbers of warehouses, districts, customers and items begin at 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scale {
    pub(crate) warehouses: u32,
    /// Of each warehouse.
    pub(crate) districts: u32,
    /// Of each district: at least three.
    pub(crate) customers: u32,
    pub(crate) items: u32,
    /// Orders of each district from the first, not more than customers; the last three of ten are not delivered.
    pub(crate) orders: u32,
}

impl Scale {
    /// What the standard has in each warehouse.
    pub(crate) const STANDARD: Self = Self {
        warehouses: 1,
        districts: 10,
        customers: 3_000,
        items: 100_000,
        orders: 3_000,
    };

    /// How many last names there are: three customers of a district have the same, as in the standard.
    pub(crate) fn names(&self) -> u32 {
        (self.customers / 3).clamp(1, 1_000)
    }
}

/// Where draws come from.
pub(crate) trait Dice {
    /// A number below `end`.
    fn below(&mut self, end: u64) -> u64;
}

/// Draws of a seed.
pub(crate) struct Seeded(Xoshiro256PlusPlus);

impl Seeded {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(seed))
    }
}

impl Dice for Seeded {
    fn below(&mut self, end: u64) -> u64 {
        // The bias of so small an end is too small to be seen.
        self.0.next_u64() % end
    }
}

/// A number from `low` to `high`, both of them among it.
pub(crate) fn between(low: u32, high: u32, dice: &mut dyn Dice) -> u32 {
    low + dice.below(u64::from(high - low) + 1) as u32
}

pub(crate) fn percent(share: u64, dice: &mut dyn Dice) -> bool {
    dice.below(100) < share
}

/// The standard's NURand: some numbers are drawn more often. *Given* its A, which belongs to the range that the standard has.
fn not_uniform(a: u32, low: u32, high: u32, dice: &mut dyn Dice) -> u32 {
    // Its C: any constant will do that is the same throughout a run.
    const C: u32 = 123;
    let drawn = between(0, a, dice) | between(low, high, dice);
    (drawn + C) % (high - low + 1) + low
}

pub(crate) fn any_customer(scale: &Scale, dice: &mut dyn Dice) -> u32 {
    not_uniform(1_023, 1, scale.customers, dice)
}

pub(crate) fn any_item(scale: &Scale, dice: &mut dyn Dice) -> u32 {
    not_uniform(8_191, 1, scale.items, dice)
}

/// The last name of this number, of syllables as in the standard.
pub(crate) fn last_name(number: u32) -> String {
    const SYLLABLES: [&str; 10] = [
        "BAR", "OUGHT", "ABLE", "PRI", "PRES", "ESE", "ANTI", "CALLY", "ATION", "EING",
    ];
    [number / 100, number / 10, number]
        .map(|digit| SYLLABLES[digit as usize % 10])
        .concat()
}

/// How a customer of a district is meant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Who {
    Number(u32),
    /// The middle one of all who have this last name, by their first names.
    Named(String),
}

impl Who {
    /// By name in six cases of ten.
    pub(crate) fn draw(scale: &Scale, dice: &mut dyn Dice) -> Self {
        match percent(60, dice) {
            true => Self::named(scale, dice),
            false => Self::Number(any_customer(scale, dice)),
        }
    }

    pub(crate) fn named(scale: &Scale, dice: &mut dyn Dice) -> Self {
        Self::Named(last_name(not_uniform(255, 0, scale.names() - 1, dice)))
    }

    /// The number of the customer.
    pub(crate) async fn find(&self, stage: &Stage, warehouse: u32, district: u32) -> Result<u32, Abort> {
        let name = match self {
            Self::Number(number) => return Ok(*number),
            Self::Named(name) => name,
        };
        let range = CUSTOMER_BY_NAME.prefix((warehouse, district, name.as_str()));
        let named = stage.rows(CUSTOMER_BY_NAME, Scan::forward(range, usize::MAX)).await?;
        // Of an even number the first of the two in the middle.
        let middle = named.len().saturating_sub(1) / 2;
        let found = named.into_iter().nth(middle);
        let ((.., customer), ()) = found.ok_or_else(|| Abort::Refused(format!("nobody is called {name}")))?;
        Ok(customer)
    }
}
