//! Frames that two readers could take differently, and methods that are not what they seem.

use super::{Nothing, One, an_issue_list, case, issues, run};

#[test]
fn a_request_has_one_frame_and_one_method() {
    run(vec![
        case(
            "a method in small letters",
            "delete /api/0/projects/acme/web/ HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {READ}\r\n\r\n",
            &[400],
            Nothing,
        ),
        case(
            "another method in headers",
            issues!("X-HTTP-Method-Override: DELETE", "X-Method-Override: DELETE"),
            &[200],
            One(an_issue_list),
        ),
        case(
            "another method in headers of POST",
            "POST /api/0/organizations/acme/issues/ HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {READ}\r\nX-HTTP-Method-Override: DELETE\r\nContent-Length: 0\r\n\r\n",
            &[405],
            Nothing,
        ),
        case(
            "HEAD of nobody",
            "HEAD /api/0/organizations/acme/members/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n",
            &[401],
            Nothing,
        ),
        case(
            "OPTIONS with a token",
            "OPTIONS /api/0/organizations/acme/members/ HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {ADMIN}\r\n\r\n",
            &[200],
            Nothing,
        ),
        case(
            "two hosts",
            "GET /api/0/ HTTP/1.1\r\nHost: {HOST}\r\nHost: evil.example\r\n\r\n",
            &[400],
            Nothing,
        ),
        case("an empty host", "GET /api/0/ HTTP/1.1\r\nHost:\r\n\r\n", &[400], Nothing),
        case("no host", "GET /api/0/ HTTP/1.1\r\n\r\n", &[400], Nothing),
        case(
            "a host behind a user name",
            "GET /api/0/ HTTP/1.1\r\nHost: {HOST}@evil.example\r\n\r\n",
            &[400],
            Nothing,
        ),
        case(
            "our host, spelt differently",
            "GET /api/0/organizations/acme/issues/ HTTP/1.1\r\nHost: GW.EXAMPLE.:80\r\nAuthorization: Bearer {READ}\r\n\r\n",
            &[200],
            One(an_issue_list),
        ),
        case("another port", "GET /api/0/ HTTP/1.1\r\nHost: {HOST}:81\r\n\r\n", &[421], Nothing),
        case("another host", "GET /api/0/ HTTP/1.1\r\nHost: evil.example\r\n\r\n", &[421], Nothing),
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
            "a method in a header of another spelling",
            issues!("X-HTTP-Method: DELETE", "X_HTTP_Method_Override: DELETE"),
            &[200],
            One(an_issue_list),
        ),
        case(
            "a method in mixed letters",
            "Delete /api/0/organizations/acme/issues/ HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {ADMIN}\r\n\r\n",
            &[400],
            Nothing,
        ),
        case(
            "a method of WebDAV",
            "PROPFIND /api/0/organizations/acme/issues/ HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {ADMIN}\r\n\r\n",
            &[400],
            Nothing,
        ),
        case(
            "a length with a sign",
            "PUT /api/0/organizations/acme/issues/ HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {ADMIN}\r\nContent-Length: +2\r\n\r\n{}",
            &[400],
            Nothing,
        ),
        case(
            "a list of lengths",
            "PUT /api/0/organizations/acme/issues/ HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {ADMIN}\r\nContent-Length: 2, 2\r\n\r\n{}",
            &[400],
            Nothing,
        ),
        case(
            "chunked, spelt with a blank",
            "PUT /api/0/organizations/acme/issues/ HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {ADMIN}\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
            &[400],
            Nothing,
        ),
    ]);
}
