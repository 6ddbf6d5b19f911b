//! What a client gets, and what is written down of it.

use std::process::Command;
use std::time::Duration;

use crate::client::{request, send};
use crate::gate::{CANONICAL, Gate, HOST, Options, eventually};
use crate::upstream::{Upstream, ok};

#[test]
fn links_and_locations_name_the_address_that_was_called() {
    let gate = Gate::before(Upstream::answering(|_, stream| {
        let link = format!(
            "<{CANONICAL}/api/0/x/?&cursor=a,b>c:0:1>; rel=\"previous\"; results=\"false\"; \
             cursor=\"a,b>c:0:1\", <http://{CANONICAL}.evil/>; rel=\"next\""
        );
        let location = format!("{CANONICAL}/api/0/y/");
        let fields = [
            ("Link", &*link),
            ("Location", "http://elsewhere.example/"),
            ("Location", &location),
            ("Link", "broken"),
        ];
        ok(stream, &fields, b"{}");
    }));
    let reply = gate.bearer("GET /api/0/organizations/acme/issues/", &gate.token("read"));
    let links: Vec<_> = reply.headers("link").collect();
    assert_eq!(links.len(), 1, "{links:?}");
    assert!(links[0].starts_with(&format!("<http://{HOST}/api/0/x/?&cursor=a,b>c:0:1>; rel")));
    assert!(links[0].ends_with(&format!("<http://{CANONICAL}.evil/>; rel=\"next\"")));
    let locations: Vec<_> = reply.headers("location").collect();
    assert_eq!(locations, ["http://elsewhere.example/", &format!("http://{HOST}/api/0/y/")]);
    gate.counts("portcullis_link_rewrites_total", &["dropped"], 1.0);
}

#[test]
fn cookies_come_from_sentry_only_where_they_go_to_it() {
    let upstream = Upstream::answering(|_, stream| ok(stream, &[("Set-Cookie", "a=b")], b"{}"));
    let options = Options { listen: "expose = [\"api\", \"ui\"]".into(), ..Options::default() };
    let gate = Gate::with(upstream, &options);
    let own = format!("Bearer {}", gate.token("read"));
    let page = "GET /organizations/acme/issues/";
    let api = "GET /api/0/organizations/";
    let rows: [(&str, &[(&str, &str)], bool); 6] = [
        (page, &[], true),
        (page, &[("Cookie", "sentrysid=1")], true),
        (page, &[("Authorization", "Bearer x")], false),
        (api, &[("Cookie", "sentrysid=1")], true),
        (api, &[("Authorization", &own)], false),
        ("GET /api/0/", &[], false),
    ];
    for (line, fields, wanted) in rows {
        let reply = gate.send(line, fields);
        assert_eq!(reply.status, 200, "{line} {fields:?}");
        assert_eq!(reply.header("set-cookie").is_some(), wanted, "{line} {fields:?}");
    }
}

#[test]
fn a_body_of_too_great_length_is_refused_before_it_is_read() {
    let gate = Gate::start();
    let token = format!("Bearer {}", gate.token("all"));
    let line = "PUT /api/0/organizations/acme/issues/";
    let rows: &[(&str, &str, u16, &str)] = &[("Content-Length", "104857601", 413, "too_large")];
    for (name, value, status, code) in rows {
        let reply = gate.send(line, &[("Authorization", &token), (name, value)]);
        assert_eq!((reply.status, reply.code().as_str()), (*status, *code));
    }
    assert!(gate.upstream.take().is_empty());
    let reply = gate.send_body(line, &[("Authorization", &token)], b"{\"a\":1}");
    assert_eq!(reply.status, 200);
    assert_eq!(gate.upstream.take_one().body, b"{\"a\":1}");
}

#[test]
fn an_upstream_that_is_down_is_502_in_json_and_counted_apart() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let options = Options { upstream_url: Some(format!("http://{free}")), ..Options::default() };
    let gate = Gate::with(Upstream::start(), &options);
    let reply = gate.bearer("GET /api/0/organizations/acme/issues/", &gate.token("read"));
    assert_eq!((reply.status, reply.code().as_str()), (502, "upstream_unreachable"));
    // A request is counted just after its answer.
    let failures = || gate.metric("portcullis_upstream_failures_total", &["unreachable"]);
    eventually("a failure", || failures() == 1.0);
    gate.counts("portcullis_decisions_total", &["refuse"], 0.0);
}

#[test]
fn a_revocation_by_another_process_takes_effect() {
    let gate = Gate::start();
    let token = gate.token("read");
    let line = "GET /api/0/organizations/acme/issues/";
    assert_eq!(gate.bearer(line, &token).status, 200);
    let config = gate.folder.path().join("portcullis.toml");
    let command = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command.arg("token").args(words).arg("--config").arg(&config).output().unwrap()
    };
    let list = String::from_utf8(command(&["list"]).stdout).unwrap();
    assert!(!list.contains(&token), "{list}");
    let listed: serde_json::Value = serde_json::from_str(list.lines().next().unwrap()).unwrap();
    let id = listed["id"].as_str().unwrap();
    assert_eq!(command(&["revoke", id]).status.code(), Some(0));
    assert_eq!(command(&["revoke", "nobody"]).status.code(), Some(1));
    let refused = (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        gate.bearer(line, &token).code() == "disabled_token"
    });
    assert!(refused, "the token was never refused");
}

#[test]
fn nothing_secret_is_written() {
    let mut gate = Gate::start();
    let token = gate.token("event:read");
    gate.bearer("GET /api/0/organizations/acme/issues/?secret=MARK-query", &token);
    gate.send(
        "GET /api/0/",
        &[("Authorization", "Bearer MARK-unknown"), ("Cookie", "MARK-cookie")],
    );
    send(
        gate.address,
        b"GET /api/0/ HTTP/1.1\r\nAuthorization: Bearer MARK-parser\r\nX\x01: y\r\n\r\n",
    );
    send(gate.address, &request("GET /api/0/sntryu_MARK/", &[], b""));
    let metrics = String::from_utf8(gate.admin("/metrics").unwrap().body).unwrap();
    gate.stop();
    let written = gate.output() + &metrics;
    for secret in [token.as_str(), "MARK", crate::gate::UPSTREAM_TOKEN] {
        assert!(!written.contains(secret), "{secret} in {written}");
    }
    let lines = gate.access_lines();
    assert!(lines.iter().any(|line| line["decision"] == "allow" && line["status"] == 200));
}

#[test]
fn series_do_not_grow_with_what_clients_send() {
    let gate = Gate::start();
    let count = || gate.admin("/metrics").unwrap().body.iter().filter(|b| **b == b'\n').count();
    let knock = |n: u32| {
        let path = format!("GET /api/0/organizations/o{n}/issues/{n}/");
        gate.bearer(&path, &format!("token-{n}"));
        gate.send(&format!("GET /random-{n}/"), &[]);
        let host = format!("M{n} / HTTP/1.1\r\nHost: h{n}.example\r\n\r\n");
        send(gate.address, host.as_bytes());
    };
    // A request is counted just after its answer, so the last one may still be on its way.
    let settled = || {
        std::thread::sleep(Duration::from_millis(500));
        count()
    };
    knock(0);
    let before = settled();
    (1..50).for_each(knock);
    assert_eq!(settled(), before);
}

#[test]
fn a_bad_config_or_a_taken_port_ends_the_process_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.toml");
    std::fs::write(&path, "public_url = \"x\"\n").unwrap();
    for (command, code) in [("serve", 2), ("check", 1)] {
        let mut process = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        let output = process.arg(command).arg("--config").arg(&path).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{command}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("problem"), "{output:?}");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut process = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    let output = process.args(["demo", "--listen", &address]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains(&address), "{output:?}");
    // The listener's, and that of operators.
    let free = "127.0.0.1:0";
    for (listen, admin) in [(&*address, free), (free, &*address)] {
        let config = format!(
            "public_url = \"http://{HOST}\"\n[[listen]]\naddress = \"{listen}\"\n\
             [admin]\naddress = \"{admin}\"\n[upstream.web]\nurls = [\"http://127.0.0.1:1\"]\n\
             canonical_url = \"https://sentry.internal\"\n\
             credential = {{ file = \"sentry-token\" }}\n\
             [[store]]\nkind = \"file\"\npath = \"tokens.toml\"\n"
        );
        std::fs::write(&path, config).unwrap();
        std::fs::write(folder.path().join("tokens.toml"), "").unwrap();
        std::fs::write(folder.path().join("sentry-token"), "sntryu_x").unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        let output = process.arg("serve").arg("--config").arg(&path).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(&address) && said.contains("end what uses it"), "{said}");
    }
}

#[test]
fn a_line_says_who_called_for_what_and_under_which_config() {
    let mut gate = Gate::start();
    let token = gate.token("project:read");
    let (trace, span) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let sentry_trace = format!("{trace}-{span}-1");
    let headers =
        [("Authorization", &*format!("Bearer {token}")), ("sentry-trace", &*sentry_trace)];
    assert_eq!(gate.send("GET /api/0/projects/acme/web/?a=b", &headers).status, 200);
    assert_eq!(gate.upstream.take_one().value("sentry-trace"), Some(&*sentry_trace));
    let elsewhere = b"GET /api/0/ HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n";
    assert_eq!(send(gate.address, elsewhere).unwrap().status, 421);
    let metrics = String::from_utf8(gate.admin("/metrics").unwrap().body).unwrap();
    gate.stop();
    let lines = gate.access_lines();
    let line = lines.iter().find(|line| line["status"] == 200).unwrap();
    for (field, value) in [
        ("host", HOST),
        ("path", "/api/0/projects/acme/web/"),
        ("route", "/api/0/projects/{organization_id_or_slug}/{project_id_or_slug}/"),
        ("org", "acme"),
        ("project", "web"),
        ("trace_id", trace),
        ("span_id", span),
        ("scheme", "bearer"),
        ("credential_kind", "user_token"),
        ("decision", "allow"),
        ("cache", "miss"),
        ("upstream", "web"),
    ] {
        assert_eq!(line[field], value, "{field} of {line}");
    }
    let hash = line["config_hash"].as_str().unwrap();
    assert!(
        metrics.contains(&format!(
            "portcullis_config_info{{hash=\"{hash}\",sentry_version=\"26.8\"}} 1"
        )),
        "{hash}"
    );
    // What is not ours is not called by our name.
    let line = lines.iter().find(|line| line["status"] == 421).unwrap();
    assert_eq!((&line["host"], &line["reason"]), (&serde_json::Value::Null, &"misdirected".into()));
}
