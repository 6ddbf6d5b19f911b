//! Deciding again on a request that was recorded.
//!
//! The request is made anew out of its record, with a credential that stands for the one that came: nobody
//! is looked up, and the identity is the one that was recorded. What no record holds is taken from the
//! verdict where that tells it: where the client was, and what the names in the path stood for. What can't be
//! made anew is said to be so, and never guessed.

use std::sync::Arc;

use http::header::{AUTHORIZATION, COOKIE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Entry, REDACTED};
use crate::clock::Timestamp;
use crate::policy::certificate::CertificateName;
use crate::policy::decision::{Decision, Lookup, Verdict};
use crate::policy::frame::RequestHead;
use crate::policy::identity::{Binding, Bounds, Expiry, Identity, IdentityKind, Issuer, State};
use crate::policy::judge::{Circumstances, Resolved};
use crate::policy::method::Method;
use crate::policy::naming::Place;
use crate::policy::question::{Answers, Learnt, Question};
use crate::policy::reason::Reason;
use crate::policy::template::{PathTemplate, Segment};
use crate::policy::{Policy, Screened};

/// Why a request can't be decided on again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Gap {
    /// It was refused for what no record holds.
    NotRecorded,
    /// The identity was not recorded, as older versions did not.
    NoIdentity,
    /// What it turned on is `***` in the record.
    Redacted,
    /// The method, or the path, was cut off or is none.
    Cut,
    /// Nobody was looked up then, and now the rules ask who calls.
    Unasked,
    /// It turns on what Sentry would have said, and the verdict does not tell it.
    NotAsked,
    /// It turns on a query or a body.
    Unseen,
    /// A JWT was let in by other trust policies, and what it claimed was not recorded.
    Trust,
}

impl Gap {
    /// What is said of it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Gap::NotRecorded => {
                "refused for what no record holds: the frame, the body, an origin, or something that \
                 was not there"
            }
            Gap::NoIdentity => "recorded by a version that did not record what callers hold",
            Gap::Redacted => "what it turns on is `***` in the record",
            Gap::Cut => "the method is unknown, or the path was cut off",
            Gap::Trust => {
                "let in by a JWT whose `[[issuer]]` is another now, and what it claimed is in no record"
            }
            Gap::Unasked => {
                "nobody was looked up when it was refused, and now it depends on who calls"
            }
            Gap::NotAsked => {
                "the token is bound to ids, and what Sentry said of the names is not recorded"
            }
            Gap::Unseen => {
                "the token is bound to projects, and the query or the body, which names them, is not \
                 recorded"
            }
        }
    }
}

/// What the credentials are that stand for those that came.
const BEARER: &str = "Bearer x";
const OF_AN_ORGANIZATION: &str = "Bearer sntrys_x";
/// `x:` in base64.
const BASIC: &str = "Basic eDo=";
const CERTIFICATE: &str = "CN:x";
const SENTRY_AUTH: HeaderName = HeaderName::from_static("x-sentry-auth");

/// What `policy` decides on the request at `now`.
pub(super) fn decide(entry: &Entry, policy: &Policy, now: Timestamp) -> Result<Decision, Gap> {
    let reason = entry.reason.as_deref().filter(|_| entry.decision == "refuse");
    let reason = reason.and_then(|code| Reason::ALL.iter().find(|reason| reason.code() == code));
    if entry.decision == "refuse" && !reason.copied().is_some_and(is_rebuilt) {
        return Err(Gap::NotRecorded);
    }
    if Method::from_name(&entry.method).is_none() || entry.path.ends_with("...") {
        return Err(Gap::Cut);
    }
    let identity = identity(entry, reason.copied())?;
    let path = path(entry, &identity)?;
    let headers = headers(entry, policy, identity.as_ref())?;
    let certificate = CertificateName::parse(CERTIFICATE).map(|name| name.credential());
    let certificate: Vec<_> = certificate
        .into_iter()
        .filter(|_| entry.scheme.as_deref() == Some("certificate"))
        .collect();
    let head = RequestHead {
        exposed: policy.exposed,
        certificate: &certificate,
        at: now,
        ..RequestHead::new(&entry.method, path.as_bytes(), &headers)
    };
    let pending = match policy.screen(&head) {
        Screened::Pending(pending) => pending,
        Screened::Passing(_) | Screened::Decided(_)
            if reason == Some(&Reason::DisabledToken) && identity.is_none() =>
        {
            // Of a blocked one, whoever reads it would refuse it.
            return Err(Gap::Unasked);
        }
        Screened::Passing(passing) => return Ok(passing.unblocked()),
        Screened::Decided(decision) => return asked(entry, decision),
    };
    let bounds = identity.as_ref().map(|identity| identity.bounds.clone());
    let lookup = match (identity, reason) {
        (Some(identity), _) => match Vouched::of(entry, policy) {
            Vouched::AsBefore => Lookup::Found(Arc::new(identity)),
            Vouched::Otherwise => return Err(Gap::Trust),
            Vouched::NoMore => Lookup::Unknown,
        },
        (None, Some(Reason::UnknownToken)) => Lookup::Unknown,
        (None, Some(Reason::DisabledToken)) => Lookup::Blocked,
        (None, _) => return Err(Gap::Unasked),
    };
    let mut answers = Answers::default();
    let decision = loop {
        let given = Circumstances { now, client: None, answers: &answers };
        match pending.resolve(&lookup, given) {
            Resolved::Decided(decision) => break decision,
            Resolved::Ask(question) => {
                let told =
                    bounds.as_ref().and_then(|own| said(entry, reason.copied(), own, &question));
                answers.add(question, told.ok_or(Gap::NotAsked)?);
            }
        }
    };
    match unseen(entry, reason.copied(), policy, &decision) {
        true => Err(Gap::Unseen),
        false => Ok(decision),
    }
}

/// What Sentry said then of a name in the path, as far as the verdict tells: who got through was bound to
/// what it named, and of what comes first in a decision a later refusal tells the same.
fn said(
    entry: &Entry,
    reason: Option<Reason>,
    bounds: &Bounds,
    question: &Question,
) -> Option<Learnt> {
    let is = |own: &Option<String>, name: &str| own.as_deref() == Some(name);
    let one_of = |binding: &Binding| match binding {
        Binding::Only(names) => {
            let id = names.iter().find_map(|name| name.parse().ok())?;
            Some(Learnt::Ids([id].into()))
        }
        Binding::Any | Binding::Unknown => None,
    };
    match question {
        Question::Organization(name) if is(&entry.org, name) => match reason {
            None | Some(Reason::Binding) => one_of(bounds.organizations()),
            Some(Reason::WrongOrganization) => Some(Learnt::Nothing),
            Some(_) => None,
        },
        Question::Project { organization, project }
            if is(&entry.org, organization) && is(&entry.project, project) && reason.is_none() =>
        {
            one_of(bounds.projects())
        }
        Question::Organization(_)
        | Question::Project { .. }
        | Question::Release { .. }
        | Question::Issue { .. } => None,
    }
}

/// Whether a token that is bound to projects was, or is, refused for what it named in its query or its
/// body.
fn unseen(entry: &Entry, reason: Option<Reason>, policy: &Policy, decision: &Decision) -> bool {
    let held = decision.caller.identity.as_deref().map(|held| held.identity());
    let bound = held.is_some_and(|held| {
        let by_gateway = match held.issuer {
            Issuer::Gateway => true,
            Issuer::Sentry => false,
        };
        by_gateway && held.bounds.projects().is_bound()
    });
    let in_query = |rule| {
        let naming = policy.rules.rule(rule).projects;
        [Place::Query, Place::Search].iter().any(|place| naming.has(*place))
    };
    match &decision.verdict {
        Verdict::Permit(_) => bound && reason == Some(Reason::Binding),
        Verdict::Deny(denial) => {
            let queried = decision.rule.is_some_and(in_query);
            bound && queried && entry.is_through() && denial.reason == Reason::Binding
        }
        Verdict::Options(_) => false,
    }
}

/// What has become of the issuer of JWTs that vouched for a caller.
enum Vouched {
    /// It lets in by the same, or there was none.
    AsBefore,
    /// It lets in by something else.
    Otherwise,
    /// It is not there any more.
    NoMore,
}

impl Vouched {
    fn of(entry: &Entry, policy: &Policy) -> Self {
        let own = entry.issuer.as_deref() == Some("gateway");
        let principal = entry.principal.as_deref().filter(|_| own).unwrap_or_default();
        let is_there = policy.issuers.named_in(principal).is_some();
        match &entry.trust_hash {
            Some(hash) if policy.issuers.has(hash) => Vouched::AsBefore,
            Some(_) | None if is_there => Vouched::Otherwise,
            Some(_) => Vouched::NoMore,
            None => Vouched::AsBefore,
        }
    }
}

/// A refusal before anybody was looked up says nothing of what came as a credential.
fn asked(entry: &Entry, decision: Decision) -> Result<Decision, Gap> {
    let unasked = entry.decision == "refuse" && entry.scheme.is_none() && entry.principal.is_none();
    match &decision.verdict {
        Verdict::Deny(denial)
            if denial.reason == Reason::MissingCredential
                && unasked
                && entry.reason.as_deref() != Some(Reason::MissingCredential.code()) =>
        {
            Err(Gap::Unasked)
        }
        Verdict::Deny(_) | Verdict::Permit(_) | Verdict::Options(_) => Ok(decision),
    }
}

/// Whether a record holds what a refusal was for.
const fn is_rebuilt(reason: Reason) -> bool {
    match reason {
        Reason::MissingCredential
        | Reason::WrongCredentialKind
        | Reason::UnknownToken
        | Reason::ExpiredToken
        | Reason::DisabledToken
        | Reason::MissingScope
        | Reason::WrongOrganization
        | Reason::Binding
        | Reason::ReadOnly
        | Reason::RuleNotGranted
        | Reason::Network
        | Reason::RouteNotExposed
        | Reason::NoSuchRoute
        | Reason::MethodNotAllowed => true,
        Reason::MalformedRequest
        | Reason::BadPath
        | Reason::MultipleCredentials
        | Reason::MalformedCredential
        | Reason::Origin
        | Reason::NoTrustPolicy
        | Reason::DirectoryUnavailable
        | Reason::TooLarge
        | Reason::Misdirected
        | Reason::RateLimited
        | Reason::GuessingLimited
        | Reason::SpoolFull
        | Reason::Stopping
        | Reason::SpoolUnavailable
        | Reason::AuditUnavailable
        | Reason::StoreUnavailable => false,
    }
}

/// Who called, if somebody was known.
fn identity(entry: &Entry, reason: Option<Reason>) -> Result<Option<Identity>, Gap> {
    let Some(principal) = &entry.principal else { return Ok(None) };
    let issuer = match entry.issuer.as_deref() {
        Some("sentry") => Issuer::Sentry,
        Some("gateway") => Issuer::Gateway,
        Some(_) | None => return Err(Gap::NoIdentity),
    };
    let kind = entry.credential_kind.as_deref().and_then(IdentityKind::from_name);
    let kind = kind.filter(|_| entry.held.is_some()).ok_or(Gap::NoIdentity)?;
    // When it was recorded, and not now.
    let expired = reason == Some(Reason::ExpiredToken);
    let disabled = reason == Some(Reason::DisabledToken);
    Ok(Some(Identity {
        id: principal.as_str().into(),
        kind,
        issuer,
        state: if disabled { State::Disabled } else { State::Active },
        scopes: entry.scopes(),
        bounds: entry.bounds(reason == Some(Reason::Network)),
        expires_at: if expired { Some(Timestamp::from_millis(0)).into() } else { Expiry::NEVER },
    }))
}

/// The path, with something in the place of what could be a secret.
fn path(entry: &Entry, identity: &Option<Identity>) -> Result<String, Gap> {
    if !entry.path.split('/').any(|segment| segment == REDACTED) {
        return Ok(entry.path.clone());
    }
    let is_bound =
        |bounds: &Bounds| bounds.organizations().is_bound() || bounds.projects().is_bound();
    let turns = [&entry.org, &entry.project].iter().any(|name| name.as_deref() == Some(REDACTED));
    if turns && identity.as_ref().is_some_and(|identity| is_bound(&identity.bounds)) {
        return Err(Gap::Redacted);
    }
    let template = entry.route.as_deref().and_then(|route| route.parse::<PathTemplate>().ok());
    let template = template.ok_or(Gap::Redacted)?;
    let count = entry.path.split('/').count();
    let segments = template.segments();
    let segment = |(index, segment): (usize, &str)| {
        if segment != REDACTED {
            return Some(segment.to_owned());
        }
        // A parameter of digits takes digits, and every other takes them too.
        match segments.iter().rev().nth(count - index - 1) {
            Some(Segment::Digits(_) | Segment::Id(_) | Segment::Param(_)) => Some("1".to_owned()),
            Some(Segment::Rest(_) | Segment::Literal(_)) | None => None,
        }
    };
    let segments: Option<Vec<_>> = entry.path.split('/').enumerate().map(segment).collect();
    segments.map(|segments| segments.join("/")).ok_or(Gap::Redacted)
}

fn headers(entry: &Entry, policy: &Policy, identity: Option<&Identity>) -> Result<HeaderMap, Gap> {
    let mut headers = HeaderMap::new();
    let host = entry.host.as_deref().unwrap_or(policy.site.public().authority());
    headers.insert(HOST, HeaderValue::from_str(host).map_err(|_| Gap::Cut)?);
    let kind = identity.map(|identity| identity.kind);
    let (name, value) = match entry.scheme.as_deref() {
        None | Some("certificate") => return Ok(headers),
        Some("session") => (COOKIE, format!("{}=x", policy.session_cookie)),
        Some("basic") => (AUTHORIZATION, BASIC.to_owned()),
        Some("dsn") if entry.path.contains("/api/0/") => (AUTHORIZATION, dsn(identity)),
        Some("dsn") => (SENTRY_AUTH, "Sentry sentry_key=x".to_owned()),
        Some("bearer") if kind == Some(IdentityKind::OrgToken) => {
            (AUTHORIZATION, OF_AN_ORGANIZATION.to_owned())
        }
        Some("bearer") => (AUTHORIZATION, BEARER.to_owned()),
        Some(_) => return Err(Gap::Cut),
    };
    headers.insert(name, HeaderValue::from_str(&value).map_err(|_| Gap::Cut)?);
    Ok(headers)
}

/// A DSN of the project that the identity is the key of.
fn dsn(identity: Option<&Identity>) -> String {
    let projects = identity.map_or(&Binding::Any, |identity| identity.bounds.projects());
    let id = match projects {
        Binding::Only(names) => names.iter().find(|name| name.parse::<u64>().is_ok()),
        Binding::Any | Binding::Unknown => None,
    };
    format!("DSN https://x@x/{}", id.map_or("1", |id| id))
}
