//! The request target: one reading of it, or a refusal.
//!
//! Sentry matches the percent-decoded path and forgives a lot (`%2F` is a slash to it, a NUL
//! vanishes); proxies in between collapse dots and slashes. So whatever two readers could read
//! differently is refused here, and what is left means the same to all of them. The bytes that
//! were read are the bytes that are forwarded: nothing is normalised.

use std::borrow::Cow;

/// More segments than any route of Sentry has, object store keys included.
pub const MAX_SEGMENTS: usize = 32;

/// Why a target was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// Not origin-form (RFC 9112, 3.2.1).
    #[error("the request target must start with `/`")]
    NotOriginForm,
    /// An empty segment.
    #[error("the path has an empty segment (`//`); send one slash")]
    EmptySegment,
    /// `.` or `..`, plain, encoded, or with a path parameter.
    #[error("the path has a dot segment; send the path that it resolves to")]
    DotSegment,
    /// `%2F` or `%5C`.
    #[error("the path has an encoded slash or backslash, which no route takes")]
    EncodedSlash,
    /// A control character, NUL included.
    #[error("the path has an encoded control character; remove it")]
    Control,
    /// `%` without two hex digits.
    #[error("the path has a `%` without two hexadecimal digits; send `%25`")]
    BadEscape,
    /// A byte that RFC 3986 wants encoded.
    #[error("the request target has the byte 0x{0:02x}; percent-encode it")]
    RawByte(u8),
    /// Decodes to something that is not UTF-8.
    #[error("the path does not decode to UTF-8; encode it as UTF-8")]
    NotUtf8,
    /// More than [`MAX_SEGMENTS`], or longer than 64 KiB.
    #[error("the path is too long; at most {MAX_SEGMENTS} segments are taken")]
    TooLong,
}

/// A request target with one reading.
#[derive(Clone, Debug)]
pub struct Target<'a> {
    path: CanonicalPath<'a>,
    query: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// Reads an origin-form request target.
    ///
    /// # Errors
    /// [`BadPath`] when another reader could see something else in it.
    pub fn parse(target: &'a [u8]) -> Result<Self, BadPath> {
        let (path, query) = match target.iter().position(|byte| *byte == b'?') {
            Some(at) => (&target[..at], Some(&target[at + 1..])),
            None => (target, None),
        };
        let path = CanonicalPath::parse(path)?;
        let query = query.map(parse_query).transpose()?;
        Ok(Self { path, query })
    }

    /// The path.
    pub fn path(&self) -> &CanonicalPath<'a> {
        &self.path
    }

    /// The query without its question mark, as it came; `None` without one.
    pub fn query(&self) -> Option<&'a str> {
        self.query
    }
}

/// A query may hold any visible ASCII but `#`: clients send brackets and quotes as they are, and
/// every reader sees the same bytes.
fn parse_query(query: &[u8]) -> Result<&str, BadPath> {
    match query.iter().find(|byte| !byte.is_ascii_graphic() || **byte == b'#') {
        Some(byte) => Err(BadPath::RawByte(*byte)),
        None => std::str::from_utf8(query).map_err(|_| BadPath::NotUtf8),
    }
}

/// A path with one reading: its bytes, and its decoded segments.
#[derive(Clone, Debug)]
pub struct CanonicalPath<'a> {
    raw: &'a str,
    decoded: Cow<'a, str>,
    segments: [(u16, u16); MAX_SEGMENTS],
    len: usize,
}

impl<'a> CanonicalPath<'a> {
    /// Reads a path. The decoded segments are what rules match; a trailing slash is an empty last
    /// segment.
    ///
    /// # Errors
    /// [`BadPath`] when another reader could see another path.
    pub fn parse(path: &'a [u8]) -> Result<Self, BadPath> {
        if path.first() != Some(&b'/') {
            return Err(BadPath::NotOriginForm);
        }
        if path.len() > usize::from(u16::MAX) {
            return Err(BadPath::TooLong);
        }
        let decoded = decode(path)?;
        let raw = std::str::from_utf8(path).map_err(|_| BadPath::NotUtf8)?;
        let mut parsed = Self { raw, decoded, segments: [(0, 0); MAX_SEGMENTS], len: 0 };
        parsed.split()?;
        Ok(parsed)
    }

    /// A decoded slash has been refused, so splitting after decoding is splitting before it.
    fn split(&mut self) -> Result<(), BadPath> {
        let text: &str = &self.decoded;
        let mut start = 1;
        loop {
            let end = text[start..].find('/').map_or(text.len(), |at| start + at);
            let segment = &text[start..end];
            if segment.is_empty() && end != text.len() {
                return Err(BadPath::EmptySegment);
            }
            // Some readers drop `;…` from a segment before they look for dots.
            if matches!(segment.split(';').next(), Some("." | "..")) {
                return Err(BadPath::DotSegment);
            }
            let slot = self.segments.get_mut(self.len).ok_or(BadPath::TooLong)?;
            // The length was checked, and decoding only shortens.
            *slot = (start as u16, end as u16);
            self.len += 1;
            if end == text.len() {
                return Ok(());
            }
            start = end + 1;
        }
    }

    /// The bytes as they came and as they are forwarded.
    pub fn raw(&self) -> &'a str {
        self.raw
    }

    /// The number of segments; a trailing slash counts as an empty one.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never: a path has at least one segment.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The decoded segment at `index`; empty past the end.
    pub fn segment(&self, index: usize) -> &str {
        if index >= self.len {
            return "";
        }
        let (start, end) = self.segments[index];
        &self.decoded[usize::from(start)..usize::from(end)]
    }

    /// The decoded segments.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        (0..self.len).map(|index| self.segment(index))
    }
}

/// Decodes once, and refuses what must not be encoded or must be.
fn decode(path: &[u8]) -> Result<Cow<'_, str>, BadPath> {
    let mut escapes = 0;
    for &byte in path {
        if byte == b'%' {
            escapes += 1;
        } else if !is_path_byte(byte) {
            return Err(BadPath::RawByte(byte));
        }
    }
    if escapes == 0 {
        return std::str::from_utf8(path).map(Cow::Borrowed).map_err(|_| BadPath::NotUtf8);
    }
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let [byte, tail @ ..] = rest {
        if *byte != b'%' {
            decoded.push(*byte);
            rest = tail;
            continue;
        }
        let [high, low, tail @ ..] = tail else { return Err(BadPath::BadEscape) };
        let (Some(high), Some(low)) = (hex(*high), hex(*low)) else {
            return Err(BadPath::BadEscape);
        };
        match high << 4 | low {
            b'/' | b'\\' => return Err(BadPath::EncodedSlash),
            byte if byte.is_ascii_control() => return Err(BadPath::Control),
            byte => decoded.push(byte),
        }
        rest = tail;
    }
    let decoded = String::from_utf8(decoded).map_err(|_| BadPath::NotUtf8)?;
    if decoded.chars().any(char::is_control) {
        return Err(BadPath::Control);
    }
    Ok(Cow::Owned(decoded))
}

/// `pchar` of RFC 3986, 3.3, and the slash.
const fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'/' | b'-'
                | b'.'
                | b'_'
                | b'~'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
                | b':'
                | b'@'
        )
}

/// Whether a part of a query reads as `wanted`, once its escapes are decoded.
pub(super) fn decodes_to(part: &str, wanted: &str) -> bool {
    unescaped(part).eq(wanted.bytes())
}

/// A part of a query, once its escapes are decoded; what is no UTF-8 then is replaced.
pub fn decoded(part: &str) -> Cow<'_, str> {
    if !part.contains('%') {
        return part.into();
    }
    let bytes: Vec<u8> = unescaped(part).collect();
    String::from_utf8_lossy(&bytes).into_owned().into()
}

fn unescaped(part: &str) -> impl Iterator<Item = u8> {
    let mut rest = part.as_bytes();
    std::iter::from_fn(move || {
        let (byte, tail) = rest.split_first()?;
        let escaped = match (byte, tail) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(h, l)| h << 4 | l),
            (_, _) => None,
        };
        rest = if escaped.is_some() { &tail[2..] } else { tail };
        Some(escaped.unwrap_or(*byte))
    })
}

/// Whether a part of a query, once its escapes are decoded, has `wanted` in it.
pub(super) fn decodes_into(query: &str, wanted: &str) -> bool {
    let bytes = query.as_bytes();
    (0..bytes.len()).any(|start| starts_decoded(&bytes[start..], wanted.as_bytes()))
}

fn starts_decoded(mut text: &[u8], wanted: &[u8]) -> bool {
    for byte in wanted {
        let (decoded, rest) = match text {
            [b'%', high, low, rest @ ..] => match hex(*high).zip(hex(*low)) {
                Some((high, low)) => (high << 4 | low, rest),
                None => return false,
            },
            [own, rest @ ..] => (*own, rest),
            [] => return false,
        };
        if decoded != *byte {
            return false;
        }
        text = rest;
    }
    true
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_reading_or_none() {
        use BadPath::*;
        let rows: &[(&str, Result<&[&str], BadPath>)] = &[
            ("/", Ok(&[""])),
            ("/api/0/", Ok(&["api", "0", ""])),
            ("/api/0", Ok(&["api", "0"])),
            ("/a%20b/", Ok(&["a b", ""])),
            ("/%61pi/0/", Ok(&["api", "0", ""])),
            ("/pkg@1.0+5:x/", Ok(&["pkg@1.0+5:x", ""])),
            ("/0%3A100%3a0/", Ok(&["0:100:0", ""])),
            ("/%C3%A9/", Ok(&["é", ""])),
            ("/a;b=1/...", Ok(&["a;b=1", "..."])),
            ("/%252e%252e%252f/", Ok(&["%2e%2e%2f", ""])),
            ("/a%3Fb%23c/", Ok(&["a?b#c", ""])),
            ("", Err(NotOriginForm)),
            ("*", Err(NotOriginForm)),
            ("api/0/", Err(NotOriginForm)),
            ("http://sentry/api/0/", Err(NotOriginForm)),
            ("//", Err(EmptySegment)),
            ("//api/0/", Err(EmptySegment)),
            ("/api//0/", Err(EmptySegment)),
            ("/api/0//", Err(EmptySegment)),
            ("/api/../0/", Err(DotSegment)),
            ("/api/./0/", Err(DotSegment)),
            ("/api/..", Err(DotSegment)),
            ("/api/.", Err(DotSegment)),
            ("/api/%2e%2E/0/", Err(DotSegment)),
            ("/api/.%2e/0/", Err(DotSegment)),
            ("/api/..;x/0/", Err(DotSegment)),
            ("/api%2F0/", Err(EncodedSlash)),
            ("/api%2f0/", Err(EncodedSlash)),
            ("/api%5c0/", Err(EncodedSlash)),
            ("/api\\0/", Err(RawByte(b'\\'))),
            ("/ac%00me/", Err(Control)),
            ("/ac%0d%0ame/", Err(Control)),
            ("/ac%7fme/", Err(Control)),
            ("/ac%C2%85me/", Err(Control)),
            ("/%", Err(BadEscape)),
            ("/%4", Err(BadEscape)),
            ("/%zz/", Err(BadEscape)),
            ("/%+1/", Err(BadEscape)),
            ("/%ff/", Err(NotUtf8)),
            ("/%C0%AF/", Err(NotUtf8)),
            ("/é/", Err(RawByte(0xc3))),
            ("/a b/", Err(RawByte(b' '))),
            ("/a\tb/", Err(RawByte(b'\t'))),
            ("/{event_id}/", Err(RawByte(b'{'))),
            ("/a#b/", Err(RawByte(b'#'))),
        ];
        for (path, wanted) in rows {
            match (CanonicalPath::parse(path.as_bytes()), wanted) {
                (Ok(parsed), Ok(wanted)) => {
                    assert_eq!(parsed.segments().collect::<Vec<_>>(), *wanted, "{path}");
                    assert_eq!(parsed.raw(), *path);
                }
                (Err(error), Err(wanted)) => assert_eq!(error, *wanted, "{path}"),
                (parsed, _) => panic!("{path}: {parsed:?}, wanted {wanted:?}"),
            }
        }
    }

    #[test]
    fn length_is_bounded() {
        let deep = "/a".repeat(MAX_SEGMENTS);
        assert!(CanonicalPath::parse(deep.as_bytes()).is_ok());
        assert_eq!(
            CanonicalPath::parse(format!("{deep}/").as_bytes()).unwrap_err(),
            BadPath::TooLong
        );
        let long = format!("/{}", "a".repeat(70_000));
        assert_eq!(CanonicalPath::parse(long.as_bytes()).unwrap_err(), BadPath::TooLong);
    }

    #[test]
    fn the_query_is_kept_as_it_came() {
        let target = Target::parse(b"/api/0/?cursor=&query=is:unresolved [x]".as_slice());
        assert_eq!(target.unwrap_err(), BadPath::RawByte(b' '));
        let target = Target::parse(b"/api/0/?a={[\"x\"]}&b=%zz?".as_slice()).unwrap();
        assert_eq!((target.path().raw(), target.query()), ("/api/0/", Some("a={[\"x\"]}&b=%zz?")));
        assert_eq!(Target::parse(b"/?").unwrap().query(), Some(""));
        assert_eq!(Target::parse(b"/").unwrap().query(), None);
        assert_eq!(Target::parse(b"/?a#b").unwrap_err(), BadPath::RawByte(b'#'));
        assert_eq!(Target::parse("/?é".as_bytes()).unwrap_err(), BadPath::RawByte(0xc3));
    }
}
