//! Who may say who calls: the gateway, in headers that it takes off whatever clients send.

use crate::client::{Connection, send};
use portcullis::policy::identity::Narrowing;
use portcullis::store::portcullis::TokenKind;
use portcullis::store::portcullis::admin::NewToken;

use crate::gate::{Gate, HOST, Options, new};
use crate::upstream::{Seen, Upstream, ok};

const LINE: &str = "GET /api/0/projects/acme/web/issues/";

/// Spellings of one name that some reader takes for it.
fn spellings(name: &str) -> Vec<String> {
    let upper = name.to_ascii_uppercase();
    let mixed = name.replacen('-', "_", 1);
    let split = |by: &str| name.replace('-', by);
    vec![name.to_owned(), upper, mixed, split("_"), split("."), split("~"), split("")]
}

/// The fields that a reader could take for one that the gateway says who calls in.
fn spoken(seen: &Seen) -> Vec<(String, String)> {
    let fold = |name: &str| -> String {
        name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase()
    };
    let own = ["xportcullis", "xgateway", "xauthrequest", "xauthenticated"];
    let is_own = |name: &str| own.iter().any(|family| fold(name).starts_with(family));
    let mut spoken = seen.headers.clone();
    spoken.retain(|(name, _)| is_own(name));
    spoken
}

#[test]
fn nobody_else_sends_them_in_any_spelling_whether_they_are_on_or_off() {
    let names = [
        "X-Portcullis-Assertion",
        "X-Portcullis-Subject",
        "X-Portcullis-Scopes",
        "X-Portcullis-Organization",
        "X-Portcullis-Project",
        "X-Portcullis-Token",
        "X-Portcullis-Credential-Kind",
        "X-Portcullis-Anything",
        "X-Gateway-Assertion",
        "X-Auth-Request-User",
        "X-Authenticated-Jwt",
    ];
    for (top, tables, count) in [
        ("", "", 0),
        ("identity_headers = true", "", 6),
        ("", "[assertion]\n", 1),
        ("identity_headers = true", "[assertion]\nheader = \"X-Gateway-Assertion\"\n", 7),
    ] {
        let options =
            Options { top: top.to_owned(), tables: tables.to_owned(), ..Options::default() };
        let gate = Gate::with(Upstream::start(), &options);
        let authorization = format!("Bearer {}", gate.token("event:read"));
        for name in names.iter().flat_map(|name| spellings(name)) {
            let fields = [("Authorization", &*authorization), (&name, "evil"), (&name, "evil2")];
            let answer = gate.send(LINE, &fields);
            assert_eq!(answer.status, 200, "{name}: {answer:?}");
            let seen = gate.upstream.take_one();
            assert!(!seen.head.contains("evil"), "{name}: {}", seen.head);
            assert_eq!(spoken(&seen).len(), count, "{name}: {}", seen.head);
        }
        // Nor does `Connection` take them off.
        let nominated = names.join(", ");
        let fields = [("Authorization", &*authorization), ("Connection", &nominated)];
        let answer = gate.send(LINE, &fields);
        if answer.status == 200 {
            assert_eq!(spoken(&gate.upstream.take_one()).len(), count);
        }
        assert!(matches!(answer.status, 200 | 400), "{answer:?}");
        gate.upstream.take();
    }
}

#[test]
fn who_called_is_told_where_somebody_is_known() {
    let rule = "[[rule]]\nmethods = [\"GET\"]\naccess = \"public\"\n\
                path = \"/api/0/projects/{organization_id_or_slug}/{project_id_or_slug}/open/\"\n";
    let top = "identity_headers = true".to_owned();
    let options = Options { top, rules: rule.to_owned(), ..Options::default() };
    let gate = Gate::with(Upstream::start(), &options);
    let token = gate.token("event:read event:write");
    assert_eq!(gate.bearer("GET /api/0/projects/acme/we%62/issues/", &token).status, 200);
    let seen = gate.upstream.take_one();
    let told = |name: &str| seen.value(&format!("x-portcullis-{name}")).map(str::to_owned);
    assert_eq!(told("subject"), Some(gate.id_of(&token)));
    assert_eq!(told("scopes").as_deref(), Some("event:read event:write"));
    assert_eq!(told("organization").as_deref(), Some("acme"));
    assert_eq!(told("project").as_deref(), Some("web"));
    assert_eq!(told("credential-kind").as_deref(), Some("user_token"));
    assert_eq!(told("token").map(|token| token.len()), Some(8));
    assert_eq!(told("assertion"), None);
    assert!(!seen.head.contains(&token));
    let answer = gate.send("GET /api/0/projects/acme/web/open/", &[("X-Portcullis-Subject", "me")]);
    assert_eq!(answer.status, 200);
    assert_eq!(spoken(&gate.upstream.take_one()), []);
}

#[test]
fn the_scopes_are_those_that_it_was_let_through_with() {
    let (top, tables) = ("identity_headers = true".to_owned(), String::new());
    let gate = Gate::with(Upstream::start(), &Options { top, tables, ..Options::default() });
    let of = |name: &str, narrowing: Narrowing| {
        gate.create(NewToken { narrowing, ..new(name, TokenKind::Bearer, "all") })
    };
    let reader = of("reader", Narrowing { read_only: true, ..Narrowing::NONE });
    let profile = Some("ci-release".into());
    let ci = of("ci", Narrowing { profile, ..Narrowing::NONE });
    let releases = "GET /api/0/organizations/acme/releases/";
    for (token, line, absent) in
        [(&reader, LINE, ":write"), (&reader, LINE, ":admin"), (&ci, releases, "event:")]
    {
        assert_eq!(gate.bearer(line, token).status, 200, "{line}");
        let seen = gate.upstream.take_one();
        let scopes = seen.value("x-portcullis-scopes").unwrap();
        assert!(!scopes.is_empty() && !scopes.contains(absent), "{line}: {scopes}");
    }
}

#[test]
fn an_assertion_does_not_come_back() {
    let echo = Upstream::answering(|seen, stream| {
        let own: Vec<_> =
            seen.headers.iter().map(|(name, value)| (format!("X-Echo-{name}"), value)).collect();
        let mut fields: Vec<_> =
            own.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let assertion = seen.value("x-portcullis-assertion").unwrap();
        let quoted = format!("<https://sentry.internal/?a={assertion}>; rel=\"next\"");
        fields.extend([("X-Portcullis-Assertion", assertion), ("X-Quoted", &quoted)]);
        ok(stream, &fields, b"{}");
    });
    let (top, tables) = ("identity_headers = true".to_owned(), "[assertion]\n".to_owned());
    let admin = "credential = { file = \"admin-credential\" }".to_owned();
    let mut gate = Gate::with(echo, &Options { top, tables, admin, ..Options::default() });
    let token = gate.token("event:read");
    let wire = format!("{LINE} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {token}\r\n\r\n");
    let mut connection = Connection::open(gate.address);
    connection.write(wire.as_bytes());
    let answer = connection.read_reply("GET").unwrap();
    assert_eq!(answer.status, 200);
    let seen = gate.upstream.take_one();
    let assertion = seen.value("x-portcullis-assertion").unwrap();
    let [_, claims, signature] = assertion.split('.').collect::<Vec<_>>().try_into().unwrap();
    let echoed = format!("{:?}", answer.headers);
    assert!(echoed.contains("X-Echo-") || echoed.contains("x-echo-"), "{echoed}");
    let mut places = vec![echoed];
    let metrics = gate.admin("/metrics").unwrap();
    places.push(String::from_utf8(metrics.body).unwrap());
    gate.stop();
    places.push(gate.output());
    for place in places {
        assert!(!place.contains(signature) && !place.contains(claims), "{place}");
    }
}

#[test]
fn the_keys_are_published_to_operators_alone_and_only_where_they_are_used() {
    let options = Options { tables: "[assertion]\n".to_owned(), ..Options::default() };
    let gate = Gate::with(Upstream::start(), &options);
    let path = "/.well-known/jwks.json";
    let reply = gate.admin(path).unwrap();
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("cache-control"), Some("public, max-age=300"));
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.json()["keys"].as_array().unwrap().len(), 2);
    for (line, status) in [("HEAD", 200), ("POST", 405), ("DELETE", 405)] {
        let wire = format!("{line} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
        let mut connection = Connection::open(gate.admin);
        connection.write(wire.as_bytes());
        let reply = connection.read_reply(line).unwrap();
        assert_eq!((reply.status, line == "HEAD"), (status, reply.body.is_empty()), "{line}");
    }
    let wire = format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    assert_eq!(send(gate.address, wire.as_bytes()).unwrap().status, 404, "not for clients");
    assert!(gate.upstream.take().is_empty());
    let off = Gate::start();
    assert_eq!(off.admin(path).unwrap().status, 404);
    assert_eq!(off.admin("/livez").unwrap().header("cache-control"), Some("no-store"));
}
