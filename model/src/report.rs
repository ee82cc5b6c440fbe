//! What a search came to, in words.

use std::fmt::{self, Write};

use plimsoll::protocol::message::Message;

use crate::action::Action;
use crate::property::{Invariant, Milestone};
use crate::search::{Found, Trace};

/// Shows what a search came to: the figures, a line for each property, and the way to each that is broken.
impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let extent = match (self.is_whole, self.is_exhaustive) {
            (true, _) => "everything within the bounds, whatever the depth",
            (false, true) => "everything within the bounds up to this depth",
            (false, false) => "ended early",
        };
        writeln!(
            f,
            "{} unique states, {} in all, depth {}: {extent}",
            self.unique, self.total, self.depth
        )?;
        for invariant in Invariant::ALL {
            let verdict = match self.broken.iter().find(|(broken, _)| *broken == invariant) {
                Some((_, trace)) => format!("BROKEN after {} actions", trace.len() - 1),
                None => "holds".to_owned(),
            };
            writeln!(f, "  always     {:<42} {verdict}", invariant.name())?;
        }
        for milestone in Milestone::ALL {
            let verdict = match self.reached.iter().find(|(reached, _)| *reached == milestone) {
                Some((_, depth)) => format!("after {depth} actions"),
                None => "not within these bounds".to_owned(),
            };
            writeln!(f, "  sometimes  {:<42} {verdict}", milestone.name())?;
        }
        for (invariant, trace) in &self.broken {
            writeln!(f, "\n{} is broken:\n{}", invariant.name(), describe(trace))?;
        }
        Ok(())
    }
}

/// The actions of a trace, each with what is delivered, and the states they lead to.
pub fn describe(trace: &Trace) -> String {
    let mut text = String::new();
    for (number, pair) in trace.windows(2).enumerate() {
        let [(before, Some(action)), (after, _)] = pair else {
            continue;
        };
        let _ = writeln!(text, "{:>3}. {action}", number + 1);
        if let Action::Deliver { from, to, place, .. } = action {
            for message in &before.link(*from, *to)[*place].messages {
                let _ = writeln!(text, "       {}", words(message));
            }
        }
        for (before, after) in before.hosts.iter().zip(&after.hosts) {
            match &after.node {
                _ if std::sync::Arc::ptr_eq(before, after) => {}
                Some(node) => {
                    let _ = writeln!(text, "       -> {node:?}, evaluated {:?}", after.sequence);
                }
                None => text.push_str("       -> down\n"),
            }
        }
        if let Some(failed) = &after.failed {
            let _ = writeln!(text, "       an assertion failed: {failed}");
        }
    }
    if let Some((last, _)) = trace.last() {
        let _ = write!(text, "     {:?}", last.history);
    }
    text
}

fn words(message: &Message) -> String {
    match message {
        Message::Append(append) => format!(
            "{} {} after {} up to {}: {:?}",
            append.epoch,
            append.coordinator,
            append.prev,
            append.upto,
            append.records.iter().map(|record| record.hlc).collect::<Vec<_>>()
        ),
        Message::Row(row) => format!(
            "{} row of {}: {:?}, evaluated {}, wanted {}",
            row.epoch, row.node, row.positions, row.evaluated, row.wanted
        ),
        other => format!("{other:?}"),
    }
}
