//! Administration of tokens by the admin listener.

use std::fs;

use serde_json::{Value, json};

use super::{LINE, shown};
use crate::client::{Reply, request, send};
use crate::gate::{ADMIN, Gate, OWN_STORE, Options, eventually};
use crate::upstream::Upstream;

const OPERATOR: (&str, &str) = ("Authorization", "Bearer an-admin-credential-of-a-test");

fn with(tables: &str) -> Gate {
    let admin = "credential = { file = \"admin-credential\" }".to_owned();
    let tables = tables.to_owned();
    Gate::with(Upstream::start(), &Options { admin, tables, ..Options::default() })
}

fn ask(gate: &Gate, line: &str, body: &Value) -> Reply {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    gate.operator(line, &[OPERATOR], &body)
}

/// Creates one, and gives its id and its secret.
fn create(gate: &Gate, body: &Value) -> (String, String) {
    let reply = ask(gate, "POST /tokens", body);
    assert_eq!(reply.status, 201, "{body}: {}", reply.json());
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let told = reply.json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let id = text(&told["token"]["id"]);
    assert_eq!(reply.header("location"), Some(&*format!("/tokens/{id}")));
    (id, text(&told["secret"]))
}

fn minimal(name: &str) -> Value {
    json!({ "name": name, "scopes": ["event:read"], "expires_in": "30d" })
}

#[test]
fn a_token_is_created_used_rotated_and_revoked() {
    let mut gate = with("[audit]\noutput = \"audit.log\"\ndecisions = []");
    let (id, secret) = create(&gate, &minimal("ci"));
    eventually("it known", || gate.bearer(LINE, &secret).status == 200);
    assert_eq!(
        ask(&gate, &format!("GET /tokens/{id}"), &Value::Null).json()["token"]["name"],
        "ci"
    );
    let body = json!({ "overlap": "1h" });
    let rotated = ask(&gate, &format!("POST /tokens/{id}/rotate"), &body);
    assert_eq!(rotated.status, 201, "{}", rotated.json());
    let told = rotated.json();
    assert_eq!((&told["token"]["rotated_from"], &told["previous"]["id"]), (&json!(id), &json!(id)));
    assert_eq!(told["previous"]["successor"], told["token"]["id"]);
    let (next, new) = (told["token"]["id"].as_str().unwrap(), told["secret"].as_str().unwrap());
    eventually("it known", || gate.bearer(LINE, new).status == 200);
    assert_eq!(gate.bearer(LINE, &secret).status, 200);
    // Once for the old one, and not before its time for the new one.
    let again = ask(&gate, &format!("POST /tokens/{id}/rotate"), &Value::Null);
    assert_eq!((again.status, again.code().as_str()), (409, "already_rotated"));
    assert_eq!(again.json()["successor"], next);
    let again = ask(&gate, &format!("POST /tokens/{next}/rotate"), &Value::Null);
    assert_eq!((again.status, &again.json()["rotated_from"]), (409, &json!(id)));
    for _ in 0..2 {
        let revoked = ask(&gate, &format!("DELETE /tokens/{next}"), &Value::Null);
        assert_eq!((revoked.status, &revoked.json()["token"]["state"]), (200, &json!("revoked")));
    }
    eventually("it refused", || gate.bearer(LINE, new).code() == "disabled_token");
    let again = ask(&gate, &format!("POST /tokens/{next}/rotate"), &Value::Null);
    assert_eq!((again.status, again.code().as_str()), (409, "revoked"));
    gate.stop();
    let audit = fs::read_to_string(gate.folder.path().join("audit.log")).unwrap();
    for secret in [&*secret, new, ADMIN] {
        assert!(!audit.contains(secret) && !gate.output().contains(secret));
    }
}

#[test]
fn the_record_comes_first_and_names_who_is_said_to_ask() {
    let gate = with("[audit]\noutput = \"audit.log\"\ndecisions = []");
    let actor = ("X-Portcullis-Actor", "terraform for ada sntryu_0123456789abcdef");
    let post = |headers: &[(&str, &str)], line: &str, body: &Value| {
        gate.operator(line, headers, &body.to_string())
    };
    let reply = post(&[OPERATOR, actor], "POST /tokens", &minimal("ci"));
    let id = reply.json()["token"]["id"].as_str().unwrap().to_owned();
    let taken = post(&[OPERATOR], "POST /tokens", &minimal("ci"));
    assert_eq!((taken.status, taken.code().as_str()), (409, "name_taken"));
    assert_eq!(taken.json()["id"], json!(id));
    assert_eq!(ask(&gate, &format!("DELETE /tokens/{id}"), &Value::Null).status, 200);
    let path = gate.folder.path().join("audit.log");
    let read = || -> Vec<Value> {
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["kind"] == "administration").collect()
    };
    eventually("all records", || read().len() >= 6);
    let seen: Vec<_> = read()
        .iter()
        .map(|line| {
            ["action", "result", "target"].map(|key| line[key].as_str().unwrap().to_owned())
        })
        .collect();
    let wanted = [
        ["token.create", "begun", "ci"],
        ["token.create", "done", &id],
        ["token.create", "begun", "ci"],
        ["token.create", "failed", &id],
        ["token.revoke", "begun", &id],
        ["token.revoke", "done", &id],
    ];
    assert_eq!(seen, wanted.map(|row| row.map(str::to_owned)));
    for line in &read()[..2] {
        assert_eq!((&line["actor"], &line["client_ip"]), (&json!("admin"), &json!("127.0.0.1")));
        assert_eq!(line["claimed_actor"], "terraform for ada ***");
    }
    assert_eq!(read()[4]["claimed_actor"], Value::Null);
    let long = "x".repeat(101);
    for actor in ["", &long, "a\tb", "\u{e9}"] {
        let headers = [OPERATOR, ("X-Portcullis-Actor", actor)];
        let reply = post(&headers, "POST /tokens", &minimal("other"));
        assert_eq!((reply.status, reply.code().as_str()), (400, "bad_request"), "{actor:?}");
        let reply = post(&headers, &format!("DELETE /tokens/{id}"), &Value::Null);
        assert_eq!((reply.status, reply.code().as_str()), (400, "bad_request"), "{actor:?}");
    }
    // What can't be recorded is not done.
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    for (line, body) in [("POST /tokens", minimal("next")), ("DELETE /tokens/tok_1", Value::Null)] {
        let reply = ask(&gate, line, &body);
        assert_eq!((reply.status, reply.code().as_str()), (503, "audit_unavailable"), "{line}");
        assert!(reply.json()["detail"].as_str().unwrap().starts_with("nothing was changed"));
    }
    assert_eq!(gate.portcullis(&["token", "list"]).lines().count(), 1);
    let listed = ask(&gate, "GET /tokens", &Value::Null).json();
    assert_eq!(listed["tokens"].as_array().unwrap().len(), 1);
}

#[test]
fn what_a_token_may_is_what_was_written() {
    let gate = with("");
    let all = json!({
        "name": "narrow", "kind": "api-key", "scopes": ["event:write"],
        "organizations": ["acme", "1"], "projects": ["42"], "origins": ["https://App.example.com"],
        "read_only": true, "profile": "ci-release", "groups": ["issues"],
        "networks": ["10.0.0.0/8", "2001:db8::/32"], "expires_at": "2100-01-01T00:00:00Z",
    });
    let (id, _) = create(&gate, &all);
    let told = ask(&gate, &format!("GET /tokens/{id}"), &Value::Null).json()["token"].clone();
    for (key, value) in [
        ("kind", json!("api-key")),
        ("state", json!("active")),
        ("scopes", json!(["event:read", "event:write"])),
        ("organizations", json!(["acme", "1"])),
        ("projects", json!(["42"])),
        ("origins", json!(["https://app.example.com"])),
        ("read_only", json!(true)),
        ("profile", json!("ci-release")),
        ("groups", json!(["issues"])),
        ("networks", json!(["10.0.0.0/8", "2001:db8::/32"])),
        ("expires_at", json!("2100-01-01T00:00:00.000Z")),
        ("canary", json!(false)),
    ] {
        assert_eq!(told[key], value, "{key}");
    }
    assert_eq!(told, shown(&gate, &id));
    let dsn = json!({ "name": "sdk", "kind": "dsn", "organizations": ["acme"], "projects": ["42", "web"],
                      "no_expiry": true });
    let reply = ask(&gate, "POST /tokens", &dsn).json();
    let secret = reply["secret"].as_str().unwrap();
    assert_eq!(reply["dsn"], format!("http://{secret}@gw.example/42"));
    let canary = ask(&gate, "POST /tokens", &json!({ "name": "bait", "canary": true })).json();
    assert_eq!((&canary["token"]["canary"], &canary["dsn"]), (&json!(true), &Value::Null));
    gate.settle();
    assert_eq!(gate.bearer(LINE, canary["secret"].as_str().unwrap()).code(), "unknown_token");
    gate.counts("portcullis_canary_uses_total", &[], 1.0);
    let id = canary["token"]["id"].as_str().unwrap();
    assert_eq!(ask(&gate, &format!("POST /tokens/{id}/rotate"), &Value::Null).code(), "canary");
}

#[test]
fn what_is_not_understood_is_refused_and_nothing_is_made() {
    let gate = with("");
    let with = |key: &str, value: Value| {
        let mut body = minimal("one");
        body[key] = value;
        body.to_string()
    };
    let of_acme = |projects: Value| {
        let mut body = minimal("one");
        (body["organizations"], body["projects"]) = (json!(["acme"]), projects);
        body.to_string()
    };
    let without = |key: &str| {
        let mut body = minimal("one");
        body.as_object_mut().unwrap().remove(key);
        body.to_string()
    };
    let many: Vec<_> = (0..101).map(|number| format!("o{number}")).collect();
    let bodies = [
        String::new(),
        "{".to_owned(),
        "[]".to_owned(),
        "null".to_owned(),
        r#"["one"]"#.to_owned(),
        with("scope", json!(["org:read"])),
        with("name", json!(" one")),
        with("name", json!("tok_1")),
        with("kind", json!("admin")),
        with("scopes", json!([])),
        with("scopes", json!(["event:fly"])),
        with("scopes", json!("event:read")),
        with("organizations", json!([])),
        with("organizations", json!(["Acme/"])),
        with("organizations", json!(many)),
        with("projects", json!(["42"])),
        of_acme(json!(["web"])),
        with("profile", json!("nobody")),
        with("groups", json!(["nothing"])),
        with("origins", json!(["app.example.com"])),
        with("read_only", json!("yes")),
        with("profile", json!("")),
        with("groups", json!(["a\nb"])),
        with("networks", json!(["10.0.0.0/33"])),
        with("networks", json!(["anywhere"])),
        with("expires_in", json!("0s")),
        with("expires_in", json!("soon")),
        with("expires_at", json!("2100-01-01T00:00:00Z")),
        with("no_expiry", json!(true)),
        with("canary", json!(true)),
        without("name"),
        without("scopes"),
        without("expires_in"),
        json!({ "name": "one", "scopes": ["org:read"], "expires_at": "2001-01-01T00:00:00Z" })
            .to_string(),
        json!({ "name": "one", "kind": "dsn", "no_expiry": true }).to_string(),
        json!({ "name": "one", "kind": "dsn", "canary": true }).to_string(),
        json!({ "name": "one", "canary": true, "projects": ["1"] }).to_string(),
        r#"{"name":"a","name":"b","scopes":["org:read"],"expires_in":"1d"}"#.to_owned(),
    ];
    for body in &bodies {
        let reply = gate.operator("POST /tokens", &[OPERATOR], body);
        assert_eq!((reply.status, reply.code().as_str()), (400, "bad_request"), "{body}");
        assert!(!reply.json()["detail"].as_str().unwrap().is_empty());
    }
    let large = with("name", json!("x".repeat(70_000)));
    assert_eq!(gate.operator("POST /tokens", &[OPERATOR], &large).code(), "too_large");
    let (id, _) = create(&gate, &minimal("one"));
    for body in [
        r#"{"overlap":"x"}"#,
        r#"{"expires_in":"0s"}"#,
        r#"{"lifetime":1}"#,
        "[]",
        r#"{"expires_in":"1d","no_expiry":true}"#,
    ] {
        let reply = gate.operator(&format!("POST /tokens/{id}/rotate"), &[OPERATOR], body);
        assert_eq!((reply.status, reply.code().as_str()), (400, "bad_request"), "{body}");
    }
    for (line, status, code) in [
        ("GET /tokens/tok_0", 404, "not_found"),
        ("DELETE /tokens/tok_0", 404, "not_found"),
        ("POST /tokens/tok_0/rotate", 404, "not_found"),
        ("GET /tokens/one", 404, "not_found"),
        ("PUT /tokens", 405, "method_not_allowed"),
        ("PATCH /tokens/tok_0", 405, "method_not_allowed"),
        ("GET /tokens?unused=1d", 400, "bad_request"),
        ("GET /tokens?after=tok_0", 400, "bad_request"),
        ("GET /tokens?limit=0", 400, "bad_request"),
        ("GET /tokens?store=other", 404, "no_such_store"),
        ("DELETE /tokens/tok_0?name=one", 400, "bad_request"),
    ] {
        let reply = ask(&gate, line, &Value::Null);
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{line}");
    }
    assert_eq!(gate.portcullis(&["token", "list"]).lines().count(), 1);
    assert_eq!(shown(&gate, &id)["state"], "active");
}

#[test]
fn a_list_is_filtered_and_comes_in_pages() {
    let gate = with("");
    let mut ids = Vec::new();
    for number in 0..7 {
        let expires = if number % 2 == 0 { "1d" } else { "60d" };
        let body =
            json!({ "name": format!("n {number}"), "scopes": ["org:read"], "expires_in": expires });
        ids.push(create(&gate, &body).0);
    }
    let list = |query: &str| ask(&gate, &format!("GET /tokens?{query}"), &Value::Null).json();
    let of = |told: &Value| -> Vec<String> {
        let tokens = told["tokens"].as_array().unwrap();
        tokens.iter().map(|token| token["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(of(&list("")), ids);
    let (mut seen, mut after, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let told = list(&format!("limit=3{after}"));
        seen.extend(of(&told));
        pages += 1;
        match told["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!((seen, pages), (ids.clone(), 3));
    let soon: Vec<_> = ids.iter().step_by(2).cloned().collect();
    assert_eq!(of(&list("expires_within=14d")), soon);
    let told = list("expires_within=14d&limit=2");
    assert_eq!((of(&told), &told["next"]), (soon[..2].to_vec(), &json!(soon[1])));
    assert_eq!(of(&list("name=n+3")), ids[3..4]);
    assert!(of(&list("unused_for=90d")).is_empty());
    let days = crate::gate::hours(-100 * 24).as_millis();
    gate.sql(&format!("UPDATE token SET created_at = {days} WHERE id = '{}'", ids[5]));
    assert_eq!(of(&list("unused_for=90d")), ids[5..6]);
    gate.sql(&format!("UPDATE token SET fingerprint = 'x' WHERE id = '{}'", ids[0]));
    let told = list("");
    assert_eq!((of(&told).len(), told["unreadable"].as_array().unwrap().len()), (6, 1));
    assert!(told["unreadable"][0].as_str().unwrap().contains(&ids[0]));
    assert_eq!(
        ask(&gate, &format!("GET /tokens/{}", ids[0]), &Value::Null).code(),
        "unreadable_token"
    );
    let revoked = ask(&gate, &format!("DELETE /tokens/{}", ids[0]), &Value::Null);
    assert_eq!((revoked.status, &revoked.json()["token"]), (200, &Value::Null));
}

#[test]
fn one_of_several_stores_is_named() {
    let admin = "credential = { file = \"admin-credential\" }".to_owned();
    let stores = format!(
        "{OWN_STORE}name = \"one\"\n{}name = \"two\"\n",
        OWN_STORE.replace("tokens", "other")
    );
    let options = Options { admin, stores: Some(stores), ..Options::default() };
    let gate = Gate::with(Upstream::start(), &options);
    for line in ["GET /tokens", "POST /tokens", "DELETE /tokens/tok_1"] {
        let reply = ask(&gate, line, &minimal("ci"));
        assert_eq!((reply.status, reply.code().as_str()), (400, "store_not_named"), "{line}");
        assert_eq!(reply.json()["stores"], json!(["one", "two"]));
    }
    let reply = ask(&gate, "POST /tokens?store=two", &minimal("ci"));
    assert_eq!(reply.status, 201);
    let count = |store: &str| {
        let told = ask(&gate, &format!("GET /tokens?store={store}"), &Value::Null).json();
        told["tokens"].as_array().unwrap().len()
    };
    assert_eq!([count("one"), count("two")], [0, 1]);
    let secret = reply.json()["secret"].as_str().unwrap().to_owned();
    eventually("it known", || gate.bearer(LINE, &secret).status == 200);
}

#[test]
fn nobody_else_gets_there() {
    let gate = with("");
    let without = Gate::start();
    let basic = {
        use base64::Engine as _;
        let pair = base64::prelude::BASE64_STANDARD.encode(format!("operator:{ADMIN}"));
        format!("Basic {pair}")
    };
    let cookie = format!("credential={ADMIN}");
    let token = gate.token("all");
    gate.settle();
    let bearer = format!("Bearer {token}");
    for line in [
        "GET /tokens",
        "POST /tokens",
        "GET /tokens/tok_1",
        "DELETE /tokens/tok_1",
        "POST /tokens/tok_1/rotate",
    ] {
        let body = minimal("ci").to_string();
        for headers in [
            &[][..],
            &[("Authorization", basic.as_str())],
            &[("Authorization", bearer.as_str())],
            &[("Cookie", cookie.as_str())],
            &[OPERATOR, OPERATOR],
        ] {
            assert_eq!(gate.operator(line, headers, &body).status, 401, "{line} {headers:?}");
        }
        assert_eq!(without.operator(line, &[OPERATOR], &body).status, 404, "{line}");
        // Never by the public listener.
        let reply = send(gate.address, &request(line, &[OPERATOR], body.as_bytes())).unwrap();
        assert!(matches!(reply.status, 400 | 404 | 405), "{line}: {}", reply.status);
    }
    assert_eq!(gate.portcullis(&["token", "list"]).lines().count(), 1);
    assert!(gate.upstream.take().is_empty());
}

/// What the README has people type.
#[test]
fn the_lines_of_the_readme_work() {
    let readme = include_str!("../../../README.md");
    let section = readme.split("### Tokens over HTTP").nth(1).unwrap();
    let block = section.split("```").nth(1).unwrap().replace("\\\n", " ");
    let lines: Vec<_> = block.lines().filter(|line| line.starts_with("curl ")).collect();
    assert_eq!(lines.len(), 5);
    let gate = with("");
    let url = format!("http://{}", gate.admin);
    let mut id = String::new();
    for (number, line) in lines.iter().enumerate() {
        let line = line.replace("http://127.0.0.1:9090", &url).replace("/ID", &format!("/{id}"));
        let run = format!("{line} --silent --show-error --write-out '\n%{{http_code}}'");
        let mut shell = std::process::Command::new("sh");
        let output = shell.args(["-c", &run]).current_dir(gate.folder.path()).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let (body, status) = said.trim_end().rsplit_once('\n').unwrap();
        assert_eq!(status, ["201", "200", "200", "201", "200"][number], "{run}: {said}");
        let told: Value = serde_json::from_str(body).unwrap();
        match number {
            0 => id = told["token"]["id"].as_str().unwrap().to_owned(),
            1 => assert_eq!(told["tokens"], json!([])),
            2 => assert_eq!(told["token"]["organizations"], json!(["acme"])),
            3 => assert_eq!(told["previous"]["id"], json!(id)),
            _ => assert_eq!(told["token"]["state"], "revoked"),
        }
    }
}
