//! Deciding: a pure function of the rules, the request head, the identity that was looked up, and
//! the time.
//!
//! It comes in two halves around the one look-up: [`Policy::screen`] reads the request and either
//! decides or says which credential must be looked up; [`Pending::resolve`] decides on the answer.
//!
//! **Invariant:** no I/O, no clock, no async, no logging, no serde and no pingora in here, and no
//! secret leaves [`credential`]. A [`Permit`] can be made only here.

pub mod allowance;
pub mod bound;
pub mod certificate;
pub mod credential;
pub mod decision;
mod detail;
pub mod escaped;
pub mod exposure;
pub mod frame;
mod given;
pub mod identity;
pub mod issuers;
pub mod judge;
pub mod method;
pub mod naming;
mod narrow;
pub mod passing;
pub mod path;
pub mod pointer;
pub mod profile;
mod project_key;
pub mod question;
pub mod reason;
pub mod rules;
pub mod scope;
mod shadow;
pub mod site;
pub mod template;
pub mod token;

pub use given::{Policy, SESSION_COOKIE};

use credential::{Authorization, BadCredential, Credential, Scheme};
use decision::{Caller, Decision, Denial, Forward, Permit, Verdict};
use exposure::{Exposure, Exposures};
use frame::{Body, Frame, RequestHead};
use http::HeaderMap;
use identity::IdentityKind;
use judge::wrong_kind;
use method::Method;
use passing::Passing;
use path::Target;
use reason::Reason;
use rules::{Access, Found, Rule, RuleId};
use shadow::InShadow;
use site::NameId;

/// The header by which SDKs present a project key. Sentry's web API does not read it.
const SENTRY_AUTH: &str = "x-sentry-auth";
/// The query parameter by which SDKs present a project key.
const SENTRY_KEY: &str = "sentry_key";

/// The first half of a decision.
#[derive(Debug)]
pub enum Screened<'a> {
    /// Decided without a look-up.
    Decided(Decision),
    /// This credential must be looked up.
    Pending(Box<Pending<'a>>),
    /// Nobody must be looked up, and what is presented may be blocked.
    Passing(Box<Passing<'a>>),
}

/// A request that awaits the identity of its caller.
#[derive(Debug)]
pub struct Pending<'a> {
    policy: &'a Policy,
    request: Request<'a>,
    credential: Credential,
    /// By which it may be known besides.
    others: &'a [Credential],
}

/// A request whose frame, host, path and route are known.
#[derive(Debug)]
struct Request<'a> {
    frame: Frame<'a>,
    target: Target<'a>,
    headers: &'a HeaderMap,
    name: NameId,
    rule: RuleId,
    /// The first segment behind the path prefix.
    skip: usize,
    prefix_len: usize,
    /// What the listener lets in that it came by.
    exposed: Exposures,
    certificate: &'a [Credential],
    shadow: Option<InShadow<'a>>,
}

impl Policy {
    /// Reads the request: frame, host, path, route, credential, in this order.
    pub fn screen<'a>(&'a self, head: &RequestHead<'a>) -> Screened<'a> {
        match self.route(head) {
            Ok(request) => self.credential(request),
            Err(refused) => Screened::Decided(*refused),
        }
    }

    fn route<'a>(&'a self, head: &RequestHead<'a>) -> Result<Request<'a>, Box<Decision>> {
        let refuse = |name, rule, denial| {
            let (verdict, caller) = (Verdict::Deny(denial), Caller::default());
            Box::new(Decision { verdict, rule, name, caller, shadow: None })
        };
        let early = |denial| refuse(None, None, denial);
        let frame = Frame::parse(head, self.head)
            .map_err(|bad| early(Denial::new(bad.reason()).note(bad.to_string())))?;
        let name = self.site.named(frame.host);
        let name = name.ok_or_else(|| early(Denial::new(Reason::Misdirected)))?;
        let refuse = |rule, denial| refuse(Some(name), rule, denial);
        let target = Target::parse(head.target)
            .map_err(|bad| refuse(None, Denial::new(Reason::BadPath).note(bad.to_string())))?;
        let nothing = || refuse(None, Denial::new(Reason::NoSuchRoute));
        let path = target.path();
        let (rest, skip) = self.site.strip(path.raw()).ok_or_else(nothing)?;
        let prefix_len = path.raw().len() - rest.len();
        let found = self.rules.find_at(path, skip, frame.method.governed_by(), head.at);
        let rule = match found {
            // Behind this listener there is no such thing.
            Found::Rule(rule) | Found::MethodNotAllowed(rule)
                if !head.exposed.contains(self.rules.rule(rule).exposure) =>
            {
                return Err(nothing());
            }
            Found::Rule(rule) if !self.rules.rule(rule).is_spelled_out(rest) => {
                return Err(nothing());
            }
            Found::Rule(rule) => rule,
            Found::Nothing => return Err(nothing()),
            Found::MethodNotAllowed(rule) => {
                let allow = self.rules.methods_of(path, skip, head.at);
                if frame.method == Method::Options && !allow.is_empty() {
                    let (verdict, caller) = (Verdict::Options(allow), Caller::default());
                    let (rule, name, shadow) = (Some(rule), Some(name), None);
                    return Err(Box::new(Decision { verdict, rule, name, caller, shadow }));
                }
                // Of a route that nobody gets to, no method is named.
                if allow.is_empty() {
                    return Err(refuse(Some(rule), Denial::new(Reason::RouteNotExposed)));
                }
                let denial = Denial { allow, ..Denial::new(Reason::MethodNotAllowed) };
                return Err(refuse(Some(rule), denial));
            }
        };
        let shadow = self.shadow(path, skip, &frame, head);
        let (headers, exposed, certificate) = (head.headers, head.exposed, head.certificate);
        let request = Request {
            frame,
            target,
            headers,
            name,
            rule,
            skip,
            prefix_len,
            exposed,
            certificate,
            shadow,
        };
        match self.rules.rule(rule).access {
            Access::NotExposed if !self.has_session(&request) => {
                Err(refuse(Some(rule), Denial::new(Reason::RouteNotExposed)))
            }
            Access::Public
            | Access::Authenticated
            | Access::AnyOf(_)
            | Access::Pass
            | Access::ProjectKey
            | Access::NotExposed => Ok(request),
        }
    }

    /// Whether a browser session of Sentry's calls, where that counts. Sentry judges it.
    fn has_session(&self, request: &Request<'_>) -> bool {
        let named = |cookie: &[u8]| {
            let value = cookie.trim_ascii().strip_prefix(self.session_cookie.as_bytes());
            value.is_some_and(|value| value.starts_with(b"=") && value.len() > 1)
        };
        let mut cookies = request.headers.get_all(http::header::COOKIE).iter();
        request.takes_cookies(self.rules.rule(request.rule))
            && cookies.any(|line| line.as_bytes().split(|byte| *byte == b';').any(named))
    }

    fn credential<'a>(&'a self, request: Request<'a>) -> Screened<'a> {
        let rule = self.rules.rule(request.rule);
        match rule.access {
            Access::Pass => return self.pass(request, rule),
            Access::ProjectKey if request.shows_own_token(&self.issuers) => {
                return self.pass(request, rule);
            }
            Access::ProjectKey => return self.project_key(request),
            Access::Public | Access::Authenticated | Access::AnyOf(_) | Access::NotExposed => {}
        }
        if self.has_session(&request) {
            let caller = Caller { scheme: Some(Scheme::Session), ..Caller::default() };
            return match request.other_credential() {
                None => self.decided(&request, caller, Forward::Session),
                Some(()) => {
                    let note = "the request has a browser session and a project key; send one";
                    let denial = Denial::new(Reason::MultipleCredentials).note(note);
                    Screened::Decided(request.decide(caller, Verdict::Deny(denial)))
                }
            };
        }
        let public = rule.access == Access::Public;
        let header =
            request.frame.authorization.map(|value| Authorization::parse(value.as_bytes()));
        let other = request.other_credential();
        if let (None, None, [credential, others @ ..]) = (&header, other, request.certificate) {
            return self.certified(request, credential.clone(), others);
        }
        let refuse = |scheme, denial| {
            let caller = Caller { scheme, ..Caller::default() };
            Screened::Decided(request.decide(caller, Verdict::Deny(denial)))
        };
        match header {
            Some(Authorization::Credential(_) | Authorization::Malformed(..))
                if other.is_some() =>
            {
                let note = "the request has an `Authorization` header and a project key; send one";
                refuse(None, Denial::new(Reason::MultipleCredentials).note(note))
            }
            Some(Authorization::Malformed(scheme, error)) => {
                // A public route of Sentry's takes a Basic with a password, and any DSN, for no
                // credential.
                let none = scheme == Scheme::Dsn || error == BadCredential::Password;
                if public && none {
                    return self.anonymous(&request);
                }
                let denial = Denial::new(Reason::MalformedCredential).note(error.to_string());
                refuse(Some(scheme), denial)
            }
            Some(Authorization::Credential(credential)) => {
                if rule.credentials.intersects(credential.kinds) {
                    let pending = Pending { policy: self, request, credential, others: &[] };
                    return Screened::Pending(Box::new(pending));
                }
                if public && credential.scheme == Scheme::Dsn {
                    return self.anonymous(&request);
                }
                refuse(Some(credential.scheme), wrong_kind(rule, credential.scheme.kinds().iter()))
            }
            Some(Authorization::Unrecognized) | None if public => self.anonymous(&request),
            Some(Authorization::Unrecognized) => {
                let note = "the `Authorization` header has a scheme that Sentry does not take; \
                            send `Bearer <token>`";
                refuse(None, Denial::new(Reason::MissingCredential).note(note))
            }
            None if other.is_some() => {
                refuse(None, wrong_kind(rule, [IdentityKind::ProjectKey].into_iter()))
            }
            None => refuse(None, Denial::new(Reason::MissingCredential)),
        }
    }

    /// A request with nothing but the client's certificate.
    fn certified<'a>(
        &'a self,
        request: Request<'a>,
        credential: Credential,
        others: &'a [Credential],
    ) -> Screened<'a> {
        let rule = self.rules.rule(request.rule);
        if rule.credentials.intersects(credential.kinds) {
            return Screened::Pending(Box::new(Pending {
                policy: self,
                request,
                credential,
                others,
            }));
        }
        if rule.access == Access::Public {
            return self.anonymous(&request);
        }
        let caller = Caller { scheme: Some(credential.scheme), ..Caller::default() };
        let denial = wrong_kind(rule, credential.kinds.iter());
        Screened::Decided(request.decide(caller, Verdict::Deny(denial)))
    }

    fn anonymous<'a>(&self, request: &Request<'_>) -> Screened<'a> {
        self.decided(request, Caller::default(), Forward::Anonymous)
    }

    /// Lets a request through without a look-up, if its body may.
    fn decided<'a>(&self, request: &Request<'_>, who: Caller, forward: Forward) -> Screened<'a> {
        Screened::Decided(self.decision(request, who, forward))
    }

    fn decision(&self, request: &Request<'_>, who: Caller, forward: Forward) -> Decision {
        let verdict = match request.body(self) {
            Ok(()) => Verdict::Permit(request.permit(self, forward)),
            Err(denial) => Verdict::Deny(denial),
        };
        request.decide(who, verdict)
    }
}

impl Request<'_> {
    fn decide(&self, caller: Caller, verdict: Verdict) -> Decision {
        let shadow = self.stranger_in_shadow(&caller, &verdict);
        Decision { verdict, rule: Some(self.rule), name: Some(self.name), caller, shadow }
    }

    fn permit(&self, policy: &Policy, forward: Forward) -> Permit {
        let (rule, method, body) = (self.rule, self.frame.method, self.frame.body);
        let websocket = policy.rules.rule(rule).websocket;
        Permit::of(rule, method, body, forward, self.prefix_len, websocket)
    }

    /// Whether cookies go on: not beside a credential, and not where no page is let in.
    fn takes_cookies(&self, rule: &Rule) -> bool {
        rule.session && self.exposed.contains(Exposure::Ui) && self.frame.authorization.is_none()
    }

    fn untouched(&self, rule: &Rule) -> Forward {
        let relay = rule.exposure == Exposure::Relays;
        Forward::Untouched { cookies: self.takes_cookies(rule), relay }
    }

    fn body(&self, policy: &Policy) -> Result<(), Denial> {
        let limit = policy.max_body(self.rule);
        match self.frame.body {
            Body::Length(length) if length > limit => {
                let note = format!(
                    "the request body has {length} bytes; send at most {limit} to this route"
                );
                Err(Denial::new(Reason::TooLarge).note(note))
            }
            // How long a chunked one is shows while it is read.
            Body::None | Body::Length(_) | Body::Chunked => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
