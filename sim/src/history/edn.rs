//! The history as EDN, in the form that the checker Elle reads: one map per line.
//!
//! Lists are `[:append k v]` and `[:r k [1 2]]`, registers `[:w k v]` and `[:r k v]`; what was not read is `nil`, and so is a
//! register never written. Counters are an extension of ours that Elle does not know: `[:add k n]` and `[:counter k v]`.
//! `:timestamp [hlc node]` is where the system says that an operation took effect; `:id`, `:error` and `:region` are as in
//! the JSON form.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::{Entry, History, MicroOperation};

impl History {
    /// Writes one EDN map per entry.
    ///
    /// *Errors* of `out`, and `InvalidData` for a time beyond 2^64 nanoseconds; what was written before stays written.
    pub fn write_edn(&self, mut out: impl Write) -> io::Result<()> {
        let mut line = String::new();
        for (index, entry) in self.entries.iter().enumerate() {
            line.clear();
            let time = super::nanoseconds(entry)?;
            entry_to_edn(&mut line, index, time, entry).expect("writing to a string cannot fail");
            out.write_all(line.as_bytes())?;
        }
        out.flush()
    }
}

/// The steps of one operation as they stand in the file, for evidence.
pub(crate) fn steps_in_edn(steps: &[MicroOperation]) -> String {
    let mut text = String::new();
    steps_to_edn(&mut text, steps).expect("writing to a string cannot fail");
    text
}

fn entry_to_edn(line: &mut String, index: usize, time: u64, entry: &Entry) -> std::fmt::Result {
    write!(
        line,
        "{{:index {index}, :type :{}, :process {}, :time {time}, :f :{}, :value ",
        entry.phase.name(),
        entry.process,
        entry.function
    )?;
    steps_to_edn(line, &entry.value)?;
    if let Some(id) = entry.id {
        write!(line, ", :id \"{id}\"")?;
    }
    if let Some(at) = entry.timestamp {
        write!(line, ", :timestamp [{} {}]", at.hlc.bits(), at.node.number())?;
    }
    if let Some(error) = &entry.error {
        line.push_str(", :error ");
        text_to_edn(line, error);
    }
    writeln!(line, ", :region {}}}", entry.region)
}

fn steps_to_edn(line: &mut String, steps: &[MicroOperation]) -> std::fmt::Result {
    line.push('[');
    for (place, step) in steps.iter().enumerate() {
        if place > 0 {
            line.push(' ');
        }
        step_to_edn(line, step)?;
    }
    line.push(']');
    Ok(())
}

fn step_to_edn(line: &mut String, step: &MicroOperation) -> std::fmt::Result {
    match step {
        MicroOperation::Append { key, element } => write!(line, "[:append {key} {element}]"),
        MicroOperation::ReadList { key, elements: None } => write!(line, "[:r {key} nil]"),
        MicroOperation::ReadList {
            key,
            elements: Some(elements),
        } => {
            write!(line, "[:r {key} [")?;
            for (place, element) in elements.iter().enumerate() {
                let space = if place > 0 { " " } else { "" };
                write!(line, "{space}{element}")?;
            }
            line.write_str("]]")
        }
        MicroOperation::Write { key, value } => write!(line, "[:w {key} {value}]"),
        MicroOperation::ReadRegister { key, value } => {
            write!(line, "[:r {key} ")?;
            number_to_edn(line, value.flatten())
        }
        MicroOperation::Add { key, amount } => write!(line, "[:add {key} {amount}]"),
        MicroOperation::ReadCounter { key, value } => {
            write!(line, "[:counter {key} ")?;
            number_to_edn(line, *value)
        }
    }
}

fn number_to_edn(line: &mut String, number: Option<impl std::fmt::Display>) -> std::fmt::Result {
    match number {
        Some(number) => write!(line, "{number}]"),
        None => line.write_str("nil]"),
    }
}

fn text_to_edn(line: &mut String, text: &str) {
    line.push('"');
    for character in text.chars() {
        match character {
            '"' => line.push_str("\\\""),
            '\\' => line.push_str("\\\\"),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            other => line.push(other),
        }
    }
    line.push('"');
}
