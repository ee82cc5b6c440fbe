//! A shop's inventory under a flash sale, in three replicas: `cargo run --example inventory`.
//!
//! Goods are reserved for a while, then bought, given back, or forgotten. The lesson is time: a thunk has no clock, since every replica evaluates it for
//! itself, but its transaction has a timestamp, which is the same everywhere and grows in the order of effects (1). Two thunks hold the rules (2, 3), many
//! clients are after one article at once (4), and at every moment no article has more reserved than there is (5).

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use plimsoll::Plimsoll;
use plimsoll::codec::{decode_value, encode_value};
use plimsoll::key::{Key, KeyRange};
use plimsoll::runtime::{ReadFailed, SubmitError};
use plimsoll::thunk::{Evaluation, Put, Thunk};
use plimsoll::transaction::{Abort, Footprint};
use serde::{Deserialize, Serialize};

const ARTICLES: u32 = 20;
const ON_HAND: u32 = 200;
const CLIENTS: u32 = 8;
const BASKETS: u32 = 60;
/// How long a reservation holds.
const HOLD_MS: u64 = 60;

/// One article: what is there, how much of it is reserved, and by whom until when.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Article {
    on_hand: u32,
    reserved: u32,
    held: Vec<Hold>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Hold {
    basket: u64,
    count: u32,
    until_ms: u64,
}

impl Article {
    fn key(number: u32) -> Key {
        Key::from(format!("article/{number:03}").as_str())
    }

    fn read(number: u32, evaluation: &mut Evaluation<'_>) -> Result<Self, Abort> {
        let found = evaluation.get_as(&Self::key(number))?;
        let mut article: Self = found.ok_or_else(|| Abort::Refused(format!("there is no article {number}")))?;
        // Step 1: the timestamp is the time. Whatever comes to the article next lets go of what has expired by then; no clock goes off anywhere.
        let now_ms = evaluation.now().hlc.unix_millis();
        article.held.retain(|hold| hold.until_ms > now_ms);
        article.reserved = article.held.iter().map(|hold| hold.count).sum();
        Ok(article)
    }

    fn write(&self, number: u32, evaluation: &mut Evaluation<'_>) -> Result<(), Abort> {
        evaluation.put_as(&Self::key(number), self)
    }
}

/// Step 2: holds some of an article for a basket. Gives until when, in milliseconds since 1970.
#[derive(Serialize, Deserialize)]
struct Reserve {
    article: u32,
    basket: u64,
    count: u32,
}

impl Thunk for Reserve {
    const NAME: &'static str = "shop.reserve";
    const VERSION: u32 = 1;
    type Output = u64;

    fn footprint(&self) -> Footprint {
        Footprint::new().write(Article::key(self.article))
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<u64, Abort> {
        let mut article = Article::read(self.article, evaluation)?;
        let free = article.on_hand - article.reserved;
        if free < self.count {
            return Err(Abort::Refused(format!(
                "only {free} of article {} are free",
                self.article
            )));
        }
        let until_ms = evaluation.now().hlc.unix_millis() + HOLD_MS;
        let (basket, count) = (self.basket, self.count);
        article.held.push(Hold {
            basket,
            count,
            until_ms,
        });
        article.reserved += count;
        article.write(self.article, evaluation)?;
        Ok(until_ms)
    }
}

/// What becomes of a reservation.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
enum Decision {
    Buy,
    GiveBack,
}

/// Step 3: ends the reservation of a basket. Refused if it has expired: somebody else may have what was held.
#[derive(Serialize, Deserialize)]
struct Decide {
    article: u32,
    basket: u64,
    decision: Decision,
}

impl Thunk for Decide {
    const NAME: &'static str = "shop.decide";
    const VERSION: u32 = 1;
    /// How many are left.
    type Output = u32;

    fn footprint(&self) -> Footprint {
        Footprint::new().write(Article::key(self.article))
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<u32, Abort> {
        let mut article = Article::read(self.article, evaluation)?;
        let place = article.held.iter().position(|hold| hold.basket == self.basket);
        let place = place.ok_or_else(|| Abort::Refused("the reservation has expired".into()))?;
        let hold = article.held.remove(place);
        article.reserved -= hold.count;
        if self.decision == Decision::Buy {
            article.on_hand -= hold.count;
        }
        article.write(self.article, evaluation)?;
        Ok(article.on_hand)
    }
}

/// What came of the baskets of a client.
#[derive(Debug, Default)]
struct Tally {
    bought: u32,
    given_back: u32,
    expired: u32,
    sold_out: u32,
}

/// Step 4: fills baskets, half of them with article 0. Of 20 baskets 13 are bought, 5 given back, and 2 forgotten for too long.
async fn client(shop: Plimsoll, client: u32) -> Result<Tally, SubmitError> {
    let mut tally = Tally::default();
    for number in 0..BASKETS {
        let article = if number % 2 == 0 {
            0
        } else {
            (client * 7 + number) % ARTICLES
        };
        let basket = u64::from(client) << 32 | u64::from(number);
        let count = number % 3 + 1;
        match shop.submit(&Reserve { article, basket, count }).await {
            Ok(_) => {}
            Err(SubmitError::Aborted { .. }) => {
                tally.sold_out += 1;
                continue;
            }
            Err(other) => return Err(other),
        }
        let decision = match number % 20 {
            0..13 => Decision::Buy,
            13..18 => Decision::GiveBack,
            _ => {
                tokio::time::sleep(Duration::from_millis(2 * HOLD_MS)).await;
                Decision::Buy
            }
        };
        match shop
            .submit(&Decide {
                article,
                basket,
                decision,
            })
            .await
        {
            // A retry under the same id would be told the same; it would not buy twice.
            Ok(_) if decision == Decision::Buy => tally.bought += count,
            Ok(_) => tally.given_back += count,
            Err(SubmitError::Aborted { .. }) => tally.expired += count,
            Err(other) => return Err(other),
        }
    }
    Ok(tally)
}

/// Step 5: all articles at one snapshot that sees everything answered before. *Gives* how many are on hand together.
async fn check(shop: &Plimsoll) -> Result<u32, ReadFailed> {
    let mut on_hand = 0;
    for (key, value) in shop
        .scan(KeyRange::prefix("article/".into()), ARTICLES as usize)
        .await?
    {
        let article: Article = decode_value(&value).expect("the thunks write nothing else");
        let held: u32 = article.held.iter().map(|hold| hold.count).sum();
        assert_eq!(article.reserved, held, "{key}");
        assert!(article.reserved <= article.on_hand, "{key}: {article:?}");
        on_hand += article.on_hand;
    }
    Ok(on_hand)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let builder = Plimsoll::builder().replicas(3).thunk::<Reserve>().thunk::<Decide>();
    let shop = builder.open().await?;
    let full = Article {
        on_hand: ON_HAND,
        ..Article::default()
    };
    let full = encode_value(&full)?;
    let entries = (0..ARTICLES)
        .map(|number| (Article::key(number), full.clone()))
        .collect();
    shop.submit(&Put { entries }).await?;

    let is_over = AtomicBool::new(false);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| tokio::spawn(client(shop.clone(), number)))
        .collect();
    let sale = async {
        let mut all = Tally::default();
        for client in clients {
            let tally = client.await??;
            all.bought += tally.bought;
            all.given_back += tally.given_back;
            all.expired += tally.expired;
            all.sold_out += tally.sold_out;
        }
        is_over.store(true, Ordering::Relaxed);
        Ok::<_, Box<dyn Error>>(all)
    };
    let audits = async {
        let mut audits = 0;
        while !is_over.load(Ordering::Relaxed) {
            check(&shop).await?;
            audits += 1;
        }
        Ok(audits)
    };
    let (all, audits) = tokio::try_join!(sale, audits)?;
    println!("{all:?}, and {audits} audits meanwhile found no article oversold");
    let left = check(&shop).await?;
    println!("{left} of {} are left", ARTICLES * ON_HAND);
    assert_eq!(left + all.bought, ARTICLES * ON_HAND, "what is gone was bought");
    shop.shutdown().await;
    Ok(())
}
