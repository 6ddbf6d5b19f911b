//! Stores that ask whoever issued a credential.

use http::uri::Scheme;
use http::{HeaderValue, Uri};

use super::super::super::raw::RawStore;
use super::super::super::value::{SecretRef, TextOrSecret};
use super::super::super::{Introspection, Problem, StoreKind};
use super::super::Compiler;
use crate::store::introspection::Protocol;

/// How an endpoint is named.
const HELP: &str = "write the whole URL, such as `http://web:9000/api/0/` of a Sentry, or `https://login.example.com/oauth2/introspect`";

impl Compiler<'_> {
    pub(super) fn introspection(&mut self, index: usize, raw: &RawStore) -> Option<StoreKind> {
        self.only(index, raw, &["url", "protocol", "credential"]);
        let at = |key: &str| format!("store[{index}].{key}");
        let credential = match &raw.credential {
            Some(secret) => Some(self.authorization(&at("credential"), secret)?),
            None => None,
        };
        let protocol = match (raw.protocol.as_deref(), credential) {
            (Some("sentry") | None, None) => Protocol::Sentry,
            (Some("sentry") | None, Some(_)) => {
                let what =
                    "means nothing for `protocol = \"sentry\"`, which sends the caller's own";
                self.problem(at("credential"), what, "delete it");
                return None;
            }
            (Some("rfc7662"), credential) => Protocol::Rfc7662(credential),
            (Some(other), _) => {
                let what = format!("`{other}` is not a protocol");
                self.problem(at("protocol"), what, "write `sentry` or `rfc7662`");
                return None;
            }
        };
        let Some(TextOrSecret::Text(url)) = &raw.url else {
            self.problem(at("url"), "is missing, or not written as it is", HELP);
            return None;
        };
        // It is not repeated: it may have a password.
        let Some(url) = endpoint(url) else {
            self.problem(at("url"), "is not the URL of an endpoint", HELP);
            return None;
        };
        if url.scheme() == Some(&Scheme::HTTP) && matches!(protocol, Protocol::Rfc7662(_)) {
            let what = "is asked without TLS, so that every token is sent in the clear";
            self.notes.push(Problem::new(at("url"), what, "write `https://`"));
        }
        Some(StoreKind::Introspection(Box::new(Introspection { url, protocol })))
    }

    fn authorization(&mut self, at: &str, secret: &SecretRef) -> Option<HeaderValue> {
        let text = self.secret(at, secret)?;
        let value = Protocol::authorization(&text).map_err(|_| "can't be sent in a header");
        self.parsed(at, value, "copy it again")
    }
}

/// The URL of an endpoint, which has neither a password nor a query.
pub(in super::super) fn endpoint(url: &str) -> Option<Uri> {
    let url: Uri = url.parse().ok()?;
    let known = [Scheme::HTTP, Scheme::HTTPS].iter().any(|scheme| url.scheme() == Some(scheme));
    let plain = url.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    let named = url.host().is_some_and(|host| !host.is_empty());
    (known && plain && named && url.query().is_none()).then_some(url)
}
