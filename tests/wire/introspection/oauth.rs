//! An OAuth 2.0 introspection endpoint (RFC 7662): what it is sent, and how its answers are read.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use portcullis::clock::{Clock as _, SystemClock};
use serde_json::{Value, json};

use super::{LINE, ask, ask_bearer, gate, oauth_store, told};
use crate::gate::{ADMIN, Gate, Options, eventually};
use crate::upstream::{Seen, Upstream, ok};

/// The parameters of a form, decoded.
fn form(seen: &Seen) -> Vec<(String, String)> {
    let text = std::str::from_utf8(&seen.body).unwrap();
    let decode = |text: &str| {
        let mut bytes = Vec::new();
        let mut rest = text.as_bytes();
        while let [first, tail @ ..] = rest {
            let (byte, used) = match first {
                b'%' => {
                    let pair = std::str::from_utf8(&tail[..2]).unwrap();
                    (u8::from_str_radix(pair, 16).unwrap(), 2)
                }
                b'+' => (b' ', 0),
                byte => (*byte, 0),
            };
            bytes.push(byte);
            rest = &tail[used..];
        }
        String::from_utf8(bytes).unwrap()
    };
    let pairs = text.split('&').map(|pair| pair.split_once('=').unwrap());
    pairs.map(|(name, value)| (decode(name), decode(value))).collect()
}

fn token(seen: &Seen) -> String {
    form(seen).into_iter().find(|(name, _)| name == "token").unwrap().1
}

/// Answers with what `claims` says of each token.
fn server(claims: impl Fn(&str) -> Value + Send + Sync + 'static) -> Upstream {
    Upstream::answering(move |seen, stream| {
        ok(stream, &[], claims(&token(seen)).to_string().as_bytes());
    })
}

fn active(claims: &str) -> Value {
    let mut all: Value = serde_json::from_str(claims).unwrap();
    all["active"] = json!(true);
    all
}

#[test]
fn the_endpoint_is_sent_the_token_and_nothing_else_of_the_caller() {
    let tokens = [
        "sntryu_plain",
        "a.b-c_d*e~f",
        "a+b/c==",
        "a&token=b&active=true",
        "%41%2B%",
        "a;b?c#d\"e'f<g>h\\i|j{k}l^m`n:o,p@q!r$s(t)",
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.",
    ];
    let long = "x".repeat(4096);
    // What the gateway has of its own, and how it is sent.
    let own = [
        (None, None),
        (Some("an-own-token"), Some("Bearer an-own-token")),
        // `gateway%40x:a%2Bb%2Fc%3D%25%3A`
        (Some("gateway@x:a+b/c=%:"), Some("Basic Z2F0ZXdheSU0MHg6YSUyQmIlMkZjJTNEJTI1JTNB")),
    ];
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    for (own, sent) in own {
        let endpoint = server(|_| active(r#"{"scope":"event:read"}"#));
        let mut store = oauth_store(endpoint.address, "unknown_per_second = 400");
        // Nor is anybody between asked, whatever the environment says.
        let proxies = ["http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"];
        let mut environment: Vec<_> = proxies
            .map(|name| (name.to_owned(), format!("http://{}", proxy.local_addr().unwrap())))
            .into();
        if let Some(own) = own {
            store.push_str("credential = { env = \"OWN\" }\n");
            environment.push(("OWN".to_owned(), own.to_owned()));
        }
        let options = Options { stores: Some(store), environment, ..Options::default() };
        let gate = Gate::with(Upstream::start(), &options);
        for token in tokens.into_iter().chain([long.as_str()]) {
            let authorization = format!("bearer \t{token}");
            let headers = [
                ("Authorization", authorization.as_str()),
                ("Cookie", "sentrysid=a-session"),
                ("X-Forwarded-For", "203.0.113.9"),
                ("User-Agent", "an-agent"),
                ("X-Sentry-Token", "another"),
                ("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            ];
            assert_eq!(ask(&gate, LINE, &headers).status, 200, "{token}");
            let seen = endpoint.take().pop().unwrap();
            assert_eq!(
                (seen.method.as_str(), seen.target.as_str()),
                ("POST", "/oauth2/introspect")
            );
            let wanted = [("token", token), ("token_type_hint", "access_token")];
            let wanted: Vec<_> =
                wanted.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
            assert_eq!(form(&seen), wanted, "{seen:?}");
            let mut names: Vec<_> =
                seen.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
            names.retain(|name| name != "authorization");
            names.sort();
            let wanted =
                ["accept", "connection", "content-length", "content-type", "host", "user-agent"];
            assert_eq!(names, wanted);
            assert_eq!(seen.value("connection"), Some("close"));
            assert_eq!(seen.value("content-type"), Some("application/x-www-form-urlencoded"));
            assert!(seen.value("user-agent").unwrap().starts_with("portcullis/"), "{seen:?}");
            assert_eq!(seen.value("authorization"), sent, "{token}");
            // To Sentry it goes as the caller wrote it.
            let forwarded = gate.upstream.take_one();
            assert_eq!(forwarded.value("authorization"), Some(&*authorization), "{token}");
        }
    }
    proxy.set_nonblocking(true).unwrap();
    assert_eq!(proxy.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn only_bearer_tokens_of_users_are_sent() {
    let endpoint = server(|_| active(r#"{"scope":"event:read org:ci"}"#));
    let gate = gate(oauth_store(endpoint.address, ""), "");
    for authorization in
        ["Bearer sntrys_e30=_x", "Basic Z29vZDo=", "Basic Z29vZDo=  ", "basic Z29vZDo="]
    {
        let answer = gate.send(LINE, &[("Authorization", authorization)]);
        assert_eq!(told(&answer), (401, "unknown_token".to_owned()), "{authorization}");
    }
    let feedback = "POST /api/0/projects/acme/proj/user-feedback/";
    let dsn = ("Authorization", "DSN http://9cd363c59c05141f32414694128a7c21@h/2");
    let answer = gate.send_body(feedback, &[dsn], b"{}");
    assert_eq!(told(&answer), (401, "unknown_token".to_owned()));
    assert!(endpoint.take().is_empty());
    assert!(gate.upstream.take().is_empty());
}

#[test]
fn an_answer_is_read_as_it_is_meant() {
    // The token says which row it is.
    let rows: Vec<(Value, u16, &str, Value)> = vec![
        // The claims, the answer, who it is, and what is held.
        (active(r#"{"scope":"event:read","sub":"ci"}"#), 200, "ci", json!(["event:read"])),
        (active(r#"{"scope":"event:read","client_id":"app"}"#), 200, "app", json!(["event:read"])),
        (
            active(r#"{"scope":"event:read","sub":"u","client_id":"app","username":"x"}"#),
            200,
            "u",
            json!(["event:read"]),
        ),
        (active(r#"{"scope":"event:read"}"#), 200, "introspected", json!(["event:read"])),
        (
            active(r#"{"scope":"openid event:read  unheard:of ","sub":"ci"}"#),
            200,
            "ci",
            json!(["event:read", "openid"]),
        ),
        (
            active(r#"{"scope":"event:read","sub":"<b>\n\u0000ci é"}"#),
            200,
            "<b>%0A%00ci%20%C3%A9",
            json!(["event:read"]),
        ),
        (
            active(r#"{"scope":"event:read","iat":1,"nbf":1,"aud":["x"],"iss":"y"}"#),
            200,
            "introspected",
            json!(["event:read"]),
        ),
        (active(r#"{"sub":"ci"}"#), 403, "ci", json!([])),
        (active(r#"{"scope":"","sub":"ci"}"#), 403, "ci", json!([])),
        (active(r#"{"scope":null,"sub":"ci"}"#), 403, "ci", json!([])),
        (active(r#"{"scope":"event:read,event:write","sub":"ci"}"#), 403, "ci", json!([])),
        (active(r#"{"scope":"EVENT:READ event:reads *","sub":"ci"}"#), 403, "ci", json!([])),
        (active(r#"{"scope":"project:read","sub":"ci"}"#), 403, "ci", json!(["project:read"])),
        (
            active(r#"{"scope":"event:read","exp":99999999999}"#),
            200,
            "introspected",
            json!(["event:read"]),
        ),
        (
            active(r#"{"scope":"event:read","exp":18446744073709551615}"#),
            200,
            "introspected",
            json!(["event:read"]),
        ),
        (
            active(r#"{"scope":"event:read","exp":null}"#),
            200,
            "introspected",
            json!(["event:read"]),
        ),
        (active(r#"{"scope":"event:read","exp":1,"sub":"ci"}"#), 401, "ci", json!(["event:read"])),
        (active(r#"{"scope":"event:read","exp":0,"sub":"ci"}"#), 401, "ci", json!(["event:read"])),
        (json!({"active": false}), 401, "", Value::Null),
        (json!({"active": false, "sub": "ci", "exp": 1}), 401, "", Value::Null),
    ];
    let claims: Vec<_> = rows.iter().map(|(claims, ..)| claims.clone()).collect();
    let endpoint = server(move |token| claims[token.parse::<usize>().unwrap()].clone());
    let options = Options {
        stores: Some(oauth_store(endpoint.address, "unknown_per_second = 400")),
        admin: "credential = { file = \"admin-credential\" }".to_owned(),
        ..Options::default()
    };
    let gate = Gate::with(Upstream::start(), &options);
    let operator = [("Authorization", &*format!("Bearer {ADMIN}"))];
    for (number, (claims, status, id, held)) in rows.iter().enumerate() {
        let answer = ask_bearer(&gate, &number.to_string());
        let code = match (*status, id.is_empty()) {
            (200, _) => "",
            (403, _) => "missing_scope",
            (_, true) => "unknown_token",
            (_, false) => "expired_token",
        };
        assert_eq!(told(&answer), (*status, code.to_owned()), "{claims}");
        assert_eq!(gate.upstream.take().len(), usize::from(*status == 200), "{claims}");
        let path = "/api/0/organizations/acme/issues/";
        let question = json!({"method": "GET", "path": path, "token": number.to_string()});
        let told = gate.operator("POST /explain", &operator, &question.to_string()).json();
        let identity = &told["identity"];
        if id.is_empty() {
            assert_eq!(identity, &Value::Null, "{claims}");
            continue;
        }
        assert_eq!((&identity["id"], &identity["scopes"]), (&json!(id), held), "{claims}");
        assert_eq!(identity["organizations"], "unknown", "{claims}");
        assert_eq!(
            (&identity["kind"], &identity["issuer"]),
            (&json!("user_token"), &json!("sentry"))
        );
    }
}

#[test]
fn an_identity_that_is_remembered_ends_when_the_token_does() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let endpoint = server(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        let seconds = SystemClock.now().as_millis() / 1000 + 5;
        json!({"active": true, "scope": "event:read", "exp": seconds})
    });
    let gate = gate(oauth_store(endpoint.address, ""), "[cache]\nttl = \"1h\"\n");
    // A machine with too much to do may need more time than a token has.
    let mut tokens = (0..10).map(|number| format!("sntryu_{number}"));
    let token = tokens.find(|token| ask_bearer(&gate, token).status == 200).unwrap();
    let before = asked.load(Ordering::SeqCst);
    eventually("the end of the token", || told(&gate.bearer(LINE, &token)).1 == "expired_token");
    gate.upstream.take();
    for _ in 0..10 {
        assert_eq!(told(&gate.bearer(LINE, &token)), (401, "expired_token".to_owned()));
    }
    assert!(gate.upstream.take().is_empty());
    assert_eq!(asked.load(Ordering::SeqCst), before);
}
