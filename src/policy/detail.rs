//! What a client is told of a refusal.

use std::borrow::Cow;

use super::decision::Denial;
use super::reason::Reason;
use super::rules::{RuleId, RuleTable};

impl Denial {
    /// The sentence that Sentry's clients print: what was refused, and what to do.
    pub fn detail(
        &self,
        rule: Option<RuleId>,
        rules: &RuleTable,
        method: &str,
    ) -> Cow<'static, str> {
        if let Some(note) = &self.note {
            return note.clone();
        }
        let route = rule.map(|id| rules.rule(id).template.as_str()).unwrap_or_default();
        let text = match self.reason {
            Reason::MalformedRequest => "the request is malformed; send one that has one reading",
            Reason::BadPath => "the path could be read in two ways; send it in its plain form",
            Reason::MultipleCredentials => "the request has more than one credential; send one",
            Reason::MissingCredential => {
                "this route needs a credential; send `Authorization: Bearer <token>`"
            }
            Reason::MalformedCredential => "the credential can't be read; copy it again",
            Reason::WrongCredentialKind => {
                "this route does not take this kind of credential; use a user token"
            }
            Reason::UnknownToken => {
                "the token is not known here; check that it was copied whole and not deleted"
            }
            Reason::ExpiredToken => "the token has expired; create a new one",
            Reason::DisabledToken => "the token was revoked or is inactive; create a new one",
            Reason::NoTrustPolicy => {
                "the token is authentic, and no trust policy of the gateway is for what it claims; have \
                 its operator add one"
            }
            Reason::MissingScope => {
                let (needed, held) = (self.required.list(), self.held.list());
                return format!(
                    "the token lacks a scope for {method} {route}: it needs one of {needed}; it has {held}"
                )
                .into();
            }
            Reason::WrongOrganization => {
                "the token is bound to another organization than the path names; use a token that \
                 is bound to this one"
            }
            Reason::Binding => {
                "the token is bound to something that this route does not name; use a token that \
                 is not bound"
            }
            Reason::ReadOnly => "the token is read-only; use one that may change things",
            Reason::Network => {
                "the token may not be used from the address of this client; use it where it is meant \
                 to be, or ask the gateway's operator"
            }
            Reason::RuleNotGranted => {
                return format!(
                    "the token is not for {method} {route}; use one that is, or ask the gateway's operator \
                     to add the route to its profile"
                )
                .into();
            }
            Reason::DirectoryUnavailable => {
                "the gateway can't ask Sentry which project or organization this is, and the token is bound \
                 to some; try again"
            }
            Reason::Origin => {
                "the token may not be used from the `Origin` of this request; create one with \
                 `--origin` for it"
            }
            Reason::RouteNotExposed => {
                return format!(
                    "`{route}` is not for API clients, so the gateway does not let it out; call \
                     Sentry itself, or ask the gateway's operator for a rule"
                )
                .into();
            }
            Reason::NoSuchRoute => "there is no such route; check the path and its trailing slash",
            Reason::MethodNotAllowed => {
                return format!("`{route}` does not take `{method}`; send one of `{}`", self.allow)
                    .into();
            }
            Reason::TooLarge => {
                "the request body is larger than this route takes; send it in parts"
            }
            Reason::Misdirected => {
                "the `Host` header does not name this gateway; call it by its public address, or \
                 have the operator add the name to `public_aliases`"
            }
            Reason::RateLimited => "a limit of the gateway is used up; try again later",
            Reason::GuessingLimited => {
                "too many tokens that the gateway does not know came in the last second, so it did \
                 not look this one up; try again"
            }
            Reason::SpoolFull => {
                "the gateway has no room to keep the request body at the moment; try again, or send it \
                 with a credential and `Content-Length`"
            }
            Reason::Stopping => {
                "the gateway is stopping, and the request had not come whole; try again"
            }
            Reason::SpoolUnavailable => {
                "the gateway can't keep the request body; send it with a credential and \
                 `Content-Length`, and tell the gateway's operator"
            }
            Reason::AuditUnavailable => {
                "the gateway can't write its audit, without which nothing is let through; try again, and \
                 tell the gateway's operator"
            }
            Reason::StoreUnavailable => {
                "the gateway can't reach its token store, so it can't tell who you are; try again"
            }
        };
        text.into()
    }

    /// The `WWW-Authenticate` value (RFC 6750, section 3). Never `Basic`: a browser would prompt.
    pub fn challenge(&self) -> Option<Cow<'static, str>> {
        match self.reason {
            Reason::MissingCredential | Reason::WrongCredentialKind => {
                Some(r#"Bearer realm="sentry""#.into())
            }
            Reason::MalformedCredential
            | Reason::UnknownToken
            | Reason::ExpiredToken
            | Reason::DisabledToken => {
                Some(r#"Bearer realm="sentry", error="invalid_token""#.into())
            }
            Reason::MissingScope => {
                let scope = self.required.names();
                let start = r#"Bearer realm="sentry", error="insufficient_scope""#;
                Some(format!(r#"{start}, scope="{scope}""#).into())
            }
            Reason::MalformedRequest
            | Reason::BadPath
            | Reason::MultipleCredentials
            | Reason::NoTrustPolicy
            | Reason::WrongOrganization
            | Reason::Binding
            | Reason::ReadOnly
            | Reason::Network
            | Reason::RuleNotGranted
            | Reason::DirectoryUnavailable
            | Reason::Origin
            | Reason::RouteNotExposed
            | Reason::NoSuchRoute
            | Reason::MethodNotAllowed
            | Reason::TooLarge
            | Reason::Misdirected
            | Reason::RateLimited
            | Reason::GuessingLimited
            | Reason::SpoolFull
            | Reason::SpoolUnavailable
            | Reason::Stopping
            | Reason::AuditUnavailable
            | Reason::StoreUnavailable => None,
        }
    }
}
