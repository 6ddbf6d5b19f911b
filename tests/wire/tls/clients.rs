//! Certificates of clients: who gets in with one, and as whom.

use std::process::Command;

use super::authority::{Authority, Made};
use super::client::{Http2, Sent, Speaks, exchange, run};
use super::files;
use crate::client::request;
use crate::gate::{Gate, HOST, OWN_STORE, Options, UPSTREAM_TOKEN, eventually};
use crate::upstream::Upstream;

const ISSUES: &str = "/api/0/organizations/acme/issues/";
const OPEN: &str = "/api/0/organizations/acme/open/";
const TOKENS: &str = r#"
[[token]]
name = "by-uri"
certificate = "URI:spiffe://prod/ci"
scopes = ["event:read", "org:read"]
[[token]]
name = "by-host"
certificate = "DNS:CI.example.com"
scopes = ["event:read"]
[[token]]
name = "by-name"
certificate = "CN:ci"
scopes = ["event:read"]
organizations = ["acme"]
[[token]]
name = "gone"
certificate = "CN:gone"
scopes = ["event:read"]
expires_at = "2020-01-01T00:00:00Z"
"#;

struct Stage {
    gate: Gate,
    clients: Authority,
}

/// A gateway whose clients show certificates, and who signs them.
fn stage(demand: &str, more: &str) -> Stage {
    let clients = Authority::new("clients");
    let (certificates, mut files) =
        files(&[&Authority::new("ours").certificate(&format!("DNS:{HOST}"))]);
    files.push(("clients.crt".into(), clients.root()));
    files.push(("tokens.toml".into(), TOKENS.to_owned() + more));
    let listen = format!(
        "tls = {{ {certificates}, client_ca = \"clients.crt\"{demand} }}\nexpose = [\"api\", \"ui\"]"
    );
    let stores = format!("[[store]]\nkind = \"file\"\npath = \"tokens.toml\"\n{OWN_STORE}");
    let rules = "[[rule]]\nmethods = [\"GET\"]\naccess = \"public\"\n\
                 path = \"/api/0/organizations/{organization_id_or_slug}/open/\"\n";
    let options =
        Options { listen, files, stores: Some(stores), rules: rules.into(), ..Options::default() };
    Stage { gate: Gate::with(Upstream::start(), &options), clients }
}

const OPTIONAL: &str = ", client_certificates = \"optional\"";

impl Stage {
    fn made(&self, name: &str, alternatives: &str) -> Made {
        let extensions = match alternatives {
            "" => "extendedKeyUsage = clientAuth".to_owned(),
            names => format!("extendedKeyUsage = clientAuth\nsubjectAltName = {names}"),
        };
        self.clients.make(name, &extensions, 2)
    }

    /// The status and the code of an answer in HTTP/1.1; `None` without one.
    fn ask(
        &self,
        own: Option<&Made>,
        line: &str,
        headers: &[(&str, &str)],
    ) -> Option<(u16, String)> {
        run(async {
            let speaks = match own {
                Some(own) => Speaks::as_client(&["http/1.1"], own),
                None => Speaks::new(&["http/1.1"]),
            };
            let mut stream = speaks.connect(self.gate.address, HOST).await.ok()?;
            let headers = [headers, &[("Connection", "close")]].concat();
            use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
            // With TLS 1.3 a client is told after it has begun.
            stream.write_all(&request(line, &headers, b"")).await.ok()?;
            let mut answer = Vec::new();
            let _ = super::client::soon("an answer", stream.read_to_end(&mut answer)).await;
            let text = String::from_utf8_lossy(&answer).into_owned();
            let status = text.split(' ').nth(1)?.parse().ok()?;
            let body = text.split_once("\r\n\r\n")?.1;
            let body = serde_json::from_str::<serde_json::Value>(body).unwrap_or_default();
            Some((status, body["code"].as_str().unwrap_or_default().to_owned()))
        })
    }

    fn get(
        &self,
        own: Option<&Made>,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Option<(u16, String)> {
        self.ask(own, &format!("GET {path}"), headers)
    }
}

fn is(status: u16, code: &str) -> Option<(u16, String)> {
    Some((status, code.to_owned()))
}

#[test]
fn a_certificate_is_a_caller_whose_names_are_looked_up_in_order() {
    let mut stage = stage("", "");
    let rows = [
        ("x", "URI:spiffe://prod/ci", "by-uri"),
        ("x", "DNS:ci.example.com", "by-host"),
        ("x", "DNS:Ci.Example.Com", "by-host"),
        ("ci", "", "by-name"),
        // The first that is known.
        ("ci", "DNS:ci.example.com, URI:spiffe://prod/ci", "by-uri"),
        ("ci", "DNS:ci.example.com, URI:spiffe://prod/other", "by-host"),
        ("ci", "DNS:other.example.com, URI:spiffe://prod/other", "by-name"),
    ];
    for (name, alternatives, _) in rows {
        let own = stage.made(name, alternatives);
        assert_eq!(stage.get(Some(&own), ISSUES, &[]), is(200, ""), "{name} {alternatives}");
        let seen = stage.gate.upstream.take_one();
        assert_eq!(seen.value("authorization"), Some(&*format!("Bearer {UPSTREAM_TOKEN}")));
        assert_eq!(seen.target, ISSUES);
        let reply = run(async {
            let speaks = Speaks::as_client(&["h2"], &own);
            let stream = speaks.connect(stage.gate.address, HOST).await.unwrap();
            let sent = Sent { method: "GET", authority: HOST, path: ISSUES, ..Sent::default() };
            Http2::on(stream).await.send(&sent).await.unwrap()
        });
        assert_eq!(reply.status, 200, "{name} {alternatives}");
        stage.gate.upstream.take_one();
    }
    let decisions = stage
        .gate
        .metric("portcullis_decisions_total", &["credential=\"certificate\"", "\"allow\""]);
    assert_eq!(decisions, 14.0);
    stage.gate.stop();
    let lines = stage.gate.access_lines();
    assert!(lines.iter().all(|line| line["scheme"] == "certificate"), "{lines:?}");
    let mut principals: Vec<_> =
        lines.iter().map(|line| line["principal"].as_str().unwrap().to_owned()).collect();
    let mut wanted: Vec<_> =
        rows.iter().flat_map(|(.., who)| [who.to_string(), who.to_string()]).collect();
    principals.sort();
    wanted.sort();
    assert_eq!(principals, wanted);
}

#[test]
fn it_may_do_what_its_entry_says_and_no_more() {
    let blocked = {
        use portcullis::policy::certificate::CertificateName;
        CertificateName::parse("CN:blocked").unwrap().digest().fingerprint()
    };
    let entry =
        "[[token]]\nname = \"b\"\ncertificate = \"CN:blocked\"\nscopes = [\"event:read\"]\n";
    let stage = stage("", &format!("{entry}[[block]]\nfingerprint = \"{blocked}\"\n"));
    let made = |name| stage.made(name, "");
    let uri = stage.made("x", "URI:spiffe://prod/ci");
    for (own, line, wanted) in [
        (&uri, "PUT /api/0/organizations/acme/issues/", is(403, "missing_scope")),
        (&uri, "DELETE /api/0/projects/acme/web/", is(403, "missing_scope")),
        (&made("ci"), "GET /api/0/organizations/other/issues/", is(403, "wrong_organization")),
        (&made("gone"), "GET /api/0/organizations/acme/issues/", is(401, "expired_token")),
        (&made("blocked"), "GET /api/0/organizations/acme/issues/", is(401, "disabled_token")),
        (&made("stranger"), "GET /api/0/organizations/acme/issues/", is(401, "unknown_token")),
        (&made("ci"), "GET /api/0/nothing/", is(404, "no_such_route")),
    ] {
        assert_eq!(stage.ask(Some(own), line, &[]), wanted, "{line}");
    }
    // A script of a page that was not let in can't use what its browser shows.
    let foreign = [("Origin", "https://evil.example")];
    assert_eq!(stage.get(Some(&made("ci")), ISSUES, &foreign), is(403, "origin"));
    assert!(stage.gate.upstream.take().is_empty());
    // Where nobody must be known, a stranger is nobody.
    assert_eq!(stage.get(Some(&made("stranger")), OPEN, &[]), is(200, ""));
    let seen = stage.gate.upstream.take_one();
    assert_eq!(seen.values("authorization"), [""; 0]);
}

#[test]
fn with_a_token_or_a_session_it_is_transport_alone() {
    let stage = stage("", "");
    let own = stage.made("ci", "");
    let all = format!("Bearer {}", stage.gate.token("all"));
    let put = "PUT /api/0/organizations/acme/issues/";
    // Of another organization, which the certificate's entry would not reach.
    let elsewhere = "/api/0/organizations/other/issues/";
    assert_eq!(stage.ask(Some(&own), put, &[("Authorization", &all)]), is(200, ""));
    assert_eq!(stage.get(Some(&own), elsewhere, &[("Authorization", &all)]), is(200, ""));
    assert_eq!(stage.gate.upstream.take().len(), 2);
    for (value, code) in [
        ("Bearer nobody-knows-me", "unknown_token"),
        ("Bearer", "malformed_credential"),
        ("Negotiate x", "missing_credential"),
    ] {
        let answer = stage.get(Some(&own), ISSUES, &[("Authorization", value)]);
        assert_eq!(answer, is(401, code), "{value}");
    }
    let key = [("X-Sentry-Auth", "Sentry sentry_key=9cd363c59c05141f32414694128a7c21")];
    assert_eq!(stage.get(Some(&own), ISSUES, &key), is(401, "wrong_credential_kind"));
    assert!(stage.gate.upstream.take().is_empty());
    // Sentry judges a session.
    let page = "/organizations/acme/";
    assert_eq!(stage.get(Some(&own), page, &[("Cookie", "sentrysid=1")]), is(200, ""));
    let seen = stage.gate.upstream.take_one();
    assert_eq!(
        (seen.value("cookie"), seen.values("authorization").len()),
        (Some("sentrysid=1"), 0)
    );
}

#[test]
fn who_has_none_that_is_believed_gets_no_further() {
    for (demand, without) in [("", None), (OPTIONAL, is(401, "missing_credential"))] {
        let stage = stage(demand, "");
        let expired = stage.clients.make("ci", "extendedKeyUsage = clientAuth", -1);
        let servers = stage.clients.make("ci", "extendedKeyUsage = serverAuth", 2);
        let strangers = Authority::new("clients").make("ci", "extendedKeyUsage = clientAuth", 2);
        for own in [&expired, &servers, &strangers] {
            assert_eq!(stage.get(Some(own), ISSUES, &[]), None, "{demand}");
        }
        assert_eq!(stage.get(None, ISSUES, &[]), without, "{demand}");
        let failures = || {
            let label = "reason=\"client_certificate\"";
            stage.gate.metric("portcullis_tls_handshake_failures_total", &[label])
        };
        let wanted = if without.is_none() { 4.0 } else { 3.0 };
        eventually("each is counted", || failures() == wanted);
        assert!(stage.gate.upstream.take().is_empty());
        let own = stage.made("ci", "");
        assert_eq!(stage.get(Some(&own), ISSUES, &[]), is(200, ""), "{demand}");
        if without.is_some() {
            let bearer = format!("Bearer {}", stage.gate.token("read"));
            assert_eq!(stage.get(None, ISSUES, &[("Authorization", &bearer)]), is(200, ""));
        }
        assert!(!stage.gate.output().contains("\"ERROR\""), "{}", stage.gate.output());
    }
}

#[test]
fn no_header_brings_one_in() {
    let stage = stage(OPTIONAL, "");
    let pem = stage.made("ci", "").certificate.replace('\n', "%0A");
    for (name, value) in [
        ("X-Forwarded-Client-Cert", "By=x;Hash=y;Subject=\"CN=ci\";URI=spiffe://prod/ci"),
        ("X-Client-Cert", &pem),
        ("X-SSL-Client-Cert", &pem),
        ("X-SSL-Client-Verify", "SUCCESS"),
        ("X-SSL-Client-S-DN", "CN=ci"),
        ("Client-Cert", &pem),
        ("X-Portcullis-Certificate", "CN:ci"),
        ("Authorization", "Certificate CN:ci"),
        ("Authorization", "Bearer CN:ci"),
        ("Authorization", "Bearer URI:spiffe://prod/ci"),
    ] {
        let answer = stage.get(None, ISSUES, &[(name, value)]);
        assert_eq!(answer.map(|(status, _)| status), Some(401), "{name}");
    }
    assert!(stage.gate.upstream.take().is_empty());
}

#[test]
fn a_stranger_is_told_so_and_an_operator_can_ask_before() {
    let stage = stage("", "");
    let own = stage.made("stranger", "");
    let answer = run(async {
        let speaks = Speaks::as_client(&["http/1.1"], &own);
        let mut stream = speaks.connect(stage.gate.address, HOST).await.unwrap();
        let ask = request(&format!("GET {ISSUES}"), &[("Connection", "close")], b"");
        exchange(&mut stream, &ask).await
    });
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.contains("no token store knows a name of the client's certificate"), "{answer}");
    let explain = |name: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command.args(["explain", "GET", ISSUES, "--certificate", name, "--config"]);
        let output =
            command.arg(stage.gate.folder.path().join("portcullis.toml")).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    let (code, said) = explain("URI:spiffe://prod/ci");
    assert!(
        code == Some(0)
            && said.contains("identity    by-uri")
            && said.contains("credential  certificate "),
        "{said}"
    );
    let (code, said) = explain("CN:stranger");
    assert!(code == Some(1) && said.contains("401 unknown_token"), "{said}");
    let (code, said) = explain("stranger");
    assert!(code == Some(2) && said.contains("CN:ci"), "{said}");
}

/// Nobody is let in by a connection that was made when somebody else was believed.
#[test]
fn whom_another_config_does_not_believe_is_nobody_on_a_connection_that_there_is() {
    let stage = stage(OPTIONAL, "");
    let own = stage.made("ci", "");
    let ask = request(&format!("GET {ISSUES}"), &[], b"");
    run(async {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let speaks = Speaks::as_client(&["http/1.1"], &own);
        let mut stream = speaks.connect(stage.gate.address, HOST).await.unwrap();
        let mut status = async || {
            stream.write_all(&ask).await.unwrap();
            let mut answer = Vec::new();
            while !answer.ends_with(b"}") && !answer.ends_with(b"}\n") {
                let read = stream.read_buf(&mut answer);
                assert!(super::client::soon("an answer", read).await.unwrap() > 0);
            }
            String::from_utf8_lossy(&answer).split(' ').nth(1).unwrap().to_owned()
        };
        assert_eq!(status().await, "200");
        let folder = stage.gate.folder.path();
        let reload = |count: usize| {
            stage.gate.signal("-HUP");
            eventually("a reload", || {
                stage.gate.metric("portcullis_config_reloads_total", &["\"loaded\""])
                    == count as f64
            });
        };
        // The same ones in another file change nothing.
        std::fs::write(folder.join("own.toml"), "").unwrap();
        reload(1);
        assert_eq!(status().await, "200");
        std::fs::write(folder.join("clients.crt"), Authority::new("others").root()).unwrap();
        reload(2);
        assert_eq!(status().await, "401");
        // Nor is it when they are believed again: that is for a connection to be made again.
        std::fs::write(folder.join("clients.crt"), stage.clients.root()).unwrap();
        reload(3);
        assert_eq!(status().await, "401");
    });
    assert_eq!(stage.get(Some(&own), ISSUES, &[]), is(200, ""));
}
