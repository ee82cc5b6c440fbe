//! Payment: a thunk, behind one stage where the customer is named.

use plimsoll::client::staged::Stage;
use plimsoll::thunk::{Evaluation, Thunk};
use plimsoll::transaction::{Abort, Footprint};
use serde::{Deserialize, Serialize};

use super::new_order::other_warehouse;
use super::schema::{CUSTOMER, DISTRICT, HISTORY, History, WAREHOUSE, present};
use super::{Dice, Scale, Token, Who, any_customer, between, percent};

/// Bytes that are kept of what is noted of a customer with bad credit.
const DATA_BYTES_MAX: usize = 500;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Payment {
    /// Where it is made.
    pub(crate) warehouse: u32,
    pub(crate) district: u32,
    /// Warehouse, district and number.
    pub(crate) customer: (u32, u32, u32),
    pub(crate) amount: i64,
    pub(crate) token: Token,
}

/// A payment of a customer whose number is not known yet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NamedPayment {
    payment: Payment,
    who: Who,
}

impl Payment {
    /// Of a customer who is known by number; 15 in a hundred are of another warehouse.
    pub(crate) fn draw(scale: &Scale, token: Token, dice: &mut dyn Dice) -> Self {
        let warehouse = between(1, scale.warehouses, dice);
        let district = between(1, scale.districts, dice);
        let (of_warehouse, of_district) = match percent(15, dice) {
            true => (
                other_warehouse(scale, warehouse, dice),
                between(1, scale.districts, dice),
            ),
            false => (warehouse, district),
        };
        Self {
            warehouse,
            district,
            customer: (of_warehouse, of_district, any_customer(scale, dice)),
            amount: i64::from(between(100, 500_000, dice)),
            token,
        }
    }
}

impl NamedPayment {
    pub(crate) fn draw(scale: &Scale, token: Token, dice: &mut dyn Dice) -> Self {
        let payment = Payment::draw(scale, token, dice);
        let who = Who::named(scale, dice);
        Self { payment, who }
    }

    pub(crate) async fn stages(self, stage: Stage) -> Result<Payment, Abort> {
        let (warehouse, district, _) = self.payment.customer;
        let customer = self.who.find(&stage, warehouse, district).await?;
        Ok(Payment {
            customer: (warehouse, district, customer),
            ..self.payment
        })
    }
}

impl Thunk for Payment {
    const NAME: &'static str = "tpcc.payment";
    const VERSION: u32 = 1;
    /// What the customer owes then.
    type Output = i64;

    fn footprint(&self) -> Footprint {
        let (w, d) = (self.warehouse, self.district);
        Footprint::new()
            .write(WAREHOUSE.key(w))
            .write(DISTRICT.key((w, d)))
            .write(CUSTOMER.key(self.customer))
            .write(HISTORY.key((w, d, self.token)))
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<i64, Abort> {
        let (w, d) = (self.warehouse, self.district);
        let mut warehouse = present(WAREHOUSE.get(evaluation, w)?, "the warehouse")?;
        warehouse.ytd += self.amount;
        WAREHOUSE.put(evaluation, w, &warehouse)?;
        let mut district = present(DISTRICT.get(evaluation, (w, d))?, "the district")?;
        district.ytd += self.amount;
        DISTRICT.put(evaluation, (w, d), &district)?;
        let mut customer = present(CUSTOMER.get(evaluation, self.customer)?, "the customer")?;
        customer.balance -= self.amount;
        customer.paid += self.amount;
        customer.payments += 1;
        if customer.has_bad_credit {
            let noted = format!("{:?} {w} {d} {};{}", self.customer, self.amount, customer.data);
            customer.data = noted.chars().take(DATA_BYTES_MAX).collect();
        }
        CUSTOMER.put(evaluation, self.customer, &customer)?;
        let history = History {
            customer: self.customer,
            amount: self.amount,
        };
        HISTORY.put(evaluation, (w, d, self.token), &history)?;
        Ok(customer.balance)
    }
}
