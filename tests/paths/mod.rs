//! The paths that a Rust source file names, as far as a test of the house needs them.
//!
//! No parser: comments and literals are blanked, `use` trees are unfolded, and `crate`, `self` and `super` are resolved by the
//! place of the file and by the inline modules around. What macros make is not seen, nor what a glob brings in.

/// A path that code names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// Whether it begins at the root of the crate that the file belongs to.
    pub(crate) is_own: bool,
    /// Its segments, without `crate`, `self` and `super`; a glob ends with `*`.
    pub(crate) segments: Vec<String>,
}

impl Named {
    /// Whether the path is that of another crate (or a local name) and lies at or below `path`.
    pub(crate) fn is_foreign_below(&self, path: &str) -> bool {
        !self.is_own
            && self.segments.len() >= path.split("::").count()
            && self.segments.iter().zip(path.split("::")).all(|(a, b)| a == b)
    }
}

/// All paths that the code of a file below `src/` names, in order. *Given* `path` relative to `src/`.
pub(crate) fn named_paths(path: &str, text: &str) -> Vec<Named> {
    let file: Vec<&str> = path
        .trim_end_matches(".rs")
        .split('/')
        .filter(|name| !matches!(*name, "mod" | "lib" | "main"))
        .collect();
    let tokens = tokens(&without_comments_and_literals(text));
    let mut inline = Vec::new();
    let mut found = Vec::new();
    let mut place = 0;
    while place < tokens.len() {
        let here: Vec<&str> = file.iter().copied().chain(inline.iter().flatten().copied()).collect();
        match tokens[place].as_str() {
            "{" => {
                let is_module = place >= 2 && tokens[place - 2] == "mod";
                inline.push(is_module.then(|| tokens[place - 1].as_str()));
                place += 1;
            }
            "}" => {
                inline.pop();
                place += 1;
            }
            // What a type captures: `impl Iterator + use<'a>`.
            "use" if tokens.get(place + 1).is_some_and(|next| next == "<") => place += 1,
            "use" => place = unfold(&tokens, place + 1, &[], &here, &mut found),
            name if is_name(name) => {
                let mut segments = vec![name];
                place += 1;
                while place + 1 < tokens.len() && tokens[place] == "::" && is_name(&tokens[place + 1]) {
                    segments.push(&tokens[place + 1]);
                    place += 2;
                }
                found.push(resolved(&segments, &here));
            }
            _ => place += 1,
        }
    }
    found
}

/// Unfolds one `use` tree that begins at `place`. *Gives* the place behind it.
fn unfold(tokens: &[String], mut place: usize, prefix: &[&str], here: &[&str], found: &mut Vec<Named>) -> usize {
    let mut segments = prefix.to_vec();
    while place < tokens.len() {
        match tokens[place].as_str() {
            "{" => {
                place += 1;
                while place < tokens.len() && tokens[place] != "}" {
                    place = unfold(tokens, place, &segments, here, found);
                    place += usize::from(tokens.get(place).is_some_and(|token| token == ","));
                }
                return place + 1;
            }
            "," | "}" | ";" => break,
            "as" => place += 2,
            // `use a::{self}` names `a`.
            "self" if !segments.is_empty() => place += 1,
            name if name == "*" || is_name(name) => {
                segments.push(&tokens[place]);
                place += 1;
            }
            _ => place += 1,
        }
    }
    if !segments.is_empty() {
        found.push(resolved(&segments, here));
    }
    place
}

fn resolved(segments: &[&str], here: &[&str]) -> Named {
    let mut base = match segments[0] {
        "crate" => Vec::new(),
        "self" | "super" => here.to_vec(),
        _ => {
            let segments = segments.iter().map(|name| name.to_string()).collect();
            return Named {
                is_own: false,
                segments,
            };
        }
    };
    for name in segments {
        match *name {
            "crate" | "self" => {}
            "super" => drop(base.pop()),
            name => base.push(name),
        }
    }
    Named {
        is_own: true,
        segments: base.into_iter().map(String::from).collect(),
    }
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Names, `::`, and every other visible character by itself.
fn tokens(code: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("::") {
            2
        } else if first.is_alphanumeric() || first == '_' {
            rest.find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        tokens.push(rest[..length].to_string());
        rest = rest[length..].trim_start();
    }
    tokens
}

/// The text with a space in the place of every comment, string and character.
fn without_comments_and_literals(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let before_is_name = code.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if first == '"' {
            string(rest)
        } else if let Some(raw) = raw_string(rest).filter(|_| !before_is_name) {
            raw
        } else if first == '\'' {
            character(rest)
        } else {
            0
        };
        if skipped == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            code.push(' ');
            rest = &rest[skipped..];
        }
    }
    code
}

/// The length of the block comment, which may hold others, at the beginning of `text`.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

fn string(text: &str) -> usize {
    let mut is_escaped = true;
    for (at, c) in text.char_indices() {
        match c {
            '"' if !is_escaped => return at + 1,
            '\\' => is_escaped = !is_escaped,
            _ => is_escaped = false,
        }
    }
    text.len()
}

fn raw_string(text: &str) -> Option<usize> {
    let hashes_and_more = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let content = hashes_and_more.trim_start_matches('#');
    let end = format!("\"{}", "#".repeat(hashes_and_more.len() - content.len()));
    let content = content.strip_prefix('"')?;
    let rest = content.split_once(&end).map_or("", |(_, rest)| rest);
    Some(text.len() - rest.len())
}

/// The length of the character literal at the beginning of `text`; none, if the quote begins a lifetime.
fn character(text: &str) -> usize {
    let inside = &text[1..];
    if inside.starts_with('\\') {
        return inside.chars().skip(2).position(|c| c == '\'').map_or(0, |more| {
            1 + inside.chars().take(more + 3).map(char::len_utf8).sum::<usize>()
        });
    }
    let length = inside.chars().next().map_or(0, char::len_utf8);
    if inside[length..].starts_with('\'') {
        length + 2
    } else {
        0
    }
}
