//! Where the spans of requests go.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};

use super::super::raw::RawTraces;
use super::super::value::TextOrSecret;
use super::Compiler;
use super::stores::endpoint;
use crate::telemetry::spans::Settings;

impl Compiler<'_> {
    pub(super) fn traces(&mut self, raw: &RawTraces) -> Option<Settings> {
        if cfg!(not(feature = "opentelemetry")) {
            let help = "build it with `--features opentelemetry`, or delete the table";
            self.problem("traces", "is nothing that this binary was built for", help);
        }
        let url = endpoint(&raw.endpoint);
        if url.is_none() {
            // It is not repeated: it may have a password.
            let help = "write the whole URL, such as `http://otel-collector:4318/v1/traces`";
            self.problem("traces.endpoint", "is not the URL of a collector", help);
        }
        if !(0.0..=1.0).contains(&raw.sample) {
            let what = format!("`{}` is no share", raw.sample);
            self.problem("traces.sample", what, "write a number from 0 to 1, such as 0.05");
        }
        let headers = self.headers(&raw.headers);
        let (service, share) = (raw.service_name.clone(), raw.sample);
        Some(Settings { endpoint: url?, headers, service, share })
    }

    fn headers(&mut self, raw: &BTreeMap<String, TextOrSecret>) -> Vec<(HeaderName, HeaderValue)> {
        let mut headers = Vec::new();
        for (name, value) in raw {
            let at = format!("traces.headers.{name}");
            let parsed = HeaderName::try_from(name).map_err(|_| "is not the name of a header");
            let parsed = self.parsed(&at, parsed, "write one such as `authorization`");
            let text = match value {
                TextOrSecret::Text(text) => Some(text.clone()),
                TextOrSecret::Secret(secret) => self.secret(&at, secret),
            };
            let value = text.map(|text| {
                HeaderValue::try_from(text).map_err(|_| "holds what can't be sent in a header")
            });
            let value = value.and_then(|value| self.parsed(&at, value, "copy it again"));
            headers.extend(parsed.zip(value).map(|(name, mut value)| {
                value.set_sensitive(true);
                (name, value)
            }));
        }
        headers
    }
}
