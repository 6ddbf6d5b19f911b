//! Gateways of which each is broken in a way of its own, and requests that meet every `code`.

use std::cell::Cell;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use portcullis::policy::identity::Narrowing;
use portcullis::policy::reason::{Reason, UpstreamFailure};
use portcullis::store::portcullis::TokenKind;
use portcullis::store::portcullis::admin::NewToken;

use crate::client::{Connection, Reply, request, send};
use crate::gate::{CANONICAL, Gate, Options, eventually, hours, new, only};
use crate::jwt::issuer::{Issuer, with};
use crate::jwt::key::Key;
use crate::tls;
use crate::upstream::{Seen, Upstream, ok, reply};
use serde_json::json;

const ISSUES: &str = "GET /api/0/organizations/acme/issues/";
const WRITE: &str = "PUT /api/0/organizations/acme/issues/";
/// The token store answers every question with an error from here on.
pub const AWAY: &str = "ALTER TABLE token RENAME TO token_away";

/// Beside Sentry's: one whose answer is rewritten, and two that have time.
const RULES: &str = r#"
[[rule]]
methods = ["GET"]
scopes = ["org:read"]
path = "/api/0/organizations/{organization_id_or_slug}/named/"
rewrite = { fields = ["/url"], max_size = "1000B" }
[[rule]]
methods = ["GET"]
scopes = ["org:read"]
timeout = "60s"
path = "/api/0/organizations/{organization_id_or_slug}/held/"
[[rule]]
methods = ["PUT"]
scopes = ["org:write"]
timeout = "60s"
path = "/api/0/organizations/{organization_id_or_slug}/kept/"
"#;

/// Gateways, by what is wrong with them.
pub struct Fleet {
    /// Nothing, but for its upstream now and then.
    fine: Gate,
    /// It is asked for few tokens that nobody knows, and lets few requests through of those that are; its
    /// Redis is away.
    guessed: Gate,
    /// It has nowhere to keep chunked bodies, and believes an issuer of JWTs.
    without_folder: Gate,
    issuer: Issuer,
    key: Key,
    without_store: Gate,
    /// Whether its store is away already.
    away: Cell<bool>,
    /// It speaks TLS.
    encrypted: Gate,
    /// It has nowhere to write its audit, and requests wait for it.
    without_audit: Gate,
}

/// What an upstream does with a request, by the path and the query of it.
fn answer(seen: &Seen, stream: &mut TcpStream) {
    let (path, query) = seen.target.split_once('?').unwrap_or((&seen.target, ""));
    let link = format!("<{CANONICAL}/api/0/x/?&cursor=0:1:0>; rel=\"next\"");
    match query {
        _ if path.ends_with("/held/") => std::thread::sleep(Duration::from_secs(3600)),
        "silent" => std::thread::sleep(Duration::from_secs(3600)),
        "gone" => stream.shutdown(Shutdown::Both).unwrap(),
        "refused" => reply(stream, "401 Unauthorized", &[], b"{\"detail\":\"Invalid token\"}"),
        "broken" => ok(stream, &[], b"{\"url\": "),
        _ => ok(stream, &[("Link", &link)], format!("{{\"url\":\"{CANONICAL}/\"}}").as_bytes()),
    }
}

impl Fleet {
    pub fn start() -> Self {
        let with = |options| Gate::with(Upstream::answering(answer), &options);
        let key = Key::made("one");
        let issuer = Issuer::of(&[&key]);
        let spool = |keys: &str| format!("[spool]\nmemory = \"10B\"\nmax_body = \"1000B\"\n{keys}");
        Self {
            fine: with(Options {
                web: "timeout = \"500ms\"\nmax_in_flight = 1\nmax_waiting = 0".to_owned(),
                tables: spool("budget = \"1000B\""),
                rules: RULES.to_owned(),
                ..Options::default()
            }),
            guessed: with(Options {
                store: "unknown_per_second = 2\nunknown_per_client = 1\n".to_owned(),
                // Nobody listens there.
                tables: "[redis]\nurl = \"redis://127.0.0.1:9\"\n[limit.tokens]\nby = \"token\"\n\
                         per_minute = 1\nshared = true\n"
                    .to_owned(),
                ..Options::default()
            }),
            without_folder: with(Options {
                tables: spool("folder = \"nowhere\"\n") + &issuer.table("ci", ""),
                ..Options::default()
            }),
            issuer,
            key,
            without_store: with(Options::default()),
            away: Cell::new(false),
            encrypted: tls::gate(),
            without_audit: with(Options {
                tables:
                    "[audit]\noutput = \"audit.log\"\nwhen_full = \"wait\"\nmax_wait = \"100ms\"\n"
                        .to_owned(),
                ..Options::default()
            }),
        }
    }

    /// Where Prometheus finds them.
    pub fn admins(&self) -> Vec<SocketAddr> {
        let all = [
            &self.fine,
            &self.guessed,
            &self.without_folder,
            &self.without_store,
            &self.encrypted,
            &self.without_audit,
        ];
        all.map(|gate| gate.admin).to_vec()
    }

    /// Every code that a scrape can see. `stopping` is none: a gateway says it just before it ends.
    pub fn codes() -> Vec<&'static str> {
        let reasons = Reason::ALL.iter().filter(|reason| **reason != Reason::Stopping);
        let failures = UpstreamFailure::ALL.iter().map(|failure| failure.code());
        reasons.map(|reason| reason.code()).chain(failures).collect()
    }

    /// Makes requests that are let through, and one or more that meet each of the codes.
    pub fn traffic(&self) {
        self.served();
        self.refusals();
        self.tokens();
        self.bodies();
        self.upstream();
        self.stores();
        self.audit();
    }

    fn served(&self) {
        let token = self.fine.token("read");
        for line in [ISSUES, "GET /api/0/organizations/acme/named/", "OPTIONS /api/0/projects/"] {
            assert_eq!(self.idle().bearer(line, &token).status, 200, "{line}");
        }
    }

    /// The gateway that is fine, when there is room at its upstream.
    fn idle(&self) -> &Gate {
        let busy = || self.fine.metric("portcullis_upstream_requests_in_flight", &["\"web\""]);
        eventually("room at the upstream", || busy() == 0.0);
        &self.fine
    }

    /// What is wrong with a request, whoever makes it.
    fn refusals(&self) {
        let gate = &self.fine;
        let authorization = format!("Bearer {}", gate.token("read"));
        let own = ("Authorization", &*authorization);
        let elsewhere = [("Host", "elsewhere.example")];
        let rows: &[(&str, &[(&str, &str)], &str)] = &[
            ("GET /api/0/organizations/a%2Fb/issues/", &[own], "bad_path"),
            (ISSUES, &[own, own], "multiple_credentials"),
            (ISSUES, &[], "missing_credential"),
            (ISSUES, &[("Authorization", "Bearer portcullis_damaged")], "malformed_credential"),
            (ISSUES, &[("Authorization", "DSN http://key@gw.example/1")], "wrong_credential_kind"),
            ("GET /api/0/api-tokens/", &[own], "route_not_exposed"),
            ("GET /api/0/nothing/", &[own], "no_such_route"),
            ("POST /api/0/organizations/acme/issues/", &[own], "method_not_allowed"),
            (ISSUES, &elsewhere, "misdirected"),
        ];
        for (line, headers, code) in rows {
            is(&gate.send(line, headers), code);
        }
        is(&gate.send_body(ISSUES, &[own], b"x"), "malformed_request");
        let all = format!("Bearer {}", gate.token("all"));
        let large = [("Authorization", &*all), ("Content-Length", "104857601")];
        is(&gate.send(WRITE, &large), "too_large");
    }

    /// What is wrong with a token, or with what is done with it.
    fn tokens(&self) {
        let gate = &self.fine;
        let bound = || new("bound", TokenKind::Bearer, "read");
        let bound = gate.create(NewToken { organizations: only(&["acme"]), ..bound() });
        let by_id = || new("by id", TokenKind::Bearer, "read");
        let by_id = gate.create(NewToken { organizations: only(&["1"]), ..by_id() });
        let narrowed = |name, narrowing| {
            gate.create(NewToken { narrowing, ..new(name, TokenKind::Bearer, "all") })
        };
        let reader = narrowed("reader", Narrowing { read_only: true, ..Narrowing::NONE });
        let networks = Some(["192.0.2.0/24".parse().unwrap()].into());
        let elsewhere = narrowed("elsewhere", Narrowing { networks, ..Narrowing::NONE });
        let groups = Some(["uploads".into()].into());
        let others = narrowed("others", Narrowing { groups, ..Narrowing::NONE });
        let expired = || new("expired", TokenKind::Bearer, "read");
        let expired = gate.create(NewToken { expires_at: Some(hours(-1)), ..expired() });
        let (revoked, narrow) = (gate.token("read"), gate.token("org:read"));
        assert_eq!(self.idle().bearer(ISSUES, &revoked).status, 200);
        gate.portcullis(&["token", "revoke", &gate.id_of(&revoked)]);
        eventually("a revocation", || gate.bearer(ISSUES, &revoked).code() == "disabled_token");
        let rows = [
            (ISSUES, "sntryu_of-nobody", "unknown_token"),
            (ISSUES, &*expired, "expired_token"),
            (ISSUES, &*narrow, "missing_scope"),
            ("GET /api/0/organizations/other/issues/", &*bound, "wrong_organization"),
            ("GET /api/0/organizations/", &*bound, "binding"),
            (WRITE, &*reader, "read_only"),
            (ISSUES, &*elsewhere, "network"),
            (ISSUES, &*others, "rule_not_granted"),
            (ISSUES, &*by_id, "directory_unavailable"),
        ];
        for (line, token, code) in rows {
            is(&gate.bearer(line, token), code);
        }
        let claims = with(self.issuer.claims(), "repository", json!("acme/other"));
        let stranger = self.key.sign(&claims);
        let asked = || self.without_folder.bearer(ISSUES, &stranger).code();
        eventually("keys of the issuer", || asked() == "no_trust_policy");
        let authorization = format!("Bearer {bound}");
        let headers = [("Authorization", &*authorization), ("Origin", "https://evil.example")];
        is(&gate.send(ISSUES, &headers), "origin");
    }

    /// Chunked bodies that can't be kept.
    fn bodies(&self) {
        let body = format!("3e8\r\n{}\r\n0\r\n\r\n", "x".repeat(1000));
        let open = |gate: &Gate, line: &str, body: &str| {
            let mut connection = Connection::open(gate.address);
            let token = format!("Bearer {}", gate.token("all"));
            let headers = [("Authorization", &*token), ("Transfer-Encoding", "chunked")];
            connection.write(&request(line, &headers, b""));
            connection.write(body.as_bytes());
            connection
        };
        let refused = || self.fine.metric("portcullis_decisions_total", &["\"spool_full\""]);
        let (before, line) = (refused(), WRITE.replace("issues", "kept"));
        // There is room for one of the two, whichever comes first.
        let first = open(&self.fine, &line, &body[..900]);
        eventually("no room", || {
            open(&self.fine, &line, &body).read_reply("PUT").expect("an answer");
            refused() > before
        });
        drop(first);
        let reply = open(&self.without_folder, WRITE, &body).read_reply("PUT");
        is(&reply.expect("an answer"), "spool_unavailable");
    }

    /// A disk that is full.
    fn audit(&self) {
        let gate = &self.without_audit;
        let written = std::fs::metadata(gate.folder.path().join("audit.log")).unwrap().len();
        let (pid, size) = (gate.process().to_string(), format!("--fsize={written}:"));
        let limited = Command::new("prlimit").args(["--pid", &pid, &size]).status().unwrap();
        assert!(limited.success());
        is(&gate.send(ISSUES, &[]), "audit_unavailable");
    }

    /// What comes of what was let through.
    fn upstream(&self) {
        let token = self.fine.token("read");
        for (query, code) in [
            ("issues/?gone", "upstream_unreachable"),
            ("issues/?silent", "upstream_timeout"),
            ("issues/?refused", "upstream_credential_refused"),
            ("named/?broken", "rewrite_failed"),
        ] {
            let line = format!("GET /api/0/organizations/acme/{query}");
            is(&self.idle().bearer(&line, &token), code);
        }
        let authorization = format!("Bearer {token}");
        let mut held = Connection::open(self.idle().address);
        let line = "GET /api/0/organizations/acme/held/";
        held.write(&request(line, &[("Authorization", &*authorization)], b""));
        let taken = || self.fine.metric("portcullis_upstream_requests_in_flight", &["\"web\""]);
        eventually("no room at the upstream", || taken() == 1.0);
        is(&self.fine.bearer(ISSUES, &token), "upstream_busy");
        drop(held);
        self.idle();
    }

    fn stores(&self) {
        let token = self.guessed.token("read");
        assert_eq!(self.guessed.bearer(ISSUES, &token).status, 200);
        is(&self.guessed.bearer(ISSUES, &token), "rate_limited");
        eventually("too many guesses", || {
            let address = self.guessed.address;
            let ask = |number| {
                let token = format!("Bearer sntryu_{number}-{}", std::process::id());
                send(address, &request(ISSUES, &[("Authorization", &token)], b""))
            };
            (0..20).any(|number| ask(number).expect("an answer").code() == "guessing_limited")
        });
        let gate = &self.without_store;
        if !self.away.replace(true) {
            gate.sql(AWAY);
        }
        is(&gate.bearer(ISSUES, "sntryu_of-nobody"), "store_unavailable");
    }
}

fn is(reply: &Reply, code: &str) {
    assert_eq!(reply.code(), code, "{} {}", reply.status, String::from_utf8_lossy(&reply.body));
}
