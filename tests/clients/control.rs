//! That these tests would notice: clients without the gateway do leave the address that they were
//! given. And the layout in which there is nothing to leave for.

use crate::answers::{ORGANIZATIONS, PROJECTS};
use crate::client::Client;
use crate::lists::lists;
use crate::sentry::CREDENTIAL;
use crate::stage::Stage;
use crate::uploads::script;

#[test]
fn without_the_gateway_clients_call_the_canonical_host() {
    let stage = Stage::without_gateway();
    let home = || stage.home_with(CREDENTIAL).set("SENTRY_HTTP_MAX_RETRIES", "0");
    let mut before = 0;
    let mut called = |what: &str| {
        let after = stage.canonical.connections();
        assert!(after > before, "{what}: {:?}", stage.canonical.requests());
        before = after;
        stage.canonical.requests().pop().unwrap()
    };
    let upload = "POST /api/0/organizations/acme/chunk-upload/ HTTP/1.1";
    for client in [Client::SentryCli, Client::SentryCli2] {
        let home = home();
        script(&home.work().join("dist"));
        let words = ["sourcemaps", "upload", "--release", "1.0.0", "dist"];
        home.run(client, &words).failed();
        assert_eq!(called("`url` of chunk-upload"), upload);
    }
    home().run(Client::SentryCli2, &["organizations", "list"]).failed();
    assert_eq!(called("`regions`"), "GET /api/0/organizations/?cursor= HTTP/1.1");
    home().run(Client::Sentry, &["project", "list", "acme/"]).failed();
    let request = called("`links.regionUrl`");
    assert!(request.starts_with("GET /api/0/organizations/acme/projects/?"), "{request}");
    let home = home()
        .set("QSENTRY_AUTH_TOKEN", CREDENTIAL)
        .set("QSENTRY_HOST_URL", &stage.url)
        .set("QSENTRY_ORG_SLUG", "acme");
    home.run(Client::Qsentry, &["get", "projects"]).failed();
    let request = called("`Link`");
    assert_eq!(request, "GET /api/0/organizations/acme/projects/?&cursor=2:2:0 HTTP/1.1");
}

#[test]
fn what_is_for_elsewhere_meets_the_proxy() {
    let stage = Stage::without_gateway();
    let home = stage.home_with(CREDENTIAL).set("SENTRY_URL", "http://sentry.invalid");
    home.run(Client::SentryCli, &["info"]).failed();
    assert!(stage.outside.connections() > 0);
}

#[test]
fn a_gateway_that_has_the_canonical_name_has_nothing_to_rewrite() {
    let stage = Stage::with_canonical_name();
    let home = stage.home_with(&stage.token("org:ci org:read"));
    lists(&home, Client::SentryCli, "organizations list", &ORGANIZATIONS);
    lists(&home, Client::Sentry, "project list acme/", &PROJECTS);
    script(&home.work().join("dist"));
    let words = ["sourcemap", "upload", "dist", "--release", "1.0.0"];
    home.run(Client::Sentry, &words).fine();
    assert_eq!(stage.sentry.state.lock().unwrap().files.len(), 1);
}
