//! Order status: a customer and the last order that it has, in stages.

use plimsoll::client::staged::Stage;
use plimsoll::thunk::{Direction, Evaluation, Thunk};
use plimsoll::transaction::{Abort, Footprint};
use serde::{Deserialize, Serialize};

use super::schema::{CUSTOMER, LAST_ORDER, ORDER, ORDER_LINE, present};
use super::{Dice, Scale, Token, Who, between};

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OrderStatus {
    warehouse: u32,
    district: u32,
    who: Who,
}

/// The last stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ShowOrder {
    pub(crate) warehouse: u32,
    pub(crate) district: u32,
    pub(crate) customer: u32,
    /// Of its last order, if it has one.
    pub(crate) token: Option<Token>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) balance: i64,
    /// The number of the order, how many lines it has to have, and those that were found.
    pub(crate) order: Option<(u32, u32, u32)>,
}

impl OrderStatus {
    pub(crate) fn draw(scale: &Scale, dice: &mut dyn Dice) -> Self {
        Self {
            warehouse: between(1, scale.warehouses, dice),
            district: between(1, scale.districts, dice),
            who: Who::draw(scale, dice),
        }
    }

    pub(crate) async fn stages(self, stage: Stage) -> Result<ShowOrder, Abort> {
        let (warehouse, district) = (self.warehouse, self.district);
        let customer = self.who.find(&stage, warehouse, district).await?;
        let token = stage.row(LAST_ORDER, (warehouse, district, customer)).await?;
        Ok(ShowOrder {
            warehouse,
            district,
            customer,
            token,
        })
    }
}

impl Thunk for ShowOrder {
    const NAME: &'static str = "tpcc.show-order";
    const VERSION: u32 = 1;
    type Output = Status;

    fn footprint(&self) -> Footprint {
        let (w, d) = (self.warehouse, self.district);
        let footprint = Footprint::new().read(CUSTOMER.key((w, d, self.customer)));
        match self.token {
            Some(token) => footprint
                .read(ORDER.key((w, d, token)))
                .scan(ORDER_LINE.prefix((w, d, token))),
            None => footprint,
        }
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<Status, Abort> {
        let (w, d) = (self.warehouse, self.district);
        let customer = present(CUSTOMER.get(evaluation, (w, d, self.customer))?, "the customer")?;
        let order = match self.token {
            Some(token) => {
                let order = present(ORDER.get(evaluation, (w, d, token))?, "the last order")?;
                let range = ORDER_LINE.prefix((w, d, token));
                let lines = ORDER_LINE.scan(evaluation, &range, usize::MAX, Direction::Forward)?;
                Some((order.number, order.lines, lines.len() as u32))
            }
            None => None,
        };
        Ok(Status {
            balance: customer.balance,
            order,
        })
    }
}
