//! More than one credential, and project keys where they have no business.

use portcullis::store::portcullis::TokenKind;

use super::{Nothing, One, an_issue_list, case, issues, run};
use crate::gate::{Gate, HOST, new};

#[test]
fn a_request_has_one_credential_of_a_kind_that_the_route_takes() {
    run(vec![
        case("two tokens", issues!("Authorization: Bearer {ADMIN}"), &[400], Nothing),
        case(
            "a token and two keys",
            "GET /api/0/organizations/acme/issues/?sentry_key={DSN} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {READ}\r\nX-Sentry-Auth: Sentry sentry_key={DSN}\r\n\r\n",
            &[400],
            Nothing,
        ),
        case(
            "a token and a key",
            issues!("X-Sentry-Auth: Sentry sentry_key={DSN}"),
            &[400],
            Nothing,
        ),
        case(
            "a token and a session",
            issues!("Cookie: sentrysid=evil"),
            &[200],
            One(an_issue_list),
        ),
        case(
            "a key on a route for tokens",
            "GET /api/0/organizations/acme/issues/ HTTP/1.1\r\nHost: {HOST}\r\nX-Sentry-Auth: Sentry sentry_key={DSN}\r\n\r\n",
            &[401],
            Nothing,
        ),
        case(
            "a DSN on a route for tokens",
            "GET /api/0/organizations/acme/issues/ HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: DSN http://{DSN}@{HOST}/2\r\n\r\n",
            &[401],
            Nothing,
        ),
        case(
            "a project 00",
            "POST /api/00/envelope/ HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 0\r\n\r\n",
            &[404],
            Nothing,
        ),
        case(
            "a project with a sign",
            "POST /api/+42/envelope/ HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 0\r\n\r\n",
            &[404],
            Nothing,
        ),
        case(
            "a project with letters",
            "POST /api/42abc/envelope/ HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 0\r\n\r\n",
            &[404],
            Nothing,
        ),
        case(
            "a project in wide digits",
            "POST /api/%EF%BC%94%EF%BC%92/envelope/ HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 0\r\n\r\n",
            &[404],
            Nothing,
        ),
        case(
            "three keys",
            "POST /api/0/projects/acme/web/user-feedback/?sentry_key=b HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: DSN http://{DSN}@{HOST}/2\r\nX-Sentry-Auth: Sentry sentry_key=c\r\nContent-Length: 0\r\n\r\n",
            &[400],
            Nothing,
        ),
        case(
            "rpcsignature",
            "GET /api/0/organizations/acme/issues/ HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: rpcsignature rpc0:aa\r\n\r\n",
            &[401],
            Nothing,
        ),
        case(
            "a key in the query alone",
            "GET /api/0/organizations/acme/issues/?sentry_key={DSN}&sentry_secret=x HTTP/1.1\r\nHost: {HOST}\r\n\r\n",
            &[401],
            Nothing,
        ),
        case(
            "a key in the query of a token",
            "GET /api/0/organizations/acme/issues/?a=b&sentry_key={DSN} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {READ}\r\n\r\n",
            &[400],
            Nothing,
        ),
        case(
            "two tokens in one header",
            "GET /api/0/organizations/acme/issues/ HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {READ} {ADMIN}\r\n\r\n",
            &[401],
            Nothing,
        ),
        case(
            "two tokens, by a comma",
            "GET /api/0/organizations/acme/issues/ HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {READ},Bearer {ADMIN}\r\n\r\n",
            &[401],
            Nothing,
        ),
        case(
            "a token in the query",
            "GET /api/0/organizations/acme/issues/?access_token={ADMIN} HTTP/1.1\r\nHost: {HOST}\r\n\r\n",
            &[401],
            Nothing,
        ),
        case(
            "a token under the name of Basic",
            "GET /api/0/organizations/acme/issues/ HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Basic {READ}\r\n\r\n",
            &[401],
            Nothing,
        ),
        case(
            "a project 0",
            "POST /api/0/envelope/ HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 0\r\n\r\n",
            &[404],
            Nothing,
        ),
    ]);
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
