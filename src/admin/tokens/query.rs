//! The query: which store, which tokens, and how many of them.

use std::time::Duration;

use super::problem::Problem;
use crate::clock::Timestamp;
use crate::policy::path::decoded;
use crate::store::portcullis::Token;

/// How many rows are read at a time.
pub(super) const PAGE: u32 = 500;
/// How many tokens an answer has, and may have.
const LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;

/// What was asked for.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) store: Option<String>,
    pub(super) after: Option<String>,
    pub(super) limit: usize,
    name: Option<String>,
    unused_for: Option<Duration>,
    expires_within: Option<Duration>,
}

impl Query {
    /// Reads a query; but for the store only a list takes keys.
    pub(super) fn parse(query: &str, is_list: bool) -> Result<Self, Problem> {
        let mut read = Self {
            store: None,
            after: None,
            limit: LIMIT,
            name: None,
            unused_for: None,
            expires_within: None,
        };
        let mut seen = Vec::new();
        for field in query.split('&').filter(|field| !field.is_empty()) {
            let (key, value) = field.split_once('=').unwrap_or((field, ""));
            let value = decoded(&value.replace('+', " ")).into_owned();
            if seen.contains(&key) {
                return Err(Problem::bad_query("a key is in the query twice; leave one out"));
            }
            seen.push(key);
            match key {
                "store" => read.store = Some(value),
                "after" if is_list => read.after = Some(value),
                "name" if is_list => read.name = Some(value),
                "limit" if is_list => read.limit = limit(&value)?,
                "unused_for" if is_list => read.unused_for = Some(duration(key, &value)?),
                "expires_within" if is_list => read.expires_within = Some(duration(key, &value)?),
                _ if is_list => {
                    return Err(Problem::bad_query(
                        "a key of the query is not known; there are `store`, `name`, `unused_for`, \
                         `expires_within`, `limit` and `after`",
                    ));
                }
                _ => {
                    return Err(Problem::bad_query(
                        "the query takes `store` alone; leave the rest out",
                    ));
                }
            }
        }
        Ok(read)
    }

    /// Whether a token is asked for.
    pub(super) fn wants(&self, token: &Token, now: Timestamp) -> bool {
        self.name.as_ref().is_none_or(|name| *name == token.name)
            && self.unused_for.is_none_or(|duration| token.is_unused_for(duration, now))
            && self.expires_within.is_none_or(|duration| token.expires_within(duration, now))
    }
}

fn limit(value: &str) -> Result<usize, Problem> {
    let limit = value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
    limit.ok_or_else(|| Problem::bad_query(format!("`limit` is 1 to {MAX_LIMIT}; correct it")))
}

fn duration(key: &str, value: &str) -> Result<Duration, Problem> {
    let bad = |_| Problem::bad_query(format!("`{key}` is no time; write one such as `90d`"));
    humantime::parse_duration(value).map_err(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_known_and_come_once() {
        for query in ["", "store=a", "&&", "name=two+words%21&limit=1000", "unused_for=90d"] {
            assert!(Query::parse(query, true).is_ok(), "{query}");
        }
        for query in
            ["unused=90d", "limit=0", "limit=1001", "limit=", "unused_for=x", "name=a&name=b"]
        {
            assert!(Query::parse(query, true).is_err(), "{query}");
        }
        assert!(Query::parse("store=a", false).is_ok() && Query::parse("name=a", false).is_err());
        assert_eq!(Query::parse("name=two+words%21", true).unwrap().name.unwrap(), "two words!");
    }
}
