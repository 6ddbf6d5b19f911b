//! Trust policies: what must be claimed, and what is given for it. Values in, values out.

use serde_json::Value;

use super::jws::Claims;
use crate::policy::identity::{Binding, Bound, Bounds, Narrowing};
use crate::policy::scope::{Scope, ScopeSet};

/// What parts a claim into segments.
const SEPARATORS: [char; 2] = ['/', ':'];

/// What whoever claims this is given.
#[derive(Clone, Debug, PartialEq)]
pub struct Trust {
    /// What must be claimed, all of it; never empty.
    pub conditions: Vec<Condition>,
    /// What is given at most.
    pub scopes: ScopeSet,
    /// The claim that says which of these; all of them where `None`.
    pub scopes_claim: Option<Box<str>>,
    /// The organisations that it reaches.
    pub organizations: Binding,
    /// The projects that it reaches.
    pub projects: Binding,
    /// What narrows it besides.
    pub narrowing: Narrowing,
}

/// A claim that must be there, with one of these values.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// The names that lead to it, from the outermost on.
    pub path: Vec<Box<str>>,
    /// What is taken.
    pub any_of: Vec<Wanted>,
}

/// What a claim must be.
#[derive(Clone, Debug, PartialEq)]
pub enum Wanted {
    /// A text, or a list of texts of which one is it.
    Text(Pattern),
    /// Exactly this number or truth value.
    Exactly(Value),
}

/// A text, with `*` for one character or more that are neither `/` nor `:`. It is the whole claim, in
/// every letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Box<str>);

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPattern {
    /// It takes everything, or nothing.
    #[error("has nothing to compare with; write at least one character that is no `*`, `/` or `:`")]
    Empty,
    /// Two in a row.
    #[error("has `**`; a `*` ends at the next `/` or `:`, so write one for each segment")]
    Twice,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// When it compares with nothing, or has two `*` in a row.
    pub fn parse(text: &str) -> Result<Self, BadPattern> {
        if text.contains("**") {
            return Err(BadPattern::Twice);
        }
        if text.trim_matches(['*', '/', ':']).is_empty() {
            return Err(BadPattern::Empty);
        }
        Ok(Self(text.into()))
    }

    /// Whether it is the whole of a text. The segments are compared one by one, so that a pattern of many
    /// `*` costs no more than its length times that of the text.
    fn is(&self, text: &str) -> bool {
        let separators =
            |text: &str| -> Vec<char> { text.chars().filter(|c| SEPARATORS.contains(c)).collect() };
        separators(&self.0) == separators(text)
            && self.0.split(SEPARATORS).zip(text.split(SEPARATORS)).all(|(own, text)| is(own, text))
    }
}

/// Whether a segment is as a pattern has it: what stands before the first `*` and behind the last, and
/// between them each part at its first place, with a character or more for each `*`.
fn is(pattern: &str, text: &str) -> bool {
    let Some((first, others)) = pattern.split_once('*') else { return pattern == text };
    let (middle, last) = match others.rsplit_once('*') {
        Some((middle, last)) => (Some(middle), last),
        None => (None, others),
    };
    let Some(text) = text.strip_prefix(first) else { return false };
    let Some(mut text) = text.strip_suffix(last) else { return false };
    for part in middle.into_iter().flat_map(|middle| middle.split('*')) {
        let Some(start) = text.chars().next().map(char::len_utf8) else { return false };
        let Some(at) = text[start..].find(part) else { return false };
        text = &text[start + at + part.len()..];
    }
    !text.is_empty()
}

impl Condition {
    fn holds(&self, claims: &Claims) -> bool {
        let Some((first, others)) = self.path.split_first() else { return false };
        let inner = |claim| others.iter().try_fold(claim, |claim: &Value, name| claim.get(&**name));
        let claim = claims.get(&**first).and_then(inner);
        claim.is_some_and(|claim| self.any_of.iter().any(|wanted| wanted.is(claim)))
    }
}

impl Wanted {
    fn is(&self, claim: &Value) -> bool {
        match (self, claim) {
            (Wanted::Text(pattern), Value::String(text)) => pattern.is(text),
            (Wanted::Text(pattern), Value::Array(list)) => {
                list.iter().filter_map(Value::as_str).any(|text| pattern.is(text))
            }
            (Wanted::Text(_), _) => false,
            (Wanted::Exactly(value), claim) => value == claim,
        }
    }
}

impl Trust {
    /// Whether all is claimed that must be.
    pub(super) fn matches(&self, claims: &Claims) -> bool {
        !self.conditions.is_empty() && self.conditions.iter().all(|own| own.holds(claims))
    }

    /// The scopes that are given: a claim names some of them, and never more. One that is not there, or is
    /// neither a text nor a list of texts, names none.
    pub(super) fn granted(&self, claims: &Claims) -> ScopeSet {
        let Some(claim) = &self.scopes_claim else { return self.scopes };
        let named: Vec<&str> = match claims.get(&**claim) {
            Some(Value::String(text)) => text.split(' ').collect(),
            Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
            Some(_) | None => Vec::new(),
        };
        let named = named.into_iter().filter_map(|name| name.parse::<Scope>().ok());
        let named = named.collect::<ScopeSet>().with_implied();
        named.iter().filter(|scope| self.scopes.contains(*scope)).collect()
    }

    /// What it is bound to.
    pub(super) fn bounds(&self) -> Bounds {
        Bound {
            organizations: self.organizations.clone(),
            projects: self.projects.clone(),
            narrowing: self.narrowing.clone(),
            ..Bound::default()
        }
        .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_the_whole_of_a_text_and_a_star_ends_with_its_segment() {
        let rows = [
            ("acme/web", "acme/web", true),
            ("acme/web", "acme/web2", false),
            ("acme/web", "evil/acme/web", false),
            ("acme/web", "Acme/web", false),
            ("refs/heads/*", "refs/heads/main", true),
            ("refs/heads/*", "refs/heads/", false),
            ("refs/heads/*", "refs/heads/a/b", false),
            ("refs/heads/*", "refs/heads/a:b", false),
            ("refs/heads/release-*", "refs/heads/release-1", true),
            ("refs/heads/release-*", "refs/heads/release-", false),
            ("refs/heads/*-rc", "refs/heads/1-rc", true),
            ("refs/heads/*-rc", "refs/heads/-rc", false),
            ("acme/*", "acme/web:ref", false),
            ("a*", "a", false),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "abbbc", true),
            ("a*b*c", "abbc", false),
            ("a*b*b*c", "a1b2b3c", true),
            ("a*b*b*c", "a1b2b3d", false),
            ("*a*", "bab", true),
            ("*a*", "aaa", true),
            ("*a*", "ab", false),
            ("é*é", "éüé", true),
            ("é*é", "éé", false),
            ("aa*aa", "aaa", false),
            ("repo:acme/*:ref:refs/heads/main", "repo:acme/web:ref:refs/heads/main", true),
            ("repo:acme/*:ref:refs/heads/main", "repo:acme/web:ref:refs/heads/main:x", false),
            ("repo:acme/*:ref:refs/heads/main", "repo:acme/a:b/c:ref:refs/heads/main", false),
            ("a.b", "aXb", false),
            ("acme/web", "acme/web\n", false),
        ];
        for (pattern, text, matches) in rows {
            assert_eq!(Pattern::parse(pattern).unwrap().is(text), matches, "{pattern} {text}");
        }
        for (text, bad) in
            [("", BadPattern::Empty), ("*/*", BadPattern::Empty), ("a**", BadPattern::Twice)]
        {
            assert_eq!(Pattern::parse(text), Err(bad), "{text}");
        }
    }

    fn claims(json: &str) -> Claims {
        serde_json::from_str(json).unwrap()
    }

    fn trust(conditions: Vec<Condition>, scopes_claim: Option<&str>) -> Trust {
        Trust {
            conditions,
            scopes: [Scope::OrgRead, Scope::EventRead].into_iter().collect(),
            scopes_claim: scopes_claim.map(Into::into),
            organizations: Binding::Any,
            projects: Binding::Any,
            narrowing: Narrowing::NONE,
        }
    }

    fn wants(path: &[&str], any_of: Vec<Wanted>) -> Condition {
        Condition { path: path.iter().map(|name| (*name).into()).collect(), any_of }
    }

    #[test]
    fn every_condition_must_hold_and_none_at_all_is_no_policy() {
        let text = |text: &str| vec![Wanted::Text(Pattern::parse(text).unwrap())];
        let exactly = |json: &str| vec![Wanted::Exactly(serde_json::from_str(json).unwrap())];
        let rows: &[(Vec<Condition>, &str, bool)] = &[
            (vec![], r#"{"a":"b"}"#, false),
            (vec![wants(&["a"], text("b"))], r#"{"a":"b"}"#, true),
            (vec![wants(&["a"], text("b"))], r#"{"a":["x","b"]}"#, true),
            (vec![wants(&["a"], text("b"))], r#"{"a":[["b"]]}"#, false),
            (vec![wants(&["a"], text("b"))], r#"{"a":{"b":"b"}}"#, false),
            (vec![wants(&["a"], text("b"))], r#"{"A":"b"}"#, false),
            (vec![wants(&["a"], text("1"))], r#"{"a":1}"#, false),
            (vec![wants(&["a"], text("b")), wants(&["c"], text("d"))], r#"{"a":"b"}"#, false),
            (vec![wants(&["k.io", "ns"], text("ci"))], r#"{"k.io":{"ns":"ci"}}"#, true),
            (vec![wants(&["k.io", "ns"], text("ci"))], r#"{"k.io.ns":"ci"}"#, false),
            (vec![wants(&["k.io", "ns"], text("ci"))], r#"{"k.io":"ci"}"#, false),
            (vec![wants(&["a", "0"], text("b"))], r#"{"a":["b"]}"#, false),
            (vec![wants(&["a"], exactly("true"))], r#"{"a":true}"#, true),
            (vec![wants(&["a"], exactly("true"))], r#"{"a":"true"}"#, false),
            (vec![wants(&["a"], exactly("7"))], r#"{"a":7}"#, true),
            (vec![wants(&["a"], exactly("7"))], r#"{"a":"7"}"#, false),
        ];
        for (conditions, json, holds) in rows {
            let trust = trust(conditions.clone(), None);
            assert_eq!(trust.matches(&claims(json)), *holds, "{conditions:?} {json}");
        }
    }

    #[test]
    fn a_claim_names_scopes_exactly_and_never_more_than_the_policy_has() {
        let rows: &[(&str, &[Scope])] = &[
            (r#"{"scope":"org:read"}"#, &[Scope::OrgRead]),
            (r#"{"scope":["org:read","event:read"]}"#, &[Scope::OrgRead, Scope::EventRead]),
            (r#"{"scope":"org:readonly-ish"}"#, &[]),
            (r#"{"scope":"xorg:read"}"#, &[]),
            (r#"{"scope":"org:read,event:read"}"#, &[]),
            (r#"{"scope":["org:read event:read"]}"#, &[]),
            (r#"{"scope":"org:admin org:read"}"#, &[Scope::OrgRead]),
            (r#"{"scope":{"org:read":true}}"#, &[]),
            (r#"{"scope":null}"#, &[]),
            (r#"{"scp":"org:read"}"#, &[]),
        ];
        for (json, wanted) in rows {
            let wanted: ScopeSet = wanted.iter().copied().collect();
            assert_eq!(trust(vec![], Some("scope")).granted(&claims(json)), wanted, "{json}");
        }
        assert_eq!(
            trust(vec![], None).granted(&claims(r#"{"scope":""}"#)),
            trust(vec![], None).scopes
        );
    }
}
