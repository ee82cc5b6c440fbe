//! Reads the paths (`a::b::c`) that Rust code names, without comments, strings and test modules.
//!
//! A small scanner and no parser: it knows comments, literals and braces, and spells the trees of `use` out. That is enough
//! to ask what a file imports, and it cannot be led astray by a word in a sentence.

/// A piece of code.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    /// `::`
    Of,
    Sign(char),
}

/// The paths that `text` names outside its test modules, each as its words; `*` stands for itself.
pub(crate) fn paths(text: &str) -> Vec<Vec<String>> {
    let tokens = without_tests(tokens(text));
    let mut paths = Vec::new();
    let mut place = 0;
    while place < tokens.len() {
        place = match &tokens[place] {
            Token::Word(_) => read_path(&tokens, place, &[], &mut paths),
            _ => place + 1,
        };
    }
    paths
}

/// Reads one path, or tree of paths, that begins at `place`. *Gives* where it ends.
fn read_path(tokens: &[Token], place: usize, before: &[String], paths: &mut Vec<Vec<String>>) -> usize {
    let mut path = before.to_vec();
    let mut place = place;
    loop {
        match tokens.get(place) {
            Some(Token::Word(word)) => path.push(word.clone()),
            Some(Token::Sign('*')) if !path.is_empty() => path.push("*".to_owned()),
            Some(Token::Sign('{')) if !path.is_empty() => return read_group(tokens, place + 1, &path, paths),
            _ => break,
        }
        place += 1;
        if tokens.get(place) != Some(&Token::Of) {
            break;
        }
        place += 1;
    }
    if path.len() > before.len() {
        paths.push(path);
    }
    place
}

/// Reads what is between the braces of a tree of paths. *Gives* the place after the closing brace.
fn read_group(tokens: &[Token], place: usize, before: &[String], paths: &mut Vec<Vec<String>>) -> usize {
    let mut place = place;
    while let Some(token) = tokens.get(place) {
        place = match token {
            Token::Sign('}') => return place + 1,
            Token::Word(_) | Token::Sign('*') => read_path(tokens, place, before, paths),
            _ => place + 1,
        };
    }
    place
}

/// The tokens without modules that are compiled for tests only.
fn without_tests(tokens: Vec<Token>) -> Vec<Token> {
    let word = |text: &str| Token::Word(text.to_owned());
    let mark = ['#', '['].map(Token::Sign).into_iter();
    let mark = mark.chain([
        word("cfg"),
        Token::Sign('('),
        word("test"),
        Token::Sign(')'),
        Token::Sign(']'),
    ]);
    let mark: Vec<Token> = mark.chain([word("mod")]).collect();
    let mut kept = Vec::with_capacity(tokens.len());
    let mut place = 0;
    while place < tokens.len() {
        if !tokens[place..].starts_with(&mark) {
            kept.push(tokens[place].clone());
            place += 1;
            continue;
        }
        let mut depth = 0_usize;
        place += mark.len();
        while let Some(token) = tokens.get(place) {
            place += 1;
            match token {
                Token::Sign('{') => depth += 1,
                Token::Sign('}') => depth -= 1,
                Token::Sign(';') => {}
                _ => continue,
            }
            if depth == 0 {
                break;
            }
        }
    }
    kept
}

/// The words and signs of `text`, without comments, strings, characters and lifetimes.
fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some(after) = after_comment(rest).or_else(|| after_literal(rest)) {
            rest = after;
        } else if let Some(after) = rest.strip_prefix("::") {
            tokens.push(Token::Of);
            rest = after;
        } else if is_word(first) {
            let end = rest.find(|sign| !is_word(sign)).unwrap_or(rest.len());
            tokens.push(Token::Word(rest[..end].to_owned()));
            rest = &rest[end..];
        } else {
            if !first.is_whitespace() {
                tokens.push(Token::Sign(first));
            }
            rest = &rest[first.len_utf8()..];
        }
    }
    tokens
}

fn is_word(sign: char) -> bool {
    sign.is_alphanumeric() || sign == '_'
}

/// What follows the comment that `rest` begins with, if it does.
fn after_comment(rest: &str) -> Option<&str> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').map_or("", |end| &rest[end..]));
    }
    let mut inner = rest.strip_prefix("/*")?;
    let mut depth = 1;
    while depth > 0 {
        let next = inner.find(['/', '*']).unwrap_or(inner.len());
        inner = &inner[next..];
        if let Some(after) = inner.strip_prefix("/*") {
            (inner, depth) = (after, depth + 1);
        } else if let Some(after) = inner.strip_prefix("*/") {
            (inner, depth) = (after, depth - 1);
        } else {
            inner = inner.get(1..)?;
        }
    }
    Some(inner)
}

/// What follows the string, character or lifetime that `rest` begins with, if it does.
fn after_literal(rest: &str) -> Option<&str> {
    let prefixes = ["", "b", "c", "r", "br", "cr"];
    for prefix in prefixes {
        let Some(quoted) = rest.strip_prefix(prefix) else {
            continue;
        };
        let hashes = quoted.len() - quoted.trim_start_matches('#').len();
        if prefix.ends_with('r') && quoted[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let inner = &quoted[hashes + 1..];
            return Some(inner.find(&end).map_or("", |place| &inner[place + end.len()..]));
        }
        if let Some(inner) = quoted.strip_prefix('"') {
            return Some(after_quote(inner, '"'));
        }
    }
    let quoted = rest.strip_prefix("b'").or_else(|| rest.strip_prefix('\''))?;
    let mut signs = quoted.chars();
    let first = signs.next()?;
    let is_character = first == '\\' || signs.next() == Some('\'');
    if is_character {
        return Some(after_quote(quoted, '\''));
    }
    // A lifetime: its name goes too.
    Some(quoted.trim_start_matches(is_word))
}

/// What follows the closing `quote`, where a backslash takes the sign behind it along.
fn after_quote(inner: &str, quote: char) -> &str {
    let mut escaped = false;
    for (place, sign) in inner.char_indices() {
        if !escaped && sign == quote {
            return &inner[place + sign.len_utf8()..];
        }
        escaped = !escaped && sign == '\\';
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelled(text: &str) -> Vec<String> {
        let several = paths(text).into_iter().filter(|path| path.len() > 1);
        several.map(|path| path.join("::")).collect()
    }

    #[test]
    fn trees_of_imports_are_spelled_out() {
        let text = "pub use a::{self, b::{c as d, e::*}, f}; fn g() -> h::I<j::K> { l::m::<n::O>() }";
        let expected = [
            "a::self",
            "a::b::c",
            "a::b::e::*",
            "a::f",
            "h::I",
            "j::K",
            "l::m",
            "n::O",
        ];
        let found = spelled(text);
        assert!(
            expected.iter().all(|path| found.iter().any(|spelled| spelled == path)),
            "{found:?}"
        );
    }

    #[test]
    fn comments_strings_characters_and_tests_name_nothing() {
        let text = r##"
            // a::b
            /* a::c /* a::d */ a::e */
            const T: &str = "a::f \" a::g"; const R: &str = r#"a::h " a::i"#; const B: &[u8] = b"a::j\\";
            fn k<'a>(c: char) -> bool { c == '"' || c == '\'' || c == 'a' || x::y(b'"') }
            #[cfg(test)]
            mod tests { use a::l; fn m() { { a::n() } } }
            use z::w;
        "##;
        assert_eq!(spelled(text), ["x::y", "z::w"]);
    }
}
