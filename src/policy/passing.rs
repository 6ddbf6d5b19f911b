//! Requests that are for who is behind to judge, and the credentials in them that are blocked.
//!
//! Nobody is looked up for such a request, and what comes goes on as it came. A block list refuses any
//! credential all the same, so whatever in the head may be one is held against it: rather one too many.
//! What only a body names is not seen.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::credential::{Digest, Scheme, is_issued_here};
use super::decision::{Caller, Decision, Denial, Listed, Verdict};
use super::issuers::TrustedIssuers;
use super::judge::{BLOCKED, later};
use super::reason::Reason;
use super::rules::Rule;
use super::{Policy, Request, SENTRY_AUTH, SENTRY_KEY, Screened, path, token};

/// The parameter of a query that holds a whole DSN (the form for feedback on a crash).
const DSN: &str = "dsn";
/// Parameters of a template that hold a project key, the second one with an extension.
const IN_PATH: [&str; 2] = ["sentry_key", "loader"];

/// A request that is let through, unless a credential in it is blocked.
#[derive(Debug)]
pub struct Passing<'a> {
    policy: &'a Policy,
    request: Request<'a>,
    decision: Decision,
}

impl Passing<'_> {
    /// Decides where nobody is blocked.
    pub fn unblocked(self) -> Decision {
        self.decision
    }

    /// Decides by what is blocked.
    pub fn resolve(self, listed: impl Fn(&Digest) -> Listed) -> Decision {
        let rule = self.policy.rules.rule(self.request.rule);
        for (scheme, digest) in self.request.presented(rule) {
            let verdict = match listed(&digest) {
                Listed::No => continue,
                Listed::Yes => Verdict::Deny(Denial::new(Reason::DisabledToken).note(BLOCKED)),
                Listed::Unread => later(Reason::StoreUnavailable),
            };
            let (scheme, digest) = (Some(scheme), Some(digest));
            return self.request.decide(Caller { scheme, digest, identity: None }, verdict);
        }
        self.decision
    }
}

impl Policy {
    /// Lets through what is for who is behind to judge. A token of the gateway, or of an issuer that it
    /// trusts, is for nobody there.
    pub(super) fn pass<'a>(&'a self, request: Request<'a>, rule: &Rule) -> Screened<'a> {
        if request.shows_own_token(&self.issuers) {
            let note = "this route takes no token of the gateway, nor a JWT of an issuer that it trusts; \
                        use what Sentry issued for it";
            let denial = Denial::new(Reason::WrongCredentialKind).note(note);
            return Screened::Decided(request.decide(Caller::default(), Verdict::Deny(denial)));
        }
        let decision = self.decision(&request, Caller::default(), request.untouched(rule));
        Screened::Passing(Box::new(Passing { policy: self, request, decision }))
    }
}

impl Request<'_> {
    /// Whether a token of the gateway's, or of one of these issuers, is where somebody else would read it.
    pub(super) fn shows_own_token(&self, issuers: &TrustedIssuers) -> bool {
        let in_header =
            |value: &http::HeaderValue| is_issued_here(value) || issuers.vouch_in(value.as_bytes());
        self.frame.authorization.is_some_and(in_header)
            || self.headers.get_all(SENTRY_AUTH).iter().any(in_header)
            || self.target.query().is_some_and(|query| {
                path::decodes_into(query, token::PREFIX)
                    || issuers.vouch_in(path::decoded(query).as_bytes())
            })
    }

    /// A project key beside the `Authorization` header: in a header, or in the query.
    pub(super) fn other_credential(&self) -> Option<()> {
        let header = self.headers.contains_key(SENTRY_AUTH);
        let query = self.target.query().is_some_and(|query| {
            let mut names = query.split('&').filter_map(|pair| pair.split('=').next());
            names.any(|name| path::decodes_to(name, SENTRY_KEY))
        });
        (header || query).then_some(())
    }

    /// Whatever in the head may be a credential.
    fn presented(&self, rule: &Rule) -> Vec<(Scheme, Digest)> {
        let mut found = in_head(self.headers, self.target.query().unwrap_or_default());
        for value in IN_PATH.iter().flat_map(|name| self.parameters(rule, name)) {
            key(value.split('.').next().unwrap_or_default(), &mut found);
        }
        found
    }
}

/// Whatever may be a credential in a head that may be refused already: in each field that takes one, and in
/// the query of `target`.
pub fn presented(headers: &HeaderMap, target: &[u8]) -> Vec<(Scheme, Digest)> {
    let target = String::from_utf8_lossy(target);
    in_head(headers, target.split_once('?').map_or("", |(_, query)| query))
}

fn in_head(headers: &HeaderMap, query: &str) -> Vec<(Scheme, Digest)> {
    let mut found = Vec::new();
    for value in headers.get_all(AUTHORIZATION) {
        authorized(&String::from_utf8_lossy(value.as_bytes()), &mut found);
    }
    for value in headers.get_all(SENTRY_AUTH) {
        listed(&String::from_utf8_lossy(value.as_bytes()), &mut found);
    }
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if path::decodes_to(name, SENTRY_KEY) {
            key(&path::decoded(value), &mut found);
        } else if path::decodes_to(name, DSN) {
            dsn(&path::decoded(value), &mut found);
        }
    }
    found
}

/// What stands behind the scheme of an `Authorization`: a token, a name in base64, a DSN, or fields.
fn authorized(value: &str, found: &mut Vec<(Scheme, Digest)>) {
    listed(value, found);
    for part in value.split([' ', '\t']).filter(|part| !part.is_empty()) {
        found.push((Scheme::Bearer, Digest::of_bearer(part)));
        found.extend(Digest::of_other_form(part).map(|digest| (Scheme::Bearer, digest)));
        let pair = STANDARD_NO_PAD.decode(part.trim_end_matches('='));
        if let Some(pair) = pair.ok().and_then(|pair| String::from_utf8(pair).ok()) {
            let name = pair.split(':').next().unwrap_or_default();
            found.push((Scheme::Basic, Digest::of(name)));
        }
        dsn(part, found);
    }
}

/// The key in a DSN, `https://key@host/project`.
fn dsn(text: &str, found: &mut Vec<(Scheme, Digest)>) {
    if let Some((_, rest)) = text.split_once("://") {
        key(rest.split([':', '@', '/']).next().unwrap_or_default(), found);
    }
}

/// The `sentry_key` in `Sentry sentry_version=7, sentry_key=…`.
fn listed(value: &str, found: &mut Vec<(Scheme, Digest)>) {
    for (name, value) in value.split(',').filter_map(|field| field.split_once('=')) {
        let name = name.trim().rsplit([' ', '\t']).next().unwrap_or_default();
        if name.eq_ignore_ascii_case(SENTRY_KEY) {
            key(value.trim().trim_matches('"'), found);
        }
    }
}

/// A project key is a number in hex, which whoever is behind may read in either letter case.
fn key(key: &str, found: &mut Vec<(Scheme, Digest)>) {
    let mut push = |key: Cow<'_, str>| found.push((Scheme::Dsn, Digest::of(&key)));
    push(key.into());
    if key.bytes().any(|byte| byte.is_ascii_uppercase()) {
        push(key.to_ascii_lowercase().into());
    }
}
