//! Issuers of JWTs: stores that come before all others, since their tokens are for nobody else.

use std::sync::Arc;
use std::time::Duration;

use http::Uri;

use super::super::super::raw::RawIssuer;
use super::super::super::{Store, StoreKind};
use super::super::Compiler;
use super::UNKNOWN_PER_SECOND;
use crate::policy::credential::MAX_JWT_LEN;
use crate::policy::identity::{IdentityKind, KindSet};
use crate::store::jwt::{
    Algorithms, IssuerSettings, Jwks, JwksAuthorization, KeySource, Refresh, bearer, is_safe,
};
use crate::tls::{Certificates, ClientTls};

/// Where an issuer publishes where its keys are, below its URL.
const DISCOVERY: &str = "/.well-known/openid-configuration";
const SKEW: Duration = Duration::from_secs(30);
const MAX_SKEW: Duration = Duration::from_secs(5 * 60);
const MAX_TOKEN: usize = 8 << 10;
/// For how long keys are used that can't be read again.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);
const ALGORITHMS: &str = "write those that the issuer signs with, such as `RS256` or `ES256`";
const URL: &str = "write an `https://` URL; `http://` is for this machine alone, such as `http://127.0.0.1:8000/keys`";

impl Compiler<'_> {
    pub(in super::super) fn issuers(&mut self, raw: &[RawIssuer]) -> Vec<Store> {
        let mut stores: Vec<Store> = Vec::new();
        let mut named: Vec<&str> = Vec::new();
        for (index, raw) in raw.iter().enumerate() {
            let at = |key: &str| format!("issuer[{index}].{key}");
            let is_in_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            if raw.name.is_empty() || raw.name.len() > 64 || !raw.name.bytes().all(is_in_name) {
                let help = "write letters, digits, `-`, `_` and `.`, at most 64";
                self.problem(at("name"), "is not a name", help);
            }
            if named.contains(&&*raw.name) {
                let help = "give each issuer a `name` of its own, which its callers are known by";
                self.problem(at("name"), format!("`{}` is taken", raw.name.escape_debug()), help);
            }
            named.push(&raw.name);
            let is_same = |store: &Store| match &store.kind {
                StoreKind::Jwt(other) => *other.issuer == *raw.issuer,
                StoreKind::Portcullis(_)
                | StoreKind::Sentry(_)
                | StoreKind::Introspection(_)
                | StoreKind::File(_) => false,
            };
            if stores.iter().any(is_same) {
                let what = format!("`{}` is there twice", raw.issuer.escape_debug());
                self.problem(at("issuer"), what, "put the trust policies of both into one");
            }
            let settings = self.issuer(&format!("issuer[{index}]"), raw);
            let total = raw.unknown_per_second.unwrap_or(UNKNOWN_PER_SECOND);
            let unknown = self.rates(&format!("issuer[{index}]"), total, raw.unknown_per_client);
            let Some(settings) = settings else { continue };
            let credentials = KindSet::EMPTY.with(IdentityKind::UserToken);
            let (name, kind) = (raw.name.clone(), StoreKind::Jwt(Box::new(settings)));
            stores.push(Store { name, kind, credentials, unknown });
        }
        stores
    }

    fn issuer(&mut self, at: &str, raw: &RawIssuer) -> Option<IssuerSettings> {
        let before = self.problems.len();
        let on = |key: &str| format!("{at}.{key}");
        if raw.issuer.is_empty() {
            self.problem(on("issuer"), "is empty", "write `iss` of its tokens");
        }
        if raw.audiences.is_empty() || raw.audiences.iter().any(String::is_empty) {
            let help = "write what the tokens for this gateway have in `aud`, such as its URL";
            self.problem(on("audiences"), "names nobody, so a token for anybody would do", help);
        }
        let algorithms = match Algorithms::named(&raw.algorithms) {
            Ok(algorithms) => Some(algorithms).filter(|algorithms| !algorithms.is_empty()),
            Err(name) => {
                let what = format!("`{}` is not taken", name.escape_debug());
                self.problem(on("algorithms"), what, ALGORITHMS);
                None
            }
        };
        if raw.algorithms.is_empty() {
            self.problem(on("algorithms"), "is empty", ALGORITHMS);
        }
        let clock_skew = raw.clock_skew.map_or(SKEW, |own| own.0);
        if clock_skew > MAX_SKEW {
            self.problem(on("clock_skew"), "is more than 5 minutes", "have the clocks set");
        }
        let size = raw.max_token_size.map_or(MAX_TOKEN as u64, |own| own.0);
        let max_token_size = usize::try_from(size).unwrap_or(usize::MAX);
        if max_token_size > MAX_JWT_LEN || max_token_size == 0 {
            self.problem(on("max_token_size"), "is 0 or more than 16KiB", "write a size between");
        }
        let is_file = raw.jwks_file.is_some();
        let (every, cooldown) = if is_file { (5, 1) } else { (5 * 60, 30) };
        let seconds = Duration::from_secs;
        let refresh = Refresh {
            every: raw.refresh.map_or(seconds(every), |own| own.0),
            cooldown: raw.cooldown.map_or(seconds(cooldown), |own| own.0),
            stale_if_error: raw.stale_if_error.map_or(STALE, |own| own.0),
        };
        let second = seconds(1);
        for (key, short) in
            [("refresh", refresh.every < second), ("cooldown", refresh.cooldown < second)]
        {
            if short {
                let what = "is less than a second, so that the issuer would be flooded";
                self.problem(on(key), what, "write `\"30s\"`");
            }
        }
        let keys = self.keys(at, raw);
        let tls = self.issuer_tls(at, raw);
        if raw.trust.is_empty() {
            let help = "add `[[issuer.trust]]` with `claims` and `scopes`";
            self.problem(on("trust"), "there is none, so every token would be refused", help);
        }
        let trust: Vec<_> = raw.trust.iter().enumerate().collect();
        let trust = trust
            .into_iter()
            .filter_map(|(index, raw)| self.trust(&format!("{at}.trust[{index}]"), raw))
            .collect();
        let (algorithms, keys, tls) = (algorithms?, keys?, tls?);
        (self.problems.len() == before).then(|| IssuerSettings {
            issuer: raw.issuer.as_str().into(),
            audiences: raw.audiences.iter().map(|name| name.as_str().into()).collect(),
            algorithms,
            clock_skew,
            max_token_size,
            keys,
            tls: Arc::new(tls),
            refresh,
            trust,
        })
    }

    /// Where the keys are, and the file read if it is one.
    fn keys(&mut self, at: &str, raw: &RawIssuer) -> Option<KeySource> {
        let on = |key: &str| format!("{at}.{key}");
        if raw.jwks_file.is_some() && raw.jwks_url.is_some() {
            self.problem(on("jwks_file"), "and `jwks_url` are two places", "delete one");
            return None;
        }
        if raw.authorization.is_some() && raw.jwks_url.is_none() {
            let what = "is sent to `jwks_url` alone, and there is none";
            self.problem(on("authorization"), what, "write `jwks_url`, or delete it");
        }
        if let Some(file) = &raw.jwks_file {
            let path = self.folder.join(file);
            let help = "mount the file, or name another";
            match self.source.read(&path) {
                Ok(text) => {
                    let what = format!("`{file}`");
                    let keys = Jwks::read(text.as_bytes()).map_err(|bad| format!("{what} {bad}"));
                    let keys = self.parsed(&on("jwks_file"), keys, "save its keys there")?;
                    if keys.is_empty() {
                        let what = format!("{what} has no key that can be used");
                        self.problem(on("jwks_file"), what, "save the issuer's keys there");
                    }
                }
                Err(error) => {
                    let what = format!("`{file}` can't be read: {error}");
                    self.problem(on("jwks_file"), what, help);
                }
            }
            return Some(KeySource::File(path));
        }
        if raw.jwks_url.is_none() && raw.issuer.is_empty() {
            // That was said already.
            return None;
        }
        let (key, url) = match &raw.jwks_url {
            Some(url) => ("jwks_url", url.clone()),
            None => ("issuer", format!("{}{DISCOVERY}", raw.issuer.trim_end_matches('/'))),
        };
        // The document is below the URL of an issuer, which has neither (OpenID Connect Discovery 1.0,
        // section 3).
        if raw.jwks_url.is_none() && raw.issuer.contains(['?', '#']) {
            let what = "has a query or a fragment, so that no document is below it";
            self.problem(on(key), what, "name `jwks_url`, or a `jwks_file`");
            return None;
        }
        let url: Option<Uri> = url.parse().ok().filter(is_safe);
        // It is not repeated: it may have a password.
        let Some(url) = url else {
            let what = "is not a URL that keys may be asked for at";
            self.problem(on(key), what, URL);
            return None;
        };
        if raw.jwks_url.is_none() {
            return Some(KeySource::Discovery(url));
        }
        let authorization = match &raw.authorization {
            None => None,
            Some(secret) => {
                let token = self.secret(&on("authorization"), secret)?;
                let fixed = bearer(&token).map(JwksAuthorization::Fixed);
                let file = secret.file.as_ref();
                file.map(|file| JwksAuthorization::File(self.folder.join(file))).or(fixed)
            }
        };
        Some(KeySource::Url(url, authorization))
    }

    fn issuer_tls(&mut self, at: &str, raw: &RawIssuer) -> Option<ClientTls> {
        let Some(file) = &raw.ca_file else { return Some(ClientTls::default()) };
        let at = format!("{at}.ca_file");
        let text = self.source.read(&self.folder.join(file));
        let text = text.map_err(|error| format!("`{file}` can't be read: {error}"));
        let text = self.parsed(&at, text, "mount the file, or name another")?;
        let read = Certificates::from_pem(&text).map_err(|bad| format!("`{file}` {bad}"));
        let authorities = self.parsed(&at, read, "save the certificates there in PEM")?;
        Some(ClientTls { authorities: Some(authorities), ..ClientTls::default() })
    }
}
