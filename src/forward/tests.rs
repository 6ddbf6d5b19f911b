//! Tables over header names, and over chains of addresses.

use super::*;

#[test]
fn names_that_speak_for_the_caller_in_all_spellings() {
    let gone = [
        "authorization",
        "cookie",
        "forwarded",
        "x-forwarded-for",
        "x_forwarded_for",
        "x-forwarded_for",
        "x.forwarded.for",
        "xforwardedfor",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-forwarded-prefix",
        "x-original-forwarded-for",
        "x-original-url",
        "x-rewrite-url",
        "x-real-ip",
        "x_real_ip",
        "true-client-ip",
        "cf-connecting-ip",
        "x-client-ip",
        "x-http-method-override",
        "x-method-override",
        "x-http-method",
        "x-sentry-auth",
        "x-sentry-subnet-organization",
        "x-sentry-relay-id",
        "x-sentry-relay-signature",
        "x-sentry-apigateway",
        "x-sentry-trusted-relay",
        "x-viewer-context",
        "x-is-agent",
        "remote-user",
        "remote_user",
        "x-remote-user",
        "x-webauth-user",
        "x-gateway-principal",
        "x.gateway.principal",
        "x_gateway_principal",
        "x-gateway-project",
        "x-portcullis-subject",
        "x-request-id",
        "proxy",
        "proxy-authorization",
        "proxy-connection",
        "keep-alive",
        "te",
        "trailer",
        "upgrade",
        "http2-settings",
        "host",
        "x-ssl-client-verify",
        "client-ip",
        "wl-proxy-client-ip",
        "x-proxyuser-ip",
        "x-user",
        "x-auth-user",
        "x-email",
        "x-goog-authenticated-user-email",
        "x-amzn-oidc-identity",
        "x-ms-client-principal-name",
        "x-sentry-viewer-context",
        "expect",
        "a_b",
        "a.b",
        "a~b",
        "content_type",
        "x-forwarded-for-and-a-very-long-tail-behind-it",
    ];
    for name in gone {
        assert!(speaks_for_the_caller(&HeaderName::try_from(name).unwrap()), "{name}");
    }
    let stay = [
        "accept",
        "accept-encoding",
        "content-type",
        "content-length",
        "content-encoding",
        "user-agent",
        "origin",
        "referer",
        "range",
        "if-none-match",
        "sentry-trace",
        "baggage",
        "traceparent",
        "x-sentry-mcp-client-name",
        "x-csrftoken",
        "x-requested-with",
        "x-gw",
        "cf-access-client-id",
        "x-custom",
        "teapot",
        "hostess",
        "cookies-accepted",
    ];
    for name in stay {
        assert!(!speaks_for_the_caller(&HeaderName::try_from(name).unwrap()), "{name}");
    }
}

#[test]
fn the_lists_are_folded_and_fit_the_buffer() {
    for name in PROTECTED.iter().chain(PROTECTED_FAMILIES) {
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()), "{name}");
        assert!(name.len() < 24, "{name}");
    }
}

#[test]
fn the_client_is_the_right_most_untrusted_hop() {
    let trusted: Vec<IpNet> = ["10.0.0.0/8", "fd00::/8"].map(|net| net.parse().unwrap()).to_vec();
    let rows: &[(&str, &[&str], &str)] = &[
        ("203.0.113.9", &[], "203.0.113.9"),
        // The peer is not trusted, so its word is not read.
        ("203.0.113.9", &["1.2.3.4"], "203.0.113.9"),
        ("10.0.0.1", &[], "10.0.0.1"),
        ("10.0.0.1", &["198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", &["10.9.9.9, 203.0.113.7, 10.0.0.2"], "203.0.113.7"),
        ("10.0.0.1", &["1.1.1.1", "203.0.113.7,10.0.0.2"], "203.0.113.7"),
        ("10.0.0.1", &["127.0.0.1, 203.0.113.7"], "203.0.113.7"),
        ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", &["203.0.113.7:4711"], "203.0.113.7"),
        ("10.0.0.1", &["[2001:db8::1]:4711"], "2001:db8::1"),
        ("10.0.0.1", &["[2001:db8::1]"], "2001:db8::1"),
        ("10.0.0.1", &["2001:db8::1"], "2001:db8::1"),
        ("::ffff:10.0.0.1", &["::ffff:203.0.113.7"], "203.0.113.7"),
        // What can't be read ends the chain.
        ("10.0.0.1", &["1.1.1.1, unknown, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", &["1.1.1.1,"], "10.0.0.1"),
        ("10.0.0.1", &["_hidden"], "10.0.0.1"),
    ];
    for (peer, lines, wanted) in rows {
        let mut headers = HeaderMap::new();
        for line in *lines {
            headers.append(X_FORWARDED_FOR, line.parse().unwrap());
        }
        let seen = client_address(peer.parse().unwrap(), &headers, &trusted);
        assert_eq!(seen, wanted.parse::<IpAddr>().unwrap(), "{peer} {lines:?}");
        assert_eq!(
            client_address(peer.parse().unwrap(), &headers, &[]),
            peer.parse::<IpAddr>().unwrap().to_canonical()
        );
    }
}
