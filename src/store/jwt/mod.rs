//! JWTs as Bearer tokens (RFC 7519): identities that somebody else vouches for, an issuer each.
//!
//! Who may do what is for the gateway's own trust policies to say: an issuer says who it is, and the
//! first policy whose conditions hold says what that is given. A token is verified on a miss of the cache
//! alone.
//!
//! **Invariants:** nothing of a token is believed before its signature was verified with a key of its own
//! issuer, by an algorithm that the config names for it; a token of an issuer is for its store alone, and
//! never forwarded; a key that is not known makes no more than one question in a cooldown.

mod jwk;
mod jws;
mod keys;
mod source;
#[cfg(test)]
mod tests;
mod trust;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jsonwebtoken::Algorithm;
use serde_json::Value;
use tokio::runtime::Handle;

use super::cache::Identities;
use super::{Found, Observer, Shutdown, StoreError, TokenStore, every};
use crate::clock::{Clock, Timestamp};
use crate::policy::credential::{self, Digest, Presented, Scheme};
use crate::policy::escaped::escaped_within;
use crate::policy::identity::{Identity, IdentityKind, Issuer, KindSet, State};
use crate::policy::issuers::{TrustedIssuer, TrustedIssuers};
use crate::tls::ClientTls;
use jws::{Claims, Unverified};
use keys::{Keys, Told};
use source::Reader;

pub use jwk::{BadJwks, Jwks};
pub use keys::Refresh;
pub use source::{JwksAuthorization, KeySource, bearer, is_safe};
pub use trust::{BadPattern, Condition, Pattern, Trust, Wanted};

/// How often it is looked whether keys have to be read again.
const POLL: Duration = Duration::from_secs(1);
/// The longest name that is shown of somebody, after that of the issuer.
const MAX_SUBJECT: usize = 128;

/// An issuer that is trusted, and how far.
#[derive(Clone, Debug, PartialEq)]
pub struct IssuerSettings {
    /// `iss`, compared byte for byte.
    pub issuer: Box<str>,
    /// The gateway's names there: one of them must be in `aud`.
    pub audiences: Vec<Box<str>>,
    /// What a token may be signed with. None of them is of a shared key.
    pub algorithms: Algorithms,
    /// How far the clocks may differ.
    pub clock_skew: Duration,
    /// The longest token that is verified, in bytes.
    pub max_token_size: usize,
    /// Where its keys are.
    pub keys: KeySource,
    /// Whose certificates are believed when they are asked for.
    pub tls: Arc<ClientTls>,
    /// When they are read.
    pub refresh: Refresh,
    /// What is given, by the first of these whose conditions hold.
    pub trust: Vec<Trust>,
}

impl IssuerSettings {
    /// What is told of it under this name. Whatever decides on who is let in with what is in the hash, by how
    /// it prints.
    pub fn trusted(&self, name: &str) -> TrustedIssuer {
        let Self { issuer, audiences, algorithms, clock_skew, max_token_size, trust, .. } = self;
        let decides = (issuer, audiences, algorithms, clock_skew, max_token_size, trust);
        let hash = Digest::of(&format!("{decides:?}")).fingerprint().to_string().into();
        TrustedIssuer { name: name.into(), issuer: issuer.clone(), hash }
    }
}

/// What tokens may be signed with (RFC 7518, section 3.1; RFC 8037).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Algorithms(Vec<Algorithm>);

impl Algorithms {
    /// Those of these names.
    ///
    /// # Errors
    /// The first name that is of none with a public key: `none` and `HS256` are not taken from anybody.
    pub fn named(names: &[String]) -> Result<Self, &str> {
        let known = |name| {
            let algorithm = str::parse(name).ok().filter(|own| jwk::is_asymmetric(*own));
            algorithm.ok_or(name)
        };
        names.iter().map(String::as_str).map(known).collect::<Result<_, _>>().map(Self)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A store that knows whom one issuer vouches for.
pub struct JwtStore {
    name: Box<str>,
    settings: IssuerSettings,
    /// It alone.
    issuer: TrustedIssuers,
    keys: Arc<Keys>,
    clock: Arc<dyn Clock>,
    /// Where keys are asked for: a request that gives up must not break that off.
    runtime: Handle,
}

impl JwtStore {
    /// A store whose keys are asked for in the runtime that this is called in. They are not yet.
    ///
    /// # Errors
    /// When the certificates of the system can't be read, and the issuer needs them.
    pub fn new(
        name: &str,
        settings: IssuerSettings,
        clock: Arc<dyn Clock>,
    ) -> std::io::Result<Self> {
        let reader = Reader::new(&settings.issuer, settings.keys.clone(), &settings.tls)?;
        let keys = Keys::new(name, reader, settings.refresh, Arc::clone(&clock));
        let issuer = [settings.trusted(name)].into_iter().collect();
        Ok(Self { name: name.into(), settings, issuer, keys, clock, runtime: Handle::current() })
    }

    /// Reads keys ahead of who needs them, and forgets whom a key that is gone vouched for, until
    /// `shutdown` turns true or its sender is gone. `store` is its place in the configured order.
    pub async fn watch(
        self: Arc<Self>,
        store: usize,
        identities: Arc<Identities>,
        observer: Arc<dyn Observer>,
        mut shutdown: Shutdown,
    ) {
        let clock = Arc::clone(&self.clock);
        let refresh = self.settings.refresh.every;
        self.keys.tell(Arc::new(Watched { store, observer, clock, refresh }));
        let mut tick = every(POLL);
        loop {
            let lost = tokio::select! {
                _ = tick.tick() => false,
                () = self.keys.lost.notified() => true,
                _ = shutdown.wait_for(|stop| *stop) => return,
            };
            if lost {
                let forgotten = identities.purge_store(&self.name).await.unwrap_or_default();
                tracing::info!(store = &*self.name, forgotten, "a key of the issuer is gone");
            } else if self.keys.is_due() && !self.keys.rests() {
                Arc::clone(&self.keys).read(self.clock.instant()).await;
            }
        }
    }

    /// The token, if it says that it is of this issuer.
    fn own<'a>(&self, presented: Presented<'a>) -> Option<&'a str> {
        let token = credential::bearer_token(presented.authorization?)?;
        let is_bearer = presented.credential.scheme == Scheme::Bearer;
        if !is_bearer || !credential::has_form_of_jwt(token) {
            return None;
        }
        let claims = jws::peeked(token)?;
        self.is_issuer(&claims).then_some(token)
    }

    /// A token in which everything but the signature may be good, and when it is.
    fn read<'a>(&self, token: &'a str) -> Option<(Unverified<'a>, Times)> {
        let token = Some(token).filter(|token| token.len() <= self.settings.max_token_size)?;
        let token = Unverified::read(token)?;
        let times = Times::of(&token.claims, self.clock.now(), self.settings.clock_skew)?;
        let fits = self.settings.algorithms.0.contains(&token.algorithm)
            && self.is_issuer(&token.claims)
            && self.is_for_us(&token.claims)
            && Self::is_named(&token.claims);
        fits.then_some((token, times))
    }

    fn is_issuer(&self, claims: &Claims) -> bool {
        claims.get("iss").and_then(Value::as_str) == Some(&*self.settings.issuer)
    }

    /// Whether a token is for the gateway (RFC 7519, section 4.1.3).
    fn is_for_us(&self, claims: &Claims) -> bool {
        let is_ours = |name: &str| self.settings.audiences.iter().any(|own| **own == *name);
        match claims.get("aud") {
            Some(Value::String(name)) => is_ours(name),
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).any(is_ours),
            Some(_) | None => false,
        }
    }

    /// Whether its subject is a text, if it has one (RFC 7519, section 4.1.2): of anything else two could be
    /// taken for one.
    fn is_named(claims: &Claims) -> bool {
        claims.get("sub").is_none_or(Value::is_string)
    }

    /// Whether one of `keys` signed it; `None` if it names a key that is not among them.
    fn is_signed(&self, token: &Unverified<'_>, keys: &Jwks) -> Option<bool> {
        let fitting = keys.fitting(token.kid.as_deref(), token.algorithm);
        if fitting.is_empty() {
            return None;
        }
        let (message, signature) = (token.message, &token.signature);
        Some(fitting.iter().any(|key| key.verifies(token.algorithm, message, signature)))
    }

    /// The same, with the keys read again if that may help.
    async fn verify(&self, token: &Unverified<'_>) -> Result<bool, StoreError> {
        let wanted = self.clock.instant();
        let keys = self.keys.usable();
        if let Some(signed) = keys.as_ref().and_then(|keys| self.is_signed(token, keys)) {
            return Ok(signed);
        }
        if !self.keys.rests() {
            let read = self.runtime.spawn(Arc::clone(&self.keys).read(wanted));
            read.await.map_err(StoreError::unavailable)?;
        }
        let Some(keys) = self.keys.usable() else {
            self.keys.certain()?;
            return Err(StoreError::unavailable("the keys of the issuer are not read yet"));
        };
        match self.is_signed(token, &keys) {
            Some(signed) => Ok(signed),
            None => self.keys.certain().map(|()| false),
        }
    }

    /// Who a verified token is of.
    fn identity(&self, claims: &Claims, times: Times) -> Identity {
        let subject = claims.get("sub").and_then(Value::as_str).unwrap_or_default();
        let subject = escaped_within(subject, MAX_SUBJECT);
        let trust = self.settings.trust.iter().find(|trust| trust.matches(claims));
        let state = match trust {
            _ if times.is_early => State::NotYetValid,
            Some(_) => State::Active,
            None => State::Untrusted,
        };
        Identity {
            id: format!("{}:{subject}", self.name).into(),
            kind: IdentityKind::UserToken,
            issuer: Issuer::Gateway,
            state,
            scopes: trust.map(|trust| trust.granted(claims)).unwrap_or_default(),
            bounds: trust.map(Trust::bounds).unwrap_or_default(),
            expires_at: Some(times.expires_at).into(),
        }
    }
}

/// When a token is good, with the difference of the clocks in it.
#[derive(Clone, Copy)]
struct Times {
    expires_at: Timestamp,
    is_early: bool,
}

impl Times {
    /// `None` where there is no `exp`, or something that is no time (RFC 7519, section 2: a number).
    fn of(claims: &Claims, now: Timestamp, skew: Duration) -> Option<Self> {
        let expires_at = time(claims.get("exp")?)?.after(skew);
        let is_early = match claims.get("nbf") {
            Some(from) => time(from)? > now.after(skew),
            None => false,
        };
        Some(Self { expires_at, is_early })
    }
}

/// A number of seconds, of which parts do not count.
fn time(value: &Value) -> Option<Timestamp> {
    let seconds = value.as_f64().filter(|seconds| (0.0..1e12).contains(seconds))?;
    Some(Timestamp::from_millis(seconds as u64 * 1000))
}

#[async_trait]
impl TokenStore for JwtStore {
    fn name(&self) -> &str {
        &self.name
    }

    fn takes(&self) -> KindSet {
        KindSet::EMPTY.with(IdentityKind::UserToken)
    }

    /// Where all but the signature may be good: what is refused anyway is no guess.
    fn concerns(&self, presented: Presented<'_>) -> bool {
        self.own(presented).and_then(|token| self.read(token)).is_some_and(|(token, _)| {
            let fits =
                |keys: &Jwks| !keys.fitting(token.kid.as_deref(), token.algorithm).is_empty();
            // Keys may have to be read for it.
            let is_certain = self.keys.rests() && self.keys.certain().is_ok();
            !is_certain || self.keys.usable().is_none_or(|keys| fits(&keys))
        })
    }

    fn asks_nobody(&self) -> bool {
        true
    }

    /// However it comes: another store could show a token of the issuer's to somebody.
    fn owns(&self, presented: Presented<'_>) -> bool {
        presented.authorization.is_some_and(|value| self.issuer.vouch_in(value.as_bytes()))
    }

    /// What a policy gave before a restart it may give no more.
    fn is_kept_over_restarts(&self) -> bool {
        false
    }

    async fn find(&self, presented: Presented<'_>) -> Result<Option<Found>, StoreError> {
        if presented.authorization.is_none() {
            return Err(StoreError::unavailable("the credential is not at hand"));
        }
        // What would be refused anyway makes nobody ask for keys.
        let Some((token, times)) = self.own(presented).and_then(|token| self.read(token)) else {
            return Ok(None);
        };
        if !self.verify(&token).await? {
            return Ok(None);
        }
        Ok(Some(Found { identity: self.identity(&token.claims, times), usage: None }))
    }
}

/// Tells the observer of the stores.
struct Watched {
    store: usize,
    observer: Arc<dyn Observer>,
    clock: Arc<dyn Clock>,
    /// How old keys become before they are read again.
    refresh: Duration,
}

impl Told for Watched {
    fn refreshed(&self, ok: bool) {
        self.observer.watched(self.store, ok);
        self.observer.keys_read(self.store, ok.then(|| self.clock.now()), self.refresh);
    }
}

impl fmt::Debug for JwtStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let issuer = &self.settings.issuer;
        f.debug_struct("JwtStore").field("issuer", issuer).finish_non_exhaustive()
    }
}
