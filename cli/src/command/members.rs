//! `status` and `member`: the nodes of a cluster, and which of them are its members.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use plimsoll::Plimsoll;
use plimsoll::id::NodeId;
use plimsoll::protocol::Change;
use plimsoll::runtime::{ChangeFailed, ReplicaStatus};
use plimsoll::thunk::RESERVED_PREFIX;
use plimsoll::transaction::ThunkId;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{Answer, Failure};
use crate::ask::Ask;
use crate::ask::access::{Access, node_number};

const STATUS: &str = "\
Columns:
  node         its number
  epoch        the epoch that it is in: the members change from one to the next
  members      the nodes that store data in it
  coordinators the nodes that take transactions in it: the members that were heard of when it began
  watermark    how far the watermark lies behind this machine's clock: what is younger is not known to be complete
  evaluated    how far what is evaluated lies behind it
  state        sound, blocked (a thunk is not registered there), diverged (it disagrees with a majority), or no answer

Exit status:
  0  every node that was given or is a member answers and is sound
  1  one does not, or is not
  2  the arguments cannot be used; nothing was asked";

const MEMBER: &str = "\
A node joins that runs as a learner (`plimsoll serve` with --members that do not name it) and has caught up; the command waits for that.
A node that leaves may be dead. When the command is done, it may be switched off. Its number is never used again.

Exit status:
  0  the members are changed, or listed
  1  they are not, or nobody knows: the message says which; look at `plimsoll member list`
  2  the arguments cannot be used; nothing was asked";

/// Tell how each node stands.
#[derive(Args)]
#[command(after_help = STATUS)]
pub(crate) struct StatusArguments {
    #[command(flatten)]
    access: Access,
}

/// List or change the members of the cluster.
#[derive(Args)]
#[command(after_help = MEMBER)]
pub(crate) struct MemberArguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// List the members.
    List {
        #[command(flatten)]
        access: Access,
    },
    /// Make a learner a member.
    Add {
        /// The number of the learner.
        #[arg(value_name = "N", value_parser = node_number)]
        joins: u32,
        #[command(flatten)]
        asked: Asked,
    },
    /// Take a node out of the members.
    Remove {
        /// The number of the member, which may be dead.
        #[arg(value_name = "N", value_parser = node_number)]
        leaves: u32,
        #[command(flatten)]
        asked: Asked,
    },
    /// Put a learner in the place of a member.
    Replace {
        /// The number of the member that leaves, which may be dead.
        #[arg(value_name = "OLD", value_parser = node_number)]
        leaves: u32,
        /// The number of the learner that takes its place.
        #[arg(value_name = "NEW", value_parser = node_number)]
        joins: u32,
        #[command(flatten)]
        asked: Asked,
    },
}

/// Who sees to a change.
#[derive(Args)]
struct Asked {
    /// The node that sees to the change. Default: the first member that answers and does not leave.
    #[arg(long, value_name = "N", value_parser = node_number)]
    at: Option<u32>,
    #[command(flatten)]
    access: Access,
}

fn numbers(nodes: &[NodeId]) -> Vec<u32> {
    nodes.iter().map(|node| node.number()).collect()
}

fn listed(nodes: &[NodeId]) -> String {
    let nodes: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    nodes.join(" ")
}

/// What is registered on a node beside the built-in thunks.
fn thunks_of_users(status: &ReplicaStatus) -> Vec<String> {
    let of_users = |thunk: &&ThunkId| !thunk.name.starts_with(RESERVED_PREFIX);
    status.thunks.iter().filter(of_users).map(ToString::to_string).collect()
}

/// Which thunks that are registered on a node others lack, and who.
fn lacking(status: &ReplicaStatus) -> Vec<serde_json::Value> {
    let lacking = status.lacking.iter();
    let told = lacking.map(|(thunk, nodes)| json!({ "thunk": thunk.to_string(), "nodes": numbers(nodes) }));
    told.collect()
}

/// How a node stands, in one word and in JSON.
fn state(status: &ReplicaStatus) -> (String, &'static str) {
    if let Some(thunk) = &status.blocked {
        return (format!("blocked: thunk {thunk} is not registered there"), "blocked");
    }
    if let Some(divergence) = &status.divergence {
        let peers = listed(&divergence.peers);
        return (format!("diverged: it disagrees with {peers}"), "diverged");
    }
    ("sound".to_owned(), "sound")
}

impl Ask for StatusArguments {
    fn access(&self) -> &Access {
        &self.access
    }

    async fn ask(&self, database: &Plimsoll) -> Result<Answer, Failure> {
        let found = all(database, &self.access).await;
        #[expect(clippy::disallowed_methods, reason = "how old something is depends on when one asks")]
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = since.map_or(0, |since| since.as_millis() as u64);
        // Those that were given, those that were learnt, and the members of which neither is known.
        let given = self.access.nodes.iter().map(|place| place.number);
        let members = newest(&found).into_iter().flat_map(|newest| numbers(&newest.members));
        let asked: BTreeSet<u32> = given
            .chain(members)
            .chain(found.iter().map(|status| status.node.number()))
            .collect();
        Ok(report(&asked, &found, now))
    }
}

/// How long to wait until the nodes that were asked have told where the others are.
const LEARNING: Duration = Duration::from_millis(500);

/// How the nodes stand, those included whose addresses only the others know.
async fn all(database: &Plimsoll, access: &Access) -> Vec<ReplicaStatus> {
    let found = database.replicas().await;
    let is_asked = |member: &NodeId| access.nodes.iter().any(|place| place.number == member.number());
    match newest(&found) {
        Some(newest) if !newest.members.iter().all(is_asked) => {
            sleep(LEARNING).await;
            database.replicas().await
        }
        _ => found,
    }
}

/// How the nodes that were asked stand. *Given* the time in milliseconds since the Unix epoch.
fn report(asked: &BTreeSet<u32>, found: &[ReplicaStatus], now_ms: u64) -> Answer {
    let mut lines = vec![
        [
            "node",
            "epoch",
            "members",
            "coordinators",
            "watermark",
            "evaluated",
            "state",
        ]
        .map(str::to_owned),
    ];
    let mut nodes = Vec::new();
    let mut unsound = Vec::new();
    for &number in asked {
        let Some(status) = found.iter().find(|status| status.node.number() == number) else {
            lines.push([&format!("n{number}"), "", "", "", "", "", "no answer"].map(str::to_owned));
            nodes.push(json!({ "node": number, "state": "no answer" }));
            unsound.push(format!("n{number} does not answer"));
            continue;
        };
        let behind = |millis: u64| now_ms as i64 - millis as i64;
        let (watermark, evaluated) = (
            behind(status.watermark.unix_millis()),
            behind(status.evaluated.unix_millis()),
        );
        let (words, word) = state(status);
        if word != "sound" {
            unsound.push(format!("{} is {words}", status.node));
        }
        lines.push([
            status.node.to_string(),
            status.epoch.to_string(),
            listed(&status.members),
            listed(&status.coordinators),
            format!("{watermark} ms"),
            format!("{evaluated} ms"),
            words.clone(),
        ]);
        nodes.push(json!({
            "node": number,
            "state": word,
            "reason": (word != "sound").then_some(words),
            "epoch": status.epoch.number(),
            "members": numbers(&status.members),
            "coordinators": numbers(&status.coordinators),
            "watermark": status.watermark.to_string(),
            "watermark_behind_ms": watermark,
            "evaluated": status.evaluated.to_string(),
            "evaluated_behind_ms": evaluated,
            "thunks": thunks_of_users(status),
            "lacking": lacking(status),
        }));
    }
    let answer = Answer::new(columns(&lines), json!({ "nodes": nodes }));
    match unsound.is_empty() {
        true => answer,
        false => answer.failed(unsound.join("; ")),
    }
}

/// Lines in columns as wide as they must be.
fn columns<const N: usize>(lines: &[[String; N]]) -> String {
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |line: &[String; N]| {
        let cells: String = line
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}  "))
            .collect();
        cells.trim_end().to_owned() + "\n"
    };
    lines.iter().map(line).collect()
}

impl Asked {
    /// The node that sees to a change. A member that leaves cannot: it is not there at the end.
    async fn node(&self, database: &Plimsoll, leaves: Option<u32>) -> Result<u32, Failure> {
        if let Some(at) = self.at {
            return Ok(at);
        }
        let found = all(database, &self.access).await;
        let mut members = found.iter().filter(|status| status.members.contains(&status.node));
        let chosen = members.find(|status| Some(status.node.number()) != leaves);
        chosen.map(|status| status.node.number()).ok_or_else(|| {
            Failure::Failed("no member answers that could see to the change: give one that is up by --node".to_owned())
        })
    }

    async fn change(&self, database: &Plimsoll, leaves: Option<u32>, change: Change) -> Result<Answer, Failure> {
        let at = self.node(database, leaves).await?;
        match database.change(at, change).await {
            Ok(epoch) => Ok(Answer::new(
                format!("{change}: done, the epoch is {epoch}\n"),
                json!({ "outcome": "changed", "change": change.to_string(), "epoch": epoch.number() }),
            )),
            Err(error) => {
                let outcome = match error {
                    ChangeFailed::Unknown(_) => "unknown",
                    _ => "refused",
                };
                let json = json!({ "outcome": outcome, "change": change.to_string(), "reason": error.to_string() });
                Ok(Answer::new("", json).failed(error.to_string()))
            }
        }
    }
}

impl Ask for MemberArguments {
    fn access(&self) -> &Access {
        match &self.what {
            What::List { access } => access,
            What::Add { asked, .. } | What::Remove { asked, .. } | What::Replace { asked, .. } => &asked.access,
        }
    }

    async fn ask(&self, database: &Plimsoll) -> Result<Answer, Failure> {
        let node = |number: &u32| NodeId::new(*number);
        match &self.what {
            What::List { .. } => list(database).await,
            What::Add { joins, asked } => asked.change(database, None, Change::Join(node(joins))).await,
            What::Remove { leaves, asked } => asked.change(database, Some(*leaves), Change::Leave(node(leaves))).await,
            What::Replace { leaves, joins, asked } => {
                let change = Change::Replace {
                    leaves: node(leaves),
                    joins: node(joins),
                };
                asked.change(database, Some(*leaves), change).await
            }
        }
    }
}

/// The node that knows of the newest epoch.
fn newest(found: &[ReplicaStatus]) -> Option<&ReplicaStatus> {
    found.iter().max_by_key(|status| status.epoch)
}

/// The members of the newest epoch that a node knows of.
async fn list(database: &Plimsoll) -> Result<Answer, Failure> {
    let found = database.replicas().await;
    let newest = newest(&found)
        .ok_or_else(|| Failure::Failed("no node answers: are they up, and at these addresses?".to_owned()))?;
    let text: String = newest.members.iter().map(|member| format!("{member}\n")).collect();
    let json: Value = json!({
        "epoch": newest.epoch.number(),
        "members": numbers(&newest.members),
        "coordinators": numbers(&newest.coordinators),
    });
    Ok(Answer::new(text, json))
}
