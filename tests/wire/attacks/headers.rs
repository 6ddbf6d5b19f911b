//! Headers that would speak for the caller, or name another address.

use crate::gate::{CANONICAL, Gate, HOST, Options};
use crate::upstream::{Upstream, ok};

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

#[test]
fn a_head_has_the_size_and_the_fields_that_the_config_says() {
    let server = "max_head = \"2KiB\"\nmax_headers = 12".to_owned();
    let gate = Gate::with(Upstream::start(), &Options { server, ..Options::default() });
    let token = format!("Bearer {}", gate.token("read"));
    let own = [("Authorization", token.as_str())];
    let long = "x".repeat(2048);
    // `Host` and `Authorization` are two of them.
    let rows: [(Vec<(&str, &str)>, Option<&str>); 4] = [
        (vec![("X-A", "b"); 10], None),
        (vec![("X-A", "b"); 11], Some("more than 12 header fields")),
        (vec![("X-A", &long[..1024])], None),
        (vec![("X-A", &long)], Some("larger than 2048 bytes")),
    ];
    for (more, says) in rows {
        let line = "GET /api/0/organizations/acme/issues/";
        let reply = gate.send(line, &[&own[..], &more].concat());
        let seen = gate.upstream.take();
        match says {
            None => assert_eq!((reply.status, seen.len()), (200, 1), "{reply:?}"),
            Some(says) => {
                assert_eq!((reply.status, &*reply.code()), (400, "malformed_request"));
                assert!(reply.json()["detail"].as_str().unwrap().contains(says), "{reply:?}");
                assert!(seen.is_empty(), "{seen:#?}");
            }
        }
    }
}
