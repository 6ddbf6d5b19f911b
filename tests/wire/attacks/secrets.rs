//! Secrets where they could be repeated: in what a parser says of a broken request, in a query of one that
//! fails, in headers that say where somebody came from, and in whatever tells operators what is going on. No
//! sink has any of them.

use std::fs;
use std::net::TcpListener;

use serde_json::json;

use crate::client::{Connection, request};
use crate::gate::{ADMIN, Gate, HOST, Options, UPSTREAM_TOKEN, eventually};
use crate::upstream::{Upstream, ok};

const LINE: &str = "GET /api/0/organizations/acme/issues/";
const KEY: &str = "a94ae32be2584e0bbd7a4cbb95971fee";
const PRIVATE: &str = "s3cr3t-of-a-dsn-of-old";
/// The project key that the gateway's own errors are sent with.
const OWN_KEY: &str = "b74a8fe5ccb19ba61c4c0873d391e987";

/// A gateway that tells everything that it can tell, to a log, an audit, a collector of spans and a Sentry
/// of errors; and these two.
fn talkative() -> (Gate, Upstream) {
    let collector = Upstream::answering(|_, stream| ok(stream, &[], b"{\"id\":\"1\"}"));
    let address = collector.address;
    // Nobody answers there.
    let relay = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let options = Options {
        listen: "expose = [\"api\", \"ingest\"]".to_owned(),
        tables: format!(
            "[log]\nlevel = \"debug\"\n[audit]\noutput = \"audit.log\"\n\
             decisions = [\"refuse\", \"write\", \"ingest\", \"read\"]\n\
             [privacy]\nclient_address = \"full\"\nuser_agent = \"full\"\n\
             [traces]\nendpoint = \"http://{address}/v1/traces\"\nsample = 1\n\
             [errors]\ndsn = {{ file = \"dsn\" }}\n\
             [upstream.relay]\nurls = [\"http://{relay}\"]\nhealth_interval = \"0s\"\n"
        ),
        files: vec![("dsn".to_owned(), format!("http://{OWN_KEY}@{address}/7\n"))],
        admin: "credential = { file = \"admin-credential\" }".to_owned(),
        ..Options::default()
    };
    (Gate::with(Upstream::start(), &options), collector)
}

/// Everything that it has told by its end, and that was said meanwhile.
fn told(mut gate: Gate, collector: &Upstream, mut said: String) -> String {
    gate.stop();
    let mut keep = |text: &str| said.push_str(text);
    keep(&gate.output());
    keep(&fs::read_to_string(gate.folder.path().join("audit.log")).unwrap());
    for seen in collector.take() {
        keep(&seen.head);
        keep(&String::from_utf8_lossy(&seen.body));
    }
    // Each of them has told something, or what is not in it is not looked for.
    for sign in ["\"msg\":\"request\"", "\"msg\":\"audit\"", "/v1/traces", "\"serving\""] {
        assert!(said.contains(sign), "{sign} in {said}");
    }
    said
}

fn is_in_none(said: &str, secrets: &[&str]) {
    for secret in secrets {
        assert!(!said.contains(secret), "{secret} in {said}");
        // Nor a good part of it.
        let half = &secret[secret.len() / 2..];
        assert!(!said.contains(half), "{half} in {said}");
    }
}

#[test]
fn ac_079_a_head_that_can_not_be_read_is_not_repeated() {
    let (gate, collector) = talkative();
    let token = gate.token("read");
    let mut said = String::new();
    for broken in [
        "Bad Header: x",
        "Bad\u{1}Header: x",
        "NoColon",
        ": empty",
        " folded: x",
        "X: a\u{0}b",
        "Content-Length: 1\r\nContent-Length: 2",
        "Transfer-Encoding: gzip",
    ] {
        let text = format!(
            "{LINE}?a={token} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {token}\r\n{broken}\r\n\r\n"
        );
        let mut connection = Connection::open(gate.address);
        connection.write(text.as_bytes());
        let reply = connection.read_reply("GET").expect(broken);
        assert_eq!(reply.status, 400, "AC-079 {broken:?}: {reply:?}");
        said.push_str(&format!("{:?}{}", reply.headers, String::from_utf8_lossy(&reply.body)));
        assert!(gate.upstream.take().is_empty(), "AC-079 {broken:?}");
    }
    // One that ends in the middle, and one that is none.
    for text in
        [format!("{LINE} HTTP/1.1\r\nAuthorization: Bearer {token}"), format!("{token}\r\n\r\n")]
    {
        Connection::open(gate.address).write(text.as_bytes());
    }
    assert_eq!(gate.bearer(LINE, &token).status, 200);
    // What a library says of it is there, without its words.
    eventually("the parser's word", || gate.output().contains("message withheld"));
    is_in_none(&told(gate, &collector, said), &[&token]);
}

#[test]
fn ac_080_a_key_in_the_query_of_what_fails_is_not_repeated() {
    let (gate, collector) = talkative();
    let mut said = String::new();
    for (line, fields) in [
        (format!("POST /api/42/envelope/?sentry_key={KEY}&sentry_secret={PRIVATE}"), None),
        (
            format!(
                "POST /api/42/store/?sentry_version=7&sentry_key={KEY}&sentry_secret={PRIVATE}"
            ),
            None,
        ),
        (
            "POST /api/42/envelope/".to_owned(),
            Some(format!("Sentry sentry_key={KEY}, sentry_secret={PRIVATE}, sentry_version=7")),
        ),
    ] {
        let fields: Vec<_> = fields.iter().map(|value| ("X-Sentry-Auth", value.as_str())).collect();
        let reply = gate.send_body(&line, &fields, b"{}");
        assert_eq!((reply.status, &*reply.code()), (502, "upstream_unreachable"), "AC-080 {line}");
        said.push_str(&format!("{:?}{}", reply.headers, String::from_utf8_lossy(&reply.body)));
    }
    let metrics = gate.admin("/metrics").unwrap().body;
    said.push_str(&String::from_utf8_lossy(&metrics));
    is_in_none(&told(gate, &collector, said), &[KEY, PRIVATE, "sentry_secret="]);
}

#[test]
fn ac_084_what_operators_are_shown_has_no_secret() {
    let (gate, collector) = talkative();
    let (token, other) = (gate.token("read"), "sntryu_f00dfeedf00dfeedf00dfeedf00dfeedf00dfeed");
    assert_eq!(gate.bearer(LINE, &token).status, 200);
    assert_eq!(gate.bearer(LINE, other).status, 401);
    gate.bearer(&format!("GET /api/0/{token}/{other}/"), &token);
    let operator = [("Authorization", &*format!("Bearer {ADMIN}"))];
    let mut said = String::new();
    let mut shown = |line: &str, body: &str, status: u16| {
        let reply = gate.operator(line, &operator, body);
        assert_eq!(reply.status, status, "AC-084 {line}: {reply:?}");
        said.push_str(&format!("{:?}{}", reply.headers, String::from_utf8_lossy(&reply.body)));
    };
    for line in
        ["GET /metrics", "GET /status", "GET /", "GET /unmatched", "GET /readyz", "GET /livez"]
    {
        shown(line, "", 200);
    }
    for token in [&*token, other, "portcullis_t_damaged-in-some-way", "two words"] {
        let question =
            json!({ "method": "GET", "path": LINE.split_once(' ').unwrap().1, "token": token });
        shown("POST /explain", &question.to_string(), 200);
    }
    shown("POST /reload", "", 200);
    // What is asked for and is not there, or is asked for by somebody else.
    shown("GET /config", "", 404);
    shown("GET /admin/config", "", 404);
    for authorization in
        [format!("Bearer {token}"), format!("Bearer {ADMIN}x"), "Basic x".to_owned()]
    {
        let reply = gate.operator("GET /status", &[("Authorization", &authorization)], "");
        assert!([401, 404, 421].contains(&reply.status), "{reply:?}");
        said.push_str(&format!("{:?}{}", reply.headers, String::from_utf8_lossy(&reply.body)));
    }
    // A token is known by the first digits of its digest.
    let fingerprint = portcullis::policy::credential::Digest::of(&token).hex()[..8].to_owned();
    assert!(said.contains(&fingerprint), "{said}");
    is_in_none(&told(gate, &collector, said), &[&token, other, ADMIN, UPSTREAM_TOKEN, OWN_KEY]);
}

#[test]
fn ac_085_a_token_in_what_says_where_somebody_came_from_is_not_exported() {
    let (gate, collector) = talkative();
    let token = gate.token("read");
    let bearer = format!("Bearer {token}");
    let referer = format!("https://x.example/?token={token}");
    let (baggage, state) =
        (format!("token={token},sentry-trace_id={token}"), format!("vendor={token}"));
    let agent = format!("curl/8 ({token})");
    let cookie = format!("sentrysid={token}");
    let fields = [
        ("Authorization", &*bearer),
        ("Referer", &*referer),
        ("baggage", &*baggage),
        ("tracestate", &*state),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("User-Agent", &*agent),
        ("Cookie", &*cookie),
        ("X-Custom", &*token),
        ("X-Request-Id", &*token),
    ];
    for line in [
        LINE.to_owned(),
        format!("{LINE}?token={token}&next=https://x.example/{token}"),
        format!("GET /api/0/{token}/"),
        format!("GET /api/0/organizations/{token}/issues/"),
        format!("GET /api/0/organizations/acme/{token}/?{token}"),
    ] {
        let reply = crate::client::send(gate.address, &request(&line, &fields, b"")).unwrap();
        assert!([200, 404].contains(&reply.status), "AC-085 {line}: {reply:?}");
    }
    // Spans of all of them have come.
    eventually("spans", || gate.metric("portcullis_spans_total", &["\"exported\""]) >= 5.0);
    is_in_none(&told(gate, &collector, String::new()), &[&token]);
}
