//! The key of a project where SDKs present it (`extractors/request_meta.rs` in Relay).
//!
//! Relay takes it from one of four places and refuses two at once. Here it is only read, to look it
//! up; what came goes on as it came. A key that only the envelope names can't be checked before the
//! body is read, so where keys are checked it has to come in the head.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::credential::{Credential, Digest, Scheme};
use super::decision::{Caller, Denial, Verdict};
use super::method::Method;
use super::reason::Reason;
use super::rules::Rule;
use super::{Pending, Policy, Request, SENTRY_AUTH, SENTRY_KEY, Screened, path};

/// Parameters of a template that hold it.
const IN_PATH: &str = "sentry_key";

impl Policy {
    /// Has the key of the project looked up.
    pub(super) fn project_key<'a>(&'a self, request: Request<'a>) -> Screened<'a> {
        let rule = self.rules.rule(request.rule);
        // A browser asks first, without a key in a header.
        if request.frame.method == Method::Options {
            return self.pass(request, rule);
        }
        let refuse = |denial| {
            let caller = Caller { scheme: Some(Scheme::Dsn), ..Caller::default() };
            Screened::Decided(request.decide(caller, Verdict::Deny(denial)))
        };
        let key = match request.key(rule) {
            Ok(Some(key)) => key,
            Ok(None) => {
                let note = "this route needs the key of its project in `X-Sentry-Auth` or \
                            `?sentry_key=`; a key in the body alone is not looked for";
                return refuse(Denial::new(Reason::MissingCredential).note(note));
            }
            Err(denial) => return refuse(denial),
        };
        let project = request.parameters(rule, "project_").next().and_then(|id| id.parse().ok());
        let Some(project) = project else {
            return refuse(
                Denial::new(Reason::MalformedCredential).note("the project id is no number"),
            );
        };
        let credential = Credential {
            scheme: Scheme::Dsn,
            digest: Digest::of(&key),
            project: Some(project),
            kinds: Scheme::Dsn.kinds(),
        };
        Screened::Pending(Box::new(Pending { policy: self, request, credential, others: &[] }))
    }
}

impl Request<'_> {
    /// The one key that the request presents.
    fn key(&self, rule: &Rule) -> Result<Option<String>, Denial> {
        let mut found: Vec<Option<String>> = Vec::new();
        for value in self.headers.get_all(SENTRY_AUTH) {
            found.push(value.to_str().ok().and_then(listed));
        }
        found
            .extend(self.frame.authorization.map(|value| value.to_str().ok().and_then(authorized)));
        for pair in self.target.query().unwrap_or_default().split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if path::decodes_to(name, SENTRY_KEY) {
                found.push(plain(value));
            }
        }
        found.extend(self.parameters(rule, IN_PATH).map(plain));
        match found.as_slice() {
            [] => Ok(None),
            [Some(key)] => Ok(Some(key.clone())),
            [None] => {
                let note = "the project key can't be read; copy it from the project's settings";
                Err(Denial::new(Reason::MalformedCredential).note(note))
            }
            [_, _, ..] => {
                let note = "the request has more than one project key or credential; send one";
                Err(Denial::new(Reason::MultipleCredentials).note(note))
            }
        }
    }
}

/// `Sentry sentry_version=7, sentry_key=…`, the scheme in any letter case or left out.
fn listed(value: &str) -> Option<String> {
    let start = value.get(..7).filter(|start| start.eq_ignore_ascii_case("sentry "));
    let fields = value.get(start.map_or(0, str::len)..)?;
    let mut keys = fields.split(',').filter_map(|field| {
        let (name, value) = field.trim().split_once('=')?;
        (name.trim() == SENTRY_KEY).then(|| value.trim())
    });
    let key = keys.next()?;
    keys.next().is_none().then(|| plain(key))?
}

/// `Authorization: Sentry …`, or `Basic` with the key as user name and anything behind it.
fn authorized(value: &str) -> Option<String> {
    let (scheme, rest) = value.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("sentry") {
        return listed(value);
    }
    let decoded =
        STANDARD.decode(rest.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let pair = String::from_utf8(decoded).ok()?;
    plain(pair.split(':').next()?)
}

/// A key as Sentry makes them: letters and digits.
fn plain(key: &str) -> Option<String> {
    let fits =
        (1..=64).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_alphanumeric());
    fits.then(|| key.to_owned())
}
