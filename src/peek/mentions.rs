//! What the message of a commit resolves: issues, by the short id or the address that stands behind a word for
//! it (`utils/groupreference.py` in Sentry).
//!
//! **Invariant:** whatever Sentry finds in a text is found here; more may be.

use crate::policy::bound::Mentions;

/// Words for it.
const RESOLVING: [&str; 9] =
    ["fix", "fixes", "fixed", "close", "closes", "closed", "resolve", "resolves", "resolved"];
/// In an address, what the number of an issue stands behind.
const ISSUES: &str = "/issues/";

/// Adds what a text resolves.
pub(super) fn resolved(text: &str, mentions: &mut Mentions) {
    let folded: String = text.chars().map(folded).collect();
    read(&folded, mentions);
    // Newer versions read links of Markdown as what they show, older ones as they are written.
    let shown = shown(&folded);
    if shown != folded {
        read(&shown, mentions);
    }
}

/// A letter as Python's `re.IGNORECASE` takes it: four that are not ASCII are taken for some that are.
fn folded(letter: char) -> char {
    match letter {
        '\u{130}' | '\u{131}' => 'i',
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        letter => letter.to_ascii_lowercase(),
    }
}

/// A text whose links, `[shown](address)`, are what they show.
fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, link)) = rest.split_once('[') {
        shown.push_str(before);
        let parts = link.split_once(']').and_then(|(inside, after)| {
            let (address, after) = after.strip_prefix('(')?.split_once(')')?;
            (!inside.is_empty() && !address.is_empty()).then_some((inside, after))
        });
        rest = if let Some((inside, after)) = parts {
            shown.push_str(inside);
            after
        } else {
            shown.push('[');
            link
        };
    }
    shown + rest
}

fn read(text: &str, mentions: &mut Mentions) {
    let Some(text) = behind_a_word(text) else { return };
    let is_of_id = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    for project in text.split(|c| !is_of_id(c)).filter_map(project) {
        mentions.project(project);
    }
    let mut rest = text;
    while let Some((_, address)) = rest.split_once("://") {
        addressed(address, mentions);
        rest = address;
    }
}

/// Whatever stands behind the first word for it.
fn behind_a_word(text: &str) -> Option<&str> {
    let ends = |c: char| !c.is_ascii_alphanumeric() && c != '_';
    let mut at = 0;
    for piece in text.split_inclusive(ends) {
        let word = piece.trim_end_matches(ends);
        if RESOLVING.contains(&word) {
            return text.get(at + word.len()..);
        }
        at += piece.len();
    }
    None
}

/// The project of a short id: what stands before the last hyphen behind which there are letters and digits
/// alone.
fn project(word: &str) -> Option<&str> {
    let mut rest = word.trim_start_matches('-');
    while let Some((project, number)) = rest.rsplit_once('-') {
        if !number.is_empty() && !number.contains('_') {
            return Some(project);
        }
        rest = project;
    }
    None
}

/// The issues that an address names, with its host.
fn addressed(rest: &str, mentions: &mut Mentions) {
    let address = rest.split(char::is_whitespace).next().unwrap_or_default();
    let authority = address.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let host = match host.rsplit_once(':') {
        Some((name, _)) if !host.ends_with(']') => name,
        Some(_) | None => host,
    };
    for number in address.split(ISSUES).skip(1) {
        let end = number.find(|c: char| !c.is_numeric()).unwrap_or(number.len());
        if end > 0 {
            mentions.issue(host, &number[..end]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_messages_resolve() {
        for (message, wanted) in [
            ("Fixes APP-1", "app"),
            ("fix: APP-1", "app"),
            ("Resolved APP-1, MY-APP-2 and WEB-3", "app my-app web"),
            ("closes\n\nAPP-1", "app"),
            ("Fix a re-render", "re"),
            ("Fixes #12", ""),
            ("APP-1 is fixed", ""),
            ("see APP-1", ""),
            ("prefixes APP-1", ""),
            ("fixes_APP-1", ""),
            // What stands around the word, and around the id.
            ("auto-fixes APP-1", "app"),
            ("-Fixes APP-1", "app"),
            ("\u{345}fixes APP-1", "app"),
            ("Fixes -APP-1", "app"),
            ("Fixes --APP-1", "app"),
            ("Fixes APP-1-", "app"),
            ("Fixes APP-1--", "app"),
            ("Fixes APP-1-a_b", "app"),
            ("Fixes APP--1", "app-"),
            ("Fixes APP_B-1", "app_b"),
            ("Fixes APP-1_2", ""),
            ("Fixes\u{1c}APP-1", "app"),
            // Letters that are taken for others.
            ("Fixe\u{17f} APP-1", "app"),
            ("F\u{131}x APP-1", "app"),
            ("F\u{130}x APP-1", "app"),
            ("Fixes \u{212a}-1", "k"),
            ("Fixes A\u{17f}-1", "as"),
            // Links.
            ("[Fi](x)xes APP-1", "app"),
            ("Fixes A[PP](x)-1", "app"),
            ("Fixes [APP-1](http://a/issues/2)", "app a/2"),
            ("Fixes [APP-1]()", "app"),
            ("Fixes [](x) [a [APP-1](x)", "app"),
            // Addresses.
            ("Fixes https://sentry.example/issues/200", "sentry.example/200"),
            ("Fixes https://sentry.example/organizations/a/issues/7/?x=1", "sentry.example/7"),
            ("Fixes HTTPS://U@Sentry.Example:9000/issues/7 or not", "sentry.example/7"),
            ("Fixes https://[::1]/issues/7", "[::1]/7"),
            ("Fixes https://sentry.example/\u{1}/issues/7", "sentry.example/7"),
            ("fix a://b:fixes\u{1c}https://c/issues/7", "b:fixes\u{1c}https/7 c/7"),
            ("Fixes https://a/issues/\u{664}\u{665}", "a/\u{664}\u{665}"),
            ("Fixes https://a/issues/1 and https://b/issues/2", "a/1 b/2"),
            ("Fixes https://a/issues/x", ""),
            ("https://a/issues/1", ""),
        ] {
            let mut mentions = Mentions::default();
            resolved(message, &mut mentions);
            let issues = mentions.issues().map(|(host, number)| format!("{host}/{number}"));
            let found: Vec<_> = mentions.projects().map(str::to_owned).chain(issues).collect();
            assert_eq!(found.join(" "), wanted, "{message}");
        }
    }
}
