//! One's own transactions in a simulated cluster, under faults: a lesson in three steps.
//!
//! ```sh
//! cargo run --release -p plimsoll-sim --example own_simulation
//! ```
//!
//! 1. Twenty seeds of a sound bank: nodes crash, links are cut, clocks jump, and no money is lost.
//! 2. The same with a mistake in the thunk: one seed is enough to find it, and the message says which transaction it was.
//! 3. The command in the message runs that seed again: the sound bank passes with it, the other fails as it did.

use plimsoll::key::Key;
use plimsoll::thunk::{Evaluation, Thunk};
use plimsoll::transaction::{Abort, Footprint};
use plimsoll_sim::Kit;
use plimsoll_sim::kit::State;
use serde::{Deserialize, Serialize};

const ACCOUNTS: u64 = 5;
const START: i64 = 100;

/// Moves money from one account to another. With `FEE` it takes more than it gives.
#[derive(Serialize, Deserialize)]
struct Transfer<const FEE: i64> {
    from: u64,
    to: u64,
    amount: i64,
}

fn account(number: u64) -> Key {
    Key::from(format!("account-{number}").as_str())
}

impl<const FEE: i64> Thunk for Transfer<FEE> {
    const NAME: &'static str = "transfer";
    const VERSION: u32 = 1;
    type Output = i64;

    fn footprint(&self) -> Footprint {
        Footprint::new().write_all([account(self.from), account(self.to)])
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<i64, Abort> {
        let (from, to) = (account(self.from), account(self.to));
        let left = evaluation.get_as::<i64>(&from)?.unwrap_or(START) - self.amount - FEE;
        if left < 0 {
            return Err(Abort::Refused("balance too low".into()));
        }
        let more = evaluation.get_as::<i64>(&to)?.unwrap_or(START) + self.amount;
        evaluation.put_as(&from, &left)?;
        evaluation.put_as(&to, &more)?;
        Ok(left)
    }
}

/// What all accounts hold never changes. One that was never written holds what all begin with.
fn total(state: &State<'_>) -> Result<(), String> {
    let balances = state.all_as::<i64>("account-")?;
    let untouched = ACCOUNTS as i64 - balances.len() as i64;
    let total = balances.iter().map(|(_, balance)| balance).sum::<i64>() + untouched * START;
    match total == ACCOUNTS as i64 * START {
        true => Ok(()),
        false => Err(format!("all accounts together hold {total}")),
    }
}

fn bank<const FEE: i64>() -> Kit {
    Kit::new()
        .nodes(3)
        .clients(8)
        .seconds(8)
        .swarm_faults()
        .workload(|random| {
            let from = random.below(ACCOUNTS);
            let to = (from + 1 + random.below(ACCOUNTS - 1)) % ACCOUNTS;
            let amount = 1 + random.below(30) as i64;
            Transfer::<FEE> { from, to, amount }
        })
        .invariant("total", total)
}

fn main() {
    let passed = bank::<0>().seeds(1..=20).run();
    println!(
        "{} seeds, {:.0} virtual seconds, {} transfers committed",
        passed.seeds, passed.virtual_seconds, passed.committed
    );
    println!("what went wrong meanwhile: {:?}\n", passed.faults);

    match bank::<1>().seeds(1..=20).check() {
        Ok(_) => println!("nothing was found, and there is something: that is a mistake of the kit"),
        Err(failed) => println!("with a fee that nobody gets:\n\n{failed}"),
    }
}
