//! Headers that would speak for the caller: in every spelling, from everybody but the gateway.

use super::{Nothing, One, an_issue_list, case, issues, run};
use crate::gate::{CANONICAL, Gate, HOST, Options};
use crate::upstream::{Upstream, ok};

#[test]
fn nobody_but_the_gateway_speaks_for_the_caller() {
    run(vec![
        case(
            "underscores",
            issues!("X_Gateway_Principal: evil", "X_Forwarded_For: 10.0.0.1"),
            &[200],
            One(an_issue_list),
        ),
        case("dots in a name", issues!("X.Gateway.Principal: evil"), &[200], One(an_issue_list)),
        case(
            "a header that is not always set",
            issues!("X-Gateway-Project: 1"),
            &[200],
            One(an_issue_list),
        ),
        case(
            "Connection takes off what counts",
            issues!("Connection: close, X-Gateway-Principal, X-Forwarded-For, Authorization"),
            &[400],
            Nothing,
        ),
        case(
            "Connection takes off what does not",
            issues!("Connection: close, X-Gateway-Principal, X-Custom", "X-Custom: evil"),
            &[200],
            One(an_issue_list),
        ),
        case(
            "Connection takes off the length",
            "PUT /api/0/organizations/acme/issues/ HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {ADMIN}\r\nConnection: Content-Length\r\nContent-Length: 2\r\n\r\n{}",
            &[400],
            Nothing,
        ),
        case(
            "fields of one connection",
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
            "another address",
            issues!(
                "X-Forwarded-Host: evil.example",
                "X-Forwarded-Proto: https",
                "Forwarded: host=evil.example;proto=https"
            ),
            &[200],
            One(an_issue_list),
        ),
        case(
            "a chain of addresses",
            issues!("X-Forwarded-For: 10.9.9.9, 203.0.113.7, 172.17.0.1"),
            &[200],
            One(an_issue_list),
        ),
        case(
            "names that Sentry trusts",
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
            "names that other gateways set",
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
            "names that other readers look at",
            issues!(
                "X-Original-URL: /evil/",
                "X-Rewrite-URL: /evil/",
                "X-Forwarded-Prefix: /evil",
                "X-Forwarded-User: evil",
                "X-Forwarded-Port: 6666",
                "Via: 1.1 evil",
                "True-Client-IP: 10.0.0.1",
                "CF-Connecting-IP: 10.0.0.1",
                "X-Client-IP: 10.0.0.1",
                "X-Real-IP: 10.0.0.1",
                "X-Authenticated-User: evil",
                "X-Auth-Request-User: evil",
                "Proxy: http://evil.example/"
            ),
            &[200],
            One(an_issue_list),
        ),
        case(
            "several lines of one name",
            issues!("X-Forwarded-For: evil", "x-forwarded-FOR: 10.0.0.1", "X-Request-Id: evil"),
            &[200],
            One(an_issue_list),
        ),
        case(
            "a credential under a name that is folded",
            issues!("Authorization_: Bearer evil", "X_Sentry_Auth: Sentry sentry_key=evil"),
            &[200],
            One(an_issue_list),
        ),
    ]);
}

#[test]
fn what_a_client_claims_of_the_address_is_in_no_answer() {
    let gate = Gate::before(Upstream::answering(|_, stream| {
        let link = format!("<{CANONICAL}/api/0/x/>; rel=\"next\"");
        let location = format!("{CANONICAL}/api/0/y/");
        ok(stream, &[("Link", &link), ("Location", &location)], b"{}");
    }));
    let token = format!("Bearer {}", gate.token("read"));
    let headers = [
        ("X-Forwarded-Host", "evil.example"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Prefix", "/evil"),
        ("Forwarded", "host=evil.example;proto=https"),
        ("X-Host", "evil.example"),
        ("Authorization", &token),
    ];
    for headers in [&headers[..], &headers[..5]] {
        let reply = gate.send("GET /api/0/organizations/acme/issues/", headers);
        let allowed = headers.len() == 6;
        assert_eq!(reply.status, if allowed { 200 } else { 401 });
        let text = format!("{:?} {}", reply.headers, String::from_utf8_lossy(&reply.body));
        assert!(!text.contains("evil"), "{text}");
        if allowed {
            assert_eq!(
                reply.header("link"),
                Some(&*format!("<http://{HOST}/api/0/x/>; rel=\"next\""))
            );
            assert_eq!(reply.header("location"), Some(&*format!("http://{HOST}/api/0/y/")));
        }
        assert_eq!(gate.upstream.take().len(), usize::from(allowed));
    }
}

#[test]
fn the_right_most_untrusted_hop_is_the_client() {
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
