//! Rewriting the upstream's URLs to the address that the client called.
//!
//! Sentry builds its URLs from `system.url-prefix` and never from `Host`, so behind a gateway
//! they name a host that clients must not meet. Only scheme, authority and path prefix are
//! replaced; every other byte stays.
//!
//! **Invariant:** pure, and no opinion on which header or field is rewritten.

pub mod encoding;
pub mod json;
pub mod link;

use std::borrow::Cow;

use crate::policy::site::{Authority, BaseUrl, HttpScheme};

/// Recognises the upstream's own URLs.
#[derive(Debug)]
pub struct UrlRewriter {
    upstream: Vec<BaseUrl>,
}

impl UrlRewriter {
    /// `own` are all bases of Sentry's own URLs: its `system.url-prefix`, more of its names, and where
    /// the gateway reaches it.
    pub fn new(own: impl IntoIterator<Item = BaseUrl>) -> Self {
        Self { upstream: own.into_iter().collect() }
    }

    /// The same place under `public`, or the URL as it is when it is none of the upstream's.
    pub fn rewrite<'a>(&self, url: &'a [u8], public: &BaseUrl) -> Cow<'a, [u8]> {
        match split(url) {
            Some((scheme, authority, rest)) => self.absolute(url, scheme, authority, rest, public),
            None => self.relative(url, public),
        }
    }

    /// The same for a place that is read as an absolute URL or not at all: what is relative stays.
    pub fn rewrite_absolute<'a>(&self, url: &'a [u8], public: &BaseUrl) -> Cow<'a, [u8]> {
        match split(url) {
            Some((scheme, authority, rest)) => self.absolute(url, scheme, authority, rest, public),
            None => Cow::Borrowed(url),
        }
    }

    fn absolute<'a>(
        &self,
        url: &'a [u8],
        scheme: Option<HttpScheme>,
        authority: &str,
        rest: &[u8],
        public: &BaseUrl,
    ) -> Cow<'a, [u8]> {
        // Readers take an empty port for none (RFC 3986, 3.2.3).
        let authority = authority.strip_suffix(':').unwrap_or(authority);
        let Some(authority) = Authority::parse(authority) else { return Cow::Borrowed(url) };
        let behind = self.upstream.iter().find_map(|base| {
            let at = base.is_at(&authority, scheme.unwrap_or(base.scheme()));
            if at { behind_prefix(rest, base.prefix()) } else { None }
        });
        match behind {
            Some(behind) => Cow::Owned([public.to_string().as_bytes(), behind].concat()),
            None => Cow::Borrowed(url),
        }
    }

    /// A path of the upstream's; it needs the gateway's own prefix, if there is one.
    fn relative<'a>(&self, url: &'a [u8], public: &BaseUrl) -> Cow<'a, [u8]> {
        let is_path =
            |url: &[u8]| url.starts_with(b"/") && !matches!(url.get(1), Some(b'/' | b'\\'));
        let path = is_path(url);
        let own = self.upstream.iter().map(BaseUrl::prefix).find(|prefix| !prefix.is_empty());
        if !path || (public.prefix().is_empty() && own.is_none()) {
            return Cow::Borrowed(url);
        }
        // Without the prefix it may read as another host; then it stays.
        let behind = own.and_then(|prefix| behind_prefix(url, prefix));
        let behind = behind.filter(|rest| !public.prefix().is_empty() || is_path(rest));
        let behind = behind.unwrap_or(url);
        Cow::Owned([public.prefix().as_bytes(), behind].concat())
    }
}

/// Scheme, authority and the rest of an absolute or scheme-relative URL of HTTP. An authority
/// with user information is left in one piece, so that it is nobody's.
fn split(url: &[u8]) -> Option<(Option<HttpScheme>, &str, &[u8])> {
    let slashes = url.windows(2).position(|pair| pair == b"//")?;
    let scheme = match &url[..slashes] {
        b"" => None,
        [name @ .., b':'] => Some(HttpScheme::from_name(std::str::from_utf8(name).ok()?)?),
        [..] => return None,
    };
    let behind = &url[slashes + 2..];
    let end = behind.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#' | b'\\'));
    let (authority, rest) = behind.split_at(end.unwrap_or(behind.len()));
    Some((scheme, std::str::from_utf8(authority).ok()?, rest))
}

/// What follows `prefix` in a path, if the prefix ends at a segment.
fn behind_prefix<'a>(path: &'a [u8], prefix: &str) -> Option<&'a [u8]> {
    let rest = path.strip_prefix(prefix.as_bytes())?;
    matches!(rest.first(), None | Some(b'/' | b'?' | b'#')).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(url: &str) -> BaseUrl {
        BaseUrl::parse(url).unwrap()
    }

    #[test]
    fn only_the_upstreams_own_urls() {
        let rewriter = UrlRewriter::new([base("https://sentry.internal"), base("http://web:9000")]);
        let public = base("https://sentry.example.com");
        let rows = [
            ("https://sentry.internal/api/0/?a=b", "https://sentry.example.com/api/0/?a=b"),
            ("HTTPS://Sentry.Internal/api/0/", "https://sentry.example.com/api/0/"),
            ("https://sentry.internal:443/x", "https://sentry.example.com/x"),
            ("https://sentry.internal./x", "https://sentry.example.com/x"),
            ("http://sentry.internal/x", "https://sentry.example.com/x"),
            ("http://sentry.internal:443/x", "https://sentry.example.com/x"),
            ("//sentry.internal/x", "https://sentry.example.com/x"),
            ("https://sentry.internal", "https://sentry.example.com"),
            ("https://sentry.internal?a", "https://sentry.example.com?a"),
            ("http://web:9000/api/0/x/?c=%zz>", "https://sentry.example.com/api/0/x/?c=%zz>"),
            ("https://sentry.internal:/x", "https://sentry.example.com/x"),
            ("http://sentry.internal:", "https://sentry.example.com"),
            ("//sentry.internal:?a", "https://sentry.example.com?a"),
            // Not the upstream's
            ("https://sentry.internal::/x", "="),
            ("http://web:/x", "="),
            ("https://:/x", "="),
            ("https://sentry.internal:8443/x", "="),
            ("http://web/x", "="),
            ("http://web:9001/x", "="),
            ("http://web:9000@evil/", "="),
            ("http://web:9000.evil/", "="),
            ("http://evil/http://web:9000/", "="),
            ("https://sentry.internal@evil/", "="),
            ("https://user@sentry.internal/", "="),
            ("https://sentry.internal.evil/", "="),
            ("https://xsentry.internal/", "="),
            ("ftp://sentry.internal/", "="),
            ("https:sentry.internal/", "="),
            ("/api/0/x/", "="),
            ("?cursor=1", "="),
            ("", "="),
        ];
        for (url, wanted) in rows {
            let wanted = if wanted == "=" { url } else { wanted };
            let seen = rewriter.rewrite(url.as_bytes(), &public);
            assert_eq!(String::from_utf8_lossy(&seen), wanted, "{url}");
        }
    }

    #[test]
    fn prefixes_come_off_and_on() {
        let rewriter = UrlRewriter::new([base("https://sentry.internal/sentry")]);
        let public = base("http://gw:8080/gate");
        let rows = [
            ("https://sentry.internal/sentry/api/0/", "http://gw:8080/gate/api/0/"),
            ("https://sentry.internal/sentry", "http://gw:8080/gate"),
            ("https://sentry.internal/sentryx/api/0/", "="),
            ("https://sentry.internal/api/0/", "="),
            ("/api/0/x/", "/gate/api/0/x/"),
            ("/sentry/api/0/x/", "/gate/api/0/x/"),
            ("//evil/x", "="),
            ("/\\evil/x", "="),
            ("/sentry//evil/x", "/gate//evil/x"),
            ("x/y", "="),
        ];
        for (url, wanted) in rows {
            let wanted = if wanted == "=" { url } else { wanted };
            let seen = rewriter.rewrite(url.as_bytes(), &public);
            assert_eq!(String::from_utf8_lossy(&seen), wanted, "{url}");
            // Without a host it may be left alone.
            let absolute = rewriter.rewrite_absolute(url.as_bytes(), &public);
            let wanted = if url.contains("://") { wanted } else { url };
            assert_eq!(String::from_utf8_lossy(&absolute), wanted, "{url}");
        }
    }

    #[test]
    fn a_path_never_becomes_a_host() {
        let rewriter = UrlRewriter::new([base("https://sentry.internal/sentry")]);
        let public = base("http://gw:8080");
        for (url, wanted) in [
            ("/sentry/x", "/x"),
            ("/sentry//evil/x", "/sentry//evil/x"),
            ("/sentry/\\evil/x", "/sentry/\\evil/x"),
            ("/sentry", "/sentry"),
        ] {
            let seen = rewriter.rewrite(url.as_bytes(), &public);
            assert_eq!(String::from_utf8_lossy(&seen), wanted, "{url}");
        }
    }
}
