//! The parts of Sentry that requests go to, and what is particular to its web service.

use http::HeaderValue;

use super::super::raw::{RawUpstream, RawUpstreams};
use super::super::{Upstream, Upstreams};
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
        let address = match raw.urls.as_slice() {
            [url] => self.base_url(&format!("{at}.urls[0]"), url),
            urls => {
                let what = format!("has {} addresses, and this version takes one", urls.len());
                self.problem(format!("{at}.urls"), what, "write exactly one URL");
                None
            }
        };
        if address.as_ref().is_some_and(|address| !address.prefix().is_empty()) {
            let help = "write scheme, host and port alone; `canonical_url` may have a prefix";
            self.problem(format!("{at}.urls[0]"), "has a path, which would be lost", help);
        }
        let timeouts = [
            ("connect_timeout", raw.connect_timeout),
            ("timeout", raw.timeout),
            ("idle_timeout", raw.idle_timeout),
        ];
        for (name, timeout) in timeouts {
            if timeout.0.is_zero() {
                self.problem(format!("{at}.{name}"), "is zero", "write a time such as `\"10s\"`");
            }
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
        Some(Upstream {
            address: address?,
            max_body: raw.max_body.0,
            connect_timeout: raw.connect_timeout.0,
            timeout: raw.timeout.0,
            idle_timeout: raw.idle_timeout.0,
        })
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
        let token = self.secret("upstream.web.credential", web.credential.as_ref()?)?;
        let mut value = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
        value.set_sensitive(true);
        Some(value)
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
