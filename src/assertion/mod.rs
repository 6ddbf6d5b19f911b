//! What tells the upstream that a request was authorised: a short-lived JWT (RFC 7519) that is signed
//! for this very request, and the keys by which it is verified (a JWK set, RFC 7517).
//!
//! **Invariant:** a private key leaves this module in no form: it is not serialised and its `Debug`
//! prints nothing. What is asserted comes from a decision and from what is forwarded, never from what a
//! client says of itself.

mod claims;
mod key;
mod keys;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use jsonwebtoken::jwk::JwkSet;

use crate::clock::Timestamp;
use crate::policy::exposure::Service;

pub use claims::Asserted;
use claims::Claims;
pub use key::{Algorithm, BadKey, PublicKey, SigningKey, TYPE, Unsigned};
use keys::{Keys, Ring};

/// How assertions are made, as the config has it.
#[derive(Debug)]
pub struct AssertionSettings {
    /// The header that they are sent in.
    pub header: HeaderName,
    /// `iss`.
    pub issuer: Box<str>,
    /// `aud`; the name of the upstream where there is none.
    pub audience: Option<Box<str>>,
    /// How long one is good.
    pub ttl: Duration,
    /// The upstreams that get one.
    pub upstreams: Vec<Service>,
    /// What signs.
    pub keys: KeySource,
}

/// What signs assertions.
#[derive(Debug)]
pub enum KeySource {
    /// A key of the operator's, and public ones that are published beside it: of the key that comes
    /// next, and of the one before.
    Given(Arc<SigningKey>, Vec<PublicKey>),
    /// Keys that are made in memory, of which the next one takes over when this time is over.
    Made(Algorithm, Duration),
}

/// Makes assertions.
#[derive(Debug)]
pub struct Assertion {
    header: HeaderName,
    issuer: Box<str>,
    audience: Option<Box<str>>,
    ttl: Duration,
    upstreams: Vec<Service>,
    /// How long a key signs that was made here.
    every: Option<Duration>,
    keys: Arc<Keys>,
    /// What the keys become when this is put in force; `None` when they stay as they are.
    next: Option<Ring>,
}

impl Assertion {
    /// How long a verifier may keep the published keys. The next one is published for longer than that
    /// before it signs.
    pub const MAX_AGE: Duration = Duration::from_secs(300);

    /// Makes them as `settings` have it. What was made here `before` goes on to sign; whatever else
    /// signed stays published until what it signed has expired.
    ///
    /// # Errors
    /// When the machine has no randomness to make keys of.
    pub fn new(
        settings: AssertionSettings,
        before: Option<&Self>,
        now: Timestamp,
    ) -> Result<Self, Unsigned> {
        let AssertionSettings { header, issuer, audience, ttl, upstreams, keys } = settings;
        let before = before.map(|before| &before.keys);
        let every = match &keys {
            KeySource::Given(..) => None,
            KeySource::Made(_, every) => Some(*every),
        };
        let kept = match (&keys, before) {
            (KeySource::Made(algorithm, _), Some(before)) => before.were_made(*algorithm),
            (KeySource::Made(..), None) | (KeySource::Given(..), _) => false,
        };
        let ring = match keys {
            KeySource::Made(..) if kept => None,
            KeySource::Made(algorithm, _) => Some(Ring::made(algorithm, now)?),
            KeySource::Given(key, others) => Some(Ring::given(key, others, now)),
        };
        let (keys, next) = match (before, ring) {
            (Some(before), ring) => (Arc::clone(before), ring),
            (None, Some(ring)) => (Arc::new(Keys::new(ring)), None),
            // Nothing is kept of nothing.
            (None, None) => return Err(Unsigned),
        };
        Ok(Self { header, issuer, audience, ttl, upstreams, every, keys, next })
    }

    /// It is in force from now on: its keys sign, for requests that were begun before too.
    pub fn activate(&self, now: Timestamp) {
        if let Some(next) = &self.next {
            self.keys.replace(next, now);
        }
    }

    /// The header that assertions are sent in.
    pub const fn header(&self) -> &HeaderName {
        &self.header
    }

    /// The upstreams that get them.
    pub fn upstreams(&self) -> &[Service] {
        &self.upstreams
    }

    /// Whether requests to an upstream get one.
    pub fn is_for(&self, service: Service) -> bool {
        self.upstreams.contains(&service)
    }

    /// An assertion of a request. Marked sensitive: it prints nothing.
    ///
    /// # Errors
    /// When it can't be signed. The request must not go on without it then.
    pub fn sign(&self, asserted: &Asserted<'_>, now: Timestamp) -> Result<HeaderValue, Unsigned> {
        let audience = self.audience.as_deref();
        let claims = Claims::of(asserted, &self.issuer, audience, now, self.ttl);
        self.keys.at(now, self.every).current().sign(&claims)
    }

    /// The keys by which assertions are verified.
    pub fn published(&self, now: Timestamp) -> JwkSet {
        self.keys.at(now, self.every).published(now)
    }
}

#[cfg(test)]
mod tests;
