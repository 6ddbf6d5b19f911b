//! An issue: looked at, and resolved.

use serde_json::{Value, json};

use crate::client::Client;
use crate::stage::Stage;

#[test]
fn the_npm_package_shows_and_resolves_an_issue() {
    let stage = Stage::start();
    let home = stage.home_with(&stage.token("event:write org:read"));
    let organization = "/api/0/organizations/acme";
    let printed = home.run(Client::Sentry, &["issue", "view", "WEB-1", "--json"]).fine();
    let issue: Value = serde_json::from_str(&printed).expect(&printed);
    assert_eq!(
        (&issue["shortId"], &issue["title"]),
        (&"WEB-1".into(), &"TypeError: boom 0".into())
    );
    assert_eq!(issue["event"]["eventID"], "e".repeat(32));
    // Pages of the UI are for people, and stay where they are.
    let page = format!("{}/organizations/acme/issues/100/", stage.canonical.url());
    assert_eq!(issue["permalink"], page);
    let mut lines = stage.lines();
    // What it asks at once comes in either order.
    lines[2..].sort();
    let wanted = [
        // To learn the region.
        format!("GET {organization}/"),
        format!("GET {organization}/shortids/WEB-1/"),
        format!("GET {organization}/issues/100/events/latest/"),
        format!("GET {organization}/replay-count/"),
    ];
    assert_eq!(lines, wanted);

    home.run(Client::Sentry, &["issue", "resolve", "WEB-1"]).fine();
    let put = stage.seen().pop().unwrap();
    assert_eq!(put.line(), format!("PUT {organization}/issues/100/"));
    assert_eq!(put.json(), json!({ "status": "resolved" }));
    assert_eq!(stage.sentry.state.lock().unwrap().statuses[&0], "resolved");
}
