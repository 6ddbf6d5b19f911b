//! The public names of the gateway, and the path prefix that it is mounted under.

use std::fmt;

/// A scheme of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HttpScheme {
    /// `http`, port 80.
    Http,
    /// `https`, port 443.
    Https,
}

impl HttpScheme {
    /// The name.
    pub const fn as_str(self) -> &'static str {
        match self {
            HttpScheme::Http => "http",
            HttpScheme::Https => "https",
        }
    }

    /// The port that a URL without one means.
    pub const fn default_port(self) -> u16 {
        match self {
            HttpScheme::Http => 80,
            HttpScheme::Https => 443,
        }
    }

    /// The scheme of this name, in any letter case.
    pub fn from_name(name: &str) -> Option<Self> {
        [HttpScheme::Http, HttpScheme::Https]
            .into_iter()
            .find(|scheme| scheme.as_str().eq_ignore_ascii_case(name))
    }
}

/// A host and a port that were told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    /// As written, without the trailing dot of a fully qualified name.
    pub host: &'a str,
    /// As written.
    pub port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Reads `host`, `host:port` or `[v6]:port`. User information is not part of an authority
    /// that the gateway takes.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let end = rest.find(']')? + 2;
                let host = &text[..end];
                let v6 = |byte: u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
                if !host[1..end - 1].bytes().all(v6) {
                    return None;
                }
                (host, &text[end..])
            }
            None => text.split_at(text.find(':').unwrap_or(text.len())),
        };
        let port = match port.strip_prefix(':') {
            Some(digits) if super::template::is_digits(digits) => Some(digits.parse().ok()?),
            Some(_) => return None,
            None if port.is_empty() => None,
            None => return None,
        };
        let host = host.strip_suffix('.').unwrap_or(host);
        let name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        let plain = !host.is_empty() && (host.starts_with('[') || host.bytes().all(name));
        plain.then_some(Self { host, port })
    }
}

/// The base of absolute URLs: scheme, authority, and a path prefix without a trailing slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl {
    scheme: HttpScheme,
    host: Box<str>,
    port: Option<u16>,
    prefix: Box<str>,
    /// `host` or `host:port`: what is asked for with every request.
    authority: Box<str>,
}

/// Why a text is not the base of URLs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a base URL; write `https://host`, with `:port` or a `/prefix` if there is one, without user name, query or fragment"
)]
pub struct BadBaseUrl(pub String);

impl BaseUrl {
    /// Reads a base URL; a trailing slash means nothing.
    ///
    /// # Errors
    /// [`BadBaseUrl`] with the text.
    pub fn parse(text: &str) -> Result<Self, BadBaseUrl> {
        let parse = || {
            let (scheme, rest) = text.split_once("://")?;
            let scheme = HttpScheme::from_name(scheme)?;
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let Authority { host, port } = Authority::parse(authority)?;
            let prefix = path.strip_suffix('/').unwrap_or(path);
            // A prefix is compared byte for byte, so it has to be canonical itself.
            if !prefix.is_empty() {
                super::path::CanonicalPath::parse(prefix.as_bytes()).ok()?;
                if prefix.contains('%') || prefix.ends_with('/') {
                    return None;
                }
            }
            let port = port.filter(|port| *port != scheme.default_port());
            let host: Box<str> = host.to_ascii_lowercase().into();
            let authority = match port {
                Some(port) => format!("{host}:{port}").into(),
                None => host.clone(),
            };
            Some(Self { scheme, host, port, prefix: prefix.into(), authority })
        };
        // What stands before an `@` may be a password.
        let shown = || match text.rsplit_once('@') {
            Some((_, behind)) => format!("…@{behind}"),
            None => text.to_owned(),
        };
        parse().ok_or_else(|| BadBaseUrl(shown()))
    }

    /// The scheme.
    pub const fn scheme(&self) -> HttpScheme {
        self.scheme
    }

    /// The host, lower-case; an IPv6 address in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, the scheme's own where none is written.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(self.scheme.default_port())
    }

    /// The path prefix: empty, or a slash and text without a trailing slash.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// `host` or `host:port`, the port left out where it is the scheme's own.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Whether a `Host` value names this base.
    pub fn is_named_by(&self, host: &str) -> bool {
        Authority::parse(host).is_some_and(|authority| self.is_at(&authority, self.scheme))
    }

    /// Whether an authority written with `scheme` is this one: letter case, a trailing dot and a
    /// port that the scheme implies make no difference, and neither does `http` for `https` where
    /// both are at their own ports.
    pub fn is_at(&self, authority: &Authority<'_>, scheme: HttpScheme) -> bool {
        let port = authority.port.unwrap_or(scheme.default_port());
        let both_default = self.port.is_none() && port == scheme.default_port();
        authority.host.eq_ignore_ascii_case(&self.host) && (port == self.port() || both_default)
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme.as_str(), self.authority(), self.prefix)
    }
}

/// Every public name of the gateway. All share one path prefix.
#[derive(Clone, Debug)]
pub struct Site {
    names: Box<[BaseUrl]>,
    prefix_segments: usize,
}

/// The number of a public name: the one that the client called, to which URLs are rewritten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NameId(usize);

impl NameId {
    /// The first name, `public_url`.
    pub const PUBLIC: NameId = NameId(0);

    /// As an index into the names.
    pub const fn index(self) -> usize {
        self.0
    }
}

impl Site {
    /// A site called `public`, and also called `aliases`. The prefix is that of `public`.
    pub fn new(public: BaseUrl, aliases: Vec<BaseUrl>) -> Self {
        let prefix_segments = public.prefix.matches('/').count();
        let names = std::iter::once(public).chain(aliases).collect();
        Self { names, prefix_segments }
    }

    /// The name that a `Host` value means.
    pub fn named(&self, host: &str) -> Option<NameId> {
        self.names.iter().position(|name| name.is_named_by(host)).map(NameId)
    }

    /// Every name.
    pub fn names(&self) -> &[BaseUrl] {
        &self.names
    }

    /// The name that the upstream is told.
    pub fn public(&self) -> &BaseUrl {
        &self.names[NameId::PUBLIC.0]
    }

    /// The path behind the prefix, and how many segments the prefix has; `None` outside of it.
    pub fn strip<'a>(&self, path: &'a str) -> Option<(&'a str, usize)> {
        let rest = path.strip_prefix(self.public().prefix())?;
        rest.starts_with('/').then_some((rest, self.prefix_segments))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls() {
        for (text, printed) in [
            ("https://Sentry.Example.com", "https://sentry.example.com"),
            ("https://sentry.example.com:443/", "https://sentry.example.com"),
            ("http://sentry.example.com:443", "http://sentry.example.com:443"),
            ("HTTP://[::1]:8080/gw/", "http://[::1]:8080/gw"),
            ("https://sentry.example.com./a/b", "https://sentry.example.com/a/b"),
        ] {
            assert_eq!(BaseUrl::parse(text).unwrap().to_string(), printed, "{text}");
        }
        for text in [
            "",
            "sentry.example.com",
            "ftp://a",
            "https://",
            "https://u@a",
            "https://a:x",
            "https://a?b",
            "https://a#b",
            "https://a/../b",
            "https://a//",
            "https://a/%61",
            "https://a:70000",
            "https://[::1",
            "https://[x]",
            "https://a b",
        ] {
            assert!(BaseUrl::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn hosts_that_are_ours() {
        let site = Site::new(
            BaseUrl::parse("https://sentry.example.com/gw").unwrap(),
            vec![BaseUrl::parse("http://api.internal:8080/gw").unwrap()],
        );
        for (host, name) in [
            ("sentry.example.com", Some(NameId(0))),
            ("SENTRY.example.com.", Some(NameId(0))),
            ("sentry.example.com:443", Some(NameId(0))),
            ("api.internal:8080", Some(NameId(1))),
            ("sentry.example.com:80", None),
            ("sentry.example.com:8443", None),
            ("sentry.example.com.evil", None),
            ("api.internal", None),
            ("sentry.example.com:", None),
            ("evil", None),
            ("", None),
        ] {
            assert_eq!(site.named(host), name, "{host}");
        }
    }

    #[test]
    fn the_prefix_is_taken_off_at_a_segment() {
        let site = |url| Site::new(BaseUrl::parse(url).unwrap(), Vec::new());
        assert_eq!(site("http://a/gw").strip("/gw/api/0/"), Some(("/api/0/", 1)));
        assert_eq!(site("http://a/gw/x").strip("/gw/x/api/0/"), Some(("/api/0/", 2)));
        assert_eq!(site("http://a/gw").strip("/gwapi/0/"), None);
        assert_eq!(site("http://a/gw").strip("/gw"), None);
        assert_eq!(site("http://a/gw").strip("/api/0/"), None);
        assert_eq!(site("http://a").strip("/api/0/"), Some(("/api/0/", 0)));
    }
}
