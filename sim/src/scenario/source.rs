//! The text of a scenario: which line a key stands on, and settings that go before the file.

use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

/// The line of a key in the text, from 1; of the nearest table around it where the key itself is not there.
///
/// *Given* a dotted path; a number is a place in an array. *Gives* nothing for a text that does not parse, or a path
/// of which not even the beginning is there.
pub(super) fn line_of(text: &str, path: &str) -> Option<usize> {
    let root = DeTable::parse(text).ok()?;
    let mut found = None;
    let mut table = Some(root.get_ref());
    let mut array = None;
    for part in path.split('.') {
        let (start, value) = if let Some(here) = table {
            let Some((key, value)) = here.iter().find(|(key, _)| key.get_ref() == part) else {
                break;
            };
            (key.span().start, value.get_ref())
        } else if let Some(here) = array {
            let here: &toml::de::DeArray<'_> = here;
            let Some(value) = part.parse().ok().and_then(|place: usize| here.get(place)) else {
                break;
            };
            (value.span().start, value.get_ref())
        } else {
            break;
        };
        found = Some(line_at(text, start));
        (table, array) = match value {
            DeValue::Table(inner) => (Some(inner), None),
            DeValue::Array(inner) => (None, Some(inner)),
            _ => (None, None),
        };
    }
    found
}

/// The line that holds a byte of the text, from 1.
pub(super) fn line_at(text: &str, byte: usize) -> usize {
    text.as_bytes()[..byte.min(text.len())]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
        + 1
}

/// Sets one key of a table, and makes the tables around it where they are missing.
///
/// *Given* `key.path=value`, the value as it would stand in the file; a word without quotes is a string.
///
/// *Errors* say what is wrong with the setting; then the table is as it was, but for tables that were made.
pub(super) fn set(table: &mut Table, setting: &str) -> Result<(), String> {
    let Some((path, text)) = setting.split_once('=') else {
        return Err(format!(
            "`{setting}` is no setting: write key=value, as in faults.loss=0.2"
        ));
    };
    let (path, text) = (path.trim(), text.trim());
    let value = parse_value(text).ok_or_else(|| {
        format!("`{text}` is no value for {path}: write it as in the file, as in 0.2, \"aws\" or {{ zipf = {{ theta = 0.9 }} }}")
    })?;
    let mut parts: Vec<&str> = path.split('.').map(str::trim).collect();
    let last = parts.pop().filter(|_| !parts.iter().any(|part| part.is_empty()));
    let Some(last) = last.filter(|last| !last.is_empty()) else {
        return Err(format!(
            "`{path}` is no key: write it with dots between, as in faults.loss"
        ));
    };
    let mut here = table;
    for (depth, part) in parts.iter().enumerate() {
        let inner = here.entry(*part).or_insert_with(|| Value::Table(Table::new()));
        here = match inner {
            Value::Table(inner) => inner,
            other => {
                return Err(format!(
                    "{path} cannot be set: {} is {}, not a table",
                    parts[..=depth].join("."),
                    other.type_str()
                ));
            }
        };
    }
    here.insert(last.to_owned(), value);
    Ok(())
}

fn parse_value(text: &str) -> Option<Value> {
    let as_is = toml::from_str::<Table>(&format!("value = {text}")).ok();
    let is_word = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-+_".contains(c));
    let parsed = as_is.and_then(|mut table| table.remove("value").filter(|_| table.is_empty()));
    parsed.or_else(|| is_word.then(|| Value::String(text.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_on_its_line_and_a_missing_one_at_its_table() {
        let text =
            "[world]\nregions = [\n  \"a\",\n  \"b\",\n]\n\n[[faults.cut]]\nfrom = \"a\"\n[[faults.cut]]\nto = \"b\"\n";
        assert_eq!(line_of(text, "world"), Some(1));
        assert_eq!(line_of(text, "world.regions"), Some(2));
        assert_eq!(line_of(text, "world.regions.1"), Some(4));
        assert_eq!(line_of(text, "world.load_s"), Some(1));
        assert_eq!(line_of(text, "faults.cut.0.from"), Some(8));
        assert_eq!(line_of(text, "faults.cut.1.to"), Some(10));
        assert_eq!(line_of(text, "workload.keys"), None);
    }

    #[test]
    fn a_setting_replaces_what_the_file_says_and_makes_missing_tables() {
        let mut table: Table = toml::from_str("[world]\nload_s = 60").unwrap();
        set(&mut table, "world.load_s = 5").unwrap();
        set(&mut table, "world.network.jitter_ms=0.5").unwrap();
        set(&mut table, "world.delays=gcp").unwrap();
        set(&mut table, "workload.distribution={ zipf = { theta = 0.9 } }").unwrap();
        let expected = "[world]\nload_s = 5\ndelays = \"gcp\"\n[world.network]\njitter_ms = 0.5\n\
            [workload.distribution.zipf]\ntheta = 0.9";
        assert_eq!(table, toml::from_str(expected).unwrap());
    }

    #[test]
    fn a_setting_that_cannot_be_says_why() {
        let mut table: Table = toml::from_str("[world]\nload_s = 60").unwrap();
        for (setting, part) in [
            ("world", "write key=value"),
            ("world.load_s=", "is no value for world.load_s"),
            ("world.load_s=1\nx=2", "is no value for world.load_s"),
            ("world..load_s=1", "is no key"),
            ("world.load_s.x=1", "world.load_s is integer, not a table"),
        ] {
            let error = set(&mut table, setting).unwrap_err();
            assert!(error.contains(part), "{setting}: {error}");
        }
    }
}
