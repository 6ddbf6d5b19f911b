//! What clients asked for and no rule knows: the templates that were refused most.
//!
//! After an upgrade of Sentry this is where its new routes show. The table has a bound: when it is
//! full, what was seen least makes room (the space-saving algorithm of Metwally, Agrawal and
//! El Abbadi), so that whatever is more than one in [`LIMIT`] of all stays. Segments where rules have
//! a parameter, and those behind that are no plain word, are replaced, so that most calls of one
//! route are one entry; so is what the access log replaces as a possible secret.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use super::Record;
use super::redact::looks_secret;
use super::routes::method_label;
use crate::clock::Timestamp;
use crate::policy::Policy;
use crate::policy::decision::Verdict;
use crate::policy::path::CanonicalPath;
use crate::policy::reason::Reason;

/// How many templates are kept.
pub const LIMIT: usize = 128;
/// The longest one, in bytes.
const MAX_LEN: usize = 200;
/// The longest segment that is taken for a word.
const MAX_WORD: usize = 32;
/// What stands for a segment that is no word.
const PARAMETER: &str = "{}";
/// What stands for every path that has nothing in common with a rule.
const ELSEWHERE: &str = "elsewhere";

/// The templates that were refused most.
#[derive(Debug, Default)]
pub struct Unmatched {
    entries: Mutex<HashMap<Key, Count>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    method: &'static str,
    path: String,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    count: u64,
    over: u64,
    last: Timestamp,
}

/// A template that no rule knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The method; `other` if it is none of Sentry's.
    pub method: &'static str,
    /// The template, as far as it can be told; `elsewhere` for all that has nothing to do with a
    /// rule.
    pub path: String,
    /// How often it was refused, or less: at most `over` of these were of others.
    pub count: u64,
    /// By how much `count` may be too high.
    pub over: u64,
    /// When it was refused last.
    pub last: String,
}

impl Unmatched {
    /// Notes a request, if no rule knew it.
    pub fn ended(&self, record: &Record<'_>, policy: &Policy) {
        let decision = record.decision.map(|decision| &decision.verdict);
        let Some(Verdict::Deny(denial)) = decision else { return };
        if denial.reason != Reason::NoSuchRoute {
            return;
        }
        let path = shape(record.path, policy).unwrap_or_else(|| ELSEWHERE.to_owned());
        let key = Key { method: method_label(record.method), path };
        if self.count(key.clone(), record.at) {
            let Key { method, path } = key;
            tracing::info!(
                method,
                path,
                "no rule knows this; `portcullis routes` helps after an upgrade of Sentry"
            );
        }
    }

    /// Counts a template. Whether it is the first time, and there was room.
    fn count(&self, key: Key, last: Timestamp) -> bool {
        // Not on the way of a request that is let through, and held for a moment only.
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = entries.get_mut(&key) {
            known.count += 1;
            known.last = last;
            return false;
        }
        let room = entries.len() < LIMIT;
        let least = entries.iter().min_by_key(|(_, entry)| entry.count);
        let least = least.filter(|_| !room).map(|(key, entry)| (key.clone(), entry.count));
        let over = least.as_ref().map_or(0, |(_, count)| *count);
        if let Some((key, _)) = least {
            entries.remove(&key);
        }
        entries.insert(key, Count { count: over + 1, over, last });
        room
    }

    /// The entries, those that were refused most first.
    pub fn entries(&self) -> Vec<Entry> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = |(key, count): (&Key, &Count)| Entry {
            method: key.method,
            path: key.path.clone(),
            count: count.count,
            over: count.over,
            last: count.last.to_string(),
        };
        let mut list: Vec<Entry> = entries.iter().map(entry).collect();
        drop(entries);
        list.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.path.cmp(&b.path)));
        list
    }
}

/// The path as a template: as far as rules know it, and then words as they are.
fn shape(path: &str, policy: &Policy) -> Option<String> {
    let path = CanonicalPath::parse(path.as_bytes()).ok()?;
    let (_, skip) = policy.site.strip(path.raw())?;
    let (mut text, known) = policy.rules.known_part(&path, skip);
    if known == 0 {
        return None;
    }
    for index in skip + known..path.len() {
        let segment = path.segment(index);
        text.push('/');
        text.push_str(if segment.is_empty() || is_word(segment) { segment } else { PARAMETER });
        if text.len() > MAX_LEN {
            text.push_str("...");
            break;
        }
    }
    Some(text)
}

/// Whether a segment is rather the name of something than its number or a secret.
fn is_word(segment: &str) -> bool {
    let part = |byte: u8| byte.is_ascii_lowercase() || byte == b'-' || byte == b'_';
    segment.len() <= MAX_WORD && segment.bytes().all(part) && !looks_secret(segment)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(path: &str) -> Key {
        Key { method: "GET", path: path.to_owned() }
    }

    #[test]
    fn what_is_refused_often_stays() {
        let unmatched = Unmatched::default();
        let at = Timestamp::from_millis(1);
        for round in 0..1_000 {
            unmatched.count(key("/often/"), at);
            assert_eq!(unmatched.count(key(&format!("/{round}/")), at), round < LIMIT - 1);
        }
        let entries = unmatched.entries();
        assert_eq!(entries.len(), LIMIT);
        assert_eq!(
            (entries[0].path.as_str(), entries[0].count, entries[0].over),
            ("/often/", 1_000, 0)
        );
        // Nothing is lost: every count is at most that of its own and of those that made room.
        assert!(entries[1..].iter().all(|entry| entry.count - entry.over == 1));
    }

    #[test]
    fn words_are_no_secrets() {
        for (segment, wanted) in [
            ("new-thing", true),
            ("size_analysis", true),
            ("acme", true),
            ("v2", false),
            ("123", false),
            ("WEB-1", false),
            ("sntryu_abcdef", false),
            ("abcdefghijklmnopqrstuvwxyzabcdefg", false),
            ("a.b", false),
            ("%20", false),
        ] {
            assert_eq!(is_word(segment), wanted, "{segment}");
        }
    }
}
