//! What upstreams are told of the decision, signed.

use schemars::JsonSchema;
use serde::Deserialize;

use super::seconds;
use crate::config::schema::Service;
use crate::config::value::HumanDuration;

/// Assertions: a short-lived JWT with each request that is let through, by which an upstream can verify that
/// this very request was. The admin listener publishes the keys at `/.well-known/jwks.json`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawAssertion {
    /// The header that it is sent in: one that begins with `X-Portcullis-`, `X-Gateway-`,
    /// `X-Auth-Request-` or `X-Authenticated-`, which nobody else may send.
    #[serde(default = "header")]
    pub(in crate::config) header: String,
    /// `iss`; by default `public_url`.
    pub(in crate::config) issuer: Option<String>,
    /// `aud`; by default the name of the upstream: `web`, `relay` or `assets`.
    pub(in crate::config) audience: Option<String>,
    /// How long one is good, `"5s"` to `"5m"`.
    #[serde(default = "seconds::<30>")]
    pub(in crate::config) ttl: HumanDuration,
    /// The upstreams that get one.
    #[schemars(with = "Vec<Service>")]
    #[serde(default = "web")]
    pub(in crate::config) upstreams: Vec<String>,
    /// How it is signed; by default as `key` is made for, and `ES256` without one. `RS256` needs a `key`.
    pub(in crate::config) algorithm: Option<RawAlgorithm>,
    /// A PEM file with the private key that signs, in PKCS #8, not encrypted: of P-256 (`ES256`), of Ed25519
    /// (`EdDSA`), or RSA (`RS256`). By default keys are made in memory, and every replica has its own.
    pub(in crate::config) key: Option<String>,
    /// With `key`: PEM files with public keys that are published beside its own, of the key that signs next
    /// and of the one that signed before.
    #[serde(default)]
    pub(in crate::config) public_keys: Vec<String>,
    /// Without `key`: how long one signs, at least `"10m"`; by default `"1day"`. The next one is published for
    /// as long before it signs.
    pub(in crate::config) rotate_every: Option<HumanDuration>,
}

/// How an assertion is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub(in crate::config) enum RawAlgorithm {
    /// ECDSA with P-256 and SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
    /// RSA with SHA-256.
    #[serde(rename = "RS256")]
    Rs256,
}

fn header() -> String {
    "X-Portcullis-Assertion".to_owned()
}

fn web() -> Vec<String> {
    vec!["web".to_owned()]
}
