//! A small social network in typed tables: `cargo run --example social`.
//!
//! A lesson in five steps on the workload known as Retwis. Tables are constants (1). Thunks declare, read and write their rows (2). Reads from
//! outside are typed too, and take the newest rows of several ranges from one snapshot (3). Three replicas in memory and some
//! clients at once add users, follow, post and read timelines (4), and in the end every count agrees with the rows that it counts (5).

use std::error::Error;

use plimsoll::Plimsoll;
use plimsoll::protocol::{Query, ReadMode, Scan};
use plimsoll::runtime::SubmitError;
use plimsoll::table::{Number, Table};
use plimsoll::thunk::{Evaluation, Thunk};
use plimsoll::transaction::{Abort, Footprint};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};

const FOUNDERS: u32 = 20;
const CLIENTS: u64 = 4;
const CALLS: u32 = 250;
const TAGS: [&str; 3] = ["rust", "sea", "tea"];

/// Step 1: a table is a name, a type of keys and a type of values. Its rows lie in the order of their keys.
const USERS: Table<String, User> = Table::new("users");
/// What users say of themselves.
const ABOUT: Table<String, String> = Table::new("about");
/// Who follows whom: those whom one user follows lie side by side, so they are a range.
const FOLLOWS: Table<(String, String), ()> = Table::new("follows");
/// The posts of each author, by number.
const POSTS: Table<(String, u64), Post> = Table::new("posts");
/// The posts of each tag. An index is a table of which the same transaction writes the rows.
const TAGGED: Table<(String, String, u64), ()> = Table::new("tagged");
/// How many posts have a tag: numbers are added to without being read.
const TAG_COUNTS: Table<String, Number> = Table::new("tag-counts");
/// How many posts have any: a table of a single row.
const TAGGED_COUNT: Table<(), Number> = Table::new("tagged-count");

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct User {
    posts: u64,
    follows: u64,
    followers: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Post {
    text: String,
    /// When the transaction took effect that made it.
    at_ms: u64,
}

/// Step 2: a new user, with a first post: one row is read and three are written.
#[derive(Serialize, Deserialize)]
struct Join {
    name: String,
}

impl Thunk for Join {
    const NAME: &'static str = "social.join";
    const VERSION: u32 = 1;
    type Output = ();

    fn footprint(&self) -> Footprint {
        Footprint::new()
            .write(USERS.key(&self.name))
            .write(ABOUT.key(&self.name))
            .write(POSTS.key((&self.name, 0)))
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<(), Abort> {
        if USERS.contains(evaluation, &self.name)? {
            return Err(Abort::Refused(format!("the name {} is taken", self.name)));
        }
        let (posts, at_ms) = (1, evaluation.now().hlc.unix_millis());
        let user = User {
            posts,
            ..User::default()
        };
        let text = format!("{} is here", self.name);
        USERS.put(evaluation, &self.name, &user)?;
        ABOUT.put(evaluation, &self.name, &"nothing yet".to_owned())?;
        POSTS.put(evaluation, (&self.name, 0), &Post { text, at_ms })
    }
}

/// Both users are read and written, and the row that says so.
#[derive(Serialize, Deserialize)]
struct Follow {
    follower: String,
    followed: String,
}

impl Thunk for Follow {
    const NAME: &'static str = "social.follow";
    const VERSION: u32 = 1;
    type Output = ();

    fn footprint(&self) -> Footprint {
        Footprint::new()
            .write(USERS.key(&self.follower))
            .write(USERS.key(&self.followed))
            .write(FOLLOWS.key((&self.follower, &self.followed)))
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<(), Abort> {
        let edge = (self.follower.as_str(), self.followed.as_str());
        if self.follower == self.followed || FOLLOWS.contains(evaluation, edge)? {
            return Err(Abort::Refused(format!("{} follows {} already", edge.0, edge.1)));
        }
        let mut follower = user(evaluation, &self.follower)?;
        let mut followed = user(evaluation, &self.followed)?;
        follower.follows += 1;
        followed.followers += 1;
        USERS.put(evaluation, &self.follower, &follower)?;
        USERS.put(evaluation, &self.followed, &followed)?;
        FOLLOWS.put(evaluation, edge, &())
    }
}

/// A post says its number, because the keys of a transaction are known before it runs: who says one that is taken is refused, and looks again.
#[derive(Serialize, Deserialize)]
struct Publish {
    author: String,
    number: u64,
    tag: String,
    text: String,
}

impl Thunk for Publish {
    const NAME: &'static str = "social.publish";
    const VERSION: u32 = 1;
    type Output = ();

    fn footprint(&self) -> Footprint {
        Footprint::new()
            .write(USERS.key(&self.author))
            .write(TAG_COUNTS.key(&self.tag))
            .write(TAGGED_COUNT.key(()))
            .write(POSTS.key((&self.author, self.number)))
            .write(TAGGED.key((&self.tag, &self.author, self.number)))
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<(), Abort> {
        let mut author = user(evaluation, &self.author)?;
        if author.posts != self.number {
            return Err(Abort::Refused(format!(
                "the next post of {} is {}",
                self.author, author.posts
            )));
        }
        author.posts += 1;
        let (text, at_ms) = (self.text.clone(), evaluation.now().hlc.unix_millis());
        USERS.put(evaluation, &self.author, &author)?;
        TAG_COUNTS.add(evaluation, &self.tag, 1)?;
        TAGGED_COUNT.add(evaluation, (), 1)?;
        POSTS.put(evaluation, (&self.author, self.number), &Post { text, at_ms })?;
        TAGGED.put(evaluation, (&self.tag, &self.author, self.number), &())
    }
}

fn user(evaluation: &mut Evaluation<'_>, name: &str) -> Result<User, Abort> {
    let found = USERS.get(evaluation, name)?;
    found.ok_or_else(|| Abort::Refused(format!("nobody is called {name}")))
}

/// Step 3: the newest posts of those whom a user follows, the newest first. The first read names its snapshot, and the second stays in it:
/// so the timeline is of one moment, whatever is posted meanwhile.
async fn timeline(network: &Plimsoll, name: &str, authors: usize) -> Result<Vec<(String, Post)>, Box<dyn Error>> {
    const POSTS_OF_EACH: usize = 3;
    let followed = Query {
        keys: Vec::new(),
        ranges: vec![Scan::forward(FOLLOWS.prefix((name,)), authors)],
    };
    let followed = network.read(ReadMode::Strict, followed).await?;
    let mut newest = Query::default();
    for (edge, _) in followed.answer.ranges.iter().flatten() {
        let (_, author) = FOLLOWS.decode_key(edge)?;
        let posts = POSTS.prefix((author.as_str(),));
        newest.ranges.push(Scan::backward(posts, POSTS_OF_EACH));
    }
    let newest = network.read(ReadMode::At(followed.at), newest).await?;
    let mut timeline = Vec::new();
    for (key, found) in newest.answer.ranges.iter().flatten() {
        let ((author, _), post) = POSTS.decode_row(key, &found.value)?;
        timeline.push((author, post));
    }
    timeline.sort_by_key(|(_, post)| std::cmp::Reverse(post.at_ms));
    Ok(timeline)
}

/// What a client has done.
#[derive(Debug, Default)]
struct Tally {
    joined: u64,
    followed: u64,
    published: u64,
    refused: u64,
    timelines: u64,
    posts_seen: usize,
}

/// Step 4: one client, in the proportions of Retwis: 5 % join, 15 % follow, 30 % post, 50 % read a timeline.
async fn client(network: Plimsoll, number: u64) -> Result<Tally, Box<dyn Error + Send + Sync>> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(number);
    let mut tally = Tally::default();
    for call in 0..CALLS {
        let (one, other) = (
            founder(random.random_range(0..FOUNDERS)),
            founder(random.random_range(0..FOUNDERS)),
        );
        let (submitted, counted) = match random.random_range(0..100) {
            0..5 => {
                let name = format!("guest {number}.{call}");
                (network.submit(&Join { name }).await, &mut tally.joined)
            }
            5..20 => {
                let (follower, followed) = (one, other);
                let follow = Follow { follower, followed };
                (network.submit(&follow).await, &mut tally.followed)
            }
            20..50 => {
                // What was seen here may be old, which is for the thunk to judge.
                let author = network.row(ReadMode::Snapshot, USERS, &one).await?;
                let publish = Publish {
                    number: author.map_or(0, |author| author.posts),
                    tag: TAGS[random.random_range(0..TAGS.len())].to_owned(),
                    text: format!("{one} says hello, as client {number} asked in call {call}"),
                    author: one,
                };
                (network.submit(&publish).await, &mut tally.published)
            }
            _ => {
                let authors = random.random_range(1..=10);
                let posts = timeline(&network, &one, authors)
                    .await
                    .map_err(|error| error.to_string())?;
                tally.timelines += 1;
                tally.posts_seen += posts.len();
                continue;
            }
        };
        match submitted {
            Ok(_) => *counted += 1,
            Err(SubmitError::Aborted { .. }) => tally.refused += 1,
            Err(other) => return Err(other.into()),
        }
    }
    Ok(tally)
}

fn founder(number: u32) -> String {
    format!("founder {number:02}")
}

/// Step 5: every count agrees with the rows that it counts, all of one snapshot. *Gives* how many users and posts there are.
async fn check(network: &Plimsoll) -> Result<(u64, u64), Box<dyn Error>> {
    let at = ReadMode::At(network.read(ReadMode::Strict, Query::default()).await?.at);
    let all = usize::MAX;
    let users = network.rows(at, USERS, Scan::forward(USERS.all(), all)).await?;
    let (mut posts, mut edges) = (0, 0);
    for (name, user) in &users {
        let written = network
            .rows(at, POSTS, Scan::forward(POSTS.prefix((name.as_str(),)), all))
            .await?;
        assert!(
            written.iter().map(|((_, number), _)| *number).eq(0..user.posts),
            "{name} skipped a post"
        );
        let follows = network
            .rows(at, FOLLOWS, Scan::forward(FOLLOWS.prefix((name.as_str(),)), all))
            .await?;
        assert_eq!(follows.len() as u64, user.follows, "{name} follows others than counted");
        posts += user.posts;
        edges += user.follows;
    }
    assert_eq!(
        edges,
        users.iter().map(|(_, user)| user.followers).sum(),
        "who follows is followed"
    );
    let mut tagged = 0;
    for (tag, count) in network
        .rows(at, TAG_COUNTS, Scan::forward(TAG_COUNTS.all(), all))
        .await?
    {
        let rows = network
            .rows(at, TAGGED, Scan::forward(TAGGED.prefix((tag.as_str(),)), all))
            .await?;
        assert_eq!(rows.len() as i64, count.0, "the count of the tag {tag}");
        tagged += rows.len() as u64;
    }
    let counted = network.row(at, TAGGED_COUNT, ()).await?.unwrap_or_default();
    assert_eq!(tagged, counted.0 as u64, "the count of all tagged posts");
    assert_eq!(
        posts,
        tagged + users.len() as u64,
        "every post but the first one of each user has a tag"
    );
    Ok((users.len() as u64, posts))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let builder = Plimsoll::builder().replicas(3).thunk::<Join>();
    let network = builder.thunk::<Follow>().thunk::<Publish>().open().await?;
    for number in 0..FOUNDERS {
        network.submit(&Join { name: founder(number) }).await?;
    }
    // A single row needs no thunk of one's own.
    let about = ABOUT.putting(&founder(7), &"likes tables".to_owned())?;
    network.submit(&about).await?;

    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| tokio::spawn(client(network.clone(), number)))
        .collect();
    let (mut joined, mut published) = (u64::from(FOUNDERS), u64::from(FOUNDERS));
    for client in clients {
        let tally = client.await?.map_err(|error| error.to_string())?;
        println!("a client is done: {tally:?}");
        joined += tally.joined;
        published += tally.joined + tally.published;
    }

    let about = network.row(ReadMode::Strict, ABOUT, &founder(7)).await?;
    println!("{} {}, and reads:", founder(7), about.unwrap_or_default());
    for (_, post) in timeline(&network, &founder(7), 10).await?.iter().take(5) {
        println!("  {}", post.text);
    }
    println!("the tags, the last one first:");
    for (tag, count) in network
        .rows(ReadMode::Strict, TAG_COUNTS, Scan::backward(TAG_COUNTS.all(), 10))
        .await?
    {
        println!("  {tag}: {} posts", count.0);
    }

    let found = check(&network).await?;
    assert_eq!(found, (joined, published), "what was answered is there");
    println!(
        "{} users and {} posts: every count agrees with the rows it counts",
        found.0, found.1
    );
    network.shutdown().await;
    Ok(())
}
