//! Attacks that worked on gateways like this one, by the numbers of the corpus. What counts is
//! what the upstream received.

use crate::client::{Connection, Reply};
use crate::gate::{Gate, HOST, Options, UPSTREAM_TOKEN, new};
use crate::upstream::{Seen, Upstream};
use portcullis::store::portcullis::TokenKind;

/// What the upstream may have received.
enum Upstreamed {
    /// Nothing at all.
    Nothing,
    /// Exactly one request that passes.
    One(fn(&Seen)),
}
use Upstreamed::{Nothing, One};

struct Case {
    id: &'static str,
    /// `{HOST}`, `{READ}`, `{ADMIN}` and `{DSN}` are filled in.
    request: &'static str,
    /// Statuses that are safe.
    statuses: &'static [u16],
    upstream: Upstreamed,
}

/// The credential that was evaluated, and nothing else that speaks for the caller.
fn only_the_gateway_speaks(seen: &Seen) {
    assert_eq!(seen.value("authorization"), Some(format!("Bearer {UPSTREAM_TOKEN}").as_str()));
    assert_eq!(seen.value("host"), Some(HOST));
    assert_eq!(seen.value("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.value("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.values("x-request-id").len(), 1);
    for name in [
        "x-gateway-principal",
        "x-gateway-project",
        "forwarded",
        "x-forwarded-host",
        "x-real-ip",
        "x-http-method-override",
        "x-method-override",
        "te",
        "trailer",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "connection",
        "upgrade",
        "cookie",
        "x-sentry-subnet-organization",
        "x-sentry-relay-id",
        "x-sentry-relay-signature",
        "x-sentry-apigateway",
        "x-sentry-trusted-relay",
        "remote-user",
        "x-remote-user",
        "x-webauth-user",
        "x-sentry-auth",
        "x-viewer-context",
    ] {
        assert_eq!(seen.values(name), [""; 0], "{name} reached the upstream");
    }
    assert!(!seen.head.contains("portcullis_t_"), "{}", seen.head);
    assert!(!seen.head.contains("evil"), "{}", seen.head);
}

fn an_issue_list(seen: &Seen) {
    assert_eq!(
        (seen.method.as_str(), seen.path().as_str()),
        ("GET", "/api/0/organizations/acme/issues/")
    );
    only_the_gateway_speaks(seen);
}

/// Class by class: path-normalisation, method-override, header-spoofing, dsn-confusion.
fn cases() -> Vec<Case> {
    let case = |id, request, statuses, upstream| Case { id, request, statuses, upstream };
    macro_rules! issues {
        ($($line:literal),*) => {
            concat!("GET /api/0/organizations/acme/issues/ HTTP/1.1\r\nHost: {HOST}\r\n",
                "Authorization: Bearer {READ}\r\n", $($line, "\r\n",)* "\r\n")
        };
    }
    macro_rules! get {
        ($target:literal) => {
            concat!(
                "GET ",
                $target,
                " HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {READ}\r\n\r\n"
            )
        };
    }
    vec![
        case(
            "AC-001",
            "GET /api/0/../0/api-tokens/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n",
            &[400],
            Nothing,
        ),
        case(
            "AC-002",
            "GET /_health/%2e%2e/api/0/organizations/acme/members/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n",
            &[400],
            Nothing,
        ),
        case(
            "AC-003",
            "GET /_health/..%2fapi/0/organizations/acme/members/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n",
            &[400],
            Nothing,
        ),
        case(
            "AC-004",
            "GET /_health/..%2Fapi/0/organizations/acme/members/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n",
            &[400],
            Nothing,
        ),
        case("AC-005", get!("/api/0/organizations/acme%2Fmembers/issues/"), &[400], Nothing),
        case(
            "AC-006",
            get!("/_health/%252e%252e%252fapi/0/organizations/acme/members/"),
            &[404],
            Nothing,
        ),
        case(
            "AC-010",
            "GET //api/0//organizations/acme//members/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n",
            &[400],
            Nothing,
        ),
        case("AC-011", get!("//attacker.example/api/0/"), &[400], Nothing),
        case(
            "AC-017",
            "GET /decisions HTTP/1.1\r\nHost: {HOST}\r\nX-Forwarded-Method: GET\r\nX-Forwarded-Uri: /_health/\r\nX-Real-Target: /api/0/api-tokens/\r\n\r\n",
            &[404],
            Nothing,
        ),
        case(
            "AC-018",
            "GET /api/0/organizations/acme/members/?x=/_health/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n",
            &[401],
            Nothing,
        ),
        case("AC-019", get!("/api/0/organizations/acme/members/#/_health/"), &[400], Nothing),
        case(
            "AC-019 encoded",
            get!("/api/0/organizations/acme/members/%23/_health/"),
            &[404],
            Nothing,
        ),
        case("AC-020", get!("/api/0/./api-tokens/"), &[400], Nothing),
        case("AC-020 plain", get!("/api/0/api-tokens/"), &[403], Nothing),
        case(
            "AC-022",
            "GET /_health/ HTTP/1.1 /api/0/api-tokens/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n",
            &[400, 404],
            Nothing,
        ),
        case(
            "AC-024",
            "DELETE /api/0/projects/acme/web HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {READ}\r\n\r\n",
            &[403, 404],
            Nothing,
        ),
        case(
            "AC-025",
            "GET /_healthz-internal/dump HTTP/1.1\r\nHost: {HOST}\r\n\r\n",
            &[404],
            Nothing,
        ),
        case(
            "AC-026",
            get!("/api/0/internal/x/api/0/organizations/acme/issues/"),
            &[403, 404],
            Nothing,
        ),
        case(
            "AC-028",
            "delete /api/0/projects/acme/web/ HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {READ}\r\n\r\n",
            &[400],
            Nothing,
        ),
        case(
            "AC-029",
            issues!("X-HTTP-Method-Override: DELETE", "X-Method-Override: DELETE"),
            &[200],
            One(an_issue_list),
        ),
        case(
            "AC-029 POST",
            "POST /api/0/organizations/acme/issues/ HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {READ}\r\nX-HTTP-Method-Override: DELETE\r\nContent-Length: 0\r\n\r\n",
            &[405],
            Nothing,
        ),
        case(
            "AC-030",
            "HEAD /api/0/organizations/acme/members/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n",
            &[401],
            Nothing,
        ),
        case(
            "AC-030 OPTIONS",
            "OPTIONS /api/0/organizations/acme/members/ HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {ADMIN}\r\n\r\n",
            &[200],
            Nothing,
        ),
        case(
            "AC-032",
            issues!("X_Gateway_Principal: evil", "X_Forwarded_For: 10.0.0.1"),
            &[200],
            One(an_issue_list),
        ),
        case("AC-034", issues!("X.Gateway.Principal: evil"), &[200], One(an_issue_list)),
        case("AC-035", issues!("X-Gateway-Project: 1"), &[200], One(an_issue_list)),
        case(
            "AC-037",
            issues!("Connection: close, X-Gateway-Principal, X-Forwarded-For, Authorization"),
            &[400],
            Nothing,
        ),
        case(
            "AC-037 foreign",
            issues!("Connection: close, X-Gateway-Principal, X-Custom", "X-Custom: evil"),
            &[200],
            One(an_issue_list),
        ),
        case(
            "AC-037 length",
            "PUT /api/0/organizations/acme/issues/ HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {ADMIN}\r\nConnection: Content-Length\r\nContent-Length: 2\r\n\r\n{}",
            &[400],
            Nothing,
        ),
        case(
            "AC-038",
            issues!(
                "TE: trailers",
                "Proxy-Authorization: Basic eDp5",
                "Keep-Alive: 9",
                "Trailer: X",
                "Upgrade: websocket",
                "Connection: Upgrade"
            ),
            &[200],
            One(an_issue_list),
        ),
        case(
            "AC-039",
            issues!(
                "X-Forwarded-Host: evil.example",
                "X-Forwarded-Proto: https",
                "Forwarded: host=evil.example;proto=https"
            ),
            &[200],
            One(an_issue_list),
        ),
        case(
            "AC-041",
            issues!("X-Forwarded-For: 10.9.9.9, 203.0.113.7, 172.17.0.1"),
            &[200],
            One(an_issue_list),
        ),
        case("AC-042", issues!("Authorization: Bearer {ADMIN}"), &[400], Nothing),
        case(
            "AC-043",
            "GET /api/0/organizations/acme/issues/?sentry_key={DSN} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {READ}\r\nX-Sentry-Auth: Sentry sentry_key={DSN}\r\n\r\n",
            &[400],
            Nothing,
        ),
        case("AC-043 header", issues!("X-Sentry-Auth: Sentry sentry_key={DSN}"), &[400], Nothing),
        case("AC-043 cookie", issues!("Cookie: sentrysid=evil"), &[200], One(an_issue_list)),
        case(
            "AC-044",
            "GET /api/0/ HTTP/1.1\r\nHost: {HOST}\r\nHost: evil.example\r\n\r\n",
            &[400],
            Nothing,
        ),
        case("AC-044 empty", "GET /api/0/ HTTP/1.1\r\nHost:\r\n\r\n", &[400], Nothing),
        case("AC-044 none", "GET /api/0/ HTTP/1.1\r\n\r\n", &[400], Nothing),
        case(
            "AC-044 userinfo",
            "GET /api/0/ HTTP/1.1\r\nHost: {HOST}@evil.example\r\n\r\n",
            &[400],
            Nothing,
        ),
        case(
            "AC-045",
            "GET /api/0/organizations/acme/issues/ HTTP/1.1\r\nHost: GW.EXAMPLE.:80\r\nAuthorization: Bearer {READ}\r\n\r\n",
            &[200],
            One(an_issue_list),
        ),
        case("AC-045 port", "GET /api/0/ HTTP/1.1\r\nHost: {HOST}:81\r\n\r\n", &[421], Nothing),
        case(
            "AC-045 foreign",
            "GET /api/0/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
            &[421],
            Nothing,
        ),
        case(
            "AC-046",
            issues!(
                "X-Sentry-Subnet-Organization: 1",
                "X-Sentry-Relay-Id: x",
                "X-Sentry-Relay-Signature: x",
                "X-Sentry-Apigateway: true",
                "X-Sentry-Trusted-Relay: 1",
                "X-Viewer-Context: evil"
            ),
            &[200],
            One(an_issue_list),
        ),
        case(
            "AC-047",
            issues!(
                "Remote-User: root",
                "X-Remote-User: root",
                "X-WEBAUTH-USER: root",
                "Remote_User: root"
            ),
            &[200],
            One(an_issue_list),
        ),
        case(
            "AC-090",
            "GET /api/0/organizations/acme/issues/ HTTP/1.1\r\nHost: {HOST}\r\nX-Sentry-Auth: Sentry sentry_key={DSN}\r\n\r\n",
            &[401],
            Nothing,
        ),
        case(
            "AC-090 scheme",
            "GET /api/0/organizations/acme/issues/ HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: DSN http://{DSN}@{HOST}/2\r\n\r\n",
            &[401],
            Nothing,
        ),
        case(
            "AC-091",
            "POST /api/00/envelope/ HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 0\r\n\r\n",
            &[404],
            Nothing,
        ),
        case(
            "AC-091 sign",
            "POST /api/+42/envelope/ HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 0\r\n\r\n",
            &[404],
            Nothing,
        ),
        case(
            "AC-091 letters",
            "POST /api/42abc/envelope/ HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 0\r\n\r\n",
            &[404],
            Nothing,
        ),
        case(
            "AC-091 wide",
            "POST /api/%EF%BC%94%EF%BC%92/envelope/ HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 0\r\n\r\n",
            &[404],
            Nothing,
        ),
        case(
            "AC-092",
            "POST /api/0/projects/acme/web/user-feedback/?sentry_key=b HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: DSN http://{DSN}@{HOST}/2\r\nX-Sentry-Auth: Sentry sentry_key=c\r\nContent-Length: 0\r\n\r\n",
            &[400],
            Nothing,
        ),
        // More of the same kind.
        case(
            "absolute-form",
            "GET http://{HOST}/api/0/organizations/acme/issues/ HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {READ}\r\n\r\n",
            &[400],
            Nothing,
        ),
        case(
            "authority-form",
            "GET {HOST}:80 HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {READ}\r\n\r\n",
            &[400],
            Nothing,
        ),
        case("asterisk", "OPTIONS * HTTP/1.1\r\nHost: {HOST}\r\n\r\n", &[400], Nothing),
        case("two blanks", "GET  /api/0/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n", &[400], Nothing),
        case("NUL in a slug", get!("/api/0/organizations/ac%00me/issues/"), &[400], Nothing),
        case(
            "encoded literal",
            get!("/%61pi/0/organizations/acme/issues/"),
            &[200],
            One(an_issue_list),
        ),
        case("path parameter", get!("/api/0/organizations/acme/issues;x=/"), &[404], Nothing),
        case(
            "dots with a path parameter",
            get!("/api/0/organizations/..;/acme/issues/"),
            &[400],
            Nothing,
        ),
        case("backslash", get!("/api/0/organizations/acme\\members/"), &[400], Nothing),
        case("TRACE", "TRACE /api/0/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n", &[400], Nothing),
        case("CONNECT", "CONNECT {HOST}:80 HTTP/1.1\r\nHost: {HOST}\r\n\r\n", &[400, 405], Nothing),
        case(
            "length and chunked",
            "PUT /api/0/organizations/acme/issues/ HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {ADMIN}\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /api/0/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n",
            &[400],
            Nothing,
        ),
        case(
            "gzip, chunked",
            "PUT /api/0/organizations/acme/issues/ HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {ADMIN}\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            &[400],
            Nothing,
        ),
        case(
            "two lengths",
            "PUT /api/0/organizations/acme/issues/ HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {ADMIN}\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
            &[400],
            Nothing,
        ),
        case(
            "obs-fold",
            "GET /api/0/ HTTP/1.1\r\nHost: {HOST}\r\nX-A: b\r\n c\r\n\r\n",
            &[400],
            Nothing,
        ),
        case(
            "rpcsignature",
            "GET /api/0/organizations/acme/issues/ HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: rpcsignature rpc0:aa\r\n\r\n",
            &[401],
            Nothing,
        ),
    ]
}

#[test]
fn the_corpus() {
    let gate = Gate::start();
    let read = gate.token("read");
    let admin = gate.token("all");
    let dsn = "9cd363c59c05141f32414694128a7c21";
    println!("{:<28} {:<8} upstream", "case", "status");
    for case in cases() {
        let text = case.request.replace("{HOST}", HOST).replace("{READ}", &read);
        let text = text.replace("{ADMIN}", &admin).replace("{DSN}", dsn);
        let method = text.split(' ').next().unwrap().to_owned();
        let mut connection = Connection::open(gate.address);
        connection.write(text.as_bytes());
        let reply = connection.read_reply(&method).expect(case.id);
        let seen = gate.upstream.take();
        println!("{:<28} {:<8} {}", case.id, reply.status, seen.len());
        assert!(case.statuses.contains(&reply.status), "{}: {reply:?}", case.id);
        match case.upstream {
            Nothing => assert!(seen.is_empty(), "{}: {seen:#?}", case.id),
            One(check) => {
                assert_eq!(seen.len(), 1, "{}: {seen:#?}", case.id);
                check(&seen[0]);
            }
        }
        if reply.status == 400 {
            assert!(
                reply.closed || connection.is_closed(),
                "{} leaves the connection open",
                case.id
            );
            assert!(gate.upstream.take().is_empty(), "{}: what followed was forwarded", case.id);
        }
    }
}

#[test]
fn a_mount_point_is_stripped_after_matching() {
    // AC-014 and AC-015: normalise, match, strip; never strip, then normalise.
    let options = Options { public_url: Some(format!("http://{HOST}/gw")), ..Options::default() };
    let gate = Gate::with(Upstream::start(), &options);
    let read = gate.token("read");
    let rows: &[(&str, &str, u16, Option<&str>)] = &[
        ("AC-014", "/gw/%2e%2e/api/0/api-tokens/", 400, None),
        ("AC-014 plain", "/gw/../api/0/api-tokens/", 400, None),
        ("AC-015", "/g%77/./api/0/organizations/acme/members/", 400, None),
        ("AC-015 encoded", "/g%77/api/0/organizations/acme/issues/", 404, None),
        ("sibling", "/gwx/api/0/organizations/acme/issues/", 404, None),
        ("unmounted", "/api/0/organizations/acme/issues/", 404, None),
        (
            "plain",
            "/gw/api/0/organizations/acme/issues/?a=%2F",
            200,
            Some("/api/0/organizations/acme/issues/?a=%2F"),
        ),
        (
            "encoded slug",
            "/gw/api/0/organizations/ac%6De/issues/",
            200,
            Some("/api/0/organizations/ac%6De/issues/"),
        ),
    ];
    for (id, target, status, forwarded) in rows {
        let reply = gate.bearer(&format!("GET {target}"), &read);
        assert_eq!(reply.status, *status, "{id}: {reply:?}");
        let seen: Vec<_> = gate.upstream.take().into_iter().map(|seen| seen.target).collect();
        assert_eq!(seen, Vec::from_iter(*forwarded), "{id}");
    }
}

#[test]
fn the_right_most_untrusted_hop_is_the_client() {
    // AC-041 with a trusted proxy in front.
    let options = Options {
        top: "trusted_proxies = [\"127.0.0.0/8\", \"172.16.0.0/12\"]".into(),
        ..Options::default()
    };
    let gate = Gate::with(Upstream::start(), &options);
    let token = format!("Bearer {}", gate.token("read"));
    let headers = [
        ("Authorization", token.as_str()),
        ("X-Forwarded-For", "10.9.9.9, 203.0.113.7, 172.17.0.1"),
        ("X-Request-Id", "from-the-proxy"),
    ];
    let reply = gate.send("GET /api/0/organizations/acme/issues/", &headers);
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("x-request-id"), Some("from-the-proxy"));
    let seen = gate.upstream.take_one();
    assert_eq!(seen.value("x-forwarded-for"), Some("203.0.113.7"));
    assert_eq!(seen.value("x-request-id"), Some("from-the-proxy"));
}

#[test]
fn a_decision_is_never_remembered() {
    // AC-059, AC-134 and AC-063: another route, another caller, each judged for itself.
    let gate = Gate::before(Upstream::answering(|seen, stream| {
        let cache = [("Cache-Control", "public, max-age=60"), ("ETag", "\"x\"")];
        crate::upstream::ok(stream, &cache, seen.target.as_bytes());
    }));
    let token = gate.token("event:read");
    let other = gate.token("event:read");
    let rows: &[(&str, &str, u16)] = &[
        (&token, "GET /api/0/organizations/acme/issues/", 200),
        (&token, "GET /api/0/organizations/acme/members/", 403),
        (&token, "GET /api/0/organizations/acme/issues/", 200),
        (&other, "GET /api/0/organizations/acme/issues/", 200),
        (&other, "GET /api/0/organizations/globex/issues/", 200),
    ];
    for (token, line, status) in rows {
        let reply: Reply = gate.bearer(line, token);
        assert_eq!(reply.status, *status, "{line}");
        let seen = gate.upstream.take();
        // Each allowed request reaches the upstream: no answer is kept.
        assert_eq!(seen.len(), usize::from(*status == 200), "{line}");
    }
    assert_eq!(gate.send("GET /api/0/organizations/acme/issues/", &[]).status, 401);
}

#[test]
fn a_dsn_opens_its_own_project_and_nothing_else() {
    let gate = Gate::start();
    let key = gate.create(portcullis::store::portcullis::admin::NewToken {
        organizations: crate::gate::only(&["acme"]),
        projects: crate::gate::only(&["2", "web"]),
        ..new("dsn", TokenKind::Dsn, "project:write")
    });
    let rows = [
        ("POST /api/0/projects/acme/web/user-feedback/", "2", 200),
        ("POST /api/0/projects/acme/2/user-feedback/", "2", 200),
        ("POST /api/0/projects/acme/web/user-feedback/", "3", 401),
        ("POST /api/0/projects/acme/api/user-feedback/", "2", 403),
        ("POST /api/0/projects/globex/web/user-feedback/", "2", 403),
        ("GET /api/0/projects/acme/web/user-feedback/", "2", 401),
        ("GET /api/0/projects/acme/web/issues/", "2", 401),
    ];
    for (line, project, status) in rows {
        let dsn = format!("DSN http://{key}@{HOST}/{project}");
        let reply = gate.send(line, &[("Authorization", &dsn)]);
        assert_eq!(reply.status, status, "{line} with project {project}: {reply:?}");
        assert_eq!(gate.upstream.take().len(), usize::from(status == 200), "{line}");
    }
}
