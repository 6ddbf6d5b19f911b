//! What is blocked is refused where nobody is looked up, too.

use super::edge::{decide, decide_by, policy, told};
use crate::policy::credential::Digest;
use crate::policy::decision::Listed;

const KEY: &str = "0123456789abcdef0123456789abcdef";
const ENVELOPE: &str = "POST /api/7/envelope/";

fn blocked(digest: &Digest) -> Listed {
    let secrets = [KEY, "sntryu_leaked", "api-key"];
    let is_one = secrets.iter().any(|secret| Digest::of(secret) == *digest);
    if is_one { Listed::Yes } else { Listed::No }
}

#[test]
fn wherever_in_the_head_it_is() {
    let policy = policy("");
    let fields = format!("Sentry sentry_version=7, sentry_key={KEY}, sentry_client=a/1");
    let header = |line: &str| ("ingest", ENVELOPE.to_owned(), line.to_owned());
    let ingest = |request: String| ("ingest", request, String::new());
    let bearer = |names, request: &str| {
        (names, request.to_owned(), "authorization: Bearer sntryu_leaked".to_owned())
    };
    let rows = [
        header(&format!("x-sentry-auth: {fields}")),
        header(&format!("x-sentry-auth: sentry_key = {KEY}")),
        header(&format!("x-sentry-auth: a=b | x-sentry-auth: {fields}")),
        header(&format!("x-sentry-auth: sentry_key={}", KEY.to_uppercase())),
        header(&format!("authorization: {fields}")),
        header(&format!("authorization: DSN https://{KEY}@relay.example/7")),
        header(&format!("authorization: DSN https://{KEY}:old@relay.example/7")),
        // The key, and something behind it.
        header("authorization: Basic MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY6eA=="),
        ingest(format!("{ENVELOPE}?sentry_version=7&sentry_key={KEY}")),
        ingest(format!("{ENVELOPE}?sentry%5Fkey={KEY}")),
        ingest(format!("{ENVELOPE}?sentry_key=%30{}", &KEY[1..])),
        ingest(format!("{ENVELOPE}?sentry_key=a&sentry_key={KEY}")),
        ingest(format!("POST /api/7/unreal/{KEY}/")),
        ingest(format!("GET /api/7/cron/nightly/{KEY}/")),
        ingest(format!("OPTIONS /api/7/envelope/?sentry_key={KEY}")),
        ingest(format!("GET /js-sdk-loader/{KEY}.min.js")),
        ingest(format!("GET /api/embed/error-page/?eventId=a&dsn=https%3A%2F%2F{KEY}%40h%2F7")),
        ingest(format!("GET /api/embed/error-page/?d%73n=https://{KEY}:old@h/7")),
        bearer("oauth", "POST /oauth/token/"),
        bearer("oauth", "GET /oauth/userinfo/"),
        bearer("webhooks", "POST /extensions/slack/event/"),
        bearer("relays", "GET /api/0/relays/live/"),
        bearer("api ui", "GET /organizations/acme/issues/"),
        ("api ui", "GET /".to_owned(), "authorization: bearer  sntryu_leaked".to_owned()),
        ("api ui", "GET /".to_owned(), "authorization: token sntryu_leaked".to_owned()),
        // Its name, and no password.
        ("api ui", "GET /".to_owned(), "authorization: Basic YXBpLWtleTo=".to_owned()),
    ];
    for (names, request, lines) in rows {
        let told_by = |listed: fn(&Digest) -> Listed| {
            told(&policy, &decide_by(&policy, names, &request, &lines, listed))
        };
        assert_eq!(told_by(blocked), "disabled_token", "{names}: {request} [{lines}]");
        assert_eq!(told_by(|_| Listed::Unread), "store_unavailable", "{request} [{lines}]");
        let seen = told_by(|_| Listed::No);
        assert!(seen.contains(": untouched"), "{names}: {request} [{lines}]: {seen}");
    }
}

#[test]
fn where_nothing_is_presented_nothing_can_be_blocked() {
    for (names, request, lines) in [
        ("ingest", ENVELOPE, ""),
        ("ingest", "GET /js-sdk/1.0/bundle.min.js", ""),
        ("api ui", "GET /organizations/acme/issues/", "cookie: sentrysid=a"),
    ] {
        let policy = policy("");
        let unread = decide_by(&policy, names, request, lines, |_| Listed::Unread);
        assert_eq!(told(&policy, &unread), told(&policy, &decide(&policy, names, request, lines)));
        assert!(told(&policy, &unread).contains(": untouched"), "{names}: {request}");
    }
}

#[test]
fn where_keys_are_checked_a_browser_that_asks_first_has_its_own_held_against_the_list() {
    let policy = policy(", check_keys = true");
    let request = format!("OPTIONS /api/7/envelope/?sentry_key={KEY}");
    let decision = decide_by(&policy, "ingest", &request, "", blocked);
    assert_eq!(told(&policy, &decision), "disabled_token");
}
