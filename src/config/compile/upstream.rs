//! An upstream.

use http::HeaderValue;

use super::super::Upstream;
use super::super::raw::{ChunkedBodies, RawUpstream};
use super::Compiler;

impl Compiler<'_> {
    pub(super) fn upstream(&mut self, at: &str, raw: &RawUpstream) -> Option<Upstream> {
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
        let canonical = match &raw.canonical_url {
            Some(url) => self.base_url(&format!("{at}.canonical_url"), url),
            None => address.clone(),
        };
        let credential = raw.credential.as_ref().map(|secret| {
            let token = self.secret(&format!("{at}.credential"), secret)?;
            let mut value = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
            value.set_sensitive(true);
            Some(value)
        });
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
        Some(Upstream {
            address: address?,
            canonical: canonical?,
            credential: match credential {
                Some(read) => Some(read?),
                None => None,
            },
            connect_timeout: raw.connect_timeout.0,
            timeout: raw.timeout.0,
            idle_timeout: raw.idle_timeout.0,
            takes_chunks: raw.chunked_bodies == ChunkedBodies::Stream,
        })
    }
}
