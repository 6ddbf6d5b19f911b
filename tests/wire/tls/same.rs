//! A request means the same in both versions of HTTP: the same answer, and the same at the upstream.

use tokio::io::AsyncWriteExt as _;

use super::client::{BEGIN, Http2, Sent, Speaks, exchange, frame, push, read, run};
use crate::client::Reply;
use crate::gate::{Gate, HOST};
use crate::upstream::Seen;

/// How a body comes.
#[derive(Clone, Copy, Debug)]
enum Body {
    None,
    /// With its length.
    Known(&'static str),
    /// In chunks, or in frames.
    Unknown(&'static str),
    /// Not at all, though this length was said.
    Announced(&'static str),
}
use Body::{Announced, Known, None as Nothing, Unknown};

struct Row {
    name: &'static str,
    line: &'static str,
    host: &'static str,
    /// `{READ}` and `{ALL}` are filled in.
    headers: &'static [(&'static str, &'static str)],
    body: Body,
    /// What both come to, and whether the upstream is asked.
    status: u16,
    code: &'static str,
}

const READ: (&str, &str) = ("Authorization", "Bearer {READ}");
const ALL: (&str, &str) = ("Authorization", "Bearer {ALL}");
const ISSUES: &str = "GET /api/0/organizations/acme/issues/";
const PUT: &str = "PUT /api/0/organizations/acme/issues/";

const fn row(
    name: &'static str,
    line: &'static str,
    headers: &'static [(&'static str, &'static str)],
    status: u16,
    code: &'static str,
) -> Row {
    Row { name, line, host: HOST, headers, body: Nothing, status, code }
}

const ROWS: &[Row] = &[
    row("a list", ISSUES, &[READ], 200, ""),
    row(
        "a query",
        "GET /api/0/organizations/acme/issues/?query=a%20b&cursor=0:0:0",
        &[READ],
        200,
        "",
    ),
    row("HEAD", "HEAD /api/0/organizations/acme/issues/", &[READ], 200, ""),
    row("OPTIONS", "OPTIONS /api/0/organizations/acme/issues/", &[], 200, ""),
    Row { body: Known("{\"a\":1}"), ..row("a body", PUT, &[ALL], 200, "") },
    Row { body: Unknown("{\"a\":1}"), ..row("a body without a length", PUT, &[ALL], 200, "") },
    row("PUT without a body", PUT, &[ALL], 200, ""),
    Row { body: Known(""), ..row("a body of no length", PUT, &[ALL], 200, "") },
    row(
        "what speaks for the caller",
        ISSUES,
        &[
            READ,
            ("X-Forwarded-For", "10.0.0.1"),
            ("X_Forwarded_For", "10.0.0.1"),
            ("Cookie", "a=1"),
            ("Cookie", "sentrysid=1"),
            ("TE", "trailers"),
            ("Forwarded", "for=1.2.3.4"),
        ],
        200,
        "",
    ),
    row("other fields", ISSUES, &[READ, ("X-A", "1"), ("X-A", "2"), ("Accept", "*/*")], 200, ""),
    row("nobody", ISSUES, &[], 401, "missing_credential"),
    row("another scheme", ISSUES, &[("Authorization", "Negotiate x")], 401, "missing_credential"),
    row(
        "no credential at all",
        ISSUES,
        &[("Authorization", "Bearer a b")],
        401,
        "malformed_credential",
    ),
    row(
        "an unknown token",
        ISSUES,
        &[("Authorization", "Bearer nobody-knows-me")],
        401,
        "unknown_token",
    ),
    row(
        "another kind",
        ISSUES,
        &[("Authorization", "DSN https://9cd363c59c05141f32414694128a7c21@x/1")],
        401,
        "wrong_credential_kind",
    ),
    row(
        "a scope that is not held",
        "DELETE /api/0/projects/acme/web/",
        &[READ],
        403,
        "missing_scope",
    ),
    row("two credentials", ISSUES, &[READ, READ], 400, "multiple_credentials"),
    row(
        "a token and a key",
        ISSUES,
        &[READ, ("X-Sentry-Auth", "Sentry sentry_key=1")],
        400,
        "multiple_credentials",
    ),
    row(
        "a key in the query",
        "GET /api/0/organizations/acme/issues/?sentry_key=1",
        &[READ],
        400,
        "multiple_credentials",
    ),
    row(
        "two origins",
        ISSUES,
        &[READ, ("Origin", "https://a"), ("Origin", "https://b")],
        400,
        "malformed_request",
    ),
    row("no such route", "GET /api/0/nothing/", &[READ], 404, "no_such_route"),
    row(
        "another method",
        "POST /api/0/organizations/acme/issues/",
        &[READ],
        405,
        "method_not_allowed",
    ),
    row(
        "a method that nobody has",
        "BREW /api/0/organizations/acme/issues/",
        &[READ],
        400,
        "malformed_request",
    ),
    row(
        "a method in small letters",
        "get /api/0/organizations/acme/issues/",
        &[READ],
        400,
        "malformed_request",
    ),
    Row { host: "elsewhere.example", ..row("another host", ISSUES, &[READ], 421, "misdirected") },
    Row { host: "gw.example:81", ..row("another port", ISSUES, &[READ], 421, "misdirected") },
    Row { host: "GW.Example.:80", ..row("our host, spelt differently", ISSUES, &[READ], 200, "") },
    Row { body: Known("{}"), ..row("GET with a body", ISSUES, &[READ], 400, "malformed_request") },
    Row {
        body: Unknown("{}"),
        ..row("GET with a body without a length", ISSUES, &[READ], 400, "malformed_request")
    },
    Row {
        body: Announced("99999999999"),
        ..row("a body that is too large", PUT, &[ALL], 413, "too_large")
    },
    Row {
        body: Announced("1000"),
        ..row("a body that need not be sent", PUT, &[READ], 403, "missing_scope")
    },
    row("dots", "GET /api/0/organizations/acme/issues/../members/", &[READ], 400, "bad_path"),
    row("dots in disguise", "GET /api/0/organizations/acme/%2e%2e/", &[READ], 400, "bad_path"),
    row("two slashes", "GET /api//0/organizations/acme/issues/", &[READ], 400, "bad_path"),
    row("a slash in disguise", "GET /api/0/organizations/acme%2fissues/", &[READ], 400, "bad_path"),
    row(
        "a backslash in disguise",
        "GET /api/0/organizations/acme%5cissues/",
        &[READ],
        400,
        "bad_path",
    ),
    row("NUL in disguise", "GET /api/0/organizations/acme%00/issues/", &[READ], 400, "bad_path"),
];

#[test]
fn a_request_means_the_same_in_both_versions() {
    let gate = super::gate();
    let (read, all) = (gate.token("read"), gate.token("all"));
    let long = "x".repeat(31 * 1024);
    run(async {
        for row in ROWS {
            let fill = |text: &str| text.replace("{READ}", &read).replace("{ALL}", &all);
            let mut headers: Vec<_> =
                row.headers.iter().map(|(name, value)| (*name, fill(value))).collect();
            compare(&gate, row, &headers).await;
            // And so does one whose head is too large for Sentry.
            if row.name == "a list" {
                headers.push(("X-Long", long.clone()));
                let large =
                    Row { status: 400, code: "malformed_request", name: "a long head", ..*row };
                compare(&gate, &large, &headers).await;
            }
        }
    });
    let both = gate.metric("portcullis_decisions_total", &["\"allow\""]);
    let allowed = ROWS.iter().filter(|row| row.status == 200 && !row.line.starts_with("OPTIONS"));
    assert_eq!(both, 2.0 * allowed.count() as f64);
}

async fn compare(gate: &Gate, row: &Row, headers: &[(&str, String)]) {
    let one = http1(gate, row, headers).await;
    let seen_of_one = gate.upstream.take();
    let two = http2(gate, row, headers).await;
    let seen_of_two = gate.upstream.take();
    let name = row.name;
    assert_eq!((one.status, &*one.code()), (row.status, row.code), "{name}, HTTP/1.1: {one:?}");
    assert_eq!((two.status, &*two.code()), (row.status, row.code), "{name}, HTTP/2: {two:?}");
    assert_eq!(comparable(&one), comparable(&two), "{name}");
    let asked = usize::from(row.status == 200 && !row.line.starts_with("OPTIONS"));
    assert_eq!(seen_of_one.len(), asked, "{name}: {seen_of_one:#?}");
    let both: Vec<_> = [&seen_of_one, &seen_of_two]
        .map(|seen| seen.iter().map(received).collect::<Vec<_>>())
        .into();
    assert_eq!(both[0], both[1], "{name}");
}

/// What a client may tell two answers apart by, but for what is different each time.
fn comparable(reply: &Reply) -> (Vec<(String, String)>, String) {
    let each_time = ["connection", "date", "x-request-id", "keep-alive"];
    let mut headers: Vec<_> =
        reply.headers.iter().map(|(n, v)| (n.to_ascii_lowercase(), v.clone())).collect();
    headers.retain(|(name, _)| !each_time.contains(&name.as_str()));
    headers.sort();
    let id = reply.header("x-request-id").unwrap_or_default();
    (headers, String::from_utf8_lossy(&reply.body).replace(id, ""))
}

type Received = (String, String, Vec<(String, String)>, Vec<u8>);

fn received(seen: &Seen) -> Received {
    let mut headers: Vec<_> = seen
        .headers
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
        .collect();
    headers.retain(|(name, _)| name != "x-request-id");
    headers.sort();
    (seen.method.clone(), seen.target.clone(), headers, seen.body.clone())
}

async fn http1(gate: &Gate, row: &Row, headers: &[(&str, String)]) -> Reply {
    let mut text = format!("{} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", row.line, row.host);
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += &match row.body {
        Nothing => "\r\n".to_owned(),
        Known(body) => format!("Content-Length: {}\r\n\r\n{body}", body.len()),
        Announced(length) => format!("Content-Length: {length}\r\n\r\n"),
        Unknown(body) => {
            format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
        }
    };
    let mut stream = Speaks::new(&["http/1.1"]).connect(gate.address, HOST).await.unwrap();
    let answer = exchange(&mut stream, text.as_bytes()).await;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect(row.name);
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines.map(|line| line.split_once(": ").unwrap());
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Reply { status, headers, body: answer[end + 4..].to_vec(), closed: true }
}

async fn http2(gate: &Gate, row: &Row, headers: &[(&str, String)]) -> Reply {
    let mut client = Http2::open(gate.address, HOST).await;
    let length = match row.body {
        Known(body) => Some(body.len().to_string()),
        Announced(length) => Some(length.to_owned()),
        Nothing | Unknown(_) => None,
    };
    let length = length.iter().map(|length| ("Content-Length", length.as_str()));
    let headers: Vec<_> =
        headers.iter().map(|(name, value)| (*name, value.as_str())).chain(length).collect();
    let (method, path) = row.line.split_once(' ').unwrap();
    let sent = Sent { method, authority: row.host, path, headers: &headers, body: b"" };
    let (response, mut stream) = client.begin(&sent, matches!(row.body, Nothing)).await.unwrap();
    match row.body {
        Known("") => stream.send_data(bytes::Bytes::new(), true).unwrap(),
        // It may be refused before.
        Known(body) | Unknown(body) => {
            push(&mut stream, body.as_bytes(), true).await.unwrap_or_default()
        }
        Nothing | Announced(_) => {}
    }
    read(response).await.unwrap_or_else(|error| panic!("{}: {error}", row.name))
}

/// A field of a head, spelled out (RFC 7541, 6.2.2).
fn field((name, value): (&str, &str)) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        assert!(text.len() < 127);
        bytes.push(text.len() as u8);
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes
}

/// What no client sends: each stream or connection ends without a whole answer of the upstream's.
#[test]
fn what_http_2_forbids_never_reaches_the_upstream() {
    let gate = super::gate();
    let bearer = format!("Bearer {}", gate.token("read"));
    let path = "/api/0/organizations/acme/issues/";
    let usual = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", HOST),
        (":path", path),
        ("authorization", &bearer),
    ];
    let with = |more: &[(&'static str, &'static str)]| [&usual[..], more].concat();
    let instead = |name: &str, value: &'static str| {
        usual.map(|(own, old)| if own == name { (own, value) } else { (own, old) }).to_vec()
    };
    let rows = [
        ("as usual", usual.to_vec(), true),
        ("the host too", with(&[("host", HOST)]), true),
        ("another host too", with(&[("host", "evil.example")]), false),
        ("two hosts", with(&[("host", HOST), ("host", HOST)]), false),
        ("two authorities", with(&[(":authority", HOST)]), false),
        ("a user name", instead(":authority", "x@gw.example"), false),
        (
            "no authority",
            usual.iter().copied().filter(|(name, _)| *name != ":authority").collect(),
            false,
        ),
        ("connection", with(&[("connection", "authorization")]), false),
        ("keep-alive", with(&[("keep-alive", "9")]), false),
        ("proxy-connection", with(&[("proxy-connection", "close")]), false),
        ("upgrade", with(&[("upgrade", "websocket")]), false),
        ("transfer-encoding", with(&[("transfer-encoding", "chunked")]), false),
        ("te", with(&[("te", "gzip")]), false),
        ("te of trailers", with(&[("te", "trailers")]), true),
        ("a name in capitals", with(&[("X-A", "1")]), false),
        ("a line in a value", with(&[("x-a", "1\r\nx-b: 2")]), false),
        ("two lengths", with(&[("content-length", "0"), ("content-length", "1")]), false),
        ("a length without a body", with(&[("content-length", "5")]), false),
        ("no path", instead(":path", ""), false),
        ("another form", instead(":path", "https://gw.example/api/0/"), false),
        ("an asterisk", instead(":path", "*"), false),
        ("a blank", instead(":path", "/api/0/organizations/acme/issues/ HTTP/1.1"), false),
        (
            "lines in a path",
            instead(":path", "/api/0/organizations/acme/issues/ HTTP/1.1\r\nx: y"),
            false,
        ),
        // It is cut before anybody sees it, as HTTP has it.
        // It is cut before anybody sees it.
        ("a fragment", instead(":path", "/api/0/organizations/acme/issues/#/../"), true),
        ("CONNECT", instead(":method", "CONNECT"), false),
        ("a pseudo-field of its own", with(&[(":protocol", "websocket")]), false),
    ];
    run(async {
        for (name, fields, passes) in rows {
            let block: Vec<u8> = fields.into_iter().flat_map(field).collect();
            let length = u32::try_from(block.len()).unwrap().to_be_bytes();
            let mut bytes = BEGIN.to_vec();
            bytes.extend_from_slice(&length[1..]);
            // HEADERS that end the stream, of stream 1.
            bytes.extend_from_slice(&[1, 0x5, 0, 0, 0, 1]);
            bytes.extend_from_slice(&block);
            let mut stream = Speaks::new(&["h2"]).connect(gate.address, HOST).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
            ended(&mut stream).await;
            let seen = gate.upstream.take();
            assert_eq!(seen.len(), usize::from(passes), "{name}: {seen:#?}");
            if let [seen] = &*seen {
                assert_eq!((seen.value("host"), &*seen.target), (Some(HOST), path), "{name}");
                assert_eq!(seen.values("te").len() + seen.values("connection").len(), 0, "{name}");
            }
        }
    });
}

/// Reads frames until stream 1, or the connection, has ended.
async fn ended(stream: &mut (impl tokio::io::AsyncRead + Unpin)) {
    while let Some((kind, flags, _)) = frame(stream).await {
        let ends = matches!(kind, 0 | 1) && flags & 1 == 1;
        // RST_STREAM and GOAWAY.
        if ends || matches!(kind, 3 | 7) {
            return;
        }
    }
}
