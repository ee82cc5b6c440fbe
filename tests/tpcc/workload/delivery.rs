//! Delivery: the oldest order of each district of a warehouse, in stages, as nobody knows beforehand which these are.

use std::ops::Bound;

use plimsoll::client::staged::Stage;
use plimsoll::protocol::Scan;
use plimsoll::thunk::{Evaluation, Thunk};
use plimsoll::transaction::{Abort, Footprint};
use serde::{Deserialize, Serialize};

use super::schema::{CUSTOMER, NEW_ORDER, NEXT_DELIVERY, ORDER, ORDER_LINE, present};
use super::{Dice, Scale, Token, between};

/// New orders that one read looks at, at most.
const PAGE_MAX: usize = 64;

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Delivery {
    warehouse: u32,
    carrier: u32,
}

/// One order of each district that has one to deliver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Deliver {
    pub(crate) warehouse: u32,
    pub(crate) carrier: u32,
    pub(crate) picked: Vec<Picked>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Picked {
    pub(crate) district: u32,
    pub(crate) token: Token,
    pub(crate) number: u32,
    pub(crate) customer: u32,
    pub(crate) lines: u32,
}

impl Delivery {
    pub(crate) fn draw(scale: &Scale, dice: &mut dyn Dice) -> Self {
        Self {
            warehouse: between(1, scale.warehouses, dice),
            carrier: between(1, 10, dice),
        }
    }

    pub(crate) async fn stages(self, stage: Stage) -> Result<Deliver, Abort> {
        let warehouse = self.warehouse;
        let next = Scan::forward(NEXT_DELIVERY.prefix((warehouse,)), usize::MAX);
        let mut oldest = Vec::new();
        for ((_, district), number) in stage.rows(NEXT_DELIVERY, next).await? {
            let token = find(&stage, warehouse, district, number).await?;
            oldest.extend(token.map(|token| (district, number, token)));
        }
        let keys: Vec<_> = oldest
            .iter()
            .map(|(d, _, token)| ORDER.key((warehouse, *d, *token)))
            .collect();
        let orders = stage.get_all(keys.clone()).await;
        let mut picked = Vec::new();
        for (((district, number, token), key), order) in oldest.into_iter().zip(keys).zip(orders) {
            let order = ORDER.decode_value(&key, &present(order, "a new order")?)?;
            picked.push(Picked {
                district,
                token,
                number,
                customer: order.customer,
                lines: order.lines,
            });
        }
        Ok(Deliver {
            warehouse,
            carrier: self.carrier,
            picked,
        })
    }
}

/// The token of the new order with this number, the oldest of its district. What is read on the way is guarded, so the first read is of one: where
/// tokens are of the time, that is it, and what is ordered behind it makes nothing stale. Where there is none to deliver, any new order does.
async fn find(stage: &Stage, warehouse: u32, district: u32, number: u32) -> Result<Option<Token>, Abort> {
    let mut range = NEW_ORDER.prefix((warehouse, district));
    let mut limit = 1;
    loop {
        let page = stage.rows(NEW_ORDER, Scan::forward(range, limit)).await?;
        if let Some(((.., token), _)) = page.iter().find(|(_, found)| *found == number) {
            return Ok(Some(*token));
        }
        let Some(((.., last), _)) = page.last().filter(|_| page.len() == limit) else {
            return Ok(None);
        };
        let behind = Bound::Excluded((warehouse, district, *last));
        range = NEW_ORDER.range((behind, Bound::Included((warehouse, district, Token::MAX))));
        limit = (limit * 4).min(PAGE_MAX);
    }
}

impl Thunk for Deliver {
    const NAME: &'static str = "tpcc.deliver";
    const VERSION: u32 = 1;
    /// How many orders were delivered.
    type Output = u32;

    fn footprint(&self) -> Footprint {
        let w = self.warehouse;
        self.picked.iter().fold(Footprint::new(), |footprint, picked| {
            let (d, token) = (picked.district, picked.token);
            footprint
                .write(NEW_ORDER.key((w, d, token)))
                .write(ORDER.key((w, d, token)))
                .write(NEXT_DELIVERY.key((w, d)))
                .write(CUSTOMER.key((w, d, picked.customer)))
                .write_all((1..=picked.lines).map(|line| ORDER_LINE.key((w, d, token, line))))
        })
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<u32, Abort> {
        let w = self.warehouse;
        for picked in &self.picked {
            let (d, token) = (picked.district, picked.token);
            NEW_ORDER.delete(evaluation, (w, d, token))?;
            NEXT_DELIVERY.put(evaluation, (w, d), &(picked.number + 1))?;
            let mut order = present(ORDER.get(evaluation, (w, d, token))?, "the order")?;
            order.carrier = Some(self.carrier);
            ORDER.put(evaluation, (w, d, token), &order)?;
            let mut sum = 0;
            for number in 1..=picked.lines {
                let key = (w, d, token, number);
                let mut line = present(ORDER_LINE.get(evaluation, key)?, "the order line")?;
                line.delivered = Some(evaluation.now().hlc);
                sum += line.amount;
                ORDER_LINE.put(evaluation, key, &line)?;
            }
            let key = (w, d, picked.customer);
            let mut customer = present(CUSTOMER.get(evaluation, key)?, "the customer")?;
            customer.balance += sum;
            customer.deliveries += 1;
            CUSTOMER.put(evaluation, key, &customer)?;
        }
        Ok(self.picked.len() as u32)
    }
}
