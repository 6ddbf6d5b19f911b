//! Profiles and rule groups as they are written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::schema::Scope;
use crate::config::value::SecretRef;

/// The file of the profiles that come with the gateway.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawProfiles {
    #[serde(default)]
    pub(in crate::config) profile: BTreeMap<String, RawProfile>,
    #[serde(default)]
    pub(in crate::config) group: BTreeMap<String, RawGroup>,
}

/// What a kind of user needs: tokens are issued for it with `portcullis token create --profile NAME`. A
/// profile of the name of one that comes with the gateway replaces of that what it writes.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawProfile {
    /// What its tokens may do at most, whatever they hold; and what they hold where nothing else is asked
    /// for.
    #[schemars(with = "Option<Vec<Scope>>")]
    pub(in crate::config) scopes: Option<Vec<String>>,
    /// The rules that its tokens get through: `"GET /api/0/…"` with the path as the rule has it, several
    /// methods with commas, `*` for all. By default every rule.
    pub(in crate::config) rules: Option<Vec<String>>,
    /// Rule groups that its tokens get through besides.
    pub(in crate::config) groups: Option<Vec<String>>,
    /// Whether its tokens are refused for methods that are not safe.
    pub(in crate::config) read_only: Option<bool>,
    /// What stands in for its tokens upstream, so that Sentry's own scopes bind them too; by default
    /// `upstream.web.credential`.
    pub(in crate::config) credential: Option<SecretRef>,
}

/// A named set of rules, for tokens (`portcullis token create --group NAME`) and profiles.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawGroup {
    /// The rules, as a profile has them.
    pub(in crate::config) rules: Vec<String>,
}
