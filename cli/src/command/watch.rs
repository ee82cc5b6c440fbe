//! `watch`: the changes of a range of keys, as they are committed.

use clap::Args;
use plimsoll::Plimsoll;
use plimsoll::executor::KeyChange;
use plimsoll::runtime::{Batch, Watch, WatchError};
use plimsoll::time::Timestamp;
use serde_json::json;

use super::read::{Span, hlc, timestamp};
use super::{Failure, print};
use crate::ask::access::{Access, connect};
use crate::ask::shown::Found;

const EXIT_STATUS: &str = "\
It goes on until it is interrupted, or --count changes were printed.

Exit status:
  0  --count changes were printed
  1  there are no more to be had: the message says why; if changes are no longer kept, scan and watch after that scan's `at`
  2  the arguments cannot be used; nothing was asked";

/// Print every change of a range of keys as it is committed, in the order of timestamps.
#[derive(Args)]
#[command(after_help = EXIT_STATUS)]
pub(crate) struct WatchArguments {
    #[command(flatten)]
    span: Span,
    /// Begin behind this place: a timestamp that was printed, or the `at` of a scan. It may lie 30 s back at least. Default: now.
    #[arg(long, value_name = "PLACE", value_parser = place)]
    after: Option<Timestamp>,
    /// End when at least so many changes were printed; those of one transaction are printed together.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    #[command(flatten)]
    found: Found,
    #[command(flatten)]
    access: Access,
}

/// A timestamp, or the bound of a snapshot.
fn place(text: &str) -> Result<Timestamp, String> {
    let found = timestamp(text).or_else(|| hlc(text).map(Timestamp::last_at));
    found.ok_or_else(|| {
        format!("`{text}` is no place: give a timestamp or an `at` that was printed, as in 58912345678.3@n1 or 58912345678.3")
    })
}

/// Watches until there is nothing more to be printed.
pub(crate) fn run(arguments: &WatchArguments, as_json: bool) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("the runtime cannot be started: {error}")))?;
    runtime.block_on(async { arguments.follow(&connect(&arguments.access).await?, as_json).await })
}

impl WatchArguments {
    async fn follow(&self, database: &Plimsoll, as_json: bool) -> Result<(), Failure> {
        let range = self.span.range(self.found.form).map_err(Failure::Usage)?;
        let mut watch = database.watch(range);
        if let Some(after) = self.after {
            watch = watch.after(after);
        }
        let begun = watch.begin().await.map_err(failed)?;
        eprintln!("watches what follows on {}", begun.hlc);
        let mut printed = 0;
        while self.count.is_none_or(|count| printed < count) {
            let Batch { changes, .. } = self.next(&mut watch, begun).await?;
            printed += changes.len() as u64;
            let lines: String = changes.iter().map(|change| self.line(change, as_json) + "\n").collect();
            print(lines.as_bytes())?;
        }
        Ok(())
    }

    /// Who watches for hours outlives a moment in which nobody answers.
    async fn next(&self, watch: &mut Watch, begun: Timestamp) -> Result<Batch, Failure> {
        loop {
            match watch.next().await {
                // Somebody has answered, if it has come on.
                Err(error @ (WatchError::Refused(_) | WatchError::Deadline(_))) if watch.resume() != Some(begun) => {
                    eprintln!("{error}; it is asked again");
                    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                }
                other => return other.map_err(failed),
            }
        }
    }

    fn line(&self, change: &KeyChange, as_json: bool) -> String {
        let KeyChange { timestamp, key, value } = change;
        let Found { form, .. } = self.found;
        if as_json {
            let value = value.as_ref().map(|value| self.found.json(value));
            let key = form.json(key.as_bytes());
            return json!({ "timestamp": timestamp.to_string(), "key": key, "value": value }).to_string();
        }
        let key = form.line(key.as_bytes());
        match value {
            Some(value) => format!("{timestamp}\tput\t{key}\t{}", self.found.line(value)),
            None => format!("{timestamp}\tdelete\t{key}"),
        }
    }
}

fn failed(error: WatchError) -> Failure {
    Failure::Failed(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll::id::NodeId;
    use plimsoll::time::Hlc;

    #[test]
    fn a_place_is_a_timestamp_or_the_bound_of_a_snapshot() {
        let hlc = Hlc::from_unix_millis(1_800_000_000_123).next();
        let stamped = Timestamp {
            hlc,
            node: NodeId::new(2),
        };
        assert_eq!(place(&stamped.to_string()), Ok(stamped));
        assert_eq!(place(&hlc.to_string()), Ok(Timestamp::last_at(hlc)));
        assert!(place("now").is_err());
    }
}
