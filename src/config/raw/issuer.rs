//! Issuers of JWTs, as they are written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::value::{ByteSize, HumanDuration, SecretRef};

/// An issuer of JWTs that is trusted.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct RawIssuer {
    /// The name in metrics, logs and messages: letters, digits, `-`, `_` and `.`.
    pub(in super::super) name: String,
    /// `iss` of its tokens, byte for byte.
    pub(in super::super) issuer: String,
    /// The gateway's own names there: a token must have one of them in `aud`.
    pub(in super::super) audiences: Vec<String>,
    /// What its tokens may be signed with: some of `RS256`, `RS384`, `RS512`, `PS256`, `PS384`, `PS512`,
    /// `ES256`, `ES384`, `EdDSA`.
    pub(in super::super) algorithms: Vec<String>,
    /// Where its keys are. By default where `<issuer>/.well-known/openid-configuration` says.
    pub(in super::super) jwks_url: Option<String>,
    /// A file with its keys, read again when it changes.
    pub(in super::super) jwks_file: Option<String>,
    /// A token that the gateway presents to `jwks_url`; from a file it is read anew whenever it is sent.
    pub(in super::super) authorization: Option<SecretRef>,
    /// A PEM file with the certificates that are believed when keys are asked for, instead of those of
    /// the system.
    pub(in super::super) ca_file: Option<String>,
    /// How far the clocks of the issuer and of the gateway may differ; by default 30 s, at most 5 min.
    pub(in super::super) clock_skew: Option<HumanDuration>,
    /// The longest token that is verified; by default 8 KiB, at most 16 KiB.
    pub(in super::super) max_token_size: Option<ByteSize>,
    /// How old keys become before they are read again; by default 5 min, of a file 5 s.
    pub(in super::super) refresh: Option<HumanDuration>,
    /// The least time between two attempts to read keys, whoever asks for one that is not known; by
    /// default 30 s, of a file 1 s.
    pub(in super::super) cooldown: Option<HumanDuration>,
    /// How much longer than `refresh` keys are believed while they can't be read; by default 24 h.
    pub(in super::super) stale_if_error: Option<HumanDuration>,
    /// How often in a second the signature of a token is verified that is not known; by default 1000. What comes
    /// beyond that is answered with 429, but one in a second for each client.
    pub(in super::super) unknown_per_second: Option<u32>,
    /// How many of these are for one client; by default a quarter.
    pub(in super::super) unknown_per_client: Option<u32>,
    /// Trust policies, tried in this order; the first whose claims a token has says what it is given. With
    /// none, a token is refused.
    #[serde(default)]
    pub(in super::super) trust: Vec<RawTrust>,
}

/// What is given to whom an issuer vouches for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct RawTrust {
    /// What must be claimed, all of it: a text (`*` is one character or more up to the next `/` or `:`), a
    /// number, a truth value, a list of these of which one suffices, or a table for what is inside a
    /// claim. The same holds for one member of a claim that is a list of texts.
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub(in super::super) claims: BTreeMap<String, toml::Value>,
    /// The scopes that are given, and those that they imply.
    pub(in super::super) scopes: Vec<String>,
    /// A claim that names some of these scopes, as a text with blanks between or as a list; only what it
    /// names is given then, and nothing if it is not there.
    pub(in super::super) scopes_claim: Option<String>,
    /// The organizations that it reaches, by slug or id; by default all.
    pub(in super::super) organizations: Option<Vec<String>>,
    /// The projects that it reaches, by numeric id; by default all.
    pub(in super::super) projects: Option<Vec<String>>,
    /// Whether it is refused for methods that change something.
    #[serde(default)]
    pub(in super::super) read_only: bool,
    /// The profile that it is for.
    pub(in super::super) profile: Option<String>,
    /// The rule groups that it gets through; by default all.
    pub(in super::super) groups: Option<Vec<String>>,
    /// Where its clients may be; by default anywhere.
    pub(in super::super) networks: Option<Vec<String>>,
}
