//! Reads Rust source just well enough to find the paths in it.

/// An identifier or keyword, `::`, or one other character; with its line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token<'a> {
    text: &'a str,
    line: usize,
}

/// The tokens of a file, without comments, strings, characters and lifetimes.
pub(crate) fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (source, 1);
    while let Some(first) = rest.chars().next() {
        let (length, kept) = next_token(rest, first);
        let (text, after) = rest.split_at(length);
        if kept {
            tokens.push(Token { text, line });
        }
        line += text.matches('\n').count();
        rest = after;
    }
    tokens
}

/// How long the next token is, and whether it is one to look at.
fn next_token(rest: &str, first: char) -> (usize, bool) {
    let end_of = |end: &str, from: usize| {
        rest[from..].find(end).map_or(rest.len(), |at| from + at + end.len())
    };
    let word =
        |text: &str| text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(rest.len()), false);
    }
    if rest.starts_with("/*") {
        return (block_comment(rest), false);
    }
    if let Some(hashes) = raw_string(rest) {
        let open = rest.find('"').map_or(rest.len(), |at| at + 1);
        return (end_of(&format!("\"{}", "#".repeat(hashes)), open), false);
    }
    match first {
        '"' => (quoted(rest, '"'), false),
        '\'' => {
            let mut after = rest.chars().skip(1);
            let (one, two) = (after.next(), after.next());
            let character = one == Some('\\') || two == Some('\'');
            (if character { quoted(rest, '\'') } else { 1 + word(&rest[1..]) }, false)
        }
        _ if first.is_alphanumeric() || first == '_' => (word(rest), true),
        _ if rest.starts_with("::") => (2, true),
        _ => (first.len_utf8(), !first.is_whitespace()),
    }
}

/// The number of `#` of a raw string that starts here.
fn raw_string(rest: &str) -> Option<usize> {
    let hashes = ["r", "br", "cr"].iter().find_map(|start| rest.strip_prefix(start))?;
    let after = hashes.trim_start_matches('#');
    after.starts_with('"').then_some(hashes.len() - after.len())
}

/// The length of a string or character literal, quotes included.
fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        if c == quote && !escaped {
            return at + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    rest.len()
}

/// The length of a block comment; they nest.
fn block_comment(rest: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        let step = match &rest.as_bytes()[at..] {
            [b'/', b'*', ..] => {
                depth += 1;
                2
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                2
            }
            _ => 1,
        };
        at += step;
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

/// Leaves out the items under `#[cfg(test)]`.
pub(crate) fn without_tests<'a>(tokens: &[Token<'a>]) -> Vec<Token<'a>> {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let marked = tokens[at..].iter().map(|token| token.text).take(MARK.len()).eq(MARK);
        if marked {
            at = end_of_item(tokens, at + MARK.len());
        } else {
            kept.push(tokens[at]);
            at += 1;
        }
    }
    kept
}

/// Where the item that starts at `at` is over: after its `;`, or after its braces.
fn end_of_item(tokens: &[Token<'_>], mut at: usize) -> usize {
    let mut depth = 0_usize;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token.text {
            "{" => depth += 1,
            "}" => depth = depth.saturating_sub(1),
            ";" => {}
            _ => continue,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// Every path in the code, import groups taken apart; a lone identifier is a path of one.
pub(crate) fn paths<'a>(tokens: &[Token<'a>]) -> Vec<(usize, Vec<&'a str>)> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        at = if is_word(tokens, at) { path(tokens, at, &[], &mut found) } else { at + 1 };
    }
    found
}

/// Reads the path at `at` after `prefix`; answers where it ends.
fn path<'a>(
    tokens: &[Token<'a>],
    mut at: usize,
    prefix: &[&'a str],
    found: &mut Vec<(usize, Vec<&'a str>)>,
) -> usize {
    let mut segments = prefix.to_vec();
    let line = tokens[at].line;
    loop {
        segments.push(tokens[at].text);
        at += 1;
        if tokens.get(at).is_none_or(|token| token.text != "::") {
            break;
        }
        at += 1;
        if tokens.get(at).is_some_and(|token| token.text == "{") {
            return group(tokens, at + 1, &segments, found);
        }
        if !is_word(tokens, at) {
            break;
        }
    }
    found.push((line, segments));
    at
}

/// Reads `a, b::c, d::{e}}` after `prefix::{`; answers where it ends.
fn group<'a>(
    tokens: &[Token<'a>],
    mut at: usize,
    prefix: &[&'a str],
    found: &mut Vec<(usize, Vec<&'a str>)>,
) -> usize {
    while let Some(token) = tokens.get(at) {
        at = match token.text {
            "}" => return at + 1,
            "*" => {
                found.push((token.line, prefix.to_vec()));
                at + 1
            }
            "as" => at + 2,
            _ if is_word(tokens, at) => path(tokens, at, prefix, found),
            _ => at + 1,
        };
    }
    at
}

/// The lines on which what `.method()` gives out is compared: by an operator, or by a method that stops
/// where two texts differ.
pub(crate) fn compared(tokens: &[Token<'_>], method: &str) -> Vec<usize> {
    const METHODS: [&str; 7] =
        ["eq", "ne", "cmp", "partial_cmp", "starts_with", "ends_with", "contains"];
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text);
    let is_operator = |at: usize| matches!((text(at), text(at + 1)), ("=" | "!", "="));
    // Where the expression begins that ends at `at`.
    let start = |at: usize| {
        let inside =
            |at: &usize| is_word(tokens, *at) || matches!(text(*at), "." | "::" | "&" | "*");
        (0..at).rev().take_while(inside).last().unwrap_or(at)
    };
    let calls = (0..tokens.len()).filter(|at| {
        [".", method, "(", ")"].iter().enumerate().all(|(step, own)| text(at + step) == *own)
    });
    let is_compared = |at: &usize| {
        let (behind, before) = (at + 4, start(*at));
        is_operator(behind)
            || text(behind) == "." && METHODS.contains(&text(behind + 1))
            || before >= 2 && is_operator(before - 2)
    };
    calls.filter(is_compared).map(|at| tokens[at].line).collect()
}

fn is_word(tokens: &[Token<'_>], at: usize) -> bool {
    tokens
        .get(at)
        .is_some_and(|token| token.text.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
}
