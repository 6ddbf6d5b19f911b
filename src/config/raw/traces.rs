//! Where the spans of requests go.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::value::TextOrSecret;

/// An OpenTelemetry collector that is sent spans: OTLP over HTTP, in Protocol Buffers.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct RawTraces {
    /// Its whole URL for spans, such as `http://otel-collector:4318/v1/traces`.
    pub(in super::super) endpoint: String,
    /// Headers that it is sent; secrets as everywhere.
    #[serde(default)]
    pub(in super::super) headers: BTreeMap<String, TextOrSecret>,
    /// The share of requests that is traced, from 0 to 1, where neither `traceparent` nor `sentry-trace` says
    /// whether the client is; what they say is followed.
    #[serde(default = "all")]
    pub(in super::super) sample: f64,
    /// What the gateway calls itself (`service.name`).
    #[serde(default = "service_name")]
    pub(in super::super) service_name: String,
}

const fn all() -> f64 {
    1.0
}

fn service_name() -> String {
    "portcullis".to_owned()
}
