//! A bank in three replicas: `cargo run --example bank`.
//!
//! A lesson in six steps. A thunk is written (1), a database of three replicas is opened in a folder (2), accounts are filled (3), money
//! is moved by several tasks at once (4) while one replica stops for good (5), and the database is closed and opened again from its folder
//! (6). No money is made or lost on the way.

use std::error::Error;
use std::path::Path;

use plimsoll::Plimsoll;
use plimsoll::codec::{decode_value, encode_value};
use plimsoll::key::{Key, KeyRange};
use plimsoll::runtime::SubmitError;
use plimsoll::thunk::{Evaluation, Put, Thunk};
use plimsoll::transaction::{Abort, Footprint};
use serde::{Deserialize, Serialize};

const ACCOUNTS: u32 = 100;
const START: i64 = 100;
const TASKS: u32 = 4;
const TRANSFERS: u32 = 250;

/// Step 1: a transaction is a value. Its fields are the arguments, [`Receipt`] is what it gives, and an abort says why not.
///
/// Every replica evaluates it for itself, so it must come to the same everywhere: no clock, no randomness, no files.
#[derive(Serialize, Deserialize)]
struct Transfer {
    from: u32,
    to: u32,
    amount: i64,
}

/// What both accounts hold after a transfer.
#[derive(Debug, Serialize, Deserialize)]
struct Receipt {
    from: i64,
    to: i64,
}

impl Thunk for Transfer {
    const NAME: &'static str = "bank.transfer";
    // Code that behaves differently is another version.
    const VERSION: u32 = 1;
    type Output = Receipt;

    // The keys are known before it runs. This is what makes locks and retries needless.
    fn footprint(&self) -> Footprint {
        Footprint::new().write(account(self.from)).write(account(self.to))
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<Receipt, Abort> {
        let (from, to) = (account(self.from), account(self.to));
        if self.amount <= 0 || from == to {
            return Err(Abort::Refused("an amount above 0 moves between two accounts".into()));
        }
        let held: i64 = evaluation.get_as(&from)?.unwrap_or(0);
        if held < self.amount {
            // Nothing of an aborted transaction takes effect, and the caller is told this.
            return Err(Abort::Refused(format!("account {} holds only {held}", self.from)));
        }
        let receipt = Receipt {
            from: held - self.amount,
            to: evaluation.get_as::<i64>(&to)?.unwrap_or(0) + self.amount,
        };
        evaluation.put_as(&from, &receipt.from)?;
        evaluation.put_as(&to, &receipt.to)?;
        Ok(receipt)
    }
}

fn account(number: u32) -> Key {
    Key::from(format!("account/{number:03}").as_str())
}

/// Step 2: three replicas in this process, each in a folder of its own below `folder`. Without a folder they would be in memory.
async fn open(folder: &Path) -> Result<Plimsoll, Box<dyn Error>> {
    let builder = Plimsoll::builder().replicas(3).folder(folder).thunk::<Transfer>();
    Ok(builder.open().await?)
}

/// Step 3: a built-in thunk fills all accounts in one transaction.
async fn fill(bank: &Plimsoll) -> Result<(), Box<dyn Error>> {
    let start = encode_value(&START)?;
    let entries = (0..ACCOUNTS).map(|number| (account(number), start.clone())).collect();
    bank.submit(&Put { entries }).await?;
    Ok(())
}

/// Step 4: one of the tasks that move money. *Gives* how many transfers committed, and how many were refused.
async fn teller(bank: Plimsoll, task: u32) -> Result<(u32, u32), SubmitError> {
    let (mut committed, mut refused) = (0, 0);
    for number in 0..TRANSFERS {
        let transfer = Transfer {
            from: (task * 31 + number * 7) % ACCOUNTS,
            to: (task * 17 + number * 13 + 1) % ACCOUNTS,
            amount: i64::from(number % 60 + 1),
        };
        // Each error says whether anything may have happened; an abort certainly changed nothing.
        match bank.submit(&transfer).await {
            Ok(_) => committed += 1,
            Err(SubmitError::Aborted { abort, .. }) => {
                if refused == 0 {
                    println!("teller {task} was refused something, for example: {abort}");
                }
                refused += 1;
            }
            Err(other) => return Err(other),
        }
    }
    Ok((committed, refused))
}

/// What all accounts hold together: a read of one snapshot that sees everything answered before.
async fn total(bank: &Plimsoll) -> Result<i64, Box<dyn Error>> {
    let accounts = bank
        .scan(KeyRange::prefix("account/".into()), ACCOUNTS as usize)
        .await?;
    let mut sum = 0;
    for (_, balance) in &accounts {
        sum += decode_value::<i64>(balance)?;
    }
    Ok(sum)
}

async fn work(folder: &Path) -> Result<(), Box<dyn Error>> {
    let bank = open(folder).await?;
    fill(&bank).await?;
    println!("{ACCOUNTS} accounts hold {} together", total(&bank).await?);

    let tellers: Vec<_> = (0..TASKS)
        .map(|task| tokio::spawn(teller(bank.clone(), task)))
        .collect();

    // Step 5: a replica stops in the middle of it, as in a crash. Two of three are a majority, so the tellers only notice a short pause.
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    bank.stop_replica(1).await?;
    println!("replica 1 has stopped, and {} go on", bank.replicas().await.len());

    for teller in tellers {
        let (committed, refused) = teller.await??;
        println!("a teller is done: {committed} transfers committed, {refused} refused");
    }
    let before = total(&bank).await?;
    println!("the accounts hold {before} together");
    bank.shutdown().await;

    // Step 6: the same folder, the same data. Replica 1 is there again and catches up from the others.
    let bank = open(folder).await?;
    let after = total(&bank).await?;
    println!("closed and opened again, they hold {after} together");
    assert_eq!(
        (before, after),
        (i64::from(ACCOUNTS) * START, before),
        "no money is made or lost"
    );
    bank.shutdown().await;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("plimsoll-bank-{}", std::process::id()));
    let result = work(&folder).await;
    // What went wrong before is of more interest than a folder that stays.
    let _ = std::fs::remove_dir_all(&folder);
    result
}
