//! Rule files as they are written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toml::Spanned;

use crate::config::schema::{Access, Group, Kind, Method, Place, Scope, Service};
use crate::config::value::{ByteSize, HumanDuration, PointInTime};

/// A rule file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawFile {
    /// What routes ask for.
    #[serde(default)]
    pub(in crate::config) rule: Vec<RawRule>,
    /// Routes of earlier files that are closed.
    #[serde(default)]
    pub(in crate::config) remove: Vec<RawRemoval>,
}

/// What some methods of a route ask for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawRule {
    /// `GET` (and with it `HEAD`), `POST`, `PUT`, `PATCH`, `DELETE`.
    #[schemars(with = "Vec<Method>")]
    pub(in crate::config) methods: Vec<String>,
    /// A path template: `{name}` is one segment, `{name:digits}` one of ASCII digits, `{name:path}` all
    /// that is left; a trailing slash counts, and the most specific path wins.
    #[schemars(with = "String")]
    pub(in crate::config) path: Spanned<String>,
    /// More templates of the same route.
    #[serde(default)]
    pub(in crate::config) aliases: Vec<String>,
    /// Instead of `scopes`: `public` needs no credential, `authenticated` a valid one, `project_key` that
    /// of the project in the path, `not_exposed` lets nobody through. `pass` leaves credentials to who
    /// is behind.
    #[schemars(with = "Option<Access>")]
    pub(in crate::config) access: Option<String>,
    /// Scopes of which one is needed; instead of `access`.
    #[schemars(with = "Option<Vec<Scope>>")]
    pub(in crate::config) scopes: Option<Vec<String>>,
    /// Kinds of credential; by default `user_token`, `org_token`, `api_key`.
    #[schemars(with = "Option<Vec<Kind>>")]
    pub(in crate::config) credentials: Option<Vec<String>>,
    /// Whether the upstream's credential may stand in for a token that the gateway issued: not where
    /// credentials or members are made or shown.
    #[serde(default = "yes")]
    pub(in crate::config) exchange: bool,
    /// How long the upstream may be silent, and the client not read; by default its `timeout`.
    pub(in crate::config) timeout: Option<HumanDuration>,
    /// The largest request body; by default the upstream's `max_body`.
    pub(in crate::config) max_body: Option<ByteSize>,
    /// What a listener must expose for it; by default `api`.
    #[schemars(with = "Option<Group>")]
    pub(in crate::config) expose: Option<String>,
    /// Where it goes: `web`, `relay` or `assets`; by default `web`.
    #[schemars(with = "Option<Service>")]
    pub(in crate::config) upstream: Option<String>,
    /// Whether a browser session of Sentry's gets through, judged by Sentry, on a listener that exposes
    /// `ui`; even where `access` lets nobody else through.
    #[serde(default)]
    pub(in crate::config) session: bool,
    /// Whether the connection may become a WebSocket; no other protocol is upgraded to. One that is open is
    /// not cut off when its credential is revoked or expires.
    #[serde(default)]
    pub(in crate::config) websocket: bool,
    /// Which URLs in the JSON answer are rewritten to the address that the client called.
    pub(in crate::config) rewrite: Option<RawRewrite>,
    /// Where requests name the projects that they are about, besides `{project_…}` in the path: `query`
    /// (`project`), `search` (`query=id:<id>`), `body` (`projects`, `project`), `release` (`{version}` in the
    /// path), `new_release` (`version` in the body), `issue` (`{issue_id}` in the path). Empty where
    /// nothing is about a project. Tokens that are bound to projects are refused where nothing says it.
    #[schemars(with = "Option<Vec<Place>>")]
    pub(in crate::config) projects: Option<Vec<String>>,
    /// Whether a `project`, or an `id:` of the search, that is missing in the query is added for tokens that
    /// are bound to projects; otherwise they are refused.
    #[serde(default)]
    pub(in crate::config) add_project: bool,
    /// Whether tokens that are bound to projects may get through at all: not where a request for one
    /// reaches others, in a way that its path does not show.
    #[serde(default = "yes")]
    pub(in crate::config) bound: bool,
    /// The first version of Sentry that the rule is for, such as `26.8`; by default all.
    pub(in crate::config) since: Option<String>,
    /// The first version of Sentry that it is not for any more.
    pub(in crate::config) until: Option<String>,
    /// Until when, in UTC, the rule is in shadow: what it would refuse is let through if the rules without
    /// it let it through, and told. From then on it is in force. At most 90 days ahead.
    pub(in crate::config) shadow_until: Option<PointInTime>,
    /// Replaces the rules of earlier files for these methods of this route.
    #[serde(default, rename = "override")]
    pub(in crate::config) overrides: bool,
}

fn yes() -> bool {
    true
}

/// The URLs in a JSON answer.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawRewrite {
    /// JSON Pointers; `*` is each element or member: `/regions/*/url`.
    pub(in crate::config) fields: Vec<String>,
    /// The largest answer that is read for it.
    #[serde(default = "eight_mib")]
    pub(in crate::config) max_size: ByteSize,
    /// What becomes of an answer that can't be rewritten: `refuse` makes it a 502, because it could send
    /// the client and its token past the gateway; `pass` lets it through as it is.
    #[serde(default)]
    pub(in crate::config) on_failure: RawOnFailure,
}

fn eight_mib() -> ByteSize {
    ByteSize(8 << 20)
}

/// What becomes of an answer that can't be rewritten.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum RawOnFailure {
    /// A 502.
    #[default]
    Refuse,
    /// It goes on.
    Pass,
}

/// Closes routes of earlier files.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawRemoval {
    /// The path, as the rule of the earlier file has it.
    #[schemars(with = "String")]
    pub(in crate::config) path: Spanned<String>,
    /// Which of its methods; by default all.
    #[schemars(with = "Option<Vec<Method>>")]
    pub(in crate::config) methods: Option<Vec<String>>,
}
