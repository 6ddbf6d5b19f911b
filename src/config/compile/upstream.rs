//! An upstream.

use http::HeaderValue;
use http::uri::PathAndQuery;

use super::super::raw::RawUpstream;
use super::super::{HealthCheck, Upstream};
use super::Compiler;
use crate::policy::site::BaseUrl;

/// Sentry's web service answers this before it looks at the `Host`.
const HEALTH_PATH: &str = "/_health/";

impl Compiler<'_> {
    pub(super) fn upstream(&mut self, at: &str, raw: &RawUpstream) -> Option<Upstream> {
        let urls = self.urls(at, &raw.urls);
        let canonical = match &raw.canonical_url {
            Some(url) => self.base_url(&format!("{at}.canonical_url"), url),
            None => urls.first().cloned(),
        };
        let credential = raw.credential.as_ref().map(|secret| {
            let token = self.secret(&format!("{at}.credential"), secret)?;
            let mut value = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
            value.set_sensitive(true);
            Some(value)
        });
        let health = self.health(at, raw);
        let timeouts = [
            ("connect_timeout", raw.connect_timeout),
            ("timeout", raw.timeout),
            ("idle_timeout", raw.idle_timeout),
            ("max_wait", raw.max_wait),
        ];
        for (name, timeout) in timeouts {
            if timeout.0.is_zero() {
                self.problem(format!("{at}.{name}"), "is zero", "write a time such as `\"10s\"`");
            }
        }
        if raw.max_in_flight == 0 {
            let what = "is zero, so that no request could be sent";
            self.problem(
                format!("{at}.max_in_flight"),
                what,
                "delete the line to take the default",
            );
        }
        Some(Upstream {
            urls,
            canonical: canonical?,
            credential: match credential {
                Some(read) => Some(read?),
                None => None,
            },
            connect_timeout: raw.connect_timeout.0,
            timeout: raw.timeout.0,
            idle_timeout: raw.idle_timeout.0,
            health,
            max_in_flight: raw.max_in_flight,
            max_waiting: raw.max_waiting,
            max_wait: raw.max_wait.0,
        })
    }

    fn urls(&mut self, at: &str, raw: &[String]) -> Vec<BaseUrl> {
        if raw.is_empty() {
            self.problem(format!("{at}.urls"), "is empty", "write where it is reached");
        }
        let mut urls: Vec<BaseUrl> = Vec::new();
        for (index, url) in raw.iter().enumerate() {
            let at = format!("{at}.urls[{index}]");
            let Some(url) = self.base_url(&at, url) else { continue };
            if !url.prefix().is_empty() {
                let help = "write scheme, host and port alone; `canonical_url` may have a prefix";
                self.problem(&at, "has a path, which would be lost", help);
            }
            if urls.first().is_some_and(|first| first.scheme() != url.scheme()) {
                let help = "write all of them with `https://`, or all with `http://`";
                self.problem(&at, format!("`{url}` has another scheme than the first"), help);
            }
            if urls.contains(&url) {
                self.problem(&at, format!("`{url}` is there twice"), "delete one");
            }
            urls.push(url);
        }
        urls
    }

    fn health(&mut self, at: &str, raw: &RawUpstream) -> Option<HealthCheck> {
        let path = raw.health_path.as_deref().unwrap_or(HEALTH_PATH);
        let plain = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
        if !plain || path.contains('#') || path.parse::<PathAndQuery>().is_err() {
            let what = format!("`{path}` is not a path");
            self.problem(format!("{at}.health_path"), what, "write one such as `/_health/`");
        }
        let interval = raw.health_interval.0;
        (!interval.is_zero()).then(|| HealthCheck { path: path.to_owned(), interval })
    }
}
