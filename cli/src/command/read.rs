//! `get` and `scan`: reads at one snapshot.

use std::time::Duration;

use clap::Args;
use plimsoll::Plimsoll;
use plimsoll::id::NodeId;
use plimsoll::key::{Key, KeyRange};
use plimsoll::protocol::{Query, ReadMode, Refusal, Scan};
use plimsoll::runtime::{ReadFailed, Rows};
use plimsoll::time::{Hlc, Timestamp};
use plimsoll::transaction::Versioned;
use serde_json::json;

use super::{Answer, Failure};
use crate::ask::Ask;
use crate::ask::access::Access;
use crate::ask::shown::{Form, Found};

/// Which snapshots there are.
const MODES: &str = "\
Modes:
  strict           Sees everything that was answered anywhere before the read began.
  snapshot         What the node that is asked has evaluated, at once: it may be old, and is never torn.
  bounded:MS       The same, at most this many milliseconds old by that node's clock.
  after:TIMESTAMP  The same, not before this timestamp: pass the one of a transaction to see what it wrote.
  at:HLC           The snapshot at this bound, which a read printed as `at`; snapshots of the last 30 s are kept at least.";

const EXIT_STATUS_GET: &str = "\
Exit status:
  0  there is a value, and it is printed
  1  there is none, or it could not be read
  2  the arguments cannot be used; nothing was asked";

/// At which snapshot to read.
#[derive(Args)]
struct Snapshot {
    /// Which snapshot is read: `strict`, `snapshot`, `bounded:MS`, `after:TIMESTAMP` or `at:HLC`; see below.
    #[arg(long, value_name = "MODE", default_value = "strict", value_parser = mode)]
    mode: ReadMode,
}

/// Of which keys.
#[derive(Args)]
pub(super) struct Span {
    /// Only keys that begin with this.
    #[arg(long, value_name = "P", conflicts_with_all = ["from", "to"])]
    prefix: Option<String>,
    /// Only this key and those after it.
    #[arg(long, value_name = "A")]
    from: Option<String>,
    /// Only keys before this one.
    #[arg(long, value_name = "B")]
    to: Option<String>,
}

/// Read one key.
#[derive(Args)]
#[command(after_help = format!("{MODES}\n\n{EXIT_STATUS_GET}"))]
pub(crate) struct GetArguments {
    /// The key.
    key: String,
    #[command(flatten)]
    snapshot: Snapshot,
    #[command(flatten)]
    found: Found,
    /// Print the bytes of the value and nothing else, no newline either.
    #[arg(long, conflicts_with_all = ["hex", "number", "json"])]
    raw: bool,
    #[command(flatten)]
    access: Access,
}

/// Read keys in order.
#[derive(Args)]
#[command(after_help = MODES)]
pub(crate) struct ScanArguments {
    #[command(flatten)]
    span: Span,
    /// How many entries at most, the first ones.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    #[command(flatten)]
    snapshot: Snapshot,
    #[command(flatten)]
    found: Found,
    #[command(flatten)]
    access: Access,
}

fn mode(text: &str) -> Result<ReadMode, String> {
    match text.split_once(':') {
        None if text == "strict" => Ok(ReadMode::Strict),
        None if text == "snapshot" => Ok(ReadMode::Snapshot),
        Some(("bounded", ms)) => match ms.parse() {
            Ok(ms) => Ok(ReadMode::Bounded(Duration::from_millis(ms))),
            Err(_) => Err(format!("`{ms}` is no number of milliseconds")),
        },
        Some(("after", place)) => timestamp(place)
            .map(ReadMode::After)
            .ok_or_else(|| format!("`{place}` is no timestamp: give one that was printed, as in 58912345678.3@n1")),
        Some(("at", place)) => hlc(place)
            .map(ReadMode::At)
            .ok_or_else(|| format!("`{place}` is no bound: give one that a read printed as `at`, as in 58912345678.3")),
        _ => Err("give strict, snapshot, bounded:MS, after:TIMESTAMP or at:HLC".to_owned()),
    }
}

/// What [`Timestamp`] prints.
pub(super) fn timestamp(text: &str) -> Option<Timestamp> {
    let (place, node) = text.split_once("@n")?;
    let node = NodeId::new(node.parse().ok()?);
    Some(Timestamp { hlc: hlc(place)?, node })
}

/// What [`Hlc`] prints.
pub(super) fn hlc(text: &str) -> Option<Hlc> {
    let (millis, counter) = text.split_once('.')?;
    let (millis, counter): (u64, u64) = (millis.parse().ok()?, counter.parse().ok()?);
    let hlc = Hlc::from_bits(
        Hlc::ZERO
            .plus(Duration::from_millis(millis))
            .bits()
            .checked_add(counter)?,
    );
    // A number too large would have become another place.
    (hlc.to_string() == text).then_some(hlc)
}

impl Ask for GetArguments {
    fn access(&self) -> &Access {
        &self.access
    }

    async fn ask(&self, database: &Plimsoll) -> Result<Answer, Failure> {
        let key = self.found.form.key(&self.key).map_err(Failure::Usage)?;
        let query = Query::keys([key.clone()]);
        let Rows { at, answer } = database.read(self.snapshot.mode, query).await.map_err(not_read)?;
        let found = answer.keys.into_iter().next().flatten();
        let mut json = json!({ "at": at.to_string(), "key": self.found.form.json(key.as_bytes()) });
        let Some(found) = found else {
            json["value"] = json!(null);
            return Ok(Answer::new("", json).failed(format!("there is nothing at {key}")));
        };
        json["value"] = self.found.json(&found.value);
        json["timestamp"] = json!(found.timestamp.to_string());
        let bytes = found.value.as_bytes();
        let text = match self.raw {
            true => bytes.to_vec(),
            false => (self.found.line(&found.value) + "\n").into_bytes(),
        };
        Ok(Answer::new(text, json))
    }
}

impl Span {
    pub(super) fn range(&self, form: Form) -> Result<KeyRange, String> {
        let key = |text: &String| form.key(text);
        if let Some(prefix) = &self.prefix {
            return Ok(KeyRange::prefix(key(prefix)?));
        }
        let from = self.from.as_ref().map(key).transpose()?.unwrap_or_default();
        let to: Option<Key> = self.to.as_ref().map(key).transpose()?;
        Ok(match to {
            Some(to) => KeyRange::new(from, to),
            None => KeyRange::from(from),
        })
    }
}

impl Ask for ScanArguments {
    fn access(&self) -> &Access {
        &self.access
    }

    async fn ask(&self, database: &Plimsoll) -> Result<Answer, Failure> {
        let range = self.span.range(self.found.form).map_err(Failure::Usage)?;
        let limit = self.limit as usize;
        // One more than is shown tells whether there is more.
        let (at, mut entries) = pages(database, self.snapshot.mode, range, limit + 1).await?;
        let is_more = entries.len() > limit;
        entries.truncate(limit);
        let Found { form, .. } = self.found;
        let text: String = entries
            .iter()
            .map(|(key, found)| format!("{}\t{}\n", form.line(key.as_bytes()), self.found.line(&found.value)))
            .collect();
        let rows: Vec<_> = entries
            .iter()
            .map(|(key, found)| {
                json!({
                    "key": form.json(key.as_bytes()),
                    "value": self.found.json(&found.value),
                    "timestamp": found.timestamp.to_string(),
                })
            })
            .collect();
        if is_more {
            eprintln!("there is more: {limit} entries are shown, see --limit and --from");
        }
        Ok(Answer::new(
            text,
            json!({ "at": at.to_string(), "entries": rows, "more": is_more }),
        ))
    }
}

/// The first `limit` entries of a range at one snapshot, which is given beside them. A node answers with so many bytes at most, so they are read in
/// pages, and where one is too large in smaller ones: a single entry always fits.
async fn pages(
    database: &Plimsoll,
    mut mode: ReadMode,
    mut range: KeyRange,
    limit: usize,
) -> Result<(Hlc, Vec<(Key, Versioned)>), Failure> {
    let mut page = 1_000;
    let mut entries = Vec::new();
    loop {
        let wanted = page.min(limit - entries.len());
        let query = Query::scan(Scan::forward(range.clone(), wanted));
        let rows = match database.read(mode, query).await {
            Ok(rows) => rows,
            Err(ReadFailed::Refused(Refusal::NotAdmitted { .. })) if wanted > 1 => {
                page = wanted / 2;
                continue;
            }
            Err(error) => return Err(not_read(error)),
        };
        mode = ReadMode::At(rows.at);
        let found: Vec<_> = rows.answer.ranges.into_iter().flatten().collect();
        let is_last = found.len() < wanted;
        if let Some((last, _)) = found.last() {
            let next = Key::new([last.as_bytes(), &[0]].concat());
            range = match range.end() {
                Some(end) => KeyRange::new(next, end.clone()),
                None => KeyRange::from(next),
            };
        }
        entries.extend(found);
        if is_last || entries.len() >= limit {
            return Ok((rows.at, entries));
        }
    }
}

fn not_read(error: ReadFailed) -> Failure {
    Failure::Failed(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_is_printed_and_nothing_else_is() {
        for place in [
            Hlc::ZERO,
            Hlc::from_unix_millis(1_800_000_000_123).next(),
            Hlc::from_bits(u64::MAX - 1),
        ] {
            assert_eq!(hlc(&place.to_string()), Some(place));
            let stamped = Timestamp {
                hlc: place,
                node: NodeId::new(3),
            };
            assert_eq!(timestamp(&stamped.to_string()), Some(stamped));
        }
        for text in [
            "",
            "1",
            "1.",
            ".1",
            "1.4194304",
            "99999999999999.0",
            "01.0",
            "-1.0",
            "max",
        ] {
            assert_eq!(hlc(text), None, "{text}");
        }
        assert_eq!(timestamp("1.0"), None);
    }

    #[test]
    fn every_mode_has_a_word() {
        assert_eq!(mode("strict"), Ok(ReadMode::Strict));
        assert_eq!(mode("snapshot"), Ok(ReadMode::Snapshot));
        assert_eq!(mode("bounded:250"), Ok(ReadMode::Bounded(Duration::from_millis(250))));
        assert!(matches!(mode("after:5.1@n2"), Ok(ReadMode::After(_))));
        assert!(matches!(mode("at:5.1"), Ok(ReadMode::At(_))));
        for text in ["loose", "bounded", "bounded:x", "at:5", "after:5.1"] {
            assert!(mode(text).is_err(), "{text}");
        }
    }
}
