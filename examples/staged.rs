//! Staged transactions and an index: `cargo run --example staged`.
//!
//! A thunk names its keys before it runs. Where only a read tells which keys there will be, a transaction goes in stages: users are found by e-mail,
//! through an index (1), and a change of the address moves the entry of the index with the row (2). Stages see one snapshot, and their end holds only
//! if what they saw is still so when it takes effect; else they run again (3). A refusal holds on the same terms (4). Many clients change
//! addresses at once, also to the same ones, and in the end index and rows agree (5).

use std::collections::BTreeMap;
use std::error::Error;

use plimsoll::Plimsoll;
use plimsoll::client::staged::Stage;
use plimsoll::codec::{decode_value, encode_value};
use plimsoll::key::{Key, KeyRange, Value};
use plimsoll::runtime::{StagedError, SubmitError};
use plimsoll::thunk::{Evaluation, Put, Thunk};
use plimsoll::transaction::{Abort, Footprint};
use serde::{Deserialize, Serialize};

const USERS: u32 = 20;
/// Fewer than there are addresses wanted, so that they are fought over.
const ADDRESSES: u32 = 30;
const CLIENTS: u32 = 8;
const CHANGES: u32 = 40;

/// A row: what lies at [`row`] of a user's number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct User {
    email: String,
    changes: u32,
}

fn row(number: u32) -> Key {
    Key::from(format!("user/{number:04}").as_str())
}

/// Where the index has the number of the user with this address.
fn by_email(email: &str) -> Key {
    Key::from(format!("user-by-email/{email}").as_str())
}

fn email(number: u32) -> String {
    format!("{number:02}@example.org")
}

/// Step 2: the last stage is an ordinary thunk, and by then its keys are known. It need not check anything: what the stages saw is so.
#[derive(Serialize, Deserialize)]
struct ChangeEmail {
    number: u32,
    old: String,
    user: User,
}

impl Thunk for ChangeEmail {
    const NAME: &'static str = "example.change-email";
    const VERSION: u32 = 1;
    type Output = ();

    fn footprint(&self) -> Footprint {
        let footprint = Footprint::new().write(row(self.number));
        footprint.write(by_email(&self.old)).write(by_email(&self.user.email))
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<(), Abort> {
        evaluation.delete(&by_email(&self.old))?;
        evaluation.put_as(&by_email(&self.user.email), &self.number)?;
        evaluation.put_as(&row(self.number), &self.user)
    }
}

/// Step 1: the stages. Whoever has the address `old` is to get `new`. *Gives* how often the stages ran, or what they refused.
///
/// They may run several times and must do nothing but read and decide. The first run may see a replica that is a little behind; then it runs again.
async fn change(users: &Plimsoll, old: String, new: String) -> Result<Result<u32, String>, StagedError> {
    let stages = move |stage: Stage| {
        let (old, new) = (old.clone(), new.clone());
        async move {
            let Some(number) = stage.get_as::<u32>(by_email(&old)).await? else {
                return Err(Abort::Refused(format!("nobody has {old}")));
            };
            // Which row to read is known only now. The two reads are independent of each other, and made of the same snapshot.
            let (user, taken) = tokio::join!(stage.get_as::<User>(row(number)), stage.get(by_email(&new)));
            let user =
                user?.ok_or_else(|| Abort::Malformed(format!("{old} leads to user {number}, who is not there")))?;
            if taken.is_some() {
                return Err(Abort::Refused(format!("somebody has {new} already")));
            }
            let changes = user.changes + 1;
            let user = User { email: new, changes };
            Ok(ChangeEmail { number, old, user })
        }
    };
    match users.staged(stages).await {
        // Step 3: one run, if nothing that was read has changed in between.
        Ok(staged) => Ok(Ok(staged.runs)),
        // Step 4: nobody had the address, or somebody had the other one, at the very timestamp of this refusal.
        Err(StagedError::Submit(SubmitError::Aborted { abort, .. })) => Ok(Err(abort.to_string())),
        Err(other) => Err(other),
    }
}

/// Changes that are drawn from the number of the client: from any address to any other.
async fn client(users: Plimsoll, client: u32) -> Result<BTreeMap<u32, u32>, StagedError> {
    let mut ran = BTreeMap::new();
    for number in 0..CHANGES {
        let drawn = (client * CHANGES + number).wrapping_mul(2_654_435_761) >> 8;
        let (old, new) = (drawn % ADDRESSES, drawn / ADDRESSES % ADDRESSES);
        if let Ok(runs) = change(&users, email(old), email(new)).await? {
            *ran.entry(runs).or_default() += 1;
        }
    }
    Ok(ran)
}

/// Step 5: the index says of every address exactly who has it. Both are read at one snapshot. *Gives* how many changes the rows have seen.
async fn check(users: &Plimsoll) -> Result<u32, Box<dyn Error>> {
    let entries = users.scan(KeyRange::prefix("user".into()), 1_000).await?;
    let (rows, index): (Vec<_>, Vec<_>) = entries
        .into_iter()
        .partition(|(key, _)| key.as_bytes().starts_with(b"user/"));
    let mut expected: Vec<(Key, Value)> = Vec::new();
    let mut changes = 0;
    for number in 0..USERS {
        let (_, value) = rows
            .iter()
            .find(|(key, _)| *key == row(number))
            .ok_or("a row is lost")?;
        let user: User = decode_value(value)?;
        changes += user.changes;
        expected.push((by_email(&user.email), encode_value(&number)?));
    }
    expected.sort_by(|(one, _), (other, _)| one.cmp(other));
    assert_eq!(index, expected, "index and rows agree");
    Ok(changes)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let users = Plimsoll::builder().replicas(3).thunk::<ChangeEmail>().open().await?;
    let mut entries = Vec::new();
    for number in 0..USERS {
        let (email, changes) = (email(number), 0);
        entries.push((by_email(&email), encode_value(&number)?));
        entries.push((row(number), encode_value(&User { email, changes })?));
    }
    users.submit(&Put { entries }).await?;

    match change(&users, email(1), email(2)).await? {
        Err(refusal) => println!("refused: {refusal}"),
        Ok(_) => return Err("two users have one address".into()),
    }
    let runs = change(&users, email(1), "new@example.org".into()).await??;
    println!("{} is new@example.org now; the stages ran {runs} time(s)", email(1));
    change(&users, "new@example.org".into(), email(1)).await??;

    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| tokio::spawn(client(users.clone(), number)))
        .collect();
    let mut ran: BTreeMap<u32, u32> = BTreeMap::new();
    for client in clients {
        for (runs, count) in client.await?? {
            *ran.entry(runs).or_default() += count;
        }
    }
    let committed: u32 = ran.values().sum();
    println!(
        "{committed} of {} changes were made, the others refused",
        CLIENTS * CHANGES
    );
    for (runs, count) in ran {
        println!("{count:>5} of them after {runs} run(s) of the stages");
    }
    assert_eq!(check(&users).await?, committed + 2, "each change was made once");
    println!("index and rows agree");
    users.shutdown().await;
    Ok(())
}
