//! A request that somebody asks about, and the decision that the gateway makes on it.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;

use crate::gateway::Gateway;
use crate::policy::certificate::{BadCertificateName, CertificateName};
use crate::policy::credential::Credential;
use crate::policy::decision::Decision;
use crate::policy::exposure::{Exposure, Exposures};
use crate::policy::frame::RequestHead;
use crate::policy::identity::{Binding, Bound, Expiry, Identity, IdentityKind, Issuer, State};
use crate::policy::scope::{Scope, ScopeSet};

/// A request, and who makes it. Holds a secret, and so has no `Debug`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The method.
    pub method: String,
    /// The path that is called, with the prefix of `public_url`, or the whole URL.
    pub path: String,
    /// Other headers, as `Name: value`.
    #[serde(default)]
    pub headers: Vec<String>,
    /// A token, or a whole `Authorization` value, to look up.
    #[serde(default)]
    pub token: Option<String>,
    /// Instead of one, a name of a client's certificate to look up, such as `CN:ci`.
    #[serde(default)]
    pub certificate: Option<String>,
    /// Or the scopes of a token of the gateway that is made up.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// The organizations that it is bound to; none for any.
    #[serde(default)]
    pub organizations: Vec<String>,
    /// What the listener exposes that is called; by default what any of the config does.
    #[serde(default)]
    pub expose: Vec<String>,
}

/// Why a question can't be asked. Never shows a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadQuestion {
    /// A URL of something else.
    #[error("that is not the scheme of a request; write `https://host/path`, or the path")]
    Scheme,
    /// A URL without a path.
    #[error("the URL has no path; write `https://host/api/0/…`")]
    NoPath,
    /// What can't be a host.
    #[error("the URL has no host; write `https://host/api/0/…`")]
    Host,
    /// What can't be a header.
    #[error("a header is not `Name: value`; write it so")]
    Header,
    /// What can't be a token.
    #[error("the token can't be sent in a header; copy it again")]
    Token,
    /// A scope that Sentry has not.
    #[error("there is no such scope; write some of {all}", all = ScopeSet::ALL.list())]
    Scope,
    /// A token that is looked up, and one that is made up.
    #[error("there is one caller; give one of `token`, `certificate` and `scopes`")]
    TwoCallers,
    /// What no certificate is called by.
    #[error(transparent)]
    Certificate(#[from] BadCertificateName),
    /// What no listener can expose.
    #[error("that can't be exposed; write some of {all}", all = Exposure::list())]
    Exposure,
    /// Organizations of nobody.
    #[error("`organizations` are those of a token that is made up; give `scopes` too")]
    Organizations,
}

/// What is presented for a token that is made up.
const MADE_UP: &str = "Bearer made-up";

impl Question {
    /// The host that is called, and the target.
    fn called<'a>(&'a self, public: &'a str) -> Result<(&'a str, &'a str), BadQuestion> {
        let url = self.path.split_once("://").filter(|_| !self.path.starts_with('/'));
        let Some((scheme, rest)) = url else { return Ok((public, &self.path)) };
        if !matches!(scheme, "http" | "https") {
            return Err(BadQuestion::Scheme);
        }
        rest.find('/').map(|path| rest.split_at(path)).ok_or(BadQuestion::NoPath)
    }

    /// The target of the request: the path, with its query.
    pub fn target(&self) -> &str {
        self.called("").map(|(_, target)| target).unwrap_or_default()
    }

    fn authorization(&self) -> Result<Option<HeaderValue>, BadQuestion> {
        let text = match (&self.token, self.scopes.as_slice()) {
            (Some(_), [_, ..]) => return Err(BadQuestion::TwoCallers),
            (_, []) if !self.organizations.is_empty() => return Err(BadQuestion::Organizations),
            (None, []) => return Ok(None),
            (None, [_, ..]) => MADE_UP.to_owned(),
            (Some(token), []) if token.contains(' ') => token.clone(),
            (Some(token), []) => format!("Bearer {token}"),
        };
        let mut value = HeaderValue::try_from(text).map_err(|_| BadQuestion::Token)?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    /// What the client's certificate would be.
    fn certified(&self) -> Result<Vec<Credential>, BadQuestion> {
        let Some(name) = &self.certificate else { return Ok(Vec::new()) };
        if self.token.is_some() || !self.scopes.is_empty() {
            return Err(BadQuestion::TwoCallers);
        }
        Ok(vec![CertificateName::parse(name)?.credential()])
    }

    fn exposed(&self, any: Exposures) -> Result<Exposures, BadQuestion> {
        if self.expose.is_empty() {
            return Ok(any);
        }
        let named = self.expose.iter().map(|name| Exposure::from_name(name));
        named.collect::<Option<_>>().ok_or(BadQuestion::Exposure)
    }

    fn headers(&self, host: &str) -> Result<HeaderMap, BadQuestion> {
        let mut headers = HeaderMap::new();
        let host = HeaderValue::try_from(host).map_err(|_| BadQuestion::Host)?;
        headers.insert(http::header::HOST, host);
        if let Some(value) = self.authorization()? {
            headers.insert(http::header::AUTHORIZATION, value);
        }
        for header in &self.headers {
            let parsed = header.split_once(':').and_then(|(name, value)| {
                let name = HeaderName::try_from(name.trim()).ok()?;
                Some((name, HeaderValue::try_from(value.trim()).ok()?))
            });
            let (name, value) = parsed.ok_or(BadQuestion::Header)?;
            headers.append(name, value);
        }
        Ok(headers)
    }

    /// The caller, where it is made up.
    fn made_up(&self) -> Result<Option<Identity>, BadQuestion> {
        if self.scopes.is_empty() {
            return Ok(None);
        }
        let scopes = self.scopes.iter().map(|name| name.parse::<Scope>());
        let scopes: Result<ScopeSet, _> = scopes.collect();
        let organizations = match self.organizations.as_slice() {
            [] => Binding::Any,
            names => Binding::Only(names.iter().map(|name| name.as_str().into()).collect()),
        };
        Ok(Some(Identity {
            id: "made-up".into(),
            kind: IdentityKind::UserToken,
            issuer: Issuer::Gateway,
            state: State::Active,
            scopes: scopes.map_err(|_| BadQuestion::Scope)?,
            bounds: Bound { organizations, ..Bound::default() }.into(),
            expires_at: Expiry::NEVER,
        }))
    }

    /// What the gateway decides on the request.
    ///
    /// # Errors
    /// When the question itself makes no sense.
    pub async fn decide(&self, gateway: &Gateway) -> Result<Decision, BadQuestion> {
        let (host, target) = self.called(gateway.policy().site.public().authority())?;
        let (headers, made_up) = (self.headers(host)?, self.made_up()?);
        let (method, target) = (self.method.as_str(), target.as_bytes());
        let exposed = self.exposed(gateway.policy().exposed)?;
        let certificate = &*self.certified()?;
        let head = RequestHead {
            exposed,
            certificate,
            at: gateway.clock().now(),
            ..RequestHead::new(method, target, &headers)
        };
        Ok(match made_up {
            Some(identity) => gateway.admit_as(&head, Arc::new(identity), None).await,
            None => gateway.admit(&head, None).await.decision,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_not_be_asked() {
        let ask = |text: &str| serde_json::from_str::<Question>(text).unwrap();
        let rows = [
            (r#"{"method": "GET", "path": "ftp://x/"}"#, BadQuestion::Scheme),
            (r#"{"method": "GET", "path": "https://x"}"#, BadQuestion::NoPath),
            (r#"{"method": "GET", "path": "/", "headers": ["x"]}"#, BadQuestion::Header),
            (r#"{"method": "GET", "path": "/", "token": "a\nb"}"#, BadQuestion::Token),
            (
                r#"{"method": "GET", "path": "/", "token": "a", "scopes": ["org:read"]}"#,
                BadQuestion::TwoCallers,
            ),
            (
                r#"{"method": "GET", "path": "/", "organizations": ["a"]}"#,
                BadQuestion::Organizations,
            ),
        ];
        for (text, wanted) in rows {
            let question = ask(text);
            let seen = question.called("gw").and_then(|(host, _)| question.headers(host));
            assert_eq!(seen.map(|_| ()), Err(wanted), "{text}");
        }
        assert!(ask(r#"{"method": "GET", "path": "/", "scopes": ["a:b"]}"#).made_up().is_err());
        assert!(serde_json::from_str::<Question>(r#"{"method": "GET"}"#).is_err());
        let question = ask(r#"{"method": "GET", "path": "https://x/a/?b"}"#);
        assert_eq!(question.called("gw"), Ok(("x", "/a/?b")));
        assert_eq!(question.target(), "/a/?b");
    }
}
