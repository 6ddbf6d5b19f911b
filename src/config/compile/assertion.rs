//! How assertions are made, and with which keys.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use super::Compiler;
use crate::assertion::{Algorithm, AssertionSettings, BadKey, KeySource, PublicKey, SigningKey};
use crate::config::raw::{RawAlgorithm, RawAssertion, RawUpstreams};
use crate::forward::may_assert;
use crate::policy::exposure::Service;

/// Shorter, and clocks that differ a little would refuse it; longer, and it is no assertion of a request.
const TTL: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(300)];
/// So that whoever keeps the published keys for as long as they may has the next one before it signs.
const MIN_ROTATION: Duration = Duration::from_secs(600);
const ROTATION: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest issuer and audience, in bytes.
const MAX_NAME: usize = 256;

impl Compiler<'_> {
    /// How assertions are made for `upstreams`; who makes them is called `public_url`.
    pub(super) fn assertion(
        &mut self,
        raw: &RawAssertion,
        public_url: &str,
        upstreams: &RawUpstreams,
    ) -> Option<AssertionSettings> {
        let header = self.assertion_header(&raw.header);
        let issuer = raw.issuer.as_deref().unwrap_or(public_url);
        for (name, value) in [("issuer", Some(issuer)), ("audience", raw.audience.as_deref())] {
            if value.is_some_and(|value| value.is_empty() || value.len() > MAX_NAME) {
                let help = format!("write 1 to {MAX_NAME} bytes, or delete the line");
                self.problem(format!("assertion.{name}"), "is empty or too long", help);
            }
        }
        let ttl = raw.ttl.0;
        if !(TTL[0]..=TTL[1]).contains(&ttl) {
            let what = format!("`{}` is too short or too long", humantime::format_duration(ttl));
            self.problem("assertion.ttl", what, "write a time from `\"5s\"` to `\"5m\"`");
        }
        let services = self.assertion_upstreams(&raw.upstreams, upstreams);
        let keys = match raw.key.as_deref() {
            Some(path) => self.given_keys(path, raw),
            None => self.made_keys(raw),
        };
        Some(AssertionSettings {
            header: header?,
            issuer: issuer.into(),
            audience: raw.audience.as_deref().map(Into::into),
            ttl,
            upstreams: services,
            keys: keys?,
        })
    }

    fn assertion_header(&mut self, text: &str) -> Option<HeaderName> {
        let name = HeaderName::try_from(text).ok().filter(may_assert);
        if name.is_none() {
            let what =
                format!("`{}` is no header that only the gateway may send", text.escape_debug());
            let help = "write a name that begins with `X-Portcullis-`, `X-Gateway-`, `X-Auth-Request-` \
                        or `X-Authenticated-` and is no identity header";
            self.problem("assertion.header", what, help);
        }
        name
    }

    fn assertion_upstreams(&mut self, names: &[String], there: &RawUpstreams) -> Vec<Service> {
        if names.is_empty() {
            let help = "write `[\"web\"]`, or delete the table";
            self.problem("assertion.upstreams", "is empty, so nobody gets one", help);
        }
        let mut services = Vec::new();
        for (index, name) in names.iter().enumerate() {
            let at = format!("assertion.upstreams[{index}]");
            let service = Service::ALL.iter().copied().find(|service| service.as_str() == name);
            let is_there = service.is_some_and(|service| match service {
                Service::Web => true,
                Service::Relay => there.relay.is_some(),
                Service::Assets => there.assets.is_some(),
            });
            if !is_there {
                let help = "write the names of upstreams of this config";
                self.problem(at, format!("`{name}` is no upstream that there is"), help);
            }
            services.extend(service);
        }
        services
    }

    fn given_keys(&mut self, path: &str, raw: &RawAssertion) -> Option<KeySource> {
        let key = self.key_file("assertion.key", path, SigningKey::from_pem);
        let mut others = Vec::new();
        for (index, path) in raw.public_keys.iter().enumerate() {
            let at = format!("assertion.public_keys[{index}]");
            others.extend(self.key_file(&at, path, PublicKey::from_pem).into_iter().flatten());
        }
        if raw.rotate_every.is_some() {
            let help = "delete it: a new file in place of `key` is taken up within seconds";
            self.problem("assertion.rotate_every", "is for keys that the gateway makes", help);
        }
        if let (Some(key), Some(asked)) = (&key, raw.algorithm)
            && key.algorithm() != asked.known()
        {
            let what = format!("is `{}`, and the key is for `{}`", asked.known(), key.algorithm());
            self.problem("assertion.algorithm", what, "delete it, or name another key");
        }
        key.map(|key| KeySource::Given(Arc::new(key), others))
    }

    fn made_keys(&mut self, raw: &RawAssertion) -> Option<KeySource> {
        if !raw.public_keys.is_empty() {
            let help = "add `key = \"path\"`, or delete it";
            let what = "is set, and there is no `key` that they belong to";
            self.problem("assertion.public_keys", what, help);
        }
        let every = raw.rotate_every.map_or(ROTATION, |every| every.0);
        if every < MIN_ROTATION {
            let what = format!("`{}` is too short", humantime::format_duration(every));
            self.problem("assertion.rotate_every", what, "write at least `\"10m\"`");
        }
        let algorithm = raw.algorithm.map_or(Algorithm::Es256, RawAlgorithm::known);
        if algorithm == Algorithm::Rs256 {
            let help = "add `key = \"path\"` (`openssl genpkey -algorithm RSA -pkeyopt \
                        rsa_keygen_bits:2048`), or write `ES256` or `EdDSA`";
            self.problem("assertion.algorithm", "`RS256` has no key, and none is made", help);
            return None;
        }
        Some(KeySource::Made(algorithm, every))
    }

    /// What a file of keys at `path` holds, or a problem. What is in it is not repeated.
    fn key_file<T>(
        &mut self,
        at: &str,
        path: &str,
        read: fn(&str) -> Result<T, BadKey>,
    ) -> Option<T> {
        let text = self.source.read(&self.folder.join(path));
        let what = |error| format!("`{path}` can't be read: {error}");
        let text = self.parsed(at, text.map_err(what), "mount the file, or name another")?;
        let help = |bad| match bad {
            BadKey::NoPrivate => {
                "write it anew: `openssl pkcs8 -topk8 -nocrypt -in old.key -out new.key`"
            }
            BadKey::NoPublic | BadKey::Private => {
                "write the public half: `openssl pkey -in next.key -pubout -out next.pub`"
            }
            BadKey::Kind => {
                "make one: `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out new.key`"
            }
        };
        match read(&text) {
            Ok(read) => Some(read),
            Err(bad) => {
                self.problem(at, format!("`{path}` {bad}"), help(bad));
                None
            }
        }
    }
}

impl RawAlgorithm {
    const fn known(self) -> Algorithm {
        match self {
            RawAlgorithm::Es256 => Algorithm::Es256,
            RawAlgorithm::EdDsa => Algorithm::EdDsa,
            RawAlgorithm::Rs256 => Algorithm::Rs256,
        }
    }
}
