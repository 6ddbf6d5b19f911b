//! Lists of three pages, to their end: clients that ask again with the cursor of `Link`, and one
//! that follows its URL.

use crate::answers::{ISSUES, ORGANIZATIONS, PROJECTS, REPOSITORIES, TEAMS};
use crate::client::{Client, Home};
use crate::http::Seen;
use crate::stage::Stage;

const SCOPES: &str = "org:read project:read event:read";
/// What is asked for, page by page.
const CURSORS: [Option<&str>; 3] = [None, Some("2:2:0"), Some("2:4:0")];

/// That these are requests for every page of one list.
fn all_pages(seen: &[Seen], path: &str) {
    let asked = seen.iter().map(|seen| {
        let cursor = seen.parameter("cursor").map(|cursor| cursor.replace("%3A", ":"));
        (seen.line(), cursor.filter(|cursor| !cursor.is_empty()))
    });
    let wanted = CURSORS.map(|cursor| (format!("GET {path}"), cursor.map(str::to_owned)));
    assert_eq!(asked.collect::<Vec<_>>(), wanted, "{seen:#?}");
}

/// Runs a client that lists all of these, and no other.
pub fn lists(home: &Home, client: Client, words: &str, names: &[&str]) {
    let words: Vec<_> = words.split(' ').collect();
    let printed = home.run(client, &words).fine();
    for name in names {
        let is = |word: &str| word.trim_matches(['"', ',', '|', '\'']) == *name;
        let times = printed.split_whitespace().filter(|word| is(word)).count();
        assert!(times > 0, "{name} in {printed}");
    }
}

#[test]
fn sentry_cli_lists_all_pages() {
    for client in [Client::SentryCli, Client::SentryCli2] {
        let stage = Stage::start();
        let home = stage.home_with(&stage.token(SCOPES));
        lists(&home, client, "organizations list", &ORGANIZATIONS);
        if matches!(client, Client::SentryCli2) {
            // It asks for the regions first, and then each of them for its organisations.
            let regions = stage.sentry.web.first();
            assert_eq!(regions.line(), "GET /api/0/users/me/regions/");
        }
        all_pages(&stage.seen(), "/api/0/organizations/");
        lists(&home, client, "projects list", &PROJECTS);
        all_pages(&stage.seen(), "/api/0/organizations/acme/projects/");
        lists(&home, client, "repos list", &REPOSITORIES);
        all_pages(&stage.seen(), "/api/0/organizations/acme/repos/");
        lists(&home, client, "issues list", &ISSUES);
        all_pages(&stage.seen(), "/api/0/projects/acme/web/issues/");
    }
}

#[test]
fn the_npm_package_lists_all_pages() {
    let stage = Stage::start();
    let home = stage.home_with(&stage.token(SCOPES));
    // The first answer names the region, which it calls from then on.
    lists(&home, Client::Sentry, "org list", &ORGANIZATIONS);
    all_pages(&stage.seen(), "/api/0/organizations/");
    lists(&home, Client::Sentry, "project list acme/", &PROJECTS);
    all_pages(&stage.seen(), "/api/0/organizations/acme/projects/");
    lists(&home, Client::Sentry, "team list acme/", &TEAMS);
    all_pages(&stage.seen(), "/api/0/organizations/acme/teams/");
    lists(&home, Client::Sentry, "issue list acme/web", &ISSUES);
    assert_eq!(stage.sentry.web.first().line(), "GET /api/0/projects/acme/web/");
    all_pages(&stage.seen(), "/api/0/organizations/acme/issues/");
}

#[test]
fn qsentry_follows_the_links() {
    let stage = Stage::start();
    let home = stage
        .home()
        .set("QSENTRY_AUTH_TOKEN", &stage.token(SCOPES))
        .set("QSENTRY_HOST_URL", &stage.url)
        .set("QSENTRY_ORG_SLUG", "acme");
    lists(&home, Client::Qsentry, "get projects --attrs slug", &PROJECTS);
    all_pages(&stage.seen(), "/api/0/organizations/acme/projects/");
    lists(&home, Client::Qsentry, "get teams --attrs slug", &TEAMS);
    all_pages(&stage.seen(), "/api/0/organizations/acme/teams/");
}

/// Headers of the user's own, for an identity proxy on the way: they are no business of the gateway's.
#[test]
fn headers_of_the_users_own_arrive() {
    let stage = Stage::start();
    let token = stage.token(SCOPES);
    let arrived = |name: &str| {
        let seen = stage.seen();
        assert!(!seen.is_empty());
        assert!(seen.iter().all(|seen| seen.header(name) == Some("a-value")), "{name}: {seen:#?}");
    };
    for client in [Client::SentryCli, Client::SentryCli2] {
        let home = stage.home_with(&token);
        let words = ["--header", "X-Own: a-value", "projects", "list"];
        home.run(client, &words).fine();
        arrived("x-own");
        let home = home.set("CUSTOM_HEADER", "X-Other: a-value");
        home.run(client, &["projects", "list"]).fine();
        arrived("x-other");
    }
    let home =
        stage.home_with(&token).set("SENTRY_CUSTOM_HEADERS", "X-Own: a-value; X-Other: a-value");
    home.run(Client::Sentry, &["project", "list", "acme/"]).fine();
    let seen = stage.seen();
    assert!(!seen.is_empty());
    for name in ["x-own", "x-other"] {
        assert!(seen.iter().all(|seen| seen.header(name) == Some("a-value")), "{name}: {seen:#?}");
    }
}
