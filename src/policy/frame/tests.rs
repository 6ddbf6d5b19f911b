//! Frames that have one reading, and those that have two.

use super::*;

/// Reads a head the way the server's parser hands it over.
fn parse(raw: &str) -> Result<(Method, Body), BadFrame> {
    let mut lines = raw.split("\r\n");
    let line = lines.next().unwrap();
    let (method, rest) = line.split_once(' ').unwrap();
    let target = rest.rsplit_once(' ').unwrap().0.split('#').next().unwrap();
    let mut headers = HeaderMap::new();
    for line in lines.filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').unwrap();
        let name: http::HeaderName = name.parse().unwrap();
        headers.append(name, value.trim().parse().unwrap());
    }
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    let (target, raw) = (target.as_bytes(), raw.as_bytes());
    let head = RequestHead { raw, ..RequestHead::new(method, target, &headers) };
    Frame::parse(&head, HeadLimits::default()).map(|frame| (frame.method, frame.body))
}

#[test]
fn one_reading_or_none() {
    use super::BadFrame as Bad;
    let rows: &[(&str, Result<(Method, Body), Bad>)] = &[
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Ok((Method::Get, Body::None))),
        (
            "POST /?a=b HTTP/1.1\r\nHost: a:80\r\nContent-Length: 3\r\n\r\n",
            Ok((Method::Post, Body::Length(3))),
        ),
        (
            "POST / HTTP/1.1\r\nHost: [::1]:80\r\nContent-Length: 0\r\n\r\n",
            Ok((Method::Post, Body::None)),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n",
            Ok((Method::Post, Body::Chunked)),
        ),
        ("get / HTTP/1.1\r\nHost: a\r\n\r\n", Err(Bad::Method)),
        ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", Err(Bad::Method)),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", Err(Bad::Target)),
        ("GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", Err(Bad::Target)),
        ("GET p HTTP/1.1\r\nHost: a\r\n\r\n", Err(Bad::Target)),
        ("GET /#/x HTTP/1.1\r\nHost: a\r\n\r\n", Err(Bad::RequestLine)),
        ("GET / HTTP/1.1\r\n\r\n", Err(Bad::Host)),
        ("GET / HTTP/1.1\r\nHost: \r\n\r\n", Err(Bad::Host)),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", Err(Bad::Host)),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", Err(Bad::Host)),
        ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", Err(Bad::Host)),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", Err(Bad::Host)),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n",
            Err(Bad::SeveralAuthorizations),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            Err(Bad::LengthAndEncoding),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\ncontent-LENGTH: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            Err(Bad::LengthAndEncoding),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
            Err(Bad::Length),
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\n", Err(Bad::Length)),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\n", Err(Bad::Length)),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
            Err(Bad::Length),
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: TE, keep-alive,x-foo,\r\n\r\n",
            Ok((Method::Get, Body::None)),
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, Authorization\r\n\r\n",
            Err(Bad::Connection),
        ),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: x-forwarded-for\r\n\r\n", Err(Bad::Connection)),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nConnection: content-length\r\n\r\n",
            Err(Bad::Connection),
        ),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: \"x\"\r\n\r\n", Err(Bad::Connection)),
        ("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", Err(Bad::OldEncoding)),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            Err(Bad::Encoding),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            Err(Bad::Encoding),
        ),
    ];
    for (raw, wanted) in rows {
        assert_eq!(parse(raw), *wanted, "{raw}");
    }
    let large = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(MAX_HEAD_LEN));
    assert_eq!(parse(&large), Err(Bad::TooLarge(MAX_HEAD_LEN)));
}

#[test]
fn a_line_that_the_parser_changed_is_refused() {
    // Whatever a parser makes of a line: what it decides on has to be what came.
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_static("a"));
    for (target, raw) in [
        (&b"/a%20b"[..], &b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"[..]),
        (b"/", b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (b"/", b"GET / x HTTP/1.1\r\nHost: a\r\n\r\n"),
    ] {
        let head = RequestHead { raw, ..RequestHead::new("GET", target, &headers) };
        assert_eq!(Frame::parse(&head, HeadLimits::default()).unwrap_err(), BadFrame::RequestLine);
    }
    let raw = b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let head = RequestHead { raw, ..RequestHead::new("GET", b"/", &headers) };
    assert!(Frame::parse(&head, HeadLimits::default()).is_ok());
}

#[test]
fn a_body_in_frames_is_one_of_unknown_length_unless_it_says() {
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_static("gw.example"));
    let body = |method, headers: &HeaderMap| {
        let head = RequestHead { streams: true, ..RequestHead::new(method, b"/", headers) };
        Frame::parse(&head, HeadLimits::default()).map(|frame| frame.body)
    };
    assert_eq!(body("POST", &headers), Ok(Body::Chunked));
    assert_eq!(body("GET", &headers), Err(BadFrame::UnexpectedBody));
    headers.insert(CONTENT_LENGTH, HeaderValue::from_static("7"));
    assert_eq!(body("POST", &headers), Ok(Body::Length(7)));
}

#[test]
fn a_head_in_frames_is_as_large_as_it_would_be_forwarded() {
    let mut headers = HeaderMap::new();
    let line = "GET / HTTP/1.1\r\nhost: gw.example\r\nx-a: \r\n\r\n";
    for (length, fits) in
        [(MAX_HEAD_LEN - line.len(), true), (MAX_HEAD_LEN - line.len() + 1, false)]
    {
        headers.insert("x-a", HeaderValue::try_from("x".repeat(length)).unwrap());
        let head = RequestHead {
            authority: Some("gw.example"),
            ..RequestHead::new("GET", b"/", &headers)
        };
        assert_eq!(Frame::parse(&head, HeadLimits::default()).is_ok(), fits, "{length}");
    }
}

#[test]
fn each_line_ends_with_both_characters() {
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_static("a"));
    let rows: &[(&[u8], bool)] = &[
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", true),
        (b"GET / HTTP/1.1\nHost: a\r\n\r\n", false),
        (b"GET / HTTP/1.1\r\nHost: a\n\r\n", false),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\n", false),
        (b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", false),
    ];
    for (raw, whole) in rows {
        let head = RequestHead { raw, ..RequestHead::new("GET", b"/", &headers) };
        let frame = Frame::parse(&head, HeadLimits::default());
        let wanted = if *whole { None } else { Some(BadFrame::LineEnd) };
        assert_eq!(frame.err(), wanted, "{}", raw.escape_ascii());
    }
}

#[test]
fn a_head_has_as_many_fields_as_it_may() {
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_static("a"));
    let limits = HeadLimits { fields: 10, ..HeadLimits::default() };
    for count in 2..=11 {
        headers.append("x-a", HeaderValue::from_static("b"));
        let head = RequestHead::new("GET", b"/", &headers);
        let wanted = (count > 10).then_some(BadFrame::TooManyFields(10));
        assert_eq!(Frame::parse(&head, limits).err(), wanted, "{count}");
    }
}
