//! Where the gateway's own errors are reported.

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::value::SecretRef;

/// A project of a Sentry that is told of the gateway's own errors: what the log has as `ERROR`, without
/// anything of a request.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct RawErrors {
    /// The DSN of the project (its Client Keys). Better not through this gateway: while it can't reach Sentry,
    /// nobody would hear of it.
    pub(in super::super) dsn: SecretRef,
    /// The name of this installation among others.
    #[serde(default = "production")]
    pub(in super::super) environment: String,
}

fn production() -> String {
    "production".to_owned()
}
