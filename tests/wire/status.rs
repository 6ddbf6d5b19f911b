//! The status page: who gets it, under which names, and that it says what happened.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::client::{Reply, request, send};
use crate::gate::{ADMIN, Gate, Options, eventually};
use crate::upstream::Upstream;

const OPERATOR: (&str, &str) = ("Authorization", "Bearer an-admin-credential-of-a-test");

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
}

/// Asks as a browser does, by address.
fn browse(gate: &Gate, line: &str, headers: &[(&str, &str)]) -> Reply {
    let host = gate.admin.to_string();
    let headers = [&[("Host", host.as_str())], headers].concat();
    send(gate.admin, &request(line, &headers, b"")).expect("an answer")
}

/// The page, as its operator gets it, but for where paths may be broken.
fn page(gate: &Gate, target: &str) -> String {
    let password = basic("operator", ADMIN);
    let reply = browse(gate, &format!("GET {target}"), &[("Authorization", &password)]);
    assert_eq!(reply.status, 200, "{target}");
    assert_eq!(reply.header("content-type"), Some("text/html; charset=utf-8"));
    String::from_utf8(reply.body).unwrap().replace("<wbr>", "")
}

#[test]
fn a_browser_gets_it_for_the_password_and_nothing_else() {
    let without = Gate::start();
    let (right, wrong) = (basic("anybody", ADMIN), basic(ADMIN, "another-credential"));
    for line in ["GET /", "GET /status"] {
        assert_eq!(browse(&without, line, &[("Authorization", &right)]).status, 404, "{line}");
    }
    let gate = Gate::with_admin();
    let cookie = format!("credential={ADMIN}");
    let refused: [&[(&str, &str)]; 4] = [
        &[],
        &[("Authorization", &wrong)],
        &[("Cookie", &cookie)],
        &[("Authorization", &right), ("Authorization", &right)],
    ];
    for line in ["GET /", "HEAD /", "GET /status", "GET /?method=GET&path=/api/0/"] {
        for headers in refused {
            let reply = browse(&gate, line, headers);
            assert_eq!(reply.status, 401, "{line} {headers:?}");
            let challenges: Vec<_> = reply.headers("www-authenticate").collect();
            assert!(
                challenges[0] == "Bearer" && challenges[1].starts_with("Basic realm="),
                "{challenges:?}"
            );
        }
        for headers in [("Authorization", right.as_str()), OPERATOR] {
            assert_eq!(browse(&gate, line, &[headers]).status, 200, "{line}");
        }
    }
    // Whatever changes something, or may look a token up, is not for a password.
    for line in ["POST /explain", "POST /cache/purge", "POST /reload", "GET /unmatched", "POST /"] {
        let body = r#"{"all": true, "method": "GET", "path": "/"}"#;
        let headers = [("Authorization", right.as_str())];
        let reply = gate.operator(line, &headers, body);
        assert_eq!(reply.status, 401, "{line}");
        assert_eq!(reply.header("www-authenticate"), Some("Bearer"), "no prompt for {line}");
    }
    for (line, status) in [("POST /", 405), ("PUT /status", 405), ("GET /index.html", 404)] {
        assert_eq!(gate.operator(line, &[OPERATOR], "x").status, status, "{line}");
    }
    // Never by the public listener.
    for line in ["GET /", "GET /status"] {
        assert_eq!(gate.send(line, &[("Authorization", &right)]).status, 404, "{line}");
    }
    assert!(!gate.output().contains(ADMIN));
}

#[test]
fn a_browser_gets_it_under_an_address_or_a_name_of_the_config() {
    let admin =
        "credential = { file = \"admin-credential\" }\nnames = [\"status.corp\"]".to_owned();
    let gate = Gate::with(Upstream::start(), &Options { admin, ..Options::default() });
    let password = basic("", ADMIN);
    let asked = |line: &str, headers: &[(&str, &str)]| {
        send(gate.admin, &request(line, headers, b"")).unwrap()
    };
    for (host, status) in [
        ("127.0.0.1", 200),
        ("[::1]:9090", 200),
        ("localhost:9090", 200),
        ("status.corp:9090", 200),
        ("evil.example:9090", 421),
        ("gw.example", 421),
        ("status.corp.evil.example", 421),
    ] {
        for path in ["/", "/status"] {
            let line = format!("GET {path}");
            let headers = [("Host", host), ("Authorization", password.as_str())];
            assert_eq!(asked(&line, &headers).status, status, "{host}{path}");
        }
        // No prompt under a name of somebody else's.
        let reply = asked("GET /", &[("Host", host)]);
        assert_eq!(reply.status, if status == 200 { 401 } else { 421 }, "{host}");
        assert_eq!(reply.headers("www-authenticate").count(), if status == 200 { 2 } else { 0 });
        // A script that has the credential means what it calls, and health is for everybody.
        assert_eq!(asked("GET /status", &[("Host", host), OPERATOR]).status, 200, "{host}");
        for path in ["/livez", "/readyz", "/metrics"] {
            assert_eq!(
                asked(&format!("GET {path}"), &[("Host", host)]).status,
                200,
                "{host}{path}"
            );
        }
    }
    let origin = [("Origin", "https://evil.example"), ("Authorization", password.as_str())];
    assert_eq!(browse(&gate, "GET /status", &origin).status, 403);
}

#[test]
fn it_is_one_page_that_loads_nothing_and_is_in_no_frame() {
    let gate = Gate::with_admin();
    let password = basic("operator", ADMIN);
    let reply = browse(&gate, "GET /", &[("Authorization", &password)]);
    let text = String::from_utf8(reply.body.clone()).unwrap();
    let inside = |tag: &str| {
        let (_, rest) = text.split_once(&format!("<{tag}>")).unwrap();
        let (inside, rest) = rest.split_once(&format!("</{tag}>")).unwrap();
        assert!(!rest.contains(&format!("<{tag}")), "one {tag}");
        BASE64_STANDARD.encode(Sha256::digest(inside))
    };
    let (style, script) = (inside("style"), inside("script"));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; \
         img-src data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; \
         base-uri 'none'"
    );
    for (name, value) in [
        ("content-security-policy", policy.as_str()),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
    ] {
        assert_eq!(reply.header(name), Some(value), "{name}");
    }
    for outside in [" src=", "http-equiv", " style=", "@import", "url(", " onclick"] {
        assert!(!text.contains(outside), "{outside}");
    }
    let head = browse(&gate, "HEAD /", &[("Authorization", &password)]);
    assert_eq!(head.header("content-security-policy"), Some(policy.as_str()));
    assert!(head.body.is_empty());
}

#[test]
fn it_says_what_happened() {
    let gate = Gate::with_admin();
    let token = gate.token("event:read");
    gate.settle();
    let issues = "/api/0/organizations/{organization_id_or_slug}/issues/";
    for _ in 0..3 {
        assert_eq!(gate.bearer("GET /api/0/organizations/acme/issues/", &token).status, 200);
    }
    for _ in 0..2 {
        assert_eq!(gate.bearer("DELETE /api/0/organizations/acme/issues/", &token).status, 403);
    }
    assert_eq!(gate.send("GET /api/0/organizations/acme/issues/", &[]).status, 401);
    assert_eq!(gate.bearer("GET /api/0/organizations/acme/new-thing/", &token).status, 404);

    // A request is counted when its client has the answer already.
    let status = || gate.operator("GET /status", &[OPERATOR], "").json();
    eventually("all of them", || {
        let told = status();
        told["traffic"]["requests"] == 7 && told["unmatched"][0]["count"] == 1
    });
    let told = status();
    assert_eq!((&told["ready"], &told["traffic"]["requests"]), (&json!(true), &json!(7)));
    assert_eq!(
        told["traffic"]["statuses"],
        json!([{ "what": "2xx", "count": 3 }, { "what": "4xx", "count": 4 }])
    );
    let refused = |reason: &str, route: &str, count: u64| json!({ "route": route, "decision": "refuse", "reason": reason, "count": count });
    assert_eq!(
        told["most_refused_routes"],
        json!([
            refused("missing_scope", issues, 2),
            refused("missing_credential", issues, 1),
            refused("no_such_route", "unmatched", 1),
        ])
    );
    for (reason, count) in [("missing_scope", 2.0), ("no_such_route", 1.0)] {
        let label = format!("reason=\"{reason}\"");
        gate.counts("portcullis_refusals_total", &["decision=\"refuse\"", &label], count);
    }
    let busiest = &told["busiest_routes"][0];
    assert_eq!((&busiest["route"], &busiest["duration"]["count"]), (&json!(issues), &json!(6)));
    let slowest = told["slowest_routes"].as_array().unwrap();
    assert_eq!(slowest.len(), 2);
    let allowed = &told["decisions"][0];
    assert_eq!(
        allowed,
        &json!({ "decision": "allow", "reason": "none", "credential": "bearer", "count": 3 })
    );
    let store = &told["stores"][0];
    assert_eq!(
        (&store["name"], &store["up"], &store["found"]),
        (&json!("portcullis"), &json!(true), &json!(1))
    );
    let upstream = &told["upstreams"][0];
    let address = json!([{ "url": gate.upstream.address.to_string(), "up": 1, "down": 0 }]);
    assert_eq!((&upstream["name"], &upstream["addresses"]), (&json!("web"), &address));
    assert_eq!(told["cache"]["entries"], 1);
    // Also what is refused is presented.
    assert_eq!(
        told["tokens"],
        json!([{ "store": "portcullis", "id": gate.id_of(&token), "kind": "user_token", "requests": 5 }])
    );
    assert_eq!(told["unmatched"][0]["count"], 1);
    assert_eq!(told["config"]["last"]["result"], "loaded");

    // The page has the same.
    let page = page(&gate, "/");
    for words in [issues, "missing_scope", "new-thing", "Requests</dt><dd>7</dd>", "portcullis"] {
        assert!(page.contains(words), "{words} in {page}");
    }
    assert!(!page.contains(&token) && !told.to_string().contains(&token));
}

#[test]
fn it_says_what_upstreams_are_told() {
    let status = |top: &str, tables: &str| {
        let admin = "credential = { file = \"admin-credential\" }".to_owned();
        let (top, tables) = (top.to_owned(), tables.to_owned());
        let options = Options { top, admin, tables, ..Options::default() };
        let gate = Gate::with(Upstream::start(), &options);
        let told = gate.operator("GET /status", &[OPERATOR], "").json();
        (told["upstreams_told"].clone(), page(&gate, "/"))
    };
    let (told, text) = status("", "");
    assert_eq!(told, json!({ "identity_headers": false, "assertion": null }));
    assert!(text.contains("identity headers off; assertions off."), "{text}");
    let (told, text) = status("identity_headers = true", "[assertion]\n");
    let assertion = json!({ "header": "x-portcullis-assertion", "upstreams": ["web"] });
    assert_eq!(told, json!({ "identity_headers": true, "assertion": assertion }));
    let words = "identity headers on; assertions to web in <code>x-portcullis-assertion</code>.";
    assert!(text.contains(words), "{text}");
}

#[test]
fn it_shows_the_problems_of_a_config_and_that_the_gateway_observes() {
    let gate = Gate::with_admin();
    let path = gate.folder.path().join("portcullis.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{config}\n[cache]\nttl = \"0s\"\n")).unwrap();
    let reload = || gate.operator("POST /reload", &[OPERATOR], "").json()["result"].clone();
    assert_eq!(reload(), "refused");
    let refused = page(&gate, "/");
    for words in ["The last one was refused", "cache.ttl", "is zero", "delete the line"] {
        assert!(refused.contains(words), "{words} in {refused}");
    }
    let end = humantime::format_rfc3339_seconds(crate::gate::hours(24).to_system_time());
    let observe = format!("mode = \"observe\"\nobserve_until = \"{end}\"\n");
    std::fs::write(&path, observe + &config).unwrap();
    assert_eq!(reload(), "loaded");
    let observing = page(&gate, "/");
    for words in ["</span>In force", "</span>Observing", "write `mode = &quot;enforce&quot;`"] {
        assert!(observing.contains(words), "{words} in {observing}");
    }
    assert!(!observing.contains("cache.ttl"), "{observing}");
}

#[test]
fn the_form_explains_as_the_command_does() {
    let gate = Gate::with_admin();
    let target =
        "/?method=DELETE&path=%2Fapi%2F0%2Forganizations%2Facme%2Fissues%2F&scope=event%3Aread";
    let refused = page(&gate, target);
    let words = ["--scope", "event:read", "DELETE", "/api/0/organizations/acme/issues/"];
    let told = crate::explain::explain(&gate, &words, "");
    for line in String::from_utf8(told.stdout).unwrap().lines() {
        let (word, rest) = line.split_at(12);
        let escaped = rest
            .replace('&', "&amp;")
            .replace('"', "&quot;")
            .replace('<', "&lt;")
            .replace('>', "&gt;");
        assert!(refused.contains(&escaped), "{escaped} in {refused}");
        assert!(refused.contains(&format!("<dt>{}</dt>", word.trim())) || word.trim().is_empty());
    }
    assert!(refused.contains("<title>Refused – Portcullis</title>"));
    assert!(refused.contains("<option selected>DELETE</option>"));
    let allowed = page(&gate, &format!("{target}+event%3Aadmin&organization=acme"));
    assert!(allowed.contains("<title>Allowed – Portcullis</title>"));
    assert!(
        allowed.contains("value=\"event:read event:admin\"") && allowed.contains("value=\"acme\"")
    );
    let wrong = page(&gate, "/?method=GET&path=/&scope=org:reed");
    assert!(wrong.contains("there is no such scope; write some of"), "{wrong}");
    let hostile = page(&gate, "/?method=GET&path=%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E");
    assert_eq!(hostile.matches("<script").count(), 1, "{hostile}");
    assert!(hostile.contains("&quot;&gt;&lt;script&gt;alert(1)"), "{hostile}");
    // Nobody was asked, upstream or store.
    assert!(gate.upstream.take().is_empty());
    gate.counts("portcullis_store_lookups_total", &[], 0.0);
}
