//! The `Link` header (RFC 8288, section 3), read by its grammar and written back byte for byte.
//!
//! Sentry writes cursors into it unescaped (`utils/cursors.py`, `build_cursor_link` in
//! `api/base.py`), so a URI may hold `,`, `;`, `"` and even `>`, and a quoted string may hold `"`.
//! Both are read up to the delimiter that is followed by what the grammar allows there.

use std::borrow::Cow;

use super::UrlRewriter;
use crate::policy::site::BaseUrl;

/// One link: its target, and everything else of it as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link<'a> {
    /// What stands before the `<`: blanks and the comma that ends the link before.
    before: &'a [u8],
    /// The target, without its angle brackets.
    target: &'a [u8],
    /// The parameters with their separators, as they came.
    parameters: &'a [u8],
}

impl Link<'_> {
    /// The target.
    pub fn target(&self) -> &[u8] {
        self.target
    }

    /// The parameters with their separators.
    pub fn parameters(&self) -> &[u8] {
        self.parameters
    }
}

/// A `Link` value that does not follow the grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the `Link` value does not follow RFC 8288")]
pub struct BadLink;

/// Reads the links of one field value.
///
/// # Errors
/// [`BadLink`] when any part of it does not follow the grammar.
pub fn parse(value: &[u8]) -> Result<Vec<Link<'_>>, BadLink> {
    let mut links = Vec::with_capacity(2);
    let mut at = 0;
    loop {
        // Empty list elements are allowed (RFC 9110, 5.6.1).
        let start = skip(value, at, |byte| is_blank(byte) || byte == b',');
        if start == value.len() {
            return Ok(links);
        }
        let separated = links.is_empty() || value[at..start].contains(&b',');
        if !separated || value[start] != b'<' {
            return Err(BadLink);
        }
        let close = delimiter(value, start + 1, b'>', false)?;
        let end = parameters(value, close + 1)?;
        let target = &value[start + 1..close];
        if target.first().is_some_and(|byte| is_blank(*byte)) {
            return Err(BadLink);
        }
        let parameters = &value[close + 1..end];
        links.push(Link { before: &value[at..start], target, parameters });
        at = end;
    }
}

/// The links as they came, the targets included.
pub fn print(links: &[Link<'_>]) -> Vec<u8> {
    write(links, |link| Cow::Borrowed(link.target))
}

/// The value with every target that is the upstream's rewritten to `public`; `None` when there is
/// nothing to rewrite.
///
/// # Errors
/// [`BadLink`] when the value does not follow the grammar.
pub fn rewrite(
    value: &[u8],
    rewriter: &UrlRewriter,
    public: &BaseUrl,
) -> Result<Option<Vec<u8>>, BadLink> {
    let links = parse(value)?;
    // Readers split links in more than one way: one that some of them would find in a parameter
    // must not be the upstream's.
    let hides = |link: &Link<'_>| {
        let mut behind = link.parameters.split(|byte| *byte == b'<').skip(1);
        behind.any(|url| matches!(rewriter.rewrite(url, public), Cow::Owned(_)))
    };
    if links.iter().any(hides) {
        return Err(BadLink);
    }
    let mut changed = false;
    let written = write(&links, |link| {
        let target = rewriter.rewrite(link.target, public);
        changed |= matches!(target, Cow::Owned(_));
        target
    });
    Ok(changed.then_some(written))
}

fn write<'a>(links: &[Link<'a>], mut target: impl FnMut(&Link<'a>) -> Cow<'a, [u8]>) -> Vec<u8> {
    let length = |link: &Link<'_>| link.before.len() + link.target.len() + link.parameters.len();
    let mut text = Vec::with_capacity(links.iter().map(|link| length(link) + 64).sum());
    for link in links {
        text.extend_from_slice(link.before);
        text.push(b'<');
        text.extend_from_slice(&target(link));
        text.push(b'>');
        text.extend_from_slice(link.parameters);
    }
    text
}

/// Reads `*( OWS ";" OWS [ link-param ] )` from `at` and returns where it ends.
fn parameters(value: &[u8], mut at: usize) -> Result<usize, BadLink> {
    loop {
        let next = skip(value, at, is_blank);
        if value.get(next) != Some(&b';') {
            return Ok(at);
        }
        let name = skip(value, next + 1, is_blank);
        at = skip(value, name, is_token);
        let equals = skip(value, at, is_blank);
        if at == name || value.get(equals) != Some(&b'=') {
            continue;
        }
        let start = skip(value, equals + 1, is_blank);
        at = match value.get(start) {
            Some(b'"') => delimiter(value, start + 1, b'"', true)? + 1,
            Some(byte) if is_token(*byte) => skip(value, start, is_token),
            Some(_) | None => return Err(BadLink),
        };
    }
}

/// The first `close` from `at` on behind which a link may go on or end.
fn delimiter(value: &[u8], mut at: usize, close: u8, escapes: bool) -> Result<usize, BadLink> {
    while let Some(&byte) = value.get(at) {
        if escapes && byte == b'\\' {
            at += 2;
            continue;
        }
        if byte == b'<' && close == b'>' {
            // Another link without a comma before it: one of the two would be missed.
            return Err(BadLink);
        }
        if byte == close {
            let next = skip(value, at + 1, is_blank);
            if matches!(value.get(next), None | Some(b';' | b',')) {
                return Ok(at);
            }
        }
        at += 1;
    }
    Err(BadLink)
}

fn skip(value: &[u8], at: usize, wanted: impl Fn(u8) -> bool) -> usize {
    let rest = value.get(at..).unwrap_or_default();
    at + rest.iter().position(|byte| !wanted(*byte)).unwrap_or(rest.len())
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// `tchar` of RFC 9110, 5.6.2.
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rewriter() -> UrlRewriter {
        let base = |url| BaseUrl::parse(url).unwrap();
        UrlRewriter::new([base("https://sentry.internal"), base("http://sentry-web:9000")])
    }

    fn rewritten(value: &str) -> Result<Option<String>, BadLink> {
        let public = BaseUrl::parse("https://sentry.example.com").unwrap();
        let seen = rewrite(value.as_bytes(), &rewriter(), &public)?;
        Ok(seen.map(|bytes| String::from_utf8(bytes).unwrap()))
    }

    #[test]
    fn sentrys_own_shape() {
        let value = |host: &str, cursor: &str| {
            format!(
                "<{host}/api/0/projects/?a=b&cursor={cursor}>; rel=\"previous\"; \
                 results=\"false\"; cursor=\"{cursor}\", \
                 <{host}/api/0/projects/?a=b&cursor={cursor}>; rel=\"next\"; \
                 results=\"true\"; cursor=\"{cursor}\""
            )
        };
        for cursor in [
            "0:100:0",
            "1700000000000:0:1",
            "a,b:0:0",
            "a;b:0:0",
            "a\"b:0:0",
            "a>b:0:0",
            "é:0:0",
            "",
            "a, b; c=\"d\":0:0",
        ] {
            for host in ["https://sentry.internal", "http://sentry-web:9000"] {
                let wanted = value("https://sentry.example.com", cursor);
                assert_eq!(rewritten(&value(host, cursor)), Ok(Some(wanted)), "{cursor}");
            }
            assert_eq!(rewritten(&value("https://elsewhere", cursor)), Ok(None), "{cursor}");
        }
    }

    #[test]
    fn the_grammar() {
        let rows: &[(&str, Result<usize, BadLink>)] = &[
            ("", Ok(0)),
            (" , ,", Ok(0)),
            ("<a>", Ok(1)),
            ("<>", Ok(1)),
            ("<a>;", Ok(1)),
            ("<a> ; ; rel=next", Ok(1)),
            ("<a>;rel=next;title", Ok(1)),
            ("<a>; rel = \"x y\" , <b>", Ok(2)),
            ("<a>,<b>", Ok(2)),
            (",<a>,,<b>,", Ok(2)),
            ("</x,y;z/?q=\"a,b\">; title=\"a, b; c\"; rel=next", Ok(1)),
            ("<a>; title=\"a\\\"; b\"; rel=next", Ok(1)),
            ("<a>; title*=UTF-8''%e2", Ok(1)),
            ("a", Err(BadLink)),
            ("<a", Err(BadLink)),
            ("<a> <b>", Err(BadLink)),
            ("<a>b", Err(BadLink)),
            ("<a?cursor=b,<c:0:0>", Err(BadLink)),
            ("<a>; rel=", Err(BadLink)),
            ("<a>; rel=\"x", Err(BadLink)),
            ("<a>; rel=\"x\"y", Err(BadLink)),
            ("<a>; rel=(", Err(BadLink)),
            ("< a>", Err(BadLink)),
        ];
        for (value, wanted) in rows {
            let seen = parse(value.as_bytes()).map(|links| links.len());
            assert_eq!(seen, *wanted, "{value}");
        }
    }

    #[test]
    fn look_alikes_stay() {
        for url in ["http://sentry-web:9000@evil/", "http://sentry-web:9000.evil/", "/api/0/x/"] {
            assert_eq!(rewritten(&format!("<{url}>; rel=\"next\"")), Ok(None), "{url}");
        }
    }

    proptest! {
        #[test]
        fn what_parses_prints_the_same(value in "[<>;, a\"\\\\=/:.\t]{0,40}|(<[a-z,>\"]{0,5}>(; ?[a-z]{1,2}(=\"[a-z,;>]{0,4}\")?)*,? ?){0,4}") {
            if let Ok(links) = parse(value.as_bytes()) {
                let printed = print(&links);
                // Only list separators at the very end belong to no link.
                let rest = value.as_bytes().strip_prefix(printed.as_slice()).unwrap();
                prop_assert!(rest.iter().all(|byte| matches!(byte, b' ' | b'\t' | b',')));
                prop_assert_eq!(parse(&printed).unwrap(), links);
            }
        }

        #[test]
        fn nothing_of_the_upstream_is_left(cursor in "[a-z0-9:,;\"> ]{0,12}", name in "[a-z]{1,8}") {
            let value = format!(
                "<https://sentry.internal/api/0/{name}/?&cursor={cursor}>; rel=\"next\"; results=\"true\""
            );
            if let Ok(Some(seen)) = rewritten(&value) {
                prop_assert!(!seen.contains("<https://sentry.internal"), "{seen}");
                prop_assert_eq!(seen.replace("sentry.example.com", "sentry.internal"), value);
            }
        }
    }
}
