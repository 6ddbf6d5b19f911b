//! The parts of Sentry that requests go to, and what is particular to its web service.

mod tls;

use std::sync::Arc;

use http::HeaderValue;
use http::uri::PathAndQuery;

use super::super::raw::{ChunkedBodies, RawUpstream, RawUpstreams};
use super::super::{HealthCheck, Upstream, Upstreams};
use super::Compiler;
use crate::policy::SESSION_COOKIE;
use crate::policy::exposure::Service;
use crate::policy::site::BaseUrl;

impl Compiler<'_> {
    pub(super) fn upstreams(&mut self, raw: &RawUpstreams) -> Option<Upstreams> {
        let web = self.upstream(Service::Web, &raw.web);
        let relay = raw.relay.as_ref().map(|relay| self.upstream(Service::Relay, relay));
        let assets = raw.assets.as_ref().map(|assets| self.upstream(Service::Assets, assets));
        // One that can't be read is not one that is left out.
        let (relay, assets) = (whole(relay)?, whole(assets)?);
        Some(Upstreams { web: web?, relay, assets })
    }

    fn upstream(&mut self, service: Service, raw: &RawUpstream) -> Option<Upstream> {
        let at = format!("upstream.{service}");
        let urls = self.urls(&at, &raw.urls);
        let tls = self.tls(&at, raw, &urls);
        let health = self.health(&at, service, raw);
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
        let of_web = [
            ("canonical_url", raw.canonical_url.is_some()),
            ("canonical_aliases", !raw.canonical_aliases.is_empty()),
            ("credential", raw.credential.is_some()),
            ("session_cookie", raw.session_cookie.is_some()),
        ];
        for (name, is_set) in of_web {
            if is_set && service != Service::Web {
                let help = "write it under `[upstream.web]`, or delete it";
                self.problem(format!("{at}.{name}"), "is of the web service alone", help);
            }
        }
        if raw.check_keys.is_some() && service != Service::Relay {
            let help = "write it under `[upstream.relay]`, or delete it";
            self.problem(format!("{at}.check_keys"), "is of Relay alone", help);
        }
        (urls.len() == raw.urls.len() && !urls.is_empty()).then_some(Upstream {
            urls,
            tls: Arc::new(tls),
            http2: raw.http2,
            max_body: raw.max_body.0,
            connect_timeout: raw.connect_timeout.0,
            timeout: raw.timeout.0,
            idle_timeout: raw.idle_timeout.0,
            health,
            max_in_flight: raw.max_in_flight,
            max_waiting: raw.max_waiting,
            max_wait: raw.max_wait.0,
            takes_chunks: match raw.chunked_bodies {
                Some(chunked) => chunked == ChunkedBodies::Stream,
                None => service == Service::Relay,
            },
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

    fn health(&mut self, at: &str, service: Service, raw: &RawUpstream) -> Option<HealthCheck> {
        let path = raw.health_path.as_deref().unwrap_or(service.health_path());
        let plain = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
        if !plain || path.contains('#') || path.parse::<PathAndQuery>().is_err() {
            let what = format!("`{path}` is not a path");
            self.problem(format!("{at}.health_path"), what, "write one such as `/_health/`");
        }
        let interval = raw.health_interval.0;
        (!interval.is_zero()).then(|| HealthCheck { path: path.to_owned(), interval })
    }

    /// What Sentry calls itself: where it is reached, unless it is said.
    pub(super) fn canonical(&mut self, web: &RawUpstream) -> Vec<BaseUrl> {
        let at = "upstream.web.canonical";
        let mut names = Vec::new();
        if let Some(url) = &web.canonical_url {
            names.extend(self.base_url(&format!("{at}_url"), url));
        }
        for (index, url) in web.canonical_aliases.iter().enumerate() {
            names.extend(self.base_url(&format!("{at}_aliases[{index}]"), url));
        }
        names
    }

    pub(super) fn credential(&mut self, web: &RawUpstream) -> Option<HeaderValue> {
        self.bearer("upstream.web.credential", web.credential.as_ref()?)
    }

    pub(super) fn session_cookie(&mut self, web: &RawUpstream) -> Box<str> {
        let name = web.session_cookie.as_deref().unwrap_or(SESSION_COOKIE);
        let token = |byte: u8| byte.is_ascii_graphic() && !br#"()<>@,;:\"/[]?={}"#.contains(&byte);
        if name.is_empty() || !name.bytes().all(token) {
            let help = "write Sentry's `SESSION_COOKIE_NAME`, such as `sentrysid`";
            self.problem(
                "upstream.web.session_cookie",
                format!("`{name}` is no name of a cookie"),
                help,
            );
        }
        name.into()
    }
}

/// What was left out, or was read; `None` when it was written and could not be read.
fn whole<T>(read: Option<Option<T>>) -> Option<Option<T>> {
    match read {
        None => Some(None),
        Some(read) => read.map(Some),
    }
}

impl Upstreams {
    /// The largest request body to each, in bytes, where a rule does not say; in the order of
    /// [`Service::ALL`].
    pub(super) fn max_bodies(&self) -> [u64; Service::ALL.len()] {
        let web = self.web.max_body;
        let of = |other: &Option<Upstream>| other.as_ref().map_or(web, |other| other.max_body);
        [web, of(&self.relay), of(&self.assets)]
    }
}
