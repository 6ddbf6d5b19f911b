//! A reader of requests that takes nothing but what has one reading, and shares no code with the gateway.
//!
//! RFC 9112 and 9110, without what they leave to the recipient; of paths RFC 3986, without what another reader
//! could decode, join or climb.

/// A request that everybody reads the same.
#[derive(Debug, PartialEq, Eq)]
pub struct Plain {
    pub method: String,
    pub target: Vec<u8>,
    pub host: String,
    /// Each `Authorization`.
    pub authorization: Option<String>,
    pub body: Vec<u8>,
    /// How many bytes it has in all.
    pub length: usize,
}

/// Why a request is none of these.
pub type Ambiguous = &'static str;

pub fn read(bytes: &[u8]) -> Result<Plain, Ambiguous> {
    // Empty lines before a request are passed over (RFC 9112, 2.2).
    let mut start = 0;
    while bytes[start..].starts_with(b"\r\n") {
        start += 2;
    }
    let end = find(&bytes[start..], b"\r\n\r\n").ok_or("no end of the head")?;
    let head = &bytes[start..start + end];
    let body = &bytes[start + end + 4..];
    let mut lines = Vec::new();
    for line in split(head, b"\r\n") {
        if line.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            return Err("a bare line end, or NUL");
        }
        lines.push(line);
    }
    let (method, target, version) = request_line(lines[0])?;
    let mut fields = Vec::new();
    for line in &lines[1..] {
        fields.push(field(line)?);
    }
    if fields.len() > 100 {
        return Err("too many fields");
    }
    let all = |name: &str| -> Vec<&str> {
        fields.iter().filter(|(own, _)| own == name).map(|(_, value)| value.as_str()).collect()
    };
    let one = |name: &str| match *all(name) {
        [] => Ok(None),
        [value] => Ok(Some(value.to_owned())),
        [..] => Err("a field twice"),
    };
    let host = one("host")?.ok_or("no host")?;
    let authorization = one("authorization")?;
    one("origin")?;
    let (length, coding) = (one("content-length")?, one("transfer-encoding")?);
    let (body, used) = match (length, coding) {
        (Some(_), Some(_)) => return Err("a length and a coding"),
        (None, None) => (Vec::new(), 0),
        (Some(length), None) => {
            if length.is_empty() || !length.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err("a length that is no number");
            }
            let length: usize = length.parse().map_err(|_| "a length beyond any number")?;
            (body.get(..length).ok_or("less than the length")?.to_vec(), length)
        }
        (None, Some(coding))
            if coding.eq_ignore_ascii_case("chunked") && version == b"HTTP/1.1" =>
        {
            chunks(body)?
        }
        (None, Some(_)) => return Err("another coding"),
    };
    if matches!(&*method, "GET" | "HEAD") && used > 0 {
        return Err("a body that nobody reads");
    }
    for value in all("connection") {
        for name in value.split(',').map(str::trim) {
            let own = ["authorization", "host", "content-length", "content-type", "cookie"];
            if own.iter().any(|own| own.eq_ignore_ascii_case(name)) {
                return Err("a field of the request, taken off on the way");
            }
        }
    }
    path(&target)?;
    Ok(Plain { method, target, host, authorization, body, length: start + end + 4 + used })
}

fn request_line(line: &[u8]) -> Result<(String, Vec<u8>, &[u8]), Ambiguous> {
    let first = line.iter().position(|byte| *byte == b' ').ok_or("one word")?;
    let last = line.iter().rposition(|byte| *byte == b' ').ok_or("one word")?;
    if first == last {
        return Err("two words");
    }
    let (method, target, version) = (&line[..first], &line[first + 1..last], &line[last + 1..]);
    let known: &[&[u8]] = &[b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"];
    if !known.contains(&method) {
        return Err("another method");
    }
    if version != b"HTTP/1.1" && version != b"HTTP/1.0" {
        return Err("another version");
    }
    if target.first() != Some(&b'/') {
        return Err("no path");
    }
    let target = target.iter().flat_map(|byte| match byte {
        // The parser writes blanks as everybody else has to: after that there is one reading.
        0x01..=0x20 | 0x7f => format!("%{byte:02X}").into_bytes(),
        byte => vec![*byte],
    });
    Ok((String::from_utf8_lossy(method).into_owned(), target.collect(), version))
}

fn field(line: &[u8]) -> Result<(String, String), Ambiguous> {
    let colon = line.iter().position(|byte| *byte == b':').ok_or("a line without a colon")?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    if name.is_empty() || !name.iter().all(token) {
        return Err("a name that is no token");
    }
    if value.iter().any(|byte| *byte < 0x20 && *byte != b'\t' || *byte == 0x7f) {
        return Err("a control character in a value");
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((text(name).to_ascii_lowercase(), text(value).trim().to_owned()))
}

fn chunks(bytes: &[u8]) -> Result<(Vec<u8>, usize), Ambiguous> {
    let (mut body, mut rest) = (Vec::new(), bytes);
    loop {
        let end = find(rest, b"\r\n").ok_or("no end of a chunk")?;
        let size = std::str::from_utf8(&rest[..end]).map_err(|_| "a chunk of no size")?;
        let size = size.split(';').next().unwrap().trim_end();
        if size.is_empty() || !size.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err("a chunk of no size");
        }
        let size = usize::from_str_radix(size, 16).map_err(|_| "a chunk beyond any number")?;
        rest = &rest[end + 2..];
        if size == 0 {
            break;
        }
        body.extend_from_slice(rest.get(..size).ok_or("less than a chunk")?);
        rest = rest[size..].strip_prefix(b"\r\n").ok_or("a chunk without an end")?;
    }
    let end =
        if rest.starts_with(b"\r\n") { 2 } else { find(rest, b"\r\n\r\n").ok_or("no end")? + 4 };
    Ok((body, bytes.len() - rest.len() + end))
}

/// The path must be the same to whoever decodes it, joins slashes, climbs dots, or does none of it.
fn path(target: &[u8]) -> Result<(), Ambiguous> {
    let path = target.split(|byte| *byte == b'?').next().unwrap();
    if target.contains(&b'#') {
        return Err("a fragment");
    }
    let mut decoded = Vec::new();
    let mut at = 0;
    while at < path.len() {
        if path[at] != b'%' {
            decoded.push(path[at]);
            at += 1;
            continue;
        }
        let digits = path.get(at + 1..at + 3).and_then(|two| std::str::from_utf8(two).ok());
        let byte = digits.filter(|two| two.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let byte = byte.and_then(|two| u8::from_str_radix(two, 16).ok()).ok_or("half an escape")?;
        if byte == b'/' {
            return Err("a slash in disguise");
        }
        decoded.push(byte);
        at += 3;
    }
    let decoded = String::from_utf8(decoded).map_err(|_| "no UTF-8")?;
    if decoded.contains('\\') || decoded.chars().any(char::is_control) {
        return Err("a backslash, or a control character");
    }
    let segments: Vec<_> = decoded.split('/').skip(1).collect();
    for (index, segment) in segments.iter().enumerate() {
        let last = index + 1 == segments.len();
        let dots = segment.split(';').next().unwrap();
        if segment.is_empty() && !last || matches!(dots, "." | "..") {
            return Err("a segment that is none");
        }
    }
    Ok(())
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn split<'a>(bytes: &'a [u8], by: &[u8]) -> Vec<&'a [u8]> {
    let (mut parts, mut rest) = (Vec::new(), bytes);
    while let Some(at) = find(rest, by) {
        parts.push(&rest[..at]);
        rest = &rest[at + by.len()..];
    }
    parts.push(rest);
    parts
}

#[test]
fn the_reference_reads_what_is_plain_and_nothing_else() {
    let plain = [
        "GET /a/b/?x=%2F HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\nGET / HTTP/1.0\r\nHost: a\r\n\r\n",
        "PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}",
        "PUT /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    ];
    for text in plain {
        assert_eq!(read(text.as_bytes()).map(|read| read.length), Ok(text.len()), "{text}");
    }
    for text in [
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET //a HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a/%2e%2e/b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a%2fb HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
        "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "PUT / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
    ] {
        assert!(read(text.as_bytes()).is_err(), "{text}");
    }
}
